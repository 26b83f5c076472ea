"""V4.1's Engram tables on the cards are cut over tensor-parallel ranks, in vLLM as in SGLang (vllm#57491:
47.2 GiB a rank at TP 4)."""

import pytest

import oomless
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
