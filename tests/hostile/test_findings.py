"""What a review by hostile input found, command by command: each ends as its reader expects."""

import gzip
import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import oomless
from budget import MAX_CPU_S, budget
from command import Answer, call, environment, run
from oomless import facts
from oomless.errors import OomlessError
from oomless.ledger import CATEGORIES
from oomless.recording.recording import Tensors

MEGATRON = "--num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 --vocab-size 50000 "
CODER = facts.model_config("deepseek-coder-1.3b")


def written(folder: Path, name: str, content: str | bytes | dict[str, Any]) -> str:
    """A file of the test, by its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return str(path)


def within(*words: str, cpu_s: float = MAX_CPU_S) -> Answer:
    """An answer of this process that kept to the budget and was no internal error."""
    with budget(cpu_s):
        answer = call(*words)
    assert "internal error" not in answer.err, answer.err
    return answer


# H3, H5, H6: little files that become much


def test_dotted_keys_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotted = "a." * 20_000 + "a = 1"
    file = written(tmp_path, "torchtitan.toml", f"[training]\n{dotted}")
    answer = within("train", "deepseek-v2-lite", "--gpu", "h100:8", "--from", file)
    assert answer.code == 1
    assert "a key of more than 20 parts" in answer.err
    monkeypatch.setenv("OOMLESS_CONFIG", written(tmp_path, "config.toml", f"[infer]\n{dotted}"))
    assert within("infer", "deepseek-r1", "--gpu", "h200:8").code == 1


def test_a_trace_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    begin = b'{"schema": "oomless/trace-file/1", "x": ['
    for name, filling in (("zeros", b"0," * (40 << 20)), ("spaces", b" " * (100 << 20))):
        file = written(tmp_path, f"{name}.trace", gzip.compress(begin + filling, 1))
        del filling
        answer = within("trace", "--from", file)
        assert answer.code == 1
        assert "unpacks to more than" in answer.err or "too many values" in answer.err


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"V{n + 1}=${{V{n}:-1}}${{V{n}:-1}}\n" for n in range(40)) + f"run.py {MEGATRON} --a $V40",
        "A=" + "x" * 500 + "\n" + MEGATRON + "$A" * 60_000,
        MEGATRON + "${A:-" * 30_000 + "}" * 30_000,
        MEGATRON + "x" * 190_000,
        MEGATRON + "--a " * 45_000,
    ],
)
def test_variables_that_multiply(text: str, tmp_path: Path) -> None:
    file = written(tmp_path, "run.args", text)
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8")
    assert answer.code in (0, 1, 4)
    assert len(answer.out) + len(answer.err) < 10_000


# H7: ordinary questions


@pytest.mark.parametrize("layout", ["--tp 4 --pp 16", "--tp 2 --pp 16", "--tp 1 --pp 22"])
@pytest.mark.parametrize("model", ["deepseek-v4-flash", "deepseek-v4.1-flash"])
def test_a_stage_that_keeps_nothing_a_token(model: str, layout: str) -> None:
    answer = within("infer", model, "--gpu", "h200:8x8", "--engine", "sglang", *layout.split(), "--json")
    assert answer.code in (0, 3), answer.err
    assert 0 < json.loads(answer.out)["kv_cache"]["max_tokens"] < 1 << 40


@pytest.mark.slow
def test_a_plan_over_64_cards() -> None:
    assert within("plan", "deepseek-v4-flash", "--max-gpus", "64", cpu_s=60).code == 0


@pytest.mark.parametrize("gpu", ["gaudi3:8", "80GiB:8", "m3-ultra"])
def test_prices_of_a_card_that_has_none(gpu: str) -> None:
    answer = within("cost", "--gpu", gpu, "--list-prices")
    assert answer.code in (0, 2)


@pytest.mark.parametrize("command", ["infer", "speed"])
@pytest.mark.parametrize("flags", ["--max-num-seqs 10000", "--parallel 4096 --max-model-len 16"])
def test_more_slots_than_cells(command: str, flags: str) -> None:
    question = (command, "deepseek-coder-1.3b", "--gpu", "b200:8", "--engine", "llamacpp")
    if command == "speed":
        question += ("--input-len", "8", "--output-len", "8")
    answer = within(*question, *flags.split())
    assert answer.code in (0, 2, 3), "more cards may hold more cells"
    assert answer.code != 2 or "slots share a cache of" in answer.err
    assert within(*question, "--max-num-seqs", "8192").code in (0, 3)


@pytest.mark.parametrize("block", ["1", "16", "64", "128", "256"])
@pytest.mark.parametrize("version", ["0.21.0", "0.25.0", "0.33.0"])
def test_blocks_of_any_size(version: str, block: str) -> None:
    """Pages of V4's windows that fit into no page of its compressed rows were a StopIteration."""
    words = f"infer deepseek-v4-flash --gpu gh200:2 --engine-version {version} --block-size {block}"
    assert within(*words.split()).code in (0, 3, 4)


@pytest.mark.parametrize("version", ["0.21.0", "0.23.0", "0.25.0"])
def test_a_cache_type_that_came_later(version: str) -> None:
    words = f"infer deepseek-v3.2 --gpu b200:8 --kv-cache-dtype nvfp4_ds_mla --engine-version {version}"
    assert within(*words.split()).code in (0, 2, 3, 4)


# M2: traces that are damaged

EMPTY: dict[str, Any] = {
    "schema": "oomless/trace-file/1",
    "categories": list(CATEGORIES),
    "tensors": {name: [] for name in Tensors._fields},
    "events": [],
    "phases": [["forward", 0, 0, 0]],
    "request": {
        "for": "train",
        "model": "m",
        "attention": "auto",
        "world_size": 1,
        "rank": 0,
        "micro_batch": 1,
        "seq_len": 4,
    },
    "warnings": ["w"],
}


def test_an_empty_trace_is_shown(tmp_path: Path) -> None:
    answer = within(
        "trace", "--from", written(tmp_path, "a.trace", gzip.compress(json.dumps(EMPTY).encode()))
    )
    assert answer.code == 0
    assert "None" not in answer.out


@pytest.mark.parametrize(
    "change",
    [
        {"request": {}},
        {"request": {**EMPTY["request"], "seq_len": "\x1b[31m"}},
        {"request": {**EMPTY["request"], "world_size": None}},
        {"request": {**EMPTY["request"], "micro_batch": {"a": 1}}},
        {"request": {**EMPTY["request"], "model": 5}},
        {"schema": "oomless/trace-file/" + "1" * 5_000},
        {"events": ["0"]},
        {"events": [1.5]},
        {"events": [True]},
        {"phases": [[None, 0, 0, 0]]},
        {"warnings": [None]},
        {"tensors": {**EMPTY["tensors"], "sizes": [10**60]}},
    ],
)
def test_a_damaged_trace_is_refused_before_anything_is_shown(change: dict[str, Any], tmp_path: Path) -> None:
    file = written(tmp_path, "a.trace", gzip.compress(json.dumps({**EMPTY, **change}).encode()))
    answer = within("trace", "--from", file)
    assert (answer.code, answer.out) == (1, "")
    assert file in answer.err


def test_names_in_a_trace_are_text(tmp_path: Path) -> None:
    hostile = {**EMPTY, "warnings": ["\ud800\x1b]0;title\x07\nfits: 99 GiB to spare"]}
    file = written(tmp_path, "a.trace", gzip.compress(json.dumps(hostile).encode()))
    answer = within("trace", "--from", file)
    assert answer.code == 0
    assert r"note: \ud800\x1b]0;title\x07\nfits: 99 GiB to spare" in answer.out


# M3: numbers

ZEROS = "0" * 5_000


@pytest.mark.parametrize(
    "words",
    [
        ("infer", "deepseek-r1", "--gpu", f"{ZEROS}1GiB"),
        ("infer", "qwen2.5-vl-7b", "--gpu", "h200", "--limit-mm-per-prompt", '{"image":1e400}'),
        ("infer", "deepseek-r1", "--gpu", "h200:8", "--speculative-config", "[" * 20_000),
        ("infer", "deepseek-r1", "--gpu", "h200:8", "--speculative-config", '{"method":' * 9_000),
        ("speed", "deepseek-v2-lite", "--gpu", "h200", "--arrival-rate", "1e-320"),
        ("speed", "deepseek-v2-lite", "--gpu", "h200", "--requests", "10000000", "--arrival-rate", "5"),
        ("cost", "--gpu", "l40s:2", "--staff-usd-per-month", "1e308", "--json"),
        ("cost", "--gpu", "l40s:2", "--tokens-per-s", "1e-320", "--json"),
        ("cost", "--gpu", "l40s:2", "--tokens-per-s", "9", "--utilization", "1e-320", "--json"),
    ],
)
def test_numbers_beyond_all_use(words: tuple[str, ...]) -> None:
    answer = within(*words)
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err) < 3_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", b"x = 0x" + b"f" * 5_000),
        ("a.yaml", b"micro_batch_size: 0x" + b"f" * 5_000),
        ("a.yaml", b"micro_batch_size: " + b"1:" * 50_000 + b"1"),
        ("a.yaml", b'sequence_len: !!int ""'),
        ("a.yaml", b"a: &a [" + b"1," * 9_000 + b"1]\n" + b"".join(b"k%d: [*a, *a]\n" % n for n in range(8))),
    ],
)
def test_numbers_and_aliases_of_training_files(name: str, content: bytes, tmp_path: Path) -> None:
    file = written(tmp_path, name, content)
    answer = within("train", "deepseek-v2-lite", "--gpu", "h100:8", "--from", file)
    assert answer.code in (0, 1)
    assert answer.code == 0 or file in answer.err


@pytest.mark.parametrize("value", ["nan", "-5", "1e308", "1" + "0" * 400, "inf"])
@pytest.mark.parametrize("name", ["hidden-dropout", "attention-dropout"])
def test_a_dropout_that_is_none(name: str, value: str, tmp_path: Path) -> None:
    file = written(tmp_path, "run.args", f"{MEGATRON} --{name} {value}")
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8", "--json")
    assert (answer.code, answer.out) == (1, "")
    assert file in answer.err


def test_arrivals_beyond_all_time(tmp_path: Path) -> None:
    file = written(tmp_path, "w.csv", "arrival_s,prompt_tokens,output_tokens\n0,9,9\n1e308,9,9\n")
    answer = within("speed", "deepseek-v2-lite", "--gpu", "h200", "--workload", file)
    assert answer.code == 1
    assert f"{file}: line 3" in answer.err


# M5, M6: text


@pytest.mark.parametrize("encoding", ["ascii", "latin1", "cp1252", "utf-8"])
def test_what_stdout_cannot_encode_is_spelled_out(encoding: str, tmp_path: Path) -> None:
    file = written(tmp_path, "模型/config.json", {**CODER, "\ud800key": 1, "ключ": 2})
    answer = run("infer", file, "--gpu", "h200", env=environment(PYTHONIOENCODING=encoding))
    assert answer.code == 0, answer.err
    assert "keys not understood" in answer.out
    assert r"\ud800key" in answer.out


def test_keys_are_shown_as_text(tmp_path: Path) -> None:
    keys = ["\x1b]0;pwned\x07\x1b[31mred", "a\nfits: 99 GiB to spare", "b" * 3_000_000]
    keys += [f"k{n}" for n in range(50_000)]
    file = written(tmp_path, "config.json", {**CODER, **dict.fromkeys(keys, 1)})
    answer = within("infer", file, "--gpu", "h200")
    assert answer.code == 0
    assert not {"\x1b", "\x07"} & set(answer.out)
    assert not [line for line in answer.out.splitlines()[1:] if line.startswith("fits:")]
    assert len(answer.out) < 5_000


def test_arguments_that_nobody_knows_are_named_in_short(tmp_path: Path) -> None:
    unknown = " ".join(f"--unknown-{n} 1" for n in range(9_000))
    file = written(tmp_path, "run.args", MEGATRON + unknown)
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8")
    assert answer.code == 0
    assert len(answer.out) < 10_000


# M7, M8: sizes


@pytest.mark.parametrize("filling", ["{}", "[]"])
def test_a_config_of_empty_objects(filling: str, tmp_path: Path) -> None:
    text = '{"model_type": "llama", "x": [' + ",".join([filling] * 1_300_000) + "]}"
    answer = within("infer", written(tmp_path, "config.json", text), "--gpu", "h200")
    assert answer.code == 1


@pytest.mark.parametrize(
    "words", ["infer {} --gpu h200:8 --engine llamacpp", "train {} --gpu h200:8", "plan {}"]
)
def test_ten_thousand_layers_are_refused(words: str, tmp_path: Path) -> None:
    file = written(tmp_path, "config.json", {**CODER, "num_hidden_layers": 10_000})
    answer = within(*words.format(file).split())
    assert answer.code == 1
    assert "num_hidden_layers is 10000, not between 1 and 1,000" in answer.err


@pytest.mark.parametrize("pattern", ["M" * 9_999, "M*" * 600])
def test_a_long_pattern_of_layers_is_refused(pattern: str, tmp_path: Path) -> None:
    file = written(tmp_path, "run.args", f"{MEGATRON} --hybrid-layer-pattern {pattern}")
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8")
    assert answer.code == 1
    assert "layers" in answer.err


def test_layers_on_the_host_are_at_most_those_that_are_there() -> None:
    words = "infer deepseek-r1 --gpu h200:8 --engine llamacpp --json --n-cpu-moe".split()
    many, all_of_them = (within(*words, count) for count in ("300000000", "1000"))
    assert many.code == 0
    assert json.loads(many.out)["ranks"] == json.loads(all_of_them.out)["ranks"]


# M11: vision towers


@pytest.mark.parametrize(
    ("family", "place", "value", "words"),
    [
        ("mistral3", "patch_size", 1 << 27, "infer {} --gpu a100-80gb:4"),
        ("qwen3_vl_moe", "num_heads", 1 << 31, "train {} --gpu h200:8 --method qlora"),
    ],
)
def test_a_vision_tower_that_cannot_be(
    family: str, place: str, value: int, words: str, tmp_path: Path
) -> None:
    configs = (facts.model_config(row["name"]) for row in facts.table("catalogue"))
    config = next(each for each in configs if each["model_type"] == family)
    config["vision_config"][place] = value
    answer = within(*words.format(written(tmp_path, "config.json", config)).split())
    assert answer.code == 1, answer.err


# M14: a command of one long word


@pytest.mark.parametrize("word", ["python", "python/", "vllm/", "/", "a ", "vllm serv ", "'a' "])
def test_a_long_command_is_read_in_linear_time(word: str) -> None:
    command = word * (120_000 // len(word))
    assert within("infer", "--command", command, "--gpu", "h200").code == 2


# L1: exit codes


def test_a_fault_in_a_file_is_the_file_s(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "a.yaml",
        "base_model: deepseek-ai/DeepSeek-V2-Lite\nmicro_batch_size: -4\nsequence_len: 64\n",
    )
    answer = within("train", "--gpu", "h100:8", "--from", file)
    assert answer.code == 1
    assert answer.err.startswith(f"oomless: {file}: ")
    good = written(tmp_path, "b.yaml", "base_model: deepseek-ai/DeepSeek-V2-Lite\nmicro_batch_size: 1\n")
    assert within("train", "--gpu", "h100:8", "--from", good, "--micro-batch", "-4").code == 2
    megatron = written(tmp_path, "run.args", MEGATRON.replace("--vocab-size 50000", ""))
    answer = within("train", "--gpu", "h100:8", "--megatron-args", megatron, "--world-size", "8")
    assert answer.code == 1
    assert megatron in answer.err


def test_an_override_is_typed() -> None:
    answer = within("infer", "deepseek-r1", "--gpu", "h200:8", "--hf-overrides", '{"num_hidden_layers":0}')
    assert answer.code == 2


# L2, L3, L12: places that cannot be written


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    plan = ("plan", "deepseek-v2-lite", "--gpu", "h200:1", "--rows", "1")
    answer = within(*plan, "--write", str(tmp_path / ("n" * 300)), cpu_s=20)
    assert answer.code == 1
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    answer = within(*plan, "--write", str(tmp_path / "link"), cpu_s=20)
    assert answer.code == 2
    assert "is a link" in answer.err
    answer = within("infer", "deepseek-v2-lite", "--gpu", "h200", "--plot", str(tmp_path / "no" / "x.svg"))
    assert answer.code in (1, 2)
    assert not [*(tmp_path / "there").iterdir()]


def test_a_plot_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        answer = within("infer", "deepseek-v2-lite", "--gpu", "h200", "--plot", str(tmp_path / "x.svg"))
    finally:
        os.umask(before)
    assert answer.code == 0
    assert stat.S_IMODE((tmp_path / "x.svg").stat().st_mode) == 0o644
    assert [*tmp_path.iterdir()] == [tmp_path / "x.svg"]


# L6: nobody hears


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_full_stderr_leaves_the_code_as_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oomless", "infer", "nope", "--gpu", "h200:8"],
        stdout=subprocess.DEVNULL,
        stderr=open("/dev/full", "w"),  # noqa: SIM115 - the child's
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 2


# L7: a byte order mark


def test_a_byte_order_mark_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OOMLESS_CONFIG", written(tmp_path, "c.toml", b"\xef\xbb\xbf[infer]\ntp = 1\n"))
    assert within("infer", "deepseek-v2-lite", "--gpu", "h200").code == 0


# L8: no line is below zero


@pytest.mark.parametrize("layers", [12, 48])
def test_no_line_of_a_megatron_run_is_below_zero(layers: int, tmp_path: Path) -> None:
    file = written(tmp_path, "run.args", MEGATRON.replace("--num-layers 12", f"--num-layers {layers}"))
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8", "--json")
    for rank in json.loads(answer.out)["ranks"]:
        assert not [line for line in rank["lines"] if min(line["bytes"], line["low_bytes"]) < 0]


# L9: wrong values of the Python interface


WRONG: tuple[Any, ...] = (0, -1, 1.5, True, [], {}, "\0", "\ud800", b"x", object(), float("nan"))


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: type(each).__name__)
def test_wrong_values_of_the_python_interface(wrong: Any) -> None:
    asks: tuple[Callable[[], object], ...] = (
        lambda: oomless.train("deepseek-v2-lite", "h100:8", from_file=wrong),
        lambda: oomless.train(megatron_args=wrong, world_size=8),
        lambda: oomless.infer("org/model", "h200", revision=wrong, offline=True),
        lambda: oomless.infer("deepseek-v2-lite", wrong),
        lambda: oomless.infer(wrong, "h200"),
        lambda: oomless.load(wrong),
    )
    for ask in asks:
        with pytest.raises(OomlessError):
            ask()


# L10: nothing is kept for ever


def test_questions_about_many_models_keep_nothing(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(120):
        file = written(tmp_path, "config.json", {**CODER, "hidden_size": 2048 + 32 * number})
        assert call("speed", file, "--gpu", "h200", "--json").code in (0, 1, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000
