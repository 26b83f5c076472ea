"""How fast will it train? A model, a training question and hardware -> step time, tokens a second, share of
the peak."""

from typing import NamedTuple

from ..errors import OomlessError, UnsupportedError, UsageError
from ..estimate.training.post_training import frozen_forwards
from ..estimate.training.training_estimate import TrainingEstimate
from ..frameworks.defaults import resolved
from ..model.model import Model
from ..run.cards import Hardware
from ..run.training import Mesh, TrainingAsked, TrainingResolved
from .band import Coverage, Figure, TimePart, bound, figure, spread
from .machine import Machine
from .offloaded_step import update_on_host, updates_on_host
from .steady import added
from .training_parts import frozen_forwards_s, step_parts
from .training_step import TrainingStep, trained_share, training_step


class TrainingSpeed(NamedTuple):
    """The answer for one optimizer step of the whole machine."""

    step_s: Figure
    tokens_per_s: Figure
    """Of all cards."""
    mfu: Figure
    """Model operations (3 x forward, recomputation not counted) over the peak of all cards in the matrices'
    type."""
    tokens_per_step: int
    model_flops: float
    """Operations of the model in a step, recomputation not counted."""
    parts: tuple[TimePart, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The figures as plain numbers."""
        return {
            "step_s": self.step_s.to_json(),
            "tokens_per_s": self.tokens_per_s.to_json(),
            "mfu": self.mfu.to_json(),
            "tokens_per_step": self.tokens_per_step,
            "model_flops": self.model_flops,
            "parts": [part._asdict() for part in self.parts],
            "warnings": list(self.warnings),
        }


def need_peak(machine: Machine, kind: str) -> None:
    """Refuse a card of which no table has the rate in a type, or in one that stands in for it."""
    if not machine.peak(kind):
        raise UnsupportedError(
            f"the speed of {machine.name} is not known: no table has how much it computes in {kind}",
            "name another card of `oomless gpus`",
        )


def training_speed(model: Model, asked: TrainingAsked, hardware: Hardware, frozen: int = 0) -> TrainingSpeed:
    """The speed of a step, with `frozen` forward passes without a graph beside each micro-batch. Every rank
    is taken for equal but for the pipeline's stages, which divide the layers evenly.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> seven = TrainingAsked(framework="torchtitan", micro_batch=1, seq_len=4096)
    >>> 0.2 < training_speed(load("deepseek-llm-7b"), seven, parse_gpu("h100:8")).mfu.value < 0.6
    True
    """
    return speed_of_resolved(model, resolved(asked, model.max_positions), hardware, frozen)


def speed_of_resolved(
    model: Model, chosen: TrainingResolved, hardware: Hardware, frozen: int = 0
) -> TrainingSpeed:
    """Return the speed of a step of which every value is given."""
    mesh = _filled(chosen.mesh, hardware)
    work = training_step(model, chosen, mesh, hardware, frozen)
    machine = work.machine
    need_peak(machine, work.kind)
    tokens = chosen.micro_batch * work.length * chosen.grad_accum * mesh.dp
    parts = step_parts(work)
    step_s = added(part.seconds for part in parts)
    backward = 2 * trained_share(work) if chosen.method == "full" else 1
    flops = (1 + frozen + backward) * work.forward_flops(tokens)
    peak = machine.peak(work.kind) * hardware_ranks(mesh)
    step = banded(work, step_s)
    warnings: tuple[str, ...] = ()
    if machine.device == "other":
        least_s = (flops + work.forward_flops(tokens) * (chosen.recompute == "full")) / peak
        step = bound(least_s)
        parts = (
            TimePart(
                "matrix units",
                least_s,
                f"{flops:.4g} operations at the full rate of all cards",
                "hardware.csv",
            ),
        )
        warnings = (
            f"no training was measured on cards like {machine.name}: the figures are what "
            "its matrix units allow at best",
        )
    return TrainingSpeed(step, step.over(tokens), step.over(flops / peak), tokens, flops, parts, warnings)


def banded(step: TrainingStep, step_s: float) -> Figure:
    """Return a step's seconds with their band: what the host does of it has its own. No step with a frozen
    model beside the policy was measured: the band holds that its passes take nothing, or twice as long.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> asked = TrainingAsked(framework="deepspeed", sharding="zero2", offload=("optimizer",))
    >>> step = training_speed(load("deepseek-llm-7b"), asked, parse_gpu("a100-80gb:8")).step_s
    >>> round(step.low, 1), round(step.value, 1), round(step.high, 1)
    (2.2, 4.6, 25.2)
    """
    nodes = step.mesh.num_ranks > step.hardware.per_node
    coverage = Coverage(step.machine.device, "train", nodes=nodes)
    host = update_on_host(step)[0] if updates_on_host(step) else Figure(0.0, 0.0, 0.0, "fitted")
    cards = figure(step_s - host.value, "train", coverage)
    frozen_s, factor = frozen_forwards_s(step) * step.asked.grad_accum, spread("train", coverage)
    low, high = cards.low + host.low - frozen_s / factor, cards.high + host.high + frozen_s * factor
    unsure = frozen_s or host.kind == "assumed"
    return Figure(step_s, low, high, "assumed" if unsure else cards.kind)


def speed_of_estimate(estimate: TrainingEstimate) -> tuple[TrainingSpeed | None, str]:
    """(the speed of an estimate's step, why there is none): of what fits, and of a policy that trains alone
    or beside a frozen reference.

    >>> from ..estimate.training.estimate import estimate_training
    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> speed_of_estimate(
    ...     estimate_training(load("deepseek-v3"), TrainingAsked(framework="fsdp"), parse_gpu("h100:8"))
    ... )[1]
    'it does not fit'
    """
    if estimate.verdict == "does_not_fit":
        return None, "it does not fit"
    frozen = frozen_forwards(estimate)
    if frozen is None:
        return None, "models beside the policy take their own time, which was not measured"
    try:
        return training_speed(
            estimate.model, estimate.request._replace(mesh=estimate.mesh), estimate.hardware, frozen
        ), ""
    except OomlessError as error:
        return None, error.message


def hardware_ranks(mesh: Mesh) -> int:
    """Cards that take part."""
    return mesh.num_ranks


def _filled(mesh: Mesh, hardware: Hardware) -> Mesh:
    """The mesh with its data-parallel size: what the cards leave."""
    inner = mesh.tp * mesh.pp * mesh.cp
    if mesh.dp:
        if mesh.num_ranks > hardware.num_gpus:
            raise UsageError(
                f"the mesh needs {mesh.num_ranks} cards, --gpu gives {hardware.num_gpus}",
                f"their number stands behind the card, --gpu CARD:{mesh.num_ranks}; or ask for smaller sizes",
            )
        return mesh
    if hardware.num_gpus % inner:
        raise UsageError(
            f"tp x pp x cp = {inner} does not divide {hardware.num_gpus} cards",
            "choose sizes that divide them",
        )
    return mesh._replace(dp=hardware.num_gpus // inner)
