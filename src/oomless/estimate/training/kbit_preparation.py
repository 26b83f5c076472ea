"""What peft's prepare_model_for_kbit_training adds to QLoRA, where a question does not say whether it was
called."""

from ...frameworks.graphs.blocks import Work
from ...ledger import Line, ranged
from ...model.model import Model
from ...run.training import Mesh, Optimizer, Recipe, TrainingResolved
from .activations import ends, segments, wide_norms
from .phases import Phase
from .rank_portions import Portion, Stage
from .states import States, packed
from .step import step

OWN_LOOPS = ("transformers", "peft")
"""Frameworks that leave the preparation to the user's script; others do it, or not, in their own way."""


def may_be_prepared(request: TrainingResolved, form: Recipe) -> bool:
    """Whether a script may have put what is not packed into F32: peft's guide for models in 4 or 8 bit says
    so, and sharded ones refuse."""
    whole = request.sharding in ("none", "ddp", "zero1", "zero2") and request.quantization in (
        None,
        "nf4",
        "nf4-dq",
        "int8",
    )
    return (
        request.method == "qlora"
        and request.framework in OWN_LOOPS
        and whole
        and form.compute == 2
        and not wide_norms(request)
    )


def prepared_line(
    model: Model,
    request: TrainingResolved,
    work: Work,
    stage: Stage,
    portions: list[Portion],
    held: States,
    phases: tuple[Phase, ...],
    mesh: Mesh,
    form: Recipe,
    rule: Optimizer,
    boundary: int,
) -> Line:
    """Nothing at the value, all of it at the high end: F32 norms, embedding and head (2 B a value more), and
    the stream that layers hand on.

    Source: peft/utils/other.py, prepare_model_for_kbit_training. Llama-2-13B so prepared had 38 GiB where 20
    were estimated without (universal-llm-trainer, GPU test).
    """
    wide = work._replace(residual=4, wide_norms=True)
    last = ends(model, request, wide, mesh) if stage.last else None
    found = step(
        stage,
        segments(model, request, wide, stage),
        last,
        portions,
        held,
        mesh,
        request,
        form,
        rule,
        2 * boundary,
    )
    more = max(0, max(phase.total_bytes for phase in found) - max(phase.total_bytes for phase in phases))
    left = [each for each in portions if not each.trained and not each.adapter and not packed(each, request)]
    values = sum(each.total for each in left)
    formula = (
        f"{values:,} values x 2 B, and {more:,} B of activations, if "
        "prepare_model_for_kbit_training was called"
    )
    weights = 2 * values if form.weight == 2 else 0
    return ranged(
        "activations.norms",
        "policy",
        "F32 norms and what they hand on",
        (0, 0, weights + more),
        "assumed",
        formula,
        "peft/utils/other.py",
    )
