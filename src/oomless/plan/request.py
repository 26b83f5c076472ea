"""The question as it is put in Python: the flags of `oomless plan` as keywords."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..engines import engines as records
from ..errors import UsageError
from ..model.model import Model
from ..run.hardware import parse_gpu
from ..run.options import by_keyword, given
from ..speed.host_offload import need_speed
from .answer import Plan, plan_serving
from .goals import PlanLimits, Wanted, WantedTraining
from .prices import Price

if TYPE_CHECKING:
    from .training_answer import TrainingPlan

GOALS_BY_FLAG = ("cheapest", "fastest", "fewest")


def plan(
    model: str | Model,
    *,
    for_: str = "infer",
    prices: str | Sequence[str] | Sequence[Price] = (),
    offline: bool = False,
    revision: str | None = None,
    **flags: Any,
) -> "Plan | TrainingPlan":
    """Which cards and settings hold the load, ranked. The flags are those of `oomless plan`; what may repeat
    is one value or a list.

    >>> found = plan("deepseek-r1", gpu=["h100", "h200"], context=32768, concurrency=64)
    >>> found.rows[0].row.gpu, found.rows[0].row.price.provider
    ('h200-141gb-sxm:8', 'E2E Networks')
    """
    return plan_for(for_, model, flags, read_all(prices), offline, revision)


def plan_for(
    purpose: str,
    model: str | Model,
    flags: dict[str, Any],
    table: "tuple[Price, ...] | None",
    offline: bool,
    revision: str | None,
) -> "Plan | TrainingPlan":
    """Return the plan of a purpose."""
    wanted, training = asked_of(purpose, flags)
    if training is None:
        return plan_serving(model, wanted, table, offline=offline, revision=revision)
    from .training_answer import plan_training

    return plan_training(model, wanted, training, table, offline=offline, revision=revision)


def asked_of(purpose: str, flags: dict[str, Any]) -> tuple[Wanted, WantedTraining | None]:
    """Return the question of flags, of training with a second part; what belongs to the other purpose is
    refused.

    >>> asked_of("infer", {"gpu": "h100", "fastest": True, "max_gpus": 8})[0].limits.max_gpus
    8
    """
    if purpose not in GROUPS_OF:
        raise UsageError(f"--for {purpose} is not known", f"it is {' or '.join(GROUPS_OF)}", "purpose")
    values, known = said(flags), by_keyword("plan")
    for other, groups in GROUPS_OF.items():
        wrong = sorted(name for name in values if known[name].group in groups and other != purpose)
        if wrong:
            raise UsageError(
                f"{known[wrong[0]].flag} belongs to --for {other}",
                "leave it out, or ask for that",
                wrong[0],
            )
    check_together(values)
    if purpose == "infer":
        return wanted_of(values), None
    own = {name: values.pop(name) for name in WantedTraining._fields if name in values}
    return wanted_of({"max_gpus": MAX_TRAINING_GPUS, **values}), WantedTraining(**own)


GROUPS_OF = {"infer": ("load", "serving"), "train": ("training",)}
"""Groups of options that only one purpose has."""


def said(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that flags set; an empty list and a switch that is off say nothing."""
    values = given("plan", flags)
    return {name: value for name, value in values.items() if value != () and value is not False}


def check_together(values: dict[str, Any]) -> None:
    """Refuse flags of which one makes another idle: more cards than the user's own limit, host memory that no
    asked engine fills; and an engine whose speed nobody knows."""
    engines, most = values.get("engines", ()), values.get("max_gpus")
    for name in engines:
        need_speed(name)
    fillers = [each.name for each in records() if each.fills_host] if "host_memory" in values else []
    if fillers and engines and not set(engines) & set(fillers):
        raise UsageError(
            f"--host-memory is filled by {' and '.join(fillers)}, --engine is {' and '.join(engines)}",
            "leave one of them out",
            "host_memory",
        )
    for word in values.get("gpus", ()):
        if most is not None and (":" in word or "+" in word) and (num := parse_gpu(word).num_gpus) > most:
            raise UsageError(
                f"--gpu {word} is {num} cards, --max-gpus {most}", "they contradict each other", "gpus"
            )


MAX_TRAINING_GPUS = 64


def wanted_of(values: dict[str, Any]) -> Wanted:
    """Return the question of fields of the table."""
    goals = [name for name in GOALS_BY_FLAG if values.get(name)]
    if len(goals) > 1:
        raise UsageError(f"--{' and --'.join(goals)} contradict each other", "rank by one of them", goals[1])
    rest = {name: value for name, value in values.items() if name not in GOALS_BY_FLAG}
    limits = PlanLimits(**{name: rest.pop(name) for name in PlanLimits._fields if name in rest})
    if goals:
        rest["goal"] = goals[0]
    if unknown := set(rest) - set(Wanted._fields):
        table = by_keyword("plan")
        name = min(unknown)
        raise UsageError(f"{table[name].flag} is no part of this question", "leave it out", name)
    return Wanted(**rest, limits=limits)


def read_all(prices: str | Sequence[str] | Sequence[Price]) -> tuple[Price, ...] | None:
    """The prices that count: those of files, those that are given, or None for the tables."""
    if not prices:
        return None
    from .price_files import read_prices

    words = [prices] if isinstance(prices, str) else prices
    found: list[Price] = []
    for word in words:
        found += read_prices(word).prices if isinstance(word, str) else [word]
    return tuple(found)
