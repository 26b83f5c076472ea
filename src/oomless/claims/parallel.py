"""Claims about parallel training and batches: what one and two dimensions of tensor parallelism send, and
what a batch of 32 needs."""

from typing import Any

from .. import facts
from ..estimate.training.collectives import grid, tokens_for_saving
from ..estimate.training.training_estimate import TrainingEstimate
from ..model.load import load
from ..units import gb
from .evidence import Evidence, Finding
from .training import LARGE, SMALL, train


def c21() -> Evidence:
    """2D moves 40 % less than 1D for 13B: over how many ranks, from how many tokens; and what was counted."""
    model = load(LARGE)
    figures = []
    for ranks in (4, 16, 64):
        found = grid(model, ranks, 4096)
        assert found is not None
        figures.append(
            Finding(
                f"{ranks} ranks: 2D over 1D at 4,096 tokens a micro-batch",
                found.two_dimensions / found.one_dimension,
                "times",
            )
        )
        figures.append(
            Finding(
                f"{ranks} ranks: largest saving, with endlessly many tokens", 100 * found.largest_saving, "%"
            )
        )
        tokens = tokens_for_saving(model, ranks, 0.4)
        if tokens is not None:
            figures.append(Finding(f"{ranks} ranks: 40 % less from", tokens, "tokens"))
    counted = {
        (row["what"], row["ranks"], row["tokens"]): int(row["counted_bytes"])
        for row in facts.table("counted_traffic")
    }
    for what, processes, tokens_of_run in counted:
        if what == "two_dimensions":
            ratio = (
                counted[what, processes, tokens_of_run] / counted["one_dimension", processes, tokens_of_run]
            )
            figures.append(
                Finding(
                    f"counted, {processes} processes, {int(tokens_of_run):,} tokens at width 128: 2D over 1D",
                    ratio,
                    "times",
                )
            )
    return Evidence(
        "depends",
        "never over 4 cards, where the most that 2D can save is 29 % (12 % for layers without a "
        "gate) and at 4,096 tokens it sends more "
        "than twice as much; 16 and 64 ranks save 40 % from the tokens below on; what it does "
        "save is memory, as inputs of layers are "
        "cut too. gloo's reductions send up to a sixth more than formulas say; no maintained library runs 2D",
        tuple(figures),
        (f"oomless train {LARGE} --gpu h100:4 --tp 4 --framework fsdp --precision bf16 --seq-len 4096",),
    )


BATCH, STEP = 32, 8


def at(length: int, **asked: Any) -> TrainingEstimate:
    return train(
        SMALL,
        "a100-40gb",
        optimizer="adamw-fused",
        micro_batch=BATCH,
        seq_len=length,
        attention="flash",
        **asked,
    )


def longest(**asked: Any) -> int:
    """The longest sequences, in steps of 8, of which 32 fit the card for sure; 0: none."""
    low, high = 0, 4096 // STEP
    while low < high:
        middle = (low + high + 1) // 2
        if at(middle * STEP, **asked).verdict == "fits":
            low = middle
        else:
            high = middle - 1
    return low * STEP


def c09() -> Evidence:
    """1.3B at batch 32 in FP16 on 40 GB: the length decides."""
    figures = []
    for precision in ("fp16", "amp-fp16"):
        for recompute in ("none", "full"):
            length = longest(precision=precision, recompute=recompute)
            name = f"{precision}, recompute {recompute}"
            figures.append(Finding(f"{name}: longest sequences at batch {BATCH}", length, "tokens"))
            if length:
                by = at(length, precision=precision, recompute=recompute).groups[0].ledger.by_category()
                figures.append(
                    Finding(
                        f"{name}: activations and logits then",
                        gb(by.get("activations", 0) + by.get("logits", 0)),
                        "GB",
                    )
                )
    short = at(128, precision="fp16", recompute="none").groups[0].ledger.by_category()
    figures.append(
        Finding("fp16, 128 tokens: activations and logits", gb(short["activations"] + short["logits"]), "GB")
    )
    return Evidence(
        "depends",
        "a batch of 32 says nothing without its length: 12 GB are activations and logits of 120 to "
        "140 tokens, which under AMP is just "
        "what fits; with all states in FP16, which trains badly, twice as many fit, and with "
        "checkpointing five to six times as many",
        tuple(figures),
        (
            f"oomless train {SMALL} --gpu a100-40gb --precision fp16 --optimizer adamw-fused "
            f"--micro-batch {BATCH} --seq-len 128 --json",
            f"oomless train {SMALL} --gpu a100-40gb --precision fp16 --optimizer adamw-fused "
            f"--micro-batch {BATCH} --seq-len 1024 "
            "--recompute full --json",
        ),
    )


SETTLERS = {"C09": c09, "C21": c21}
