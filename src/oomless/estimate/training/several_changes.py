"""Changes of a training question, each asked anew, that only together make it fit: the fewest that do, what
is trained last."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, Literal

from ...errors import OomlessError
from ...frameworks import framework
from ...kept import tried
from ...run.cards import Hardware
from ...run.training import TrainingAsked, recipe
from ..serving.changes import Change
from .training_estimate import TrainingEstimate
from .whole_step import estimate_step

MOST_LEVERS = 4
"""Changes that are made together, beside what is trained and the cards."""
MORE = (2, 4, 8)
"""How many times the cards are tried."""
Lever = tuple[str, dict[str, Any]]
"""A flag as far as it goes, and the fields that it sets."""
ADAPTERS: tuple[Lever, ...] = (
    ("--method lora", {"method": "lora", "optimizer": None, "precision": None}),
    ("--method qlora", {"method": "qlora", "optimizer": None, "precision": None}),
)


def of_several(estimate: TrainingEstimate) -> tuple[Change, ...]:
    """Return the fewest changes that fit together on these cards, for each way to train that fits at all;
    else on the fewest more of them.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .whole_step import estimate_step
    >>> asked = TrainingAsked(framework="trl", method="lora", micro_batch=16, optimizer="sgd")
    >>> [each.flags for each in of_several(estimate_step(load("codellama-7b"), asked, parse_gpu("a10")))]
    ['--micro-batch 1 --precision bf16', '--micro-batch 1 --method qlora']
    """
    here, least = list[Change](), MOST_LEVERS + 1
    for fixed in ways(estimate):
        made = fewest(estimate, fixed, estimate.hardware)
        if made and (count := made.flags.count("--") - len(fixed)) < least:
            here.append(made)
            least = count
    if here:
        return tuple(here)
    for fixed in ways(estimate):
        most = fewest(estimate, fixed, times(estimate.hardware, MORE[-1]))
        less = (fewest(estimate, fixed, times(estimate.hardware, factor)) for factor in MORE[:-1] if most)
        if made := next(filter(None, less), most):
            return (made,)
    return ()


def ways(estimate: TrainingEstimate) -> Iterator[tuple[Lever, ...]]:
    """Yield what is trained: as asked, then adapters, then those of packed matrices."""
    yield ()
    methods = ("full", "lora", "qlora")
    for lever in ADAPTERS[methods.index(estimate.request.method) :]:
        yield (lever,)


def levers(estimate: TrainingEstimate) -> tuple[Lever, ...]:
    """Return what makes room and trains the same, each as far as it goes: what costs time first."""
    used, found = estimate.request, list[Lever]()
    if used.recompute != "full":
        found.append(("--recompute full", {"recompute": "full", "recompute_modules": ()}))
    if used.loss == "plain" and used.task in ("pretrain", "sft"):
        found.append(("--loss fused", {"loss": "fused"}))
    if estimate.asked.micro_batch > 1:
        found.append(("--micro-batch 1", {"micro_batch": 1}))
    divided = used.sharding in ("none", "ddp", "zero1", "zero2")
    if estimate.mesh.dp * estimate.mesh.cp > 1 and divided:
        found.append(("--zero 3", {"sharding": "zero3"}))
    if used.optimizer.startswith("adamw") and "8bit" not in used.optimizer:
        found.append(("--optimizer adamw-8bit", {"optimizer": "adamw-8bit"}))
    if recipe(used.precision).name != "bf16" and not framework(used.framework).megatron_core:
        found.append(("--precision bf16", {"precision": "bf16"}))
    return (*found, *to_the_host(estimate, 3 if estimate.mesh.dp * estimate.mesh.cp > 1 else 2))


def to_the_host(estimate: TrainingEstimate, stage: Literal[2, 3] = 2) -> tuple[Lever, ...]:
    """Return what moves the optimizer's states to the host: a stage of DeepSpeed's under transformers,
    on one card too; elsewhere by the framework itself; under FSDP all that a rank owns goes; () where they
    lie there.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .whole_step import estimate_step
    >>> ways = (TrainingAsked(framework="trl"), TrainingAsked(framework="torchtune"))
    >>> ways = (*ways, TrainingAsked(framework="fsdp", sharding="fsdp2"))
    >>> model, card = load("qwen2.5-7b"), parse_gpu("a100-80gb:2")
    >>> [flag for each in ways for flag, _ in to_the_host(estimate_step(model, each, card))]
    ['--zero 2 --offload optimizer', '--offload optimizer', '--offload params,optimizer']
    """
    used = estimate.request
    if "optimizer" in used.offload or used.optimizer.startswith("paged"):
        return ()
    if used.sharding in ("fsdp1", "fsdp2", "hsdp"):
        return (("--offload params,optimizer", {"offload": ("params", "optimizer")}),)
    offload = (*used.offload, "optimizer")
    if used.sharding in ("none", "ddp") and framework(used.framework).runs_transformers:
        sharding = "zero2" if stage == 2 else "zero3"
        return ((f"--zero {stage} --offload optimizer", {"sharding": sharding, "offload": offload}),)
    return (("--offload optimizer", {"offload": offload}),)


def fewest(estimate: TrainingEstimate, fixed: tuple[Lever, ...], hardware: Hardware) -> Change | None:
    """Return the first of the smallest sets of levers with which it fits on some cards beside what is fixed;
    None where it does not with all of them that go together: what is on the host is stepped there, where no
    packed states are, and not every card has BF16."""
    able = [lever for lever in levers(estimate) if not _joined(fixed).keys() & lever[1].keys()]

    def made(chosen: tuple[Lever, ...]) -> Change | None:
        together = (*chosen, *fixed)
        asked = estimate.asked._replace(**_joined(together))
        words = [flag for flag, _ in together]
        if hardware != estimate.hardware:
            more, asked = wider(estimate, asked, hardware)
            words.append(more)
        return change(estimate, " ".join(words), asked, hardware)

    apart = [{one, *other} for one in ("offload", "optimizer") for other in ((), ("precision",))]
    if not any(made(tuple(lever for lever in able if not each & lever[1].keys())) for each in apart):
        return None
    sets = (chosen for count in range(MOST_LEVERS + 1) for chosen in combinations(able, count))
    return next((found for chosen in sets if apart_from_each_other(chosen) and (found := made(chosen))), None)


def apart_from_each_other(chosen: tuple[Lever, ...]) -> bool:
    """Return whether no two levers set the same field."""
    return len(_joined(chosen)) == sum(len(fields) for _, fields in chosen)


def more_cards(
    estimate: TrainingEstimate, asked: TrainingAsked
) -> Iterator[tuple[str, TrainingAsked, Hardware]]:
    """Yield two, four and eight times the cards."""
    for factor in MORE:
        hardware = times(estimate.hardware, factor)
        yield *wider(estimate, asked, hardware), hardware


def times(hardware: Hardware, factor: int) -> Hardware:
    """Return so many times the cards, in full machines."""
    more = hardware._replace(num_gpus=hardware.num_gpus * factor)
    return more._replace(per_node=max(more.per_node, min(more.num_gpus, more.card.gpus_per_node)))


def wider(estimate: TrainingEstimate, asked: TrainingAsked, hardware: Hardware) -> tuple[str, TrainingAsked]:
    """Return the question on more cards, over which ZeRO or FSDP cuts the states: whichever was asked for,
    FSDP where neither was."""
    zero = estimate.request.sharding.startswith("zero")
    wide = asked._replace(sharding="zero3" if zero else "fsdp2", mesh=estimate.mesh._replace(dp=0))
    return f"{'--zero 3' if zero else '--fsdp'} on {hardware.num_gpus} cards", wide


def _joined(levers: tuple[Lever, ...]) -> dict[str, Any]:
    return {name: value for _, fields in levers for name, value in fields.items()}


def change(estimate: TrainingEstimate, text: str, asked: TrainingAsked, hardware: Hardware) -> Change | None:
    """Return a change that fits and leaves more than there is now; None: it does not, or is only surer."""
    left = room(estimate, asked, hardware)
    if left is None or left <= estimate.headroom_bytes:
        return None
    return Change(text, left - estimate.headroom_bytes, left)


def room(estimate: TrainingEstimate, asked: TrainingAsked, hardware: Hardware) -> int | None:
    """Return the headroom in bytes of another question about the same model; None where it does not fit."""

    def answered() -> int | None:
        try:
            other = estimate_step(estimate.model, asked, hardware, estimate.companions)
        except OomlessError:
            return None
        return other.headroom_bytes if other.verdict == "fits" else None

    return tried((asked, hardware), answered)
