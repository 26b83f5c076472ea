"""LMDeploy: two backends, a share of what is free, and what a start needs beside the pool."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import call
from oomless.engines.lmdeploy import LMDEPLOY
from oomless.engines.lmdeploy.release import on_turbomind
from oomless.errors import UnsupportedError, UsageError
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout, Resolved

AWQ = "Qwen/Qwen2.5-32B-Instruct-AWQ --session-len 100 --quant-policy 4"


def pasted(gpu: str, version: str, words: str) -> Any:
    command = f"lmdeploy serve api_server {words}"
    found = call("infer", "--gpu", gpu, "--engine-version", version, "--command", command, "--json")
    return json.loads(found.out)


def resolved(name: str, layout: Layout | None = None, gpu: str = "h100:8", **flags: Any) -> Resolved:
    asked = Asked(engine="lmdeploy", **flags)
    return LMDEPLOY.resolve(load(name), parse_gpu(gpu), asked, layout or Layout())


@pytest.mark.parametrize(("version", "verdict"), [("0.5.3", "fits"), ("0.6.2", "does_not_fit")])
def test_a_start_runs_a_whole_step_from_0_6_on(version: str, verdict: str) -> None:
    """InternLM/lmdeploy#2731: it started on a 3090 before."""
    assert pasted("rtx-3090", version, AWQ)["verdict"] == verdict


def test_the_share_is_of_the_card_until_0_2_1() -> None:
    """InternLM/lmdeploy#978: half of the card for the cache beside 14.4 GiB of weights."""
    assert pasted("rtx-3090", "0.2.0", "internlm/internlm2-chat-7b")["verdict"] == "does_not_fit"
    assert pasted("a100-80gb", "0.2.0", "internlm/internlm2-chat-7b")["verdict"] == "fits"


@pytest.mark.parametrize(
    ("name", "version", "turbomind"),
    [
        ("llama-3.1-8b", "0.4.2", True),
        ("mixtral-8x7b", "0.6.2", False),
        ("mixtral-8x7b", "0.7.0", True),
        ("deepseek-v2-lite", "0.7.0", True),
        ("deepseek-v2-lite", "0.16.0", False),
        ("deepseek-v3", "0.12.0", False),
        ("gemma-3-27b", "0.12.0", False),
    ],
)
def test_a_model_runs_on_turbomind_where_it_has_a_class(name: str, version: str, turbomind: bool) -> None:
    assert on_turbomind(load(name), Asked(engine_version=version)) == turbomind
    assert on_turbomind(load(name), Asked(engine_version=version, backend="turbomind"))


CELLS = [
    ("llama-3.1-8b", "auto", {}, 131_072),
    ("llama-3.1-8b", "int8", {}, 2 * 32 * 8 * 132),
    ("llama-3.1-8b", "int4", {}, 2 * 32 * 8 * 68),
    ("deepseek-v3", "auto", {}, 70_272),
    ("deepseek-v2-lite", "auto", {"engine_version": "0.7.0"}, 27 * 16 * 2 * 192 * 2),
    ("deepseek-v2-lite", "auto", {"engine_version": "0.16.0"}, 27 * 1152),
]


@pytest.mark.parametrize(("name", "dtype", "flags", "num_bytes"), CELLS)
def test_a_token_takes(name: str, dtype: str, flags: dict[str, Any], num_bytes: int) -> None:
    model, asked = load(name), resolved(name, kv_cache_dtype=dtype, **flags)
    layout = LMDEPLOY.cache_layout(model, asked, LMDEPLOY.stages(model, asked)[0])
    assert layout.token_bytes == num_bytes
    assert layout.block_bytes == 64 * num_bytes


def test_turbomind_has_a_head_beside_a_tied_embedding() -> None:
    model = load("qwen2.5-3b")
    one, other = (
        sum(
            each.total_bytes
            for each in LMDEPLOY.placed_weights(
                model, asked, parse_gpu("h100"), LMDEPLOY.stages(model, asked)[0]
            )
        )
        for asked in (resolved("qwen2.5-3b", backend=name) for name in ("turbomind", "pytorch"))
    )
    assert one - other == model.vocab_size * model.hidden_size * 2


def test_the_batch_follows_the_card_from_0_6_on() -> None:
    found = [
        resolved("llama-3.1-8b", gpu=gpu, engine_version=version).max_num_seqs
        for gpu, version in (("h100", "0.5.3"), ("h100", "0.6.2"), ("a100-80gb", "0.6.2"), ("l40s", "0.6.2"))
    ]
    assert found == [128, 512, 256, 128]


def test_words_of_its_command_are_read() -> None:
    words = "internlm/internlm2_5-7b-chat --tp 2 --model-format hf --cache-max-entry-count 0.4"
    found = pasted("a100-80gb:2", "0.7.0", f"{words} --backend pytorch --quant-policy 8 --eager-mode")
    request = found["request"]
    assert request["free_gpu_memory_fraction"] == 0.4
    assert (request["backend"], request["kv_cache_dtype"], request["enforce_eager"]) == (
        "pytorch",
        "int8",
        True,
    )
    assert request["layout"]["tp"] == 2


def test_a_session_that_nobody_set_is_cut_to_what_the_pool_holds() -> None:
    found = pasted("rtx-4090:2", "0.6.0", "internlm/internlm2_5-20b-chat --tp 2")
    assert found["verdict"] == "fits"
    assert 4096 < found["request"]["max_model_len"] < 32768
    asked = pasted("rtx-4090:2", "0.6.0", "internlm/internlm2_5-20b-chat --tp 2 --session-len 65536")
    assert (asked["verdict"], asked["starts"]) == ("does_not_fit", True)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match="not LMDeploy's"):
        resolved("llama-3.1-8b", kv_cache_dtype="fp8")
    with pytest.raises(UnsupportedError, match="not known yet"):
        resolved("llama-3.1-8b", Layout(pp=2))
    with pytest.raises(UnsupportedError, match="attention in LMDeploy"):
        resolved("deepseek-v4-flash")
    refused = call("infer", "--gpu", "l40s", "--command", "lmdeploy serve api_server m --quant-policy 5")
    assert refused.code != 0
    assert "0, 4 or 8" in refused.err


def test_a_written_file_says_its_own_address_and_port(tmp_path: Path) -> None:
    found = call(
        *("plan", "qwen2.5-7b-instruct", "--gpu", "l40s", "--engine", "lmdeploy"), "--write", str(tmp_path)
    )
    assert found.code == 0, found.err
    text = (tmp_path / "sky.yaml").read_text(encoding="utf-8")
    assert "--server-name 0.0.0.0 --server-port 8000" in text
    assert "--host" not in text
