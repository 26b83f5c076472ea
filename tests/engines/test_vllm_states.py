"""Caches and states of families with several kinds of layer in vLLM, by hand from its source (0.32:
mamba_utils.py, kv_cache_interface.py)."""

import pytest

from oomless import infer
from oomless.engines.rank import Stage
from oomless.engines.vllm.cache import cache_layout
from oomless.engines.vllm.release import RELEASES
from oomless.engines.vllm.states import state_bytes, typed
from oomless.model.attention import Linear
from oomless.model.draft_head import model_of_head, published_head
from oomless.model.drafting import with_draft
from oomless.model.families import build
from oomless.model.load import load
from oomless.run.serving import Layout, Resolved
from oomless.run.speculation import Speculation
from small_configs import SMALL


def state_of(name: str, tp: int) -> int:
    linear = next(layer.attention for layer in load(name).layers if isinstance(layer.attention, Linear))
    return state_bytes(linear, Resolved(dtype="bfloat16", layout=Layout(tp=tp)))


@pytest.mark.parametrize(
    ("name", "tp", "expected"),
    [
        # KDA: three convolved inputs of q, k and v in BF16, and a square of 128 a head in F32
        ("kimi-k3", 8, 3 * 3 * 96 * 128 // 8 * 2 + 96 // 8 * 128 * 128 * 4),
        ("kimi-linear-48b-a3b", 1, 3 * 3 * 32 * 128 * 2 + 32 * 128 * 128 * 4),
        # Mamba-1: channels are cut, 16 numbers each
        ("jamba-v0.1", 2, 8192 // 2 * (3 + 16) * 2),
        ("falcon-mamba-7b", 1, 8192 * (3 + 16) * 2),
        # Mamba-2 with one group: repeated until each of four ranks has one
        ("falcon-h1-7b", 4, (3072 + 2 * 4 * 256) // 4 * 3 * 2 + 24 // 4 * 128 * 256 * 2),
        ("falcon-h1-7b", 1, (3072 + 2 * 256) * 3 * 2 + 24 * 128 * 256 * 2),
        ("lfm2-8b-a1b", 2, 2048 // 2 * 2 * 2),
        ("olmo-hybrid-7b", 1, (2 * 2880 + 5760) * 3 * 2 + 30 * 192 * 96 * 2),
    ],
)
def test_state_of_one_layer(name: str, tp: int, expected: int) -> None:
    assert state_of(name, tp) == expected


@pytest.mark.parametrize(
    ("name", "release", "said", "bits"),
    [
        ("qwen3-next-80b-a3b", "0.16.0", "float32", 0),  # not heeded
        ("qwen3-next-80b-a3b", "0.17.0", "float32", 32),
        ("qwen3.5-27b", "0.17.0", "auto", 32),
        ("qwen3.5-27b", "0.17.0", "bfloat16", 16),
        ("kimi-linear-48b-a3b", "0.29.0", "bfloat16", 32),
        ("kimi-linear-48b-a3b", "0.30.0", "bfloat16", 16),
        ("nemotron-3-nano-30b-a3b", "0.12.0", "auto", 0),  # its config says F32
        ("nemotron-3-nano-30b-a3b", "0.13.0", "auto", 32),
        ("nemotron-nano-9b-v2", "0.19.0", "auto", 0),
        ("nemotron-nano-9b-v2", "0.20.0", "auto", 32),
        ("nemotron-nano-9b-v2", "0.11.0", "float32", 32),
    ],
)
def test_the_type_of_a_state_by_release(name: str, release: str, said: str, bits: int) -> None:
    model = load(name)
    linear = next(layer.attention for layer in model.layers if isinstance(layer.attention, Linear))
    asked = Resolved(mamba_ssm_cache_dtype=said)
    found = typed(linear, model.family, asked, RELEASES.at(release))
    assert isinstance(found, Linear)
    assert found.state_bits == bits


@pytest.mark.parametrize(
    ("name", "tp", "expected"),
    [
        ("kimi-k3", 8, 24 * 1152),
        ("kimi-linear-48b-a3b", 1, 7 * 1152),
        # keys and values of 4 heads, cut over 4 ranks, and an index key of 128 in BF16 on each, in all but
        # three layers
        ("minimax-m3", 4, 60 * 2 * 128 * 2 + 57 * 256),
        ("minimax-m3", 8, 60 * 2 * 128 * 2 + 57 * 256),
        ("longcat-flash", 8, 2 * 28 * 1152),
        ("falcon-h1-34b", 4, 72 * 2 * 128 * 2),
        ("jamba-v0.1", 2, 4 * 4 * 2 * 128 * 2),
        ("step-3.5-flash", 8, 12 * 2 * 128 * 2),
        ("youtu-llm-2b", 1, 32 * 1152),
    ],
)
def test_bytes_a_token(name: str, tp: int, expected: int) -> None:
    answer = infer(name, "b300:8", tp=tp, max_model_len=8192).to_json()
    assert answer["kv_cache"]["bytes_per_token"] == expected


def test_a_model_of_states_alone_holds_one_page_a_sequence() -> None:
    """Its capacity is a number of sequences, whatever their length."""
    model = build(SMALL["mamba2"], "mamba2", "config.json")
    short, long = (
        infer(model, "h100", max_model_len=length).to_json()["kv_cache"] for length in (1024, 2048)
    )
    assert short["bytes_per_token"] == 0
    assert short["fixed_bytes_per_sequence"] == 4 * ((128 + 2 * 32) * 3 * 2 + 8 * 16 * 16 * 2)
    assert long["max_concurrency"] == pytest.approx(short["max_concurrency"], rel=1e-3)


@pytest.mark.parametrize(
    ("model", "card", "release", "batch", "sequences", "gib"),
    [  # vllm#52872, #57475, #50780
        ("qwen3.6-27b-nvfp4", "rtx-5090", "0.27.1", 8192, 4, 0.89),
        ("qwen3.6-27b-nvfp4", "rtx-5090", "0.27.1", 2048, 4, 0.52),
        ("qwen3.8-27b-nvfp4", "rtx-5090-laptop", "0.28.0", 2048, 1, 0.46),
        ("qwen3.5-122b-a10b", "rtx-pro-6000", "0.26.1", 32768, 4, 4.2),
        ("qwen3.5-122b-a10b", "rtx-pro-6000", "0.23.0", 32768, 4, 0.56),
    ],
)
def test_a_trial_of_whole_steps_makes_the_workspace_of_flashinfer(
    model: str, card: str, release: str, batch: int, sequences: int, gib: float
) -> None:
    """vllm#50780 sees 128 KiB a token of the batch, 16 B for each of 8,192 values; the cache is in FP8."""
    asked = {"engine_version": release, "max_num_batched_tokens": batch, "max_num_seqs": sequences}
    asked["kv_cache_dtype"] = "fp8"
    if model == "qwen3.5-122b-a10b":
        asked["quantization"] = "w4a16"
    lines = infer(model, gpu=card, **asked).estimate.ledger.lines  # type: ignore[arg-type]
    [graphs] = [line for line in lines if line.key == "runtime.cuda_graphs"]
    assert graphs.low_bytes <= gib * 2**30 <= graphs.high_bytes
    assert graphs.bytes == pytest.approx(gib * 2**30, rel=0.3)


def test_a_sequence_of_qwen4_exp_holds_the_blocks_that_its_log_divides_by() -> None:
    """vllm-project/recipes#870: 389,084 tokens and 1.48 x 262,144, which is 518 of 349 blocks, at TP4 with 3
    drafted tokens and prefix caching; LMCache/LMCache#5042: blocks of 784 tokens at TP4 without a draft."""
    flash = load("qwen3.8-flash-next")
    asked = Resolved(dtype="bfloat16", layout=Layout(tp=4), engine_version="0.32.0")
    assert cache_layout(flash, asked, Stage(0, 1, 0, 48)).groups[0].block_size == 784
    drafted = asked._replace(enable_prefix_caching=True, speculation=Speculation("mtp", 3))
    groups = cache_layout(flash, drafted, Stage(0, 1, 0, 48)).groups
    assert sum(group.blocks(262144, 8192) for group in groups) == 349
    assert int(518 / 349 * 262144) == 389084


@pytest.mark.parametrize(
    ("draft", "window", "needed"),
    [
        # noonghunna/club-3090#96, 0.20.1: "Add 2 padding layers" beside 48, "Add 4" beside 16
        ("z-lab/Qwen3.6-27B-DFlash", 0, None),
        # its dflash2.yml, 0.27.1: 262,144 tokens need "~10.93 GiB"
        ("syvai/Qwen3.8-27B-DFlash2-W4A16", 2048, 10.93),
    ],
)
def test_layers_of_a_draft_with_other_heads_are_a_kind_of_their_own(
    draft: str, window: int, needed: float | None
) -> None:
    """Five layers of 8 heads x 128 beside 16 of 4 x 256: their rows are as long, and a group has five."""
    target = load("qwen3.8-27b")
    head = published_head(draft)
    assert head is not None
    model = with_draft(target, model_of_head(head, target, draft), shares=True)
    asked = Resolved(
        dtype="bfloat16",
        layout=Layout(tp=2),
        engine_version="0.27.1",
        speculation=Speculation("dflash", 7, draft=draft),
        enable_prefix_caching=True,
    )
    layout = cache_layout(model, asked, Stage(0, 1, 0, 64))
    assert {group.num_layers for group in layout.groups} == {5}
    assert [group.window for group in layout.groups] == [0] * 4 + [window] + [0] * 10
    if needed:
        blocks = sum(group.blocks(262144, 8192) for group in layout.groups)
        assert blocks * layout.block_bytes / 2**30 == pytest.approx(needed, rel=0.015)
    own = target._replace(draft=(target.layers[3],))  # an MTP layer has the model's heads
    [size] = {group.num_layers for group in cache_layout(own, asked, Stage(0, 1, 0, 64)).groups}
    assert size == 17
