"""Adapters: counts that PEFT printed for Llama-3.2-3B, every kind through the estimate, and laws of what they
keep."""

from typing import Any

import pytest

from oomless import facts
from oomless.errors import UsageError
from oomless.estimate.training.estimate import estimate_training
from oomless.estimate.training.training_estimate import TrainingEstimate
from oomless.frameworks.graphs.adapters import AdaptedMatrix, trained_values
from oomless.frameworks.graphs.blocks import MicroBatchWork
from oomless.frameworks.graphs.graph import walk
from oomless.frameworks.graphs.layers import layer_graph, norms_of
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.training import TrainingAsked

KINDS = [row["adapter"] for row in facts.table("adapters")]
WIDTHS = ((3072, 3072), (3072, 1024))
"""Query and value of Llama-3.2-3B, in 28 layers."""
PRINTED = {
    "lora": (32, 9_175_040),
    "dora": (32, 9_289_728),
    "delora": (32, 9_175_096),
    "deft": (32, 3_670_016),
    "vera": (256, 129_024),
    "fourierft": (1, 56_000),
    "c3a": (1, 5_505_024),
    "lokr": (32, 2_294_656),
    "psoft": (256, 1_856_512),
    "road": (1, 229_376),
    "peanut": (32, 7_340_032),
}
"""Rank and trained parameters of peft's method_comparison (num_trainable_params)."""


def ask(kind: str, **asked: Any) -> TrainingEstimate:
    request = TrainingAsked(
        framework="peft", method="lora", adapter=kind, lora_rank=32, seq_len=768, micro_batch=4, **asked
    )
    return estimate_training(load("llama-3.2-3b"), request, parse_gpu("l40s"))


@pytest.mark.parametrize("kind", sorted(PRINTED))
def test_trained_parameters_are_those_that_peft_prints(kind: str) -> None:
    rank, printed = PRINTED[kind]
    assert 28 * sum(trained_values(kind, AdaptedMatrix(rank, *widths)) for widths in WIDTHS) == printed


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_answered_and_takes_less_than_full_training(kind: str) -> None:
    found = ask(kind)
    whole = estimate_training(
        load("llama-3.2-3b"), TrainingAsked(precision="bf16", seq_len=768, micro_batch=4), parse_gpu("l40s")
    )
    assert load("llama-3.2-3b").num_parameters * 2 < found.peaks.allocated_bytes
    assert found.groups[0].steady_bytes < whole.groups[0].steady_bytes


def test_few_trained_numbers_may_take_more_than_many() -> None:
    """FourierFT trains 56,000 values through updates of the matrices' own size: more memory than LoRA's nine
    million."""
    assert (
        ask("fourierft").peaks.allocated_bytes
        > ask("lora").peaks.allocated_bytes
        > ask("vera").peaks.allocated_bytes
    )


def test_an_unknown_adapter_is_named() -> None:
    with pytest.raises(UsageError, match="--adapter is 'lola'"):
        ask("lola")


def test_adapters_of_megatron_products_keep_one_copy_of_a_rank_s_part() -> None:
    """ms-swift's adapters read what the norm gave before the ranks' parts are gathered, and q, k and v, or
    gate and up, have one of them: 8 ranks of Qwen3.5-27B with 131,072 tokens took 28 GiB, not 42."""
    model = load("qwen3-8b")
    work = MicroBatchWork(1, 4096, 2, 2, False, tp=8, sequence_parallel=True, trained=False)
    work = work._replace(lora_rank=8, lora_targets=("all-linear",), adapter_bytes=2, adapter_dropout=True)

    def copies(grouped: bool) -> list[int]:
        graph = layer_graph(
            model.layers[0], 4096, norms_of(model, 0), work._replace(grouped_adapters=grouped), 1
        )
        return sorted(size for name, size in walk(graph).saved.items() if "adapter_dropped" in name)

    whole, output, inner = 4096 * 4096 * 2, 4096 * 512 * 2, 4096 * 1536 * 2
    assert copies(False) == sorted([*[whole] * 5, output, inner])
    assert copies(True) == sorted([*[whole // 8] * 2, output, inner])


@pytest.mark.parametrize(("frozen_inputs", "kept"), [("", 0), ("kept", 14336)])
def test_a_frozen_matrix_keeps_its_input_under_zero_3(frozen_inputs: str, kept: int) -> None:
    """Adapters of queries alone: what down_proj reads, 14,336 values of 2 B a token, is kept by DeepSpeed's
    product (LinearFunctionForZeroStage3) and by no other."""
    model = load("llama-3.1-8b")
    work = MicroBatchWork(
        1, 64, 2, 2, False, trained=False, lora_rank=8, lora_targets=("q_proj",), frozen_inputs=frozen_inputs
    )
    graph = layer_graph(model.layers[0], model.hidden_size, norms_of(model, 0), work, model.streams)
    saved = walk(graph).saved
    assert sum(size for key, size in saved.items() if key.startswith("product")) == 64 * 2 * kept
