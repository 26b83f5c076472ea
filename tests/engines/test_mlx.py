"""mlx-lm on Macs: weights by form, a cache by release, a step of a prompt, prompts its server keeps."""

import json
from typing import Any

import pytest

from command import call
from oomless.engines.command_line import command_words, read_command
from oomless.engines.mlx import MLX
from oomless.errors import UnsupportedError, UsageError
from oomless.model.families import build
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout, Resolved


def resolved(name: str, **flags: Any) -> Resolved:
    asked = Asked(engine="mlx", **flags)
    return MLX.resolve(load(name), parse_gpu("m3-ultra-512gb"), asked, Layout())


def total(*words: str) -> float:
    """Return what a question takes, in GB."""
    found = call("infer", *words, "--gpu", "m3-ultra-512gb", "--json")
    return float(json.loads(found.out)["ranks"][0]["total_bytes"]) / 1e9


PEAKS = [
    ("deepseek-v3", "4bit", "0.30.5", 4096, 401.668),
    ("deepseek-v3", "4bit", "0.30.5", 16384, 469.906),
    ("deepseek-v3", "4bit", "0.30.6", 4096, 383.213),
    ("deepseek-v3", "4bit", "0.30.6", 16384, 398.605),
    ("qwen3-4b-2507", "none", "0.28.3", 2176, 9.02),
    ("qwen3-4b-2507", "8bit", "0.28.3", 2176, 5.254),
    ("qwen3-4b-2507", "5bit-g32", "0.28.3", 2176, 4.00),
    ("qwen3-4b-2507", "4bit", "0.28.3", 2176, 3.35),
    ("qwen3-30b-a3b-2507", "6bit", "0.28.3", 2176, 25.82),
    ("qwen3-30b-a3b-2507", "4bit", "0.28.3", 2176, 18.20),
]
"""Peaks that mlx-lm printed (mlx-lm#839, which is one pull request before and after; BENCHMARKS.md)."""


@pytest.mark.parametrize(("name", "form", "release", "context", "peak"), PEAKS)
def test_peaks_are_within_three_in_a_hundred(
    name: str, form: str, release: str, context: int, peak: float
) -> None:
    words = [name, "--engine", "mlx", "--engine-version", release, "--context", str(context)]
    words += ["--prompt-cache-size", "0", *(["--quantization", form] if form != "none" else [])]
    assert total(*words) == pytest.approx(peak, rel=0.03)


CELLS = [
    ("llama-3.1-8b", {}, 131_072),
    ("llama-3.1-8b", {"kv_cache_dtype": "int8"}, 2 * 32 * 8 * (128 + 8)),
    ("deepseek-v3", {"engine_version": "0.30.5"}, 61 * 128 * (192 + 128) * 2),
    ("deepseek-v3", {}, 70_272),
    ("deepseek-v3.2", {}, 61 * (576 + 128) * 2),
    ("qwen3.6-35b-a3b", {}, 10 * 2 * 256 * 2 * 2),
]


@pytest.mark.parametrize(("name", "flags", "num_bytes"), CELLS)
def test_a_token_takes(name: str, flags: dict[str, Any], num_bytes: int) -> None:
    model, asked = load(name), resolved(name, **flags)
    layout = MLX.cache_layout(model, asked, MLX.stages(model, asked)[0])
    assert layout.token_bytes == num_bytes
    assert MLX.needed_bytes(layout, asked._replace(context=257)) - 512 * num_bytes < 100 << 20


def test_wide_heads_have_scores_in_a_step() -> None:
    """24 heads of 256 values, which no kernel fuses: 16 bit a pair of a step's tokens and all before."""
    words = ("qwen3.8-27b", "--engine", "mlx-lm", "--context", "131072", "--max-num-batched-tokens")
    assert total(*words, "2048") - total(*words, "512") == pytest.approx(
        24 * 1536 * 131072 * 2 / 1e9, rel=0.05
    )


def test_the_server_may_keep_ten_prompts_and_generate_none() -> None:
    found = {
        program: read_command(f"mlx_lm.{program} --model mlx-community/Qwen3-8B-4bit").flags
        for program in ("server", "generate")
    }
    assert found == {"server": {}, "generate": {"prompt_cache_size": 0}}
    kept = read_command("python -m mlx_lm server --model m --prompt-cache-size 2").flags
    assert kept == {"prompt_cache_size": 2}


def test_words_of_its_commands_are_read() -> None:
    command = "mlx_lm.benchmark --model mlx-community/Qwen3-4B-Instruct-2507-4bit -p 2048 -g 128 -b 4"
    found = read_command(f"{command} --prefill-step-size 512 --trust-remote-code")
    assert (found.engine, found.flags["context"], found.flags["concurrency"]) == ("mlx", 2176, 4)
    assert found.flags["max_num_batched_tokens"] == 512
    assert read_command('mlx_lm.generate --prompt "hello" --kv-bits 8').flags["kv_cache_dtype"] == "int8"
    asked = Asked(engine="mlx", max_model_len=8192, prompt_cache_size=2)
    assert command_words(asked) == ["--prompt-cache-size", "2"]


def test_an_id_of_mlx_community_names_shape_form_and_engine() -> None:
    found = call("infer", "mlx-community/DeepSeek-R1-4bit", "--gpu", "m3-ultra-512gb", "--offline", "--json")
    request = json.loads(found.out)["request"]
    assert (request["engine"], request["quantization"]) == ("mlx", "4bit")
    assert "mlx" in call("infer", "mlx-community/Qwen3-8B-4bit", "--gpu", "h100", "--offline").err
    named = call("infer", "org/Qwen3-8B-MLX-qx64", "--gpu", "m4-max-64gb", "--offline")
    assert named.code != 0


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize("key", ["quantization", "quantization_config"])
def test_a_config_of_mlx_says_every_modules_form(key: str) -> None:
    said = {"group_size": 64, "bits": 4, "model.layers.0.self_attn.q_proj": {"group_size": 32, "bits": 8}}
    model = build({**LLAMA, key: said}, "x", "config.json")
    forms = {(each.name.rpartition(".")[0][-12:], each.format.bits, each.layers) for each in model.tensors}
    assert ("embed_tokens", 4, ()) in forms
    assert ("lm_head", 4, ()) in forms
    assert ("_attn.q_proj", 8, (0,)) in forms
    assert ("_attn.q_proj", 4, (1,)) in forms
    assert model.quantization == "mlx-packed"
    assert total_of(model) == total_of(model, quantization="mlx-packed")


def total_of(model: Any, **flags: Any) -> int:
    asked = MLX.resolve(model, parse_gpu("m4-max-64gb"), Asked(engine="mlx", **flags), Layout())
    placed = MLX.placed_weights(model, asked, parse_gpu("m4-max-64gb"), MLX.stages(model, asked)[0])
    return sum(each.total_bytes for each in placed)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match="not mlx-lm's"):
        resolved("llama-3.1-8b", kv_cache_dtype="fp8")
    with pytest.raises(UnsupportedError, match="in mlx-lm is not known"):
        resolved("llama-3.1-8b", quantization="bitsandbytes")
    with pytest.raises(UnsupportedError, match="attention in mlx-lm"):
        resolved("deepseek-v4-flash")
    with pytest.raises(UnsupportedError, match="kv-bits"):
        resolved("deepseek-v3", kv_cache_dtype="int8")
    with pytest.raises(UnsupportedError, match="no --kv-bits"):
        command_words(Asked(engine="mlx", kv_cache_dtype="int8"))


def test_speed_reads_what_a_name_of_its_forms_says() -> None:
    """`speed` looked for 4bit among the types of GGUF."""
    asked = (
        "--engine",
        "mlx",
        "mlx-community/Qwen3-8B-4bit",
        "--gpu",
        "m4-max-64gb",
        "--max-model-len",
        "8192",
    )
    assert "first token" in call("speed", *asked, "--offline").out


def test_what_takes_most_of_the_doubt_is_said_in_chinese() -> None:
    asked = ("mlx-community/Qwen3-8B-4bit", "--engine", "mlx", "--gpu", "m4-16gb")
    assert "most of the doubt" not in call("infer", *asked, "--offline", "--lang", "zh").out
