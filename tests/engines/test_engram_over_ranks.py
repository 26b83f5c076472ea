"""V4.1's Engram tables on the cards are cut over tensor-parallel ranks, in vLLM as in SGLang (vllm#57491:
47.2 GiB a rank at TP 4)."""

import pytest

import oomless
from oomless.engines.command_line import read_command
from oomless.units import GIB


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_rank_holds_its_part_of_the_tables(engine: str) -> None:
    on_card, on_host = (
        oomless.infer(
            "deepseek-v4.1-flash", "gb200:4", engine=engine, tp=4, engram=place, max_model_len=65536
        )
        for place in ("gpu", "host")
    )
    weights = [answer.to_json()["ranks"][0]["by_category"]["weights"] for answer in (on_card, on_host)]
    assert (weights[0] - weights[1]) / GIB == pytest.approx(47.2, abs=0.1)
    assert on_card.verdict == "fits"


def test_sglang_keeps_the_table_of_flash_next_on_the_host() -> None:
    """47.7 GiB in FP8, over two ranks, unless --no-ple-offload-embedding says otherwise."""
    command = "python -m sglang.launch_server --model-path nvidia/Qwen3.8-Flash-Next-NVFP4 --tp 2"
    weights = [
        oomless.infer(
            "qwen3.8-flash-next-nvfp4", "b200:2", engine="sglang", tp=2, context=4096, engram=place
        ).to_json()["ranks"][0]["by_category"]["weights"]
        for place in ("auto", "gpu")
    ]
    assert (weights[1] - weights[0]) / GIB == pytest.approx(47.7 / 2, abs=0.1)
    for flag, place in (("--ple-offload-embedding", "host"), ("--no-ple-offload-embedding", "gpu")):
        asked = read_command(f"{command} {flag}").flags
        assert asked["engram"] == place
