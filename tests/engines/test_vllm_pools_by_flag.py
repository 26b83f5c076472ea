"""What moves a pool of vLLM by release and by flag: batches of AMD's processors, kernels of experts that are
named, ranks that run eagerly, graphs from 0.29 on."""

import json
from typing import Any

import pytest

from command import call
from oomless.engines import engine
from oomless.engines.command_line import read_command
from oomless.engines.rank import Stage
from oomless.engines.vllm.weights import loading
from oomless.errors import UsageError
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.model.load import load
from oomless.plan.tune.would_fit import changes_that_fit
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout, Resolved
from oomless.units import GIB


def answer(model: str, gpu: str, release: str, tp: int = 1, **asked: Any) -> Estimate:
    question = Asked(layout=Layout(tp=tp), engine_version=release)._replace(**asked)
    return estimate_serving(load(model), question, parse_gpu(gpu))


def taken(found: Estimate, key: str) -> float:
    """GiB of a key."""
    lines = (*found.ledgers[0].lines, *found.ranks[0].beside)
    return sum({id(line): line.bytes for line in lines if line.key == key}.values()) / GIB


@pytest.mark.parametrize(("release", "batch"), [("0.23.0", (1024, 8192)), ("0.24.0", (256, 2048))])
def test_a_processor_of_amd_is_as_large_as_what_is_carved_out(release: str, batch: tuple[int, int]) -> None:
    hardware = parse_gpu("strix-halo")
    hardware = hardware._replace(card=hardware.card._replace(memory_bytes=80 * GIB))
    question = Asked(layout=Layout(), engine_version=release, max_model_len=32768)
    asked = estimate_serving(load("qwen3-8b"), question, hardware).request
    assert (asked.max_num_seqs, asked.max_num_batched_tokens) == batch


def test_cutlass_copies_the_rows_of_a_batch() -> None:
    """Gemma-4-26B with 8,192 tokens took 1.96 GiB of an RTX 5090's budget."""
    asked: dict[str, Any] = {"quantization": "nvfp4", "max_model_len": 98304, "max_num_seqs": 2}
    peaks = [
        taken(
            answer(
                "gemma-4-26b-a4b",
                "rtx-5090",
                "0.19.2",
                max_num_batched_tokens=8192,
                moe_backend=name,
                **asked,
            ),
            "activations.profile_run",
        )
        for name in ("auto", "cutlass")
    ]
    assert peaks[1] - peaks[0] == pytest.approx(0.77, abs=0.02)


def test_ranks_that_run_eagerly_join_no_sums() -> None:
    """GLM-5.1 on eight H200 left 32.1 GiB for the pool (0.19.1)."""
    found = answer("glm-5.1-fp8", "h200-141gb-sxm:8", "0.19.1", tp=8, enforce_eager=True)
    assert found.pools[0] / GIB == pytest.approx(32.1, abs=0.4)
    compiled = answer("glm-5.1-fp8", "h200-141gb-sxm:8", "0.19.1", tp=8)
    assert compiled.pools[0] < found.pools[0] - GIB


def test_graphs_take_half_from_0_29_on() -> None:
    """Llama-3.1-8B on an A100 captured 0.23 GiB under 0.31."""
    sizes = [
        taken(answer("llama-3.1-8b", "a100-80gb-sxm4", release), "runtime.cuda_graphs")
        for release in ("0.28.0", "0.31.0")
    ]
    assert sizes[1] == pytest.approx(0.25, abs=0.03)
    assert sizes[0] > 1.5 * sizes[1]


@pytest.mark.parametrize(
    ("release", "flags", "tokens"),
    [
        ("0.4.1", "--max-model-len 8192 --enable-chunked-prefill", 768),
        ("0.6.2", "--max-model-len 8192 --enable-chunked-prefill", 512),
        ("0.6.6", "--max-model-len 8192 --enable-chunked-prefill True", 2048),
        ("0.6.6", "--max-model-len 65536 --enable-chunked-prefill False", 65536),
        ("0.6.6", "--max-model-len 8192", 8192),
        ("0.5.2", "--max-model-len 65536", 65536),
        ("0.5.3", "--max-model-len 65536", 512),
    ],
)
def test_the_first_engine_cuts_prompts_as_it_is_told(release: str, flags: str, tokens: int) -> None:
    command = read_command(f"vllm serve MODEL {flags}")
    version = f"{release} ({command.remark})" if command.remark else release
    question = Asked(layout=Layout(), engine_version=version)._replace(**command.flags)
    asked = estimate_serving(load("llama-3.1-8b"), question, parse_gpu("h100")).request
    assert asked.max_num_batched_tokens == tokens


def test_a_tpu_captures_no_graphs_and_reduces_without_nccl() -> None:
    """Qwen2.5-32B on four v6e runs with 0.98 of each (vllm-project/recipes)."""
    found = answer(
        "qwen2.5-32b", "tpu-v6e:4", "0.20.2", tp=4, max_model_len=4096, gpu_memory_utilization=0.98
    )
    assert taken(found, "runtime.cuda_graphs") == 0
    assert taken(found, "runtime.non_torch") + taken(found, "runtime.context") < 0.5


def test_int8_of_a_tpu_is_loaded_in_16_bit() -> None:
    """Llama-3.1-70B does not load on eight v5e (vllm#9331)."""
    stage, cards = Stage(0, 1, 0, 80), parse_gpu("tpu-v5e:8")
    asked = Resolved(engine_version="0.6.3", quantization="tpu_int8", layout=Layout(tp=8), dtype="bfloat16")
    found = loading(load("llama-3.1-70b"), asked, cards, stage)
    assert found is not None
    assert sum(group.total_bytes for group in found.placed) > cards.card.memory_bytes


def test_slots_of_minimax_lie_beside_the_cache_of_the_first_engine() -> None:
    """MiniMax-Text-01 runs with 1,000,000 tokens on eight H800 (vllm#13454)."""
    found = answer("minimax-text-01", "h800:8", "0.8.3", tp=8, quantization="experts_int8")
    assert found.request.engine_version == "0.8.3 (V0)"
    assert taken(found, "runtime.workspaces") == pytest.approx(4.375, abs=0.01)
    assert found.pools[0] // (10 * 512) > 1_000_000


@pytest.mark.parametrize(
    ("flag", "batch", "eager"),
    [
        ("--performance-mode throughput", (2048, 16384), False),
        ("--performance-mode=throughput --max-num-seqs 8", (8, 16384), False),
        ("--performance-mode balanced --optimization-level 2", (1024, 8192), False),
        ("--optimization-level 0", (1024, 8192), True),
    ],
)
def test_a_mode_and_a_level_are_defaults_of_others(flag: str, batch: tuple[int, int], eager: bool) -> None:
    """vllm/engine/arg_utils.py and config/vllm.py of 0.27: twice the batch, no graphs."""
    line = f"vllm serve Qwen/Qwen3-8B {flag}"
    found = call("infer", "--gpu", "h100", "--engine-version", "0.27.0", "--command", line, "--json")
    asked = json.loads(found.out)["request"]
    assert (asked["max_num_seqs"], asked["max_num_batched_tokens"]) == batch
    assert asked["enforce_eager"] == eager
    assert "not known" not in call("infer", "--gpu", "h100", "--command", line).out


@pytest.mark.parametrize(("context", "fits"), [(8192, True), (131072, False)])
def test_gaudi_shares_what_is_free(context: int, fits: bool) -> None:
    """HabanaAI/vllm-fork#510: Llama-3.1-70B over two Gaudi 2 only works up to 8,192 tokens."""
    found = answer(
        "llama-3.1-70b", "gaudi-2:2", "0.5.3", tp=2, engine="vllm-hpu", max_model_len=context, context=context
    )
    assert (found.ranks[0].pool_bytes >= found.ranks[0].needed_bytes) == fits


@pytest.mark.parametrize("tp", [2, 4])
def test_a_mask_of_latents_is_as_large_over_more_ranks(tp: int) -> None:
    """DeepSeek-V2-Lite ran out at 16,000 tokens over two NPUs and four (unified-cache-management#149)."""
    more = []
    for context in (15000, 17000):
        asked: dict[str, Any] = {"engine": "vllm-ascend", "context": context, "tp": tp}
        rank = answer("deepseek-v2-lite", f"ascend-910b:{tp}", "0.9.2", **asked).ranks[0]
        more.append(rank.card_bytes - rank.budget_bytes - sum(line.bytes for line in rank.beside))
    assert more[0] > 0 > more[1]


@pytest.mark.parametrize(
    ("release", "flags", "refused"),
    [
        ("0.6.0", {"max_num_batched_tokens": 128}, True),
        ("0.11.0", {"max_num_batched_tokens": 128}, False),  # sequences then are as few
        ("0.33.0", {"max_num_batched_tokens": 128, "max_num_seqs": 256}, True),
        ("0.33.0", {"max_num_batched_tokens": 256, "max_num_seqs": 256}, False),
    ],
)
def test_a_step_has_a_token_for_each_sequence(release: str, flags: dict[str, int], refused: bool) -> None:
    """vLLM refuses fewer; the answer was "fits"."""
    if not refused:
        assert answer("llama-3.1-8b", "h100", release, max_model_len=4096, **flags).verdict == "fits"
        return
    with pytest.raises(UsageError, match="less than the 256 of --max-num-seqs"):
        answer("llama-3.1-8b", "h100", release, max_model_len=4096, **flags)


def test_cards_that_are_left_over_are_said() -> None:
    """TP 4 on five cards left one of them without a word."""
    five, eight = (answer("llama-3.1-70b", f"h100:{each}", "0.33.0", 4, context=8192) for each in (5, 8))
    said = "1 of 5 cards have nothing to do: a copy of the model takes 4"
    assert (said in five.warnings, any("nothing to do" in each for each in eight.warnings)) == (True, False)


def test_a_limit_that_asks_for_no_more_than_the_load_is_not_said() -> None:
    """ "The cache is asked to hold 10.00 GiB; the load takes 10.00 GiB"."""
    asked = {"context": 8192, "concurrency": 16}
    same, less = (
        answer("llama-3.1-70b", "h100:4", "0.33.0", 4, **{**asked, **more})
        for more in ({}, {"concurrency": 8})
    )
    notes = [[each for each in found.warnings if "is asked to hold" in each] for found in (same, less)]
    assert [len(each) for each in notes] == [0, 1]


@pytest.mark.parametrize(("release", "looks"), [("0.9.0", False), ("0.9.1", True), ("0.21.0", True)])
def test_the_share_is_free_before_anything_is_loaded(release: str, looks: bool) -> None:
    """0.999 of an L4 is never free: the process has its own context by then."""
    found = answer("qwen2.5-0.5b", "l4", release, gpu_memory_utilization=0.999, enforce_eager=True)
    assert (found.ranks[0].wanted > 0) is looks
    assert any("must be free before anything is loaded" in each for each in found.warnings) is looks
    if looks:
        assert found.verdict == "does_not_fit"
        assert not found.ranks[0].starts(found.request, engine("vllm"))


def test_a_share_that_is_free_leaves_the_room_of_the_pool() -> None:
    """A tenth of the card is free of a share of 0.9: that is no room of a load that leaves three tenths."""
    found = answer("deepseek-r1", "h200:8", "0.33.0", tp=8, max_model_len=32768)
    assert found.ledger.capacity_bytes > 120 * GIB


@pytest.mark.parametrize(("release", "lost"), [("0.6.3", 0), ("0.6.4", 1), ("0.9.0", 1), ("0.9.1", 0)])
def test_the_share_is_of_the_card_with_what_others_hold(release: str, lost: int) -> None:
    """gpu_worker.py: the share is of all that the card has; what others held at the start is charged to it
    where the engine asks the driver what is taken (0.6.4, 0.8.0 to 0.9.0), and nowhere else."""
    alone, beside = (answer("qwen2.5-7b", "h100", release, reserve=each) for each in (None, "4GiB"))
    assert alone.pools[0] - beside.pools[0] == lost * 4 * GIB
    assert beside.request.max_num_batched_tokens == alone.request.max_num_batched_tokens


def test_a_share_that_others_hold_is_made_smaller() -> None:
    """Of 288 GB with 30 GiB held outside vLLM 0.90 runs out of memory and 0.85 runs (InferenceX#2213); no
    share is offered that others hold."""
    of = "qwen3-8b", "rtx-3090", "0.33.0"
    found = {
        share: answer(*of, reserve="4GiB", gpu_memory_utilization=share, max_model_len=8192)
        for share in (0.75, 0.9)
    }
    changes = {share: [each.flags for each in changes_that_fit(each)] for share, each in found.items()}
    assert found[0.9].verdict == "does_not_fit"
    assert changes[0.9][0].startswith("--gpu-memory-utilization 0.7")
    assert "--enforce-eager" in changes[0.75]


def test_flash_infer_attends_on_turing() -> None:
    """Two T4 whose 0.11.0 ran did not start with 0.12.0: what FlashInfer's first step makes lies beside the
    pool (vllm#30521)."""
    graphs = [
        taken(answer("qwen2.5-0.5b", "t4", release), "runtime.cuda_graphs")
        for release in ("0.23.0", "0.24.0")
    ]
    assert graphs[0] - graphs[1] == pytest.approx(394 / 1024, abs=0.01)
