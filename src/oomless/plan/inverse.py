"""Questions the other way round: the largest model for my cards, the longest context of a model on them, the
least quantisation."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from .. import facts
from ..errors import OomlessError, UsageError
from ..model.load import load
from ..model.model import Model
from ..run.hardware import parse_gpu
from ..run.training import recipe
from ..units import parse_bytes
from .answer import Plan, plan_serving
from .goals import Wanted, WantedTraining
from .least_bytes import LEAST_FROZEN_BYTES
from .prices import Price
from .ranking import rank
from .search import PlanRow, Search
from .training_answer import TrainingPlan, plan_training
from .training_search import TrainingRow, searched

Answer = TypeVar("Answer")


class LargestModel(NamedTuple):
    """A model that the cards hold, in its least quantised form, and by the goal among those."""

    name: str
    num_parameters: int
    bits_a_weight: float
    row: PlanRow | TrainingRow


def largest_models(wanted: Wanted, table: tuple[Price, ...] | None = None) -> tuple[LargestModel, ...]:
    """The catalogue's largest models that the load fits with, largest first; a profile that nobody published
    is left out.

    >>> [
    ...     each.name
    ...     for each in largest_models(Wanted(gpus=("rtx-4090:1",), context=4096, engines=("vllm",), rows=1))
    ... ]
    ['gpt-oss-20b']
    """

    def best(model: Model) -> tuple[float, PlanRow] | None:
        rows = rank(
            Search(model, model.name, wanted, table).run().rows, wanted.goal, wanted.limits, False
        ).rows
        held = [(bits_a_weight(each), each) for each in rows if each.fits]
        return max(held, key=lambda each: each[0]) if held else None

    return largest(wanted, table, LEAST_BITS, best)


def largest_trained(
    wanted: Wanted, training: WantedTraining, table: tuple[Price, ...] | None = None
) -> tuple[LargestModel, ...]:
    """The catalogue's largest models that the cards train, largest first, each in its best setting.

    >>> found = largest_trained(
    ...     Wanted(gpus=("rtx-4090:1",), rows=1), WantedTraining(method="qlora", frameworks=("peft",))
    ... )
    >>> [each.name for each in found]
    ['deepseek-r1-distill-qwen-14b']
    """
    training.check()

    def best(model: Model) -> tuple[float, TrainingRow] | None:
        found = searched(model, wanted, training, table)
        rows = rank(found.rows, wanted.goal, wanted.limits, False, True).rows
        held = [each for each in rows if each.fits]
        if not held:
            return None
        stored = recipe(held[0].estimate.request.precision).weight
        return 8 * (LEAST_FROZEN_BYTES["qlora"] if training.method == "qlora" else stored), held[0]

    return largest(wanted, table, 8 * LEAST_TRAINED_BYTES[training.method], best)


LEAST_TRAINED_BYTES = {"full": 2.0, **LEAST_FROZEN_BYTES}
"""Of a weight: what is larger cannot be trained."""


def largest(
    wanted: Wanted,
    table: tuple[Price, ...] | None,
    least_bits: float,
    best: Callable[[Model], tuple[float, PlanRow | TrainingRow] | None],
) -> tuple[LargestModel, ...]:
    """The catalogue's models that have a best row on the cards, largest first; of those whose weights have
    room there with the least bits of any."""
    if not wanted.gpus:
        raise UsageError("--largest-model needs --gpu", "say which cards: --gpu rtx-4090")
    wanted.check(table)
    room = max(parse_gpu(word).card.memory_bytes * cards_of(word, wanted) for word in wanted.gpus)
    room += parse_bytes(wanted.host_memory or "0B")
    found: list[LargestModel] = []
    for row in sorted(facts.table("models_index"), key=lambda row: -int(row["main_params"])):
        if int(row["main_params"]) * least_bits > 8 * room or row["model"].startswith("profile-"):
            continue
        try:
            model = load(row["model"])
            held = best(model)
        except OomlessError:  # a card or an engine that does not run it, a length that it does not have
            continue
        if held is not None:
            found.append(LargestModel(row["model"], model.num_parameters, *held))
        if len(found) == wanted.rows:
            break
    return tuple(found)


LEAST_BITS = 3.0
"""Of a weight in the narrowest form that is planned (Q4_K_M, W4A16), with a margin: what is larger cannot
fit."""


def cards_of(word: str, wanted: Wanted) -> int:
    """How many cards a word of --gpu may become."""
    return parse_gpu(word).num_gpus if ":" in word or "+" in word else wanted.limits.max_gpus


def bits_a_weight(row: PlanRow) -> float:
    """Bits of the weights as they lie on cards and host, over the parameters: what quantisation left of them.

    >>> from .goals import PlanLimits
    >>> wanted = Wanted(
    ...     gpus=("h100:1",), context=4096, engines=("vllm",), quantizations=("none",), limits=PlanLimits()
    ... )
    >>> search = Search(load("deepseek-llm-7b"), "deepseek-llm-7b", wanted)
    >>> [round(bits_a_weight(each), 2) for each in search.run().rows]
    [16.0]
    """
    held = sum(
        ledger.num_ranks * sum(line.bytes for line in ledger.lines if line.category == "weights")
        for ledger in row.estimate.ledgers
    )
    return min(
        8.0
        * (held / row.estimate.replicas + row.estimate.ram_bytes)
        / max(row.estimate.model.num_parameters, 1),
        MOST_BITS,
    )


MOST_BITS = 32.0


def longest_context(
    model: str | Model,
    wanted: Wanted,
    table: tuple[Price, ...] | None = None,
    *,
    offline: bool = False,
    revision: str | None = None,
) -> Plan | None:
    """The plan of the longest sequences, in steps of 1,024 tokens, that the cards hold at the asked
    concurrency; None if not even one step.

    >>> found = longest_context("deepseek-r1", Wanted(gpus=("h200:8",), concurrency=64, engines=("vllm",)))
    >>> found is not None and found.input_len + found.output_len
    8192
    """
    if not wanted.gpus:
        raise UsageError("--longest-context needs --gpu", "say which cards: --gpu h200:8")
    if wanted.context is not None:
        raise UsageError("--longest-context and --context contradict each other", "leave one of them out")
    found = model if isinstance(model, Model) else load(model, offline=offline, revision=revision)

    def answer(length: int) -> Plan | None:
        asked = model if isinstance(model, str) else found
        plan = plan_serving(asked, wanted._replace(context=length), table, offline=offline)
        return plan if plan.rows and plan.rows[0].row.fits else None

    return longest(found.max_positions, answer)


def longest_trained(
    model: Model, wanted: Wanted, training: WantedTraining, table: tuple[Price, ...] | None = None
) -> TrainingPlan | None:
    """The plan of the longest sequences, in steps of 1,024 tokens, that the cards train; None if not even one
    step.

    >>> wanted, qlora = Wanted(gpus=("rtx-4090:1",)), WantedTraining(method="qlora", frameworks=("peft",))
    >>> found = longest_trained(load("llama-3.1-8b"), wanted, qlora)
    >>> found is not None and found.training.seq_len
    14336
    """
    if not wanted.gpus:
        raise UsageError("--longest-context needs --gpu", "say which cards: --gpu h200:8")

    def answer(length: int) -> TrainingPlan | None:
        plan = plan_training(model, wanted, training._replace(seq_len=length), table)
        return plan if plan.rows and plan.rows[0].row.fits else None

    return longest(model.max_positions, answer)


def longest(positions: int, answer: Callable[[int], Answer | None]) -> Answer | None:
    """The answer for the longest sequences that have one, in steps."""
    most = max(positions // STEP, 1)
    low, high = 0, most + 1
    best: Answer | None = None
    while high - low > 1:
        middle = (
            (low + high) // 2 if low or high <= most else most
        )  # the whole length first: most often it fits
        tried = answer(min(middle * STEP, positions))
        if tried is None:
            high = middle
        else:
            low, best = middle, tried
        if low == most:
            break
    return best


STEP = 1024


def least_quantized(plan: Plan) -> Plan:
    """The rows of a plan with the most bits a weight first."""
    ordered = sorted(plan.rows, key=lambda each: (not each.row.fits, -round(bits_a_weight(each.row), 1)))
    return plan._replace(
        rows=tuple(
            each._replace(why="" if number == 0 else words(each.row)) for number, each in enumerate(ordered)
        )
    )


def words(row: PlanRow) -> str:
    return f"{bits_a_weight(row):.1f} bits a weight" + ("" if row.fits else ", tight")
