"""The question as it is put in Python: the flags of `oomless plan` as keywords."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from ..engines import engines as records
from ..errors import UsageError, did_you_mean
from ..model.model import Model
from ..run.hardware import parse_gpu
from .answer import Plan, plan_serving
from .goals import Limits, Wanted
from .prices import Price

if TYPE_CHECKING:
    from .training_answer import TrainingPlan

ONE_OR_MORE = {
    "gpu": "gpus",
    "engine": "engines",
    "quantization": "quantizations",
    "kv_cache_dtype": "kv_cache_dtypes",
    "vendor": "vendors",
    "provider": "providers",
    "region": "regions",
}
"""Flags that may be given more than once, and the fields that they fill."""
GOAL_FLAGS = ("cheapest", "fastest", "fewest")


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
    """The plan of a purpose; what belongs to the other one is refused."""
    given = {
        name: value
        for name, value in flags.items()
        if value is not None and value != () and value is not False
    }
    if purpose not in FLAGS_OF:
        raise UsageError(f"--for {purpose} is not known", f"it is {' or '.join(FLAGS_OF)}")
    for other in FLAGS_OF:
        wrong = sorted(FLAGS_OF[other] & set(given)) if other != purpose else []
        if wrong:
            raise UsageError(
                f"--{wrong[0].replace('_', '-')} belongs to --for {other}", "leave it out, or ask for that"
            )
    check_together(given)
    if purpose == "infer":
        return plan_serving(model, wanted_from(given), table, offline=offline, revision=revision)
    from .training_answer import plan_training
    from .training_search import WantedTraining

    own = {name: given.pop(name) for name in FLAGS_OF["train"] if name in given}
    if isinstance(own.get("framework"), str):
        own["framework"] = (own["framework"],)
    if "framework" in own:
        own["frameworks"] = tuple(own.pop("framework"))
    wanted = wanted_from({"max_gpus": MAX_TRAINING_GPUS, **given})
    return plan_training(model, wanted, WantedTraining(**own), table, offline=offline, revision=revision)


def check_together(given: dict[str, Any]) -> None:
    """Refuse flags of which one makes another idle: more cards than the user's own limit, host memory that no
    asked engine fills."""
    words, engines = (
        (value,) if isinstance(value, str) else value
        for value in (given.get("gpu", ()), given.get("engine", ()))
    )
    most = given.get("max_gpus")
    fillers = [each.name for each in records() if each.fills_host] if "host_memory" in given else []
    if fillers and engines and not set(engines) & set(fillers):
        raise UsageError(
            f"--host-memory is filled by {' and '.join(fillers)}, --engine is {' and '.join(engines)}",
            "leave one of them out",
        )
    for word in words:
        if (
            isinstance(most, int)
            and (":" in word or "+" in word)
            and (num := parse_gpu(word).num_gpus) > most
        ):
            raise UsageError(f"--gpu {word} is {num} cards, --max-gpus {most}", "they contradict each other")


MAX_TRAINING_GPUS = 64
FLAGS_OF = {
    "infer": {
        "context",
        "concurrency",
        "output_len",
        "max_model_len",
        "engine",
        "quantization",
        "kv_cache_dtype",
        "instances",
        "host",
        "max_ttft_s",
        "max_tpot_s",
    },
    "train": {"seq_len", "global_batch", "method", "framework", "precision", "optimizer", "lora_rank"},
}
"""Flags that only one purpose has."""


def wanted_from(flags: dict[str, Any]) -> Wanted:
    """The question of keywords; None and () mean not given.

    >>> wanted_from({"gpu": "h100", "fastest": True, "max_gpus": 8}).limits.max_gpus
    8
    """
    given = {
        name: value
        for name, value in flags.items()
        if value is not None and value != () and value is not False
    }
    goals = [name for name in GOAL_FLAGS if given.pop(name, None)]
    if len(goals) > 1:
        raise UsageError(f"--{' and --'.join(goals)} contradict each other", "rank by one of them")
    if goals:
        given["goal"] = goals[0]
    for name, field in ONE_OR_MORE.items():
        if name in given:
            value = given.pop(name)
            given[field] = (value,) if isinstance(value, str) else tuple(value)
    limits = Limits(**{name: given.pop(name) for name in Limits._fields if name in given})
    if unknown := set(given) - set(Wanted._fields):
        name = min(unknown)
        known = [*Wanted._fields, *Limits._fields, *ONE_OR_MORE, *GOAL_FLAGS]
        raise UsageError(f"unknown option {name!r}", did_you_mean(name, known, "oomless plan --help"))
    for name, value in {**given, **limits._asdict()}.items():
        kind = {**Wanted.__annotations__, **Limits.__annotations__}.get(name)
        numbers = set(get_args(kind) or (kind,)) & {int, float}
        if (
            value is not None
            and numbers
            and not isinstance(value, bool)
            and not isinstance(value, int | float)
        ):
            raise UsageError(f"{name} is {value!r}", "write a number")
    return Wanted(**given, limits=limits)


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
