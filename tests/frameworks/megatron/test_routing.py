"""How uneven routing may be: rows of experts, the spread of what grows with them, and of nothing else."""

from typing import Any

import pytest

from frameworks.megatron.training_of_v3 import PAPER
from oomless.api.training import train
from oomless.errors import UnsupportedError
from oomless.estimate.training.megatron import estimate_megatron
from oomless.frameworks.megatron.args import read_arguments
from oomless.frameworks.megatron.moe import settled
from oomless.frameworks.megatron.run import Megatron
from oomless.ledger import Ledger, Line
from oomless.run.hardware import parse_gpu
from oomless.units import GIB

MOE: dict[str, Any] = {
    "num-layers": 4,
    "hidden-size": 1024,
    "num-attention-heads": 16,
    "vocab-size": 32000,
    "seq-length": 4096,
    "micro-batch-size": 1,
    "global-batch-size": 64,
    "max-position-embeddings": 4096,
    "bf16": True,
    "num-experts": 32,
    "moe-router-topk": 4,
    "moe-ffn-hidden-size": 1024,
    "moe-grouped-gemm": True,
    "moe-token-dispatcher-type": "alltoall",
    "expert-model-parallel-size": 8,
}


def run_of(**more: Any) -> Megatron:
    return read_arguments({**MOE, **{name.replace("_", "-"): value for name, value in more.items()}}, 8)


def kept(**more: Any) -> Line:
    ledger = estimate_megatron(run_of(**more), parse_gpu("h100:8")).ledger
    return next(line for line in ledger.lines if line.key == "activations.kept")


def width(line: Line) -> float:
    return (line.high_bytes - line.low_bytes) / line.bytes


def test_what_evens_routing_out_is_read() -> None:
    forced = kept(moe_router_force_load_balancing=True, moe_aux_loss_coeff=0.01)
    balanced, free = kept(moe_aux_loss_coeff=0.01), kept()
    assert forced.bytes == balanced.bytes < free.bytes
    assert width(forced) < 0.12 < width(balanced)


def test_experts_on_one_rank_have_no_uneven_rows() -> None:
    assert width(kept(expert_model_parallel_size=1)) < 0.09


def test_routing_has_settled_where_weights_are_loaded() -> None:
    """Flags name a published model, whose weights are loaded; a list of arguments says so by --load."""
    for name, value in (("moe_aux_loss_coeff", 0.01), ("moe_router_enable_expert_bias", True)):
        random, loaded = kept(**{name: value}), kept(**{name: value}, load="checkpoint")
        assert loaded.bytes == random.bytes
        assert loaded.high_bytes < random.high_bytes
        assert width(loaded) < width(random)
    forced = {"moe_router_force_load_balancing": True}
    assert kept(**forced) == kept(**forced, load="checkpoint")


def test_rows_even_out_over_sequences_layers_and_micro_batches() -> None:
    kind = run_of(moe_router_enable_expert_bias=True).experts
    assert kind is not None
    one = settled(kind, 8, 1, 1, 1)
    assert one > settled(kind, 8, 64, 1, 1) > settled(kind, 8, 64, 4, 4) > settled(kind, 8, 64, 4, 64)
    assert settled(kind._replace(routing=("balanced",)), 8, 64, 4, 64) > settled(kind, 8, 64, 4, 64)


def held_bytes(ledger: Ledger) -> int:
    """Bytes of a ledger but for those that the allocator holds and nobody uses."""
    return sum(line.bytes for line in ledger.lines if line.key != "fragmentation.reserved")


@pytest.mark.parametrize("expandable", [False, True])
def test_deepseek_v3_as_in_its_paper_lies_within_ten_gib_of_a_count_by_hand(expandable: bool) -> None:
    """By hand 65 to 74 GiB on the fullest rank, without the MTP layer (arXiv 2412.19437, 3.2 to 3.4)."""
    found = train("deepseek-v3", "h800:8x256", expandable_segments=expandable, **PAPER)
    assert 65 * GIB < max(map(held_bytes, found.estimate.ledgers)) < 74 * GIB
    assert found.ledger.low_bytes > 55 * GIB
    assert found.verdict == "fits"
    assert any("--mtp-layers" in note for note in found.warnings)


def test_a_prediction_layer_shares_the_embedding_where_both_ends_are_on_one_rank() -> None:
    """It was counted twice on the end ranks of DualPipe: 2 B of weights and 4 B of gradients of 0.93B values,
    5.2 GiB. What is left is a layer's states, a thirty-second of a layer's experts, and its logits in F32."""
    plain, more = (
        train("deepseek-v3", "h800:8x256", mtp_layers=count, **PAPER).estimate.groups[0] for count in (0, 1)
    )
    assert (
        train("deepseek-v3", "h800:8x256", mtp_layers=1, expandable_segments=True, **PAPER).verdict == "fits"
    )
    grown = held_bytes(more.ledger) - held_bytes(plain.ledger)
    assert 5 * GIB < grown < 7.5 * GIB
    one_way = PAPER | {"schedule": "1f1b"}
    ends = [
        train("deepseek-v3", "h800:8x256", mtp_layers=count, **one_way).estimate.groups[-1]
        for count in (0, 1)
    ]
    gradients = [
        sum(line.bytes for line in each.ledger.lines if line.key == "gradients.trained")
        for each in (plain, more, *ends)
    ]
    embedding = 4 * 129_280 * 7_168
    assert (gradients[3] - gradients[2]) - (gradients[1] - gradients[0]) == embedding


def test_prediction_layers_are_asked_of_megatron_alone() -> None:
    tuned, trained = (
        train("deepseek-v3", "h800:8x256", mtp_layers=1, task=task, **PAPER) for task in ("sft", "pretrain")
    )
    assert tuned.ledger.total_bytes == trained.ledger.total_bytes
    with pytest.raises(UnsupportedError, match="--mtp-layers 1 is not counted here"):
        train("deepseek-v3", "h200:8x32", mtp_layers=1)


def test_a_vision_tower_is_whole_and_frozen_on_the_first_stage() -> None:
    """Four tensor-parallel ranks hold 0.54B values each: 1.00 GiB were left out."""
    found = train("qwen3-vl-30b-a3b", "a100-80gb:8", framework="megatron-lm", tp=4, ep=8)
    frozen = next(line for line in found.ledger.lines if line.key == "weights.frozen")
    tower = (tensor for tensor in found.model.tensors if tensor.part == "vision")
    assert frozen.bytes == 2 * sum(tensor.num_parameters for tensor in tower) == 1_077_262_816


def test_mtp_layers_of_models_that_megatrons_arguments_lack() -> None:
    """They follow the last stage's layers with a loss of their own; of Qwen3.8 27B without recomputation, two
    sequences of 4,096 and bfloat16 gradients, 174.1 GiB were allocated on each of 16 GB200 (Megatron-Bridge's
    card of that model)."""
    asked: dict[str, Any] = {"framework": "megatron-bridge", "micro_batch": 4, "global_batch": 32}
    without, beside = (
        train("qwen3.8-27b", "gb200:4x4", tp=4, pp=4, seq_len=4096, mtp_layers=count, **asked).estimate.groups
        for count in (0, 1)
    )
    assert beside[0].ledger == without[0].ledger
    weights, logits = (
        [found[-1].ledger.by_category()[name] for found in (without, beside)]
        for name in ("weights", "logits")
    )
    joins = 5_120 * 10_240  # the projection of both inputs, counted whole
    assert weights[1] - weights[0] == pytest.approx(2 * ((424_724_992 - joins) / 4 + joins), rel=0.01)
    assert logits[1] > 1.3 * logits[0]
    asked |= {"micro_batch": 2, "precision": "megatron-bf16-gradients", "mtp_layers": 1, "seq_len": 4096}
    peak = train("qwen3.8-27b", "gb200:4x4", tp=2, **asked).estimate.peaks.allocated_bytes
    assert peak == pytest.approx(174.12 * 2**30, rel=0.1)
    adapters = train("qwen3.8-27b", "gb200:4", tp=4, method="lora", **{**asked, "precision": None})
    assert adapters.verdict == "fits"
    with pytest.raises(UnsupportedError, match="--mtp-layers 1 is not counted here"):
        train("llama-3.1-8b", "h200:8", framework="megatron-bridge", method="lora", mtp_layers=1)
