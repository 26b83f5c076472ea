"""Bad input on the command line: the right exit code, what and where and what to do on stderr, nothing on
stdout, no traceback.

Each case runs as a process of its own under a memory limit (command.py), so a case that asks for the machine
fails by itself.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import oomless
from command import MAX_S, Answer, call, environment, limit_memory, run
from oomless import files
from oomless.cli.app import OTHER_WORDS, app

FAILED, USAGE, UNSUPPORTED = 1, 2, 4
HERE = Path(__file__).parent.parent

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 5504,
    "max_position_embeddings": 16384,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "torch_dtype": "bfloat16",
    "vocab_size": 32256,
}


def explained(answer: Answer, code: int, *words: str, most: int = 2000) -> None:
    """A failure as the contract wants it: a line that says what and where, a line that says what to do."""
    assert "Traceback" not in answer.err
    assert "internal error" not in answer.err
    assert answer.out == ""
    assert answer.code == code, answer.err
    if answer.err.startswith("{"):  # asked for JSON: one object, on stderr
        said = json.loads(answer.err)["error"]
        assert list(said) == ["code", "field", "message", "hint"]
        assert said["code"] == code
        lines = [f"oomless: {said['message']}", f"  {said['hint']}"]
    else:
        lines = answer.err.splitlines()
    assert len(lines) == 2, answer.err
    assert lines[0].startswith("oomless: ")
    assert lines[1].startswith("  ")
    assert lines[1].strip()
    assert len(answer.err) < most
    missing = [word for word in words if word not in "\n".join(lines)]
    assert not missing, answer.err


QUESTIONS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    # names
    "unknown model": (
        ("deepseek-v33", "--gpu", "h200:8"),
        USAGE,
        ("deepseek-v33", "did you mean deepseek-v3"),
    ),
    "unknown model, nothing near": (("qqqqqqqq", "--gpu", "h200:8"), USAGE, ("qqqqqqqq", "oomless models")),
    "unknown card": (("deepseek-v3", "--gpu", "h20x:8"), USAGE, ("h20x", "did you mean h20")),
    "unknown card, nothing near": (("deepseek-v3", "--gpu", "zzzzzz"), USAGE, ("zzzzzz", "oomless gpus")),
    "bare number": (("deepseek-v3", "--gpu", "80"), USAGE, ("80GiB", "80GB")),
    "bare number of cards": (("deepseek-v3", "--gpu", "80:8"), USAGE, ("80GiB", "80GB")),
    "a card of nothing": (("deepseek-v3", "--gpu", "0GiB"), USAGE, ("0GiB",)),
    "a card of 10^30": (("deepseek-v3", "--gpu", "1" + "0" * 30 + "GiB"), USAGE, ("out of range",)),
    "no cards": (("deepseek-v3", "--gpu", "h200:0"), USAGE, ("h200:0",)),
    "a negative number of cards": (("deepseek-v3", "--gpu", "h200:-1"), USAGE, ("h200:-1",)),
    "a word for a number of cards": (("deepseek-v3", "--gpu", "h200:many"), USAGE, ("many",)),
    "no number of cards behind the colon": (("deepseek-v3", "--gpu", "h200:"), USAGE, ("h200:", "h200:8")),
    "an empty reserve": (("deepseek-v3", "--gpu", "h200:8", "--reserve", ""), USAGE, ("--reserve", "empty")),
    "an empty comparison": (("deepseek-v3", "--gpu", "h200:8", "--compare="), USAGE, ("--compare", "empty")),
    "an empty reserve, asked for JSON": (
        ("deepseek-v3", "--gpu", "h200:8", "--reserve", "", "--json"),
        USAGE,
        ("--reserve", "empty"),
    ),
    "a comparison of no flag": (
        ("deepseek-v3", "--gpu", "h200:8", "--compare", "strict=on,off"),
        USAGE,
        ("strict", "no flag"),
    ),
    "no --gpu": (("deepseek-v3",), USAGE, ("--gpu",)),
    "no model": (("--gpu", "h200:8"), USAGE, ("MODEL",)),
    "two models": (("deepseek-v3", "deepseek-r1", "--gpu", "h200:8"), USAGE, ("deepseek-r1",)),
    "unknown option": (
        ("deepseek-v3", "--gpu", "h200:8", "--tensor-parralel-size", "8"),
        USAGE,
        ("--tensor-parralel-size",),
    ),
    "an option without its value": (("deepseek-v3", "--gpu", "h200:8", "--tp"), USAGE, ("--tp",)),
    "unknown engine": (("deepseek-v3", "--gpu", "h200:8", "--engine", "vlm"), USAGE, ("vlm", "vllm")),
    "unknown dtype": (
        ("deepseek-v3", "--gpu", "h200:8", "--dtype", "bf17"),
        USAGE,
        ("--dtype", "bf17", "bfloat16"),
    ),
    "unknown cache dtype": (
        ("deepseek-v3", "--gpu", "h200:8", "--kv-cache-dtype", "fp7"),
        USAGE,
        ("--kv-cache-dtype", "fp7", "fp8"),
    ),
    "unknown indexer dtype": (
        ("deepseek-v3.2", "--gpu", "h200:8", "--indexer-kv-dtype", "fp7"),
        USAGE,
        ("--indexer-kv-dtype", "fp8"),
    ),
    "unknown category": (
        ("deepseek-v3", "--gpu", "h200:8", "--explain", "kv_cach"),
        USAGE,
        ("kv_cach", "did you mean kv_cache"),
    ),
    "unknown draft": (
        ("deepseek-v3", "--gpu", "h200:8", "--speculative-config", "medusa"),
        UNSUPPORTED,
        ("medusa", "mtp"),
    ),
    "draft of broken JSON": (
        ("deepseek-v3", "--gpu", "h200:8", "--speculative-config", "{'method'"),
        USAGE,
        ("--speculative-config is", '{"method": "mtp"}'),
    ),
    "draft of JSON without a method": (
        ("deepseek-v3", "--gpu", "h200:8", "--speculative-config", "{}"),
        USAGE,
        ("mtp",),
    ),
    "draft of JSON with a list for a method": (
        ("deepseek-v3", "--gpu", "h200:8", "--speculative-config", '{"method": ["mtp"]}'),
        USAGE,
        ("mtp",),
    ),
    "a revision of a catalogue name": (
        ("deepseek-v3", "--gpu", "h200:8", "--revision", "main"),
        USAGE,
        ("--revision",),
    ),
    # versions
    "a word for a version": (
        ("deepseek-v3", "--gpu", "h200:8", "--engine-version", "newest"),
        USAGE,
        ("newest", "0.19.0"),
    ),
    "an empty version": (("deepseek-v3", "--gpu", "h200:8", "--engine-version", ""), USAGE, ("version",)),
    "a version of words after a number": (
        ("deepseek-v3", "--gpu", "h200:8", "--engine-version", "0.19x!?"),
        USAGE,
        ("0.19x!?",),
    ),
    "a version before the model": (
        ("deepseek-v4-flash", "--gpu", "h200:8", "--engine-version", "0.11"),
        UNSUPPORTED,
        ("0.20",),
    ),
    "a version before sparse attention": (
        ("deepseek-v3.2", "--gpu", "h200:8", "--engine-version", "0.9"),
        UNSUPPORTED,
        ("0.11",),
    ),
    # what a card or engine cannot run
    "fp8 on a V100": (("deepseek-v3", "--gpu", "v100-32gb:32"), UNSUPPORTED, ("does not run", "V100")),
    "bfloat16 on a T4": (
        ("deepseek-coder-1.3b", "--gpu", "t4", "--dtype", "bfloat16"),
        UNSUPPORTED,
        ("T4", "float16"),
    ),
    "nvfp4 cache on Hopper": (
        ("deepseek-v3", "--gpu", "h200:8", "--kv-cache-dtype", "nvfp4"),
        UNSUPPORTED,
        ("does not run", "--kv-cache-dtype auto"),
    ),
    "MLA's cache for GQA": (
        ("deepseek-llm-7b", "--gpu", "h200", "--kv-cache-dtype", "fp8_ds_mla"),
        UNSUPPORTED,
        ("fp8_ds_mla",),
    ),
    "a quantisation that is not known": (
        ("deepseek-llm-7b", "--gpu", "h200", "--quantization", "q17"),
        UNSUPPORTED,
        ("q17", "fp8"),
    ),
    # sizes that contradict each other
    "tp that does not divide": (("deepseek-v3", "--gpu", "h200:8", "--tp", "3"), USAGE, ("3", "128", "--tp")),
    "tp that does not divide key-value heads": (
        ("deepseek-r1-distill-qwen-7b", "--gpu", "h200:8", "--tp", "8"),
        USAGE,
        ("28", "8"),
    ),
    "tp 0": (("deepseek-v3", "--gpu", "h200:8", "--tp", "0"), USAGE, ("--tp",)),
    "negative pp": (("deepseek-v3", "--gpu", "h200:8", "--pp", "-2"), USAGE, ("--pp",)),
    "tp of 10^30": (("deepseek-v3", "--gpu", "h200:8", "--tp", "1" + "0" * 30), USAGE, ("--tp",)),
    "pp of more than the layers": (
        ("deepseek-v3", "--gpu", "h200:64", "--pp", "62"),
        USAGE,
        ("--pp 62", "61"),
    ),
    "more ranks than cards": (
        ("deepseek-v3", "--gpu", "h200:8", "--tp", "8", "--pp", "2"),
        USAGE,
        ("16", "8"),
    ),
    "dcp that does not divide tp": (
        ("deepseek-v3", "--gpu", "h200:8", "--tp", "8", "--decode-context-parallel-size", "3"),
        USAGE,
        ("--decode-context-parallel-size 3", "--tp 8"),
    ),
    "dcp without tp": (
        ("deepseek-v3", "--gpu", "h200:8", "--decode-context-parallel-size", "2"),
        USAGE,
        ("--decode-context-parallel-size 2", "--tp"),
    ),
    "dcp on heads that are not repeated": (
        ("deepseek-llm-7b", "--gpu", "h200:8", "--tp", "8", "--decode-context-parallel-size", "2"),
        USAGE,
        ("--decode-context-parallel-size 2",),
    ),
    "redundant experts that do not divide": (
        (
            "deepseek-v3",
            "--gpu",
            "h200:8",
            "--tp",
            "8",
            "--enable-expert-parallel",
            "--num-redundant-experts",
            "3",
        ),
        USAGE,
        ("256", "--num-redundant-experts 3", "8"),
    ),
    "negative redundant experts": (
        (
            "deepseek-v3",
            "--gpu",
            "h200:8",
            "--tp",
            "8",
            "--enable-expert-parallel",
            "--num-redundant-experts",
            "-8",
        ),
        USAGE,
        ("--num-redundant-experts",),
    ),
    "context above max_model_len": (
        ("deepseek-v3", "--gpu", "h200:8", "--context", "5000", "--max-model-len", "4096"),
        USAGE,
        ("--context 5000", "--max-model-len 4096"),
    ),
    "context above the model's length": (
        ("deepseek-llm-7b", "--gpu", "h200", "--context", "100000"),
        USAGE,
        ("100000", "4096"),
    ),
    "max_model_len above the model's": (
        ("deepseek-llm-7b", "--gpu", "h200", "--max-model-len", "4097"),
        USAGE,
        ("4097", "4096"),
    ),
    "max_model_len 0": (
        ("deepseek-v3", "--gpu", "h200:8", "--max-model-len", "0"),
        USAGE,
        ("--max-model-len",),
    ),
    "context 0": (("deepseek-v3", "--gpu", "h200:8", "--context", "0"), USAGE, ("--context",)),
    "a fraction for a context": (
        ("deepseek-v3", "--gpu", "h200:8", "--context", "4096.5"),
        USAGE,
        ("--context", "4096.5"),
    ),
    "concurrency 0": (("deepseek-v3", "--gpu", "h200:8", "--concurrency", "0"), USAGE, ("--concurrency",)),
    "negative concurrency": (
        ("deepseek-v3", "--gpu", "h200:8", "--concurrency", "-4"),
        USAGE,
        ("--concurrency",),
    ),
    "concurrency of 10^30": (
        ("deepseek-v3", "--gpu", "h200:8", "--concurrency", "1" + "0" * 30),
        USAGE,
        ("--concurrency",),
    ),
    "utilisation 0": (
        ("deepseek-v3", "--gpu", "h200:8", "--gpu-memory-utilization", "0"),
        USAGE,
        ("--gpu-memory-utilization",),
    ),
    "utilisation 1.5": (
        ("deepseek-v3", "--gpu", "h200:8", "--gpu-memory-utilization", "1.5"),
        USAGE,
        ("--gpu-memory-utilization",),
    ),
    "utilisation nan": (
        ("deepseek-v3", "--gpu", "h200:8", "--gpu-memory-utilization", "nan"),
        USAGE,
        ("--gpu-memory-utilization",),
    ),
    "utilisation -inf": (
        ("deepseek-v3", "--gpu", "h200:8", "--gpu-memory-utilization", "-inf"),
        USAGE,
        ("--gpu-memory-utilization",),
    ),
    "block size 0": (("deepseek-v3", "--gpu", "h200:8", "--block-size", "0"), USAGE, ("--block-size",)),
}


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("how", ["text", "json"])
def test_a_bad_question_is_explained(name: str, how: str) -> None:
    words, code, expected = QUESTIONS[name]
    explained(call("infer", *words, *(["--json"] if how == "json" else [])), code, *expected)


@pytest.mark.parametrize(
    "name", ["unknown model", "tp that does not divide", "fp8 on a V100", "tp of 10^30", "a card of 10^30"]
)
def test_a_whole_process_fails_as_the_call_does(name: str) -> None:
    words, code, expected = QUESTIONS[name]
    explained(run("infer", *words, "--json"), code, *expected)


OTHERS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "unknown command": (("infre",), USAGE, ("infre", "did you mean infer")),
    "unknown claim": (("claims", "C99"), USAGE, ("C99", "oomless claims")),
    "a pattern without a model": (("models", "no-such-model"), USAGE, ("no-such-model",)),
    "a table that is not there": (("validate", "no-such-table.csv"), FAILED, ("no-such-table.csv",)),
    "an option of another command": (("gpus", "--tp", "8"), USAGE, ("--tp",)),
    "a promise of another name": (
        ("tune", "qwen3-8b", "--gpu", "h100", "--slo", "ttf=2s"),
        USAGE,
        ("known are ttft",),
    ),
    "a manifest as an answer": (
        ("infer", "--from", str(HERE / "tables" / "verdicts.csv")),
        FAILED,
        ("--command @FILE",),
    ),
    "a folder of the trainer's machine": (
        ("train", "--command", "trl sft --model_name_or_path /data/Qwen3-8B-v2", "--gpu", "h100"),
        FAILED,
        ("not on this machine", "qwen3-8b is one of that name"),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_commands_explain_too(name: str) -> None:
    words, code, expected = OTHERS[name]
    explained(call(*words), code, *expected)


def test_debug_shows_the_traceback_that_is_otherwise_hidden() -> None:
    assert "Traceback" in call("infer", "deepseek-v33", "--gpu", "h200", "--debug").err


@pytest.mark.parametrize("version", ["0.34.0", "1.0", "9999999"])
def test_a_release_newer_than_the_rules_is_answered_with_a_warning(version: str) -> None:
    answer = call("infer", "deepseek-v3", "--gpu", "h200:8", "--engine-version", version, "--json")
    assert answer.code == 0
    assert [text for text in json.loads(answer.out)["warnings"] if version in text]


# config files


def config(**changes: object) -> str:
    """The text of a config with some keys changed; None takes a key away."""
    return json.dumps({key: value for key, value in {**CONFIG, **changes}.items() if value is not None})


KEYS_NEEDED = (
    "hidden_size intermediate_size max_position_embeddings num_attention_heads num_hidden_layers vocab_size"
).split()

CONFIGS: dict[str, tuple[str | bytes, int, tuple[str, ...]]] = {
    "num_hidden_layers -3": (config(num_hidden_layers=-3), FAILED, ("num_hidden_layers", "-3")),
    "num_hidden_layers 61.5": (config(num_hidden_layers=61.5), FAILED, ("num_hidden_layers", "61.5")),
    "num_hidden_layers 10^9": (config(num_hidden_layers=10**9), FAILED, ("num_hidden_layers",)),
    "hidden_size 0": (config(hidden_size=0), FAILED, ("hidden_size", "0")),
    "num_attention_heads 0": (config(num_attention_heads=0), FAILED, ("num_attention_heads", "0")),
    "num_key_value_heads 0": (config(num_key_value_heads=0), FAILED, ("num_key_value_heads", "0")),
    "heads that key-value heads do not divide": (
        config(num_key_value_heads=5),
        FAILED,
        ("num_key_value_heads", "5", "16"),
    ),
    "vocab_size 10^30": (config(vocab_size=10**30), FAILED, ("vocab_size",)),
    "vocab_size of 5,000 digits": (config().replace("32256", "9" * 5000), FAILED, ("config.json",)),
    "a bool for a number": (config(hidden_size=True), FAILED, ("hidden_size", "true")),
    "a text for a number": (config(hidden_size="2048"), FAILED, ("hidden_size", "2048")),
    "a list for a number": (config(hidden_size=[2048]), FAILED, ("hidden_size",)),
    "a number for a text": (config(model_type=7), FAILED, ("model_type",)),
    "a text for a switch": (config(tie_word_embeddings="yes"), FAILED, ("tie_word_embeddings",)),
    "a number for an object": (config(rope_scaling=4), FAILED, ("rope_scaling",)),
    "a list for a quantisation": (config(quantization_config=["fp8"]), FAILED, ("quantization_config",)),
    "a quantisation without its method": (config(quantization_config={"bits": 4}), FAILED, ("quant_method",)),
    "several faults": (config(hidden_size=-1, vocab_size="x"), FAILED, ("hidden_size", "vocab_size")),
    "all keys missing": ('{"model_type": "llama"}', FAILED, (*KEYS_NEEDED, "torch_dtype")),
    "no model_type": (config(model_type=None), FAILED, ("model_type",)),
    "no dtype": (config(torch_dtype=None), FAILED, ("torch_dtype",)),
    "an unknown dtype": (config(torch_dtype="float17"), FAILED, ("float17",)),
    "NaN": (config().replace("2048", "NaN"), FAILED, ("NaN",)),
    "Infinity": (config().replace("2048", "-Infinity"), FAILED, ("Infinity",)),
    "a number that overflows to infinity": (
        config(rope_theta=1).replace('"rope_theta": 1', '"rope_theta": 1e999'),
        FAILED,
        ("rope_theta",),
    ),
    "50 MB": (b'{"x": "' + b"a" * 50_000_000 + b'"}', FAILED, ("too large",)),
    "15 MB of numbers": (b"[" + b"1," * 7_500_000 + b"1]", FAILED, ("config.json",)),
    "nested 10,000 deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, FAILED, ("config.json", "deep")),
    "lists nested 10,000 deep": (b"[" * 10_000 + b"]" * 10_000, FAILED, ("config.json", "deep")),
    "not JSON": ("model_type: llama\n", FAILED, ("config.json", "JSON")),
    "half a file": (config()[:100], FAILED, ("config.json", "JSON")),
    "no text": (b"\xff\xfe\x00\x80" * 100, FAILED, ("config.json",)),
    "an array": ("[1, 2, 3]", FAILED, ("config.json", "object")),
    "a number": ("7", FAILED, ("config.json", "object")),
    "an empty file": ("", FAILED, ("config.json",)),
    "an unknown family": (config(model_type="retnet"), UNSUPPORTED, ("retnet", "oomless models --families")),
    "an encoder": (config(model_type="electra"), UNSUPPORTED, ("electra", "`oomless trace` runs")),
    "an unknown quantisation": (
        config(quantization_config={"quant_method": "q17"}),
        UNSUPPORTED,
        ("q17", "fp8"),
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bad_config_is_explained(name: str, tmp_path: Path) -> None:
    content, code, expected = CONFIGS[name]
    path = tmp_path / "config.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    explained(run("infer", str(path), "--gpu", "h200:8", "--json"), code, *expected)


def test_the_config_that_the_bad_ones_are_made_of_is_good(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(config(), encoding="utf-8")
    answer = run("infer", str(path), "--gpu", "h200:8", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["verdict"] == "fits"


@pytest.mark.parametrize("value", [-3, 61.5, True, "61", [61], {}, 10**30])
@pytest.mark.parametrize(
    "key", ["kv_lora_rank", "n_routed_experts", "num_hidden_layers", "first_k_dense_replace"]
)
def test_a_bad_value_of_a_deepseek_config_is_named(key: str, value: object, tmp_path: Path) -> None:
    from oomless import facts

    path = tmp_path / "config.json"
    path.write_text(json.dumps({**facts.model_config("deepseek-v3"), key: value}), encoding="utf-8")
    explained(call("infer", str(path), "--gpu", "h200:8"), FAILED, key)


# paths


def test_a_folder_without_a_config_is_named(tmp_path: Path) -> None:
    explained(run("infer", str(tmp_path), "--gpu", "h200:8"), FAILED, str(tmp_path), "config.json")


def test_a_path_that_is_not_there_is_named() -> None:
    explained(run("infer", "./no/such/config.json", "--gpu", "h200:8"), FAILED, "no/such/config.json")


def test_a_path_too_long_for_the_system_is_an_error_like_others() -> None:
    explained(call("infer", f"./{'a' * 5000}.json", "--gpu", "h200:8"), FAILED, "too long", most=6000)


def test_the_home_of_a_user_who_does_not_exist_is_an_error_like_others() -> None:
    explained(call("infer", "~no-such-user/config.json", "--gpu", "h200:8"), FAILED, "no-such-user")


def test_a_config_that_is_a_folder_is_an_error_like_others(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    explained(call("infer", str(tmp_path), "--gpu", "h200:8"), FAILED, "config.json")


def test_a_config_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.symlink_to("/dev/zero")  # its size is 0, and reading it never ends
    explained(run("infer", str(path), "--gpu", "h200:8"), FAILED, "config.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_config_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(config(), encoding="utf-8")
    path.chmod(0)
    explained(run("infer", str(path), "--gpu", "h200:8"), FAILED, "config.json", "cannot be read")


def test_a_config_whose_reading_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text(config(), encoding="utf-8")

    def refuse(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "open", refuse, raising=False)
    explained(call("infer", str(path), "--gpu", "h200:8"), FAILED, "config.json", "Permission denied")


# pipes


@pytest.mark.parametrize(
    "words",
    [
        ("infer", "deepseek-v3", "--gpu", "h200:8"),
        ("infer", "deepseek-v3", "--gpu", "h200:8", "--explain", "all"),
        ("infer", "deepseek-v3", "--gpu", "h200:8", "--json"),
        ("gpus",),
        ("gpus", "--json"),
        ("claims",),
        ("infer", "--help"),
    ],
    ids=" ".join,
)
def test_a_closed_pipe_is_no_failure(words: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "oomless", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=limit_memory,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # a reader that has gone before the first word: the hardest case of `| head -1`
    err = process.stderr.read().decode()
    process.stderr.close()
    assert err == ""
    assert process.wait(timeout=MAX_S) in (0, 141)


@pytest.mark.parametrize(
    "words",
    [
        ("vllm", "serve", "deepseek-ai/DeepSeek-V3.1", "-tp", "8"),
        ("vllm serve deepseek-ai/DeepSeek-V3.1 -tp 8",),
        ("ollama run gemma3:27b",),
        ("--", "python3", "-m", "sglang.launch_server", "--model-path", "deepseek-ai/DeepSeek-R1"),
    ],
)
def test_a_command_that_was_pasted_as_the_model_is_told_its_place(words: tuple[str, ...]) -> None:
    answer = call("infer", "--gpu", "h200:8", *words)
    assert answer.code == 2
    assert "behind --command" in answer.err
    assert "behind --command" not in call("infer", "no-such-model", "--gpu", "h200:8").err


def test_what_lists_all_is_a_command() -> None:
    """`write ttft=2s lists all` was printed once."""
    for path in Path(oomless.__file__).parent.rglob("*.py"):
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(each, ast.Call) and getattr(each.func, "id", "") == "did_you_mean":
                listed = "".join(map(ast.unparse, each.args[2:]))
                assert not listed or "oomless " in listed or "--" in listed, (path, each.lineno)


def test_another_tools_word_is_told_in_ours() -> None:
    """What a hint names is an option of that command."""
    for commands, _, hint in OTHER_WORDS:
        named = {each.rstrip(",:") for each in hint.split() if each.startswith("--")}
        for command in commands.split():
            found = app.get_command(click.Context(app), command)
            assert found is not None
            known = {name for each in found.params for name in each.opts}
            assert named <= known, (command, hint)
    explained(call("infer", "qwen3-8b", "--gpus", "8"), USAGE, "'--gpus'", "--gpu h100:8")
    explained(call("speed", "qwen3-8b", "--context", "8"), USAGE, "--input-len")
    explained(call("train", "qwen3-8b", "--num_nodes", "2"), USAGE, "h100:8x2")
    explained(call("train", "--config", "a.yaml", "--gpu", "h100"), USAGE, "--from FILE")
    explained(call("train", "a.yaml", "--gpu", "h100"), USAGE, "--from FILE")
    explained(call("qwen3-8b", "--gpu", "h100"), USAGE, "oomless infer MODEL --gpu G")
    assert "Did you mean" in call("infer", "qwen3-8b", "--quanti", "8").err
