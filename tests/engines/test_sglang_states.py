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
    assert cache.max_tokens == pytest.approx((cache.pool_bytes - states) / TOKEN, abs=SLOT / TOKEN)
    assert cache.max_concurrency == pytest.approx(states / SLOT / slots, rel=1e-2)


def test_early_releases_set_a_slot_aside_for_each_request() -> None:
    many, few = answer("0.5.3").kv_cache, answer("0.5.3", max_num_seqs=8).kv_cache
    assert many.pool_bytes == few.pool_bytes
    assert (few.max_tokens - many.max_tokens) * TOKEN == pytest.approx((512 - 8) * SLOT, rel=1e-4)
    assert few.max_concurrency == 8


def test_without_prefixes_a_request_has_one_state() -> None:
    """--disable-radix-cache: a slot for each request that is said, from 0.5.9 on a share of the pool else."""
    kept, said, shared, given = (
        answer("0.5.9", **flags)
        for flags in (
            {"max_num_seqs": 128},
            {"max_num_seqs": 128, "disable_radix_cache": True},
            {"disable_radix_cache": True},
            {"max_mamba_cache_size": 300, "mamba_ssm_cache_dtype": "bfloat16"},
        )
    )
    half = SLOT - 36 * 32 // 4 * 128 * 128 * 2
    for found, states in ((said, 128 * SLOT), (given, 300 * half)):
        assert f"{states:,} B set aside" in str(found.ledger.lines)
    assert said.kv_cache.max_tokens > kept.kv_cache.max_tokens
    assert shared.kv_cache.fixed_bytes_per_sequence == SLOT
    assert given.request.max_num_seqs == 100, "three slots a request"


def test_states_and_graphs_of_a_published_launch() -> None:
    """Qwen3.5-397B in NVFP4 on four RTX PRO 6000 (InferenceX's launch file for 0.5.16): 1M tokens at 0.7,
    2.2M at 0.8, 7 GiB of graphs."""
    model, cards = load("qwen3.5-397b-a17b"), parse_gpu("rtx-pro-6000:4")
    asked = Asked(
        engine="sglang",
        engine_version="0.5.16",
        layout=Layout(tp=4),
        quantization="nvfp4",
        kv_cache_dtype="fp8_e4m3",
        max_model_len=9236,
        max_num_seqs=128,
        max_num_batched_tokens=16384,
        cuda_graph_max_bs=64,
        disable_radix_cache=True,
        mamba_ssm_cache_dtype="bfloat16",
    )
    few, many = (
        estimate_serving(model, asked._replace(mem_fraction_static=share), cards) for share in (0.7, 0.8)
    )
    assert few.kv_cache.max_tokens == pytest.approx(1.0e6, rel=0.05)
    assert many.kv_cache.max_tokens == pytest.approx(2.2e6, rel=0.08)
    graphs = next(line for line in few.ledger.lines if line.key == "runtime.cuda_graphs")
    assert graphs.bytes == pytest.approx(7 * 2**30, rel=0.02)


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


def test_graphs_of_prompts_may_be_off() -> None:
    """sglang#35777: at 0.80 it starts without them."""
    asked = Asked(engine="sglang", engine_version="0.5.17", mem_fraction_static=0.80, layout=Layout())
    usual = asked._replace(context=8192)
    off = usual._replace(disable_prefill_cuda_graph=True)
    found, fewer = (
        estimate_serving(load("qwen3.8-27b-nvfp4"), each, parse_gpu("rtx-5090")) for each in (usual, off)
    )
    graphs = [
        next(line for line in each.ledger.lines if line.key == "runtime.cuda_graphs")
        for each in (found, fewer)
    ]
    assert graphs[1].high_bytes < graphs[0].high_bytes
    assert (found.verdict, fewer.verdict) == ("tight", "fits")


def test_a_cap_of_tokens_leaves_states_their_share() -> None:
    """--max-total-tokens bounds what is beside the states; it changed nothing of such models before."""
    whole, capped = (answer("0.5.10", max_total_tokens=tokens).kv_cache for tokens in (None, 32_000))
    states = whole.pool_bytes * 0.9 / 1.9
    assert capped.max_tokens == 32_000
    assert capped.pool_bytes == pytest.approx(states + 32_000 * TOKEN, rel=1e-4)
