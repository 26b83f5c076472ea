"""What QLoRA may hold beyond its question's words: what peft's prepare_model_for_kbit_training adds where it
was called, and layers that a checkpoint in 4 bits keeps in 16."""

from ... import facts
from ...frameworks import framework
from ...frameworks.graphs.blocks import MicroBatchWork
from ...ledger import Line, ranged
from ...run.training import Recipe, TrainingResolved
from .head_and_loss import kind_of_loss
from .micro_batch_work import may_widen, wide_norms
from .rank_portions import Portion
from .reserved import kept_beyond
from .stage_step import StageStep
from .state_bytes import packed, packed_bytes
from .step import phases, stage_step


def may_be_prepared(request: TrainingResolved, form: Recipe) -> bool:
    """Whether a script may have put what is not packed into F32: peft's guide for models in 4 or 8 bit says
    so."""
    return (
        may_widen(request)
        and framework(request.framework).kbit_by_script
        and form.compute == 2
        and not wide_norms(request)
    )


def prepared_lines(step: StageStep, work: MicroBatchWork, recomputes: bool) -> list[Line]:
    """Return a line of nothing at the value and all of it at the high end: F32 norms, embedding and head (2 B
    a value more), the stream that layers hand on, and logits. No line where a prepared model takes less.

    Who prepares a model and says nothing of recomputation has it switched on, so that `recomputes` is true
    where the question is silent: layers then keep their inputs alone. Source: peft/utils/other.py,
    prepare_model_for_kbit_training (use_gradient_checkpointing is true). Llama-2-13B so prepared had 38 GiB
    where 20 were estimated without (universal-llm-trainer, GPU test).
    """
    job, portions = step.job, step.portions
    if recomputes:
        job = job._replace(request=job.request._replace(recompute="full"))
    wide = stage_step(job, work._replace(residual=4, wide_norms=True), step.stage, portions, step.held)
    more = most_of(wide) - most_of(step) + held_logits(step, work)
    left = [
        each for each in portions if not each.trained and not each.adapter and not packed(each, job.request)
    ]
    values = sum(each.total for each in left)
    formula = (
        f"{values:,} values x 2 B, and {more:,} B of activations and of logits that a loop holds, if "
        "prepare_model_for_kbit_training was called, with what no allocator gets back of them"
    )
    most = more + (2 * values if job.recipe.weight == 2 else 0) + kept_beyond(job, max(0, more)).high
    if most <= 0:
        return []
    line = ranged(
        "activations.norms",
        "policy",
        "norms in F32 and their outputs",
        (0, 0, most),
        "assumed",
        formula,
        "peft/utils/other.py",
    )
    return [line]


def kept_lines(portions: list[Portion], request: TrainingResolved) -> list[Line]:
    """Return the line of layers that a maker's checkpoint in 4 bits keeps in 16 ("dynamic 4 bits"), where the
    framework takes it for the model that is named; which ones they are stands in each checkpoint alone. None
    of models with experts, of which none was seen.

    >>> from .estimate import estimate_training
    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.training import TrainingAsked
    >>> asked = TrainingAsked(framework="unsloth", method="qlora", seq_len=512)
    >>> found = estimate_training(load("qwen2.5-3b"), asked, parse_gpu("t4"))
    >>> [
    ...     round(line.high_bytes / 2**30, 2)
    ...     for line in found.groups[0].ledger.lines
    ...     if line.key == "weights.unquantized"
    ... ]
    [0.19]
    """
    if any(each.stacked or ".experts." in each.name for each in portions):
        return []
    keeps = framework(request.framework).habits(request.framework_version).keeps_layers
    if not keeps or request.method != "qlora" or request.quantization not in (None, "nf4-dq"):
        return []
    values = sum(each.total for each in portions if packed(each, request))
    row = facts.constant("training", "unpacked_share", (0,))
    wider = 2 * values - packed_bytes(values, "nf4-dq")
    value, low, high = (round(share * wider) for share in (row.value, row.low, row.high))
    return [
        ranged(
            "weights.unquantized",
            "policy",
            "layers that the checkpoint keeps in 16 bit",
            (value, low, high),
            "assumed",
            f"{row.value:.1%} of {values:,} values",
            row.source,
        )
    ]


def held_logits(step: StageStep, work: MicroBatchWork) -> int:
    """Return bytes of the logits that a loop of one's own may hold through the backward, as it names the
    model's output: a head that was put into F32 makes them of 4 B, and nothing upcasts them. Trainer's
    compute_loss returns the loss alone (facts/losses.csv); loops over TinyLlama-1.1B held them (fitcheck-llm
    0.2.0, README.md)."""
    job = step.job
    if kind_of_loss(job.request, False).kind != "logits":
        return 0
    return work.tokens * job.model.vocab_size * 4


def most_of(step: StageStep) -> int:
    """Return the most that a phase of a step adds to what stays."""
    return max(phase.total_bytes for phase in phases(step))
