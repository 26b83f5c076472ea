"""SGLang's pool of states: a share of what is left, slots a request by release."""

import pytest

from oomless.errors import UnsupportedError
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation

NEXT = "qwen3-next-80b-a3b"
SLOT = 36 * (32 // 4 * 128 * 128 * 4 + 8192 // 4 * 3 * 2)
"""One slot at TP4: 36 layers, 32 value heads of 128 x 128 in F32, 8,192 channels of a convolution of 4."""
TOKEN = 12 * 1 * 2 * 256 * 2
"""12 layers with a cache, one of two key-value heads on a rank."""


def answer(version: str, gpu: str = "h200:4", **flags: object) -> Estimate:
    asked = Asked(engine="sglang", engine_version=version, layout=Layout(tp=4), max_model_len=8192, **flags)  # type: ignore[arg-type]  # flags of mixed types, by name
    return estimate_serving(load(NEXT), asked, parse_gpu(gpu))


@pytest.mark.parametrize(("version", "slots"), [("0.5.4", 3), ("0.5.8", 3), ("0.5.13", 3), ("0.5.14", 5)])
def test_states_and_tokens_share_the_pool(version: str, slots: int) -> None:
    cache = answer(version, context=64).kv_cache
    assert cache.bytes_per_token == TOKEN
    assert cache.fixed_bytes_per_sequence == slots * SLOT
    states = cache.pool_bytes * 0.9 / 1.9
    assert cache.max_tokens == pytest.approx((cache.pool_bytes - states) / TOKEN, rel=1e-4)
    assert cache.max_concurrency == pytest.approx(states / SLOT / slots, rel=1e-2)


def test_early_releases_set_a_slot_aside_for_each_request() -> None:
    many, few = answer("0.5.3").kv_cache, answer("0.5.3", max_num_seqs=8).kv_cache
    assert many.pool_bytes == few.pool_bytes
    assert (few.max_tokens - many.max_tokens) * TOKEN == pytest.approx((512 - 8) * SLOT, rel=1e-4)
    assert few.max_concurrency == 8


def test_drafts_keep_states_of_their_own() -> None:
    """A state for each draft token: in every slot, then set aside for each request, then inside the share."""
    every, aside, inside = (
        answer(version, speculation=Speculation("mtp", 3), max_num_seqs=16)
        for version in ("0.5.6", "0.5.8", "0.5.13")
    )
    assert every.kv_cache.fixed_bytes_per_sequence == 3 * SLOT * (1 + 4)
    assert aside.kv_cache.fixed_bytes_per_sequence == 3 * SLOT
    assert f"{16 * 4 * SLOT:,} B set aside" in str(aside.ledger.lines)
    assert inside.kv_cache.fixed_bytes_per_sequence == 3 * (SLOT + SLOT * 4 // 3)


def test_a_load_needs_its_states_or_its_tokens_whichever_is_more() -> None:
    short, long = (answer("0.5.8", context=length, concurrency=64).kv_cache for length in (1, 8192))
    assert short.needed_bytes == pytest.approx(64 * 3 * SLOT * 1.9 / 0.9, rel=1e-6)
    assert long.needed_bytes == pytest.approx(64 * 8192 * TOKEN * 1.9, rel=1e-6)


def test_a_release_before_hybrid_models_refuses_them() -> None:
    with pytest.raises(UnsupportedError, match=r"sglang before 0\.5\.2"):
        answer("0.4.9")


def test_a_share_too_high_for_graphs_is_no_fit() -> None:
    """sglang#35777: Qwen3.8-27B in NVFP4 on an RTX 5090 runs out at 0.92 while it captures graphs."""
    asked = Asked(engine="sglang", engine_version="0.5.17", mem_fraction_static=0.92, layout=Layout())
    found = estimate_serving(load("qwen3.8-27b-nvfp4"), asked._replace(context=8192), parse_gpu("rtx-5090"))
    assert found.verdict != "fits"
