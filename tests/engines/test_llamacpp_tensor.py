"""--split-mode tensor of llama.cpp: slices of every matrix and cache, at heads and blocks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oomless
from oomless.engines.llamacpp.tensor_slices import TensorPiece, slice_of
from oomless.errors import UnsupportedError
from oomless.units import GIB, MIB


def asked(name: str, **given: Any) -> oomless.ServingAnswer:
    return oomless.infer(
        name, gpu="rtx-5070-ti:2", engine="llamacpp", engine_version="b10825", split_mode="tensor", **given
    )


def of_cards(found: oomless.ServingAnswer, *categories: str) -> list[int]:
    return [
        sum(line.bytes for line in ledger.lines if line.category in categories) for ledger in found.ledgers
    ]


@given(
    size=st.integers(0, 20000),
    grain=st.sampled_from([1, 32, 128, 256]),
    shares=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any),
    rotation=st.integers(0, 7),
)
def test_slices_are_the_whole(size: int, grain: int, shares: list[int], rotation: int) -> None:
    turn = rotation % len(shares)
    found = [slice_of(TensorPiece(size, grain), shares, card, turn) for card in range(len(shares))]
    assert sum(found) == size
    assert min(found) >= 0
    assert sum(each % grain != 0 for each in found) <= 1


def test_even_cards_hold_the_same_and_each_the_whole_graph() -> None:
    """nvidia-smi had 14,642 MiB on both (ggml-org/llama.cpp#28506)."""
    settings: dict[str, Any] = {
        "quantization": "Q5_K_M",
        "max_model_len": 190000,
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
        "max_num_seqs": 1,
        "speculation": 3,
    }
    found = asked("qwen3.8-27b", tensor_split="0.5,0.5", **settings)
    first, second = found.ledgers
    assert first.total_bytes == second.total_bytes
    assert first.low_bytes < 14642 * MIB < first.high_bytes


def test_shares_drift_by_whole_heads() -> None:
    """Four heads of keys: 0.49 of them are one, or by turns two; the other card has the more of a third."""
    settings: dict[str, Any] = {"quantization": "Q5_K_M", "max_model_len": 190000, "cache_type_k": "q8_0"}
    first, second = of_cards(asked("qwen3.8-27b", tensor_split="0.49,0.51", **settings), "kv_cache")
    assert 1.5 < second / first < 1.7
    first, second = of_cards(asked("qwen3.8-27b", tensor_split="0.5,0.5", **settings), "kv_cache")
    assert first == second


@pytest.mark.parametrize("name", ["qwen3-8b", "gpt-oss-20b", "qwen3-next-80b-a3b", "deepseek-v4-flash"])
def test_cards_hold_the_file_and_what_is_not_cut_again(name: str) -> None:
    whole = of_cards(
        oomless.infer(name, gpu="h100", engine="llamacpp", quantization="Q4_K_M", fit=False), "weights"
    )[0]
    mine = of_cards(asked(name, quantization="Q4_K_M", tensor_split="1,1"), "weights")
    assert whole < sum(mine) < 1.1 * whole + GIB
    assert max(mine) < 0.55 * whole + GIB


@pytest.mark.parametrize("name", ["deepseek-v2-lite", "minimax-m2", "nemotron-3-nano-30b-a3b"])
def test_models_of_latents_and_other_states_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedError):
        asked(name, quantization="Q4_K_M")


def test_cards_that_cut_matrices_are_no_stages() -> None:
    """They multiply at once and add up what they have, twice a layer."""
    settings: dict[str, Any] = {"quantization": "Q4_K_M", "gpu": "rtx-4090:2", "engine": "llamacpp"}
    dealt, cut = (
        oomless.speed("qwen3-32b", split_mode=mode, **settings).to_json() for mode in ("layer", "tensor")
    )
    parts = [{part["what"] for part in each["decode"]} for each in (dealt, cut)]
    assert ["stages" in each for each in parts] == [True, False]
    assert ["collectives" in each for each in parts] == [False, True]
    assert 0.5 < cut["tpot_s"]["value"] / dealt["tpot_s"]["value"] < 0.8
    found = asked("qwen3.8-27b", quantization="Q5_K_M", max_model_len=65536)
    assert [ledger.group for ledger in found.ledgers] == ["card 0", "card 1"]
    assert "2 x RTX 5070 Ti, TP 2" in str(found)
