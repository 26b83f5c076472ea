"""The rows of a tuned answer: the best setting of each layout, each with what starts it, what asks it again,
what it changes, and the largest rate of requests that it serves inside a promise."""

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import quantiles
from typing import Any, NamedTuple

from ...engines import engine
from ...errors import OomlessError
from ...estimate.serving.estimate import Estimate
from ...run.options import arguments
from ...run.serving import Asked
from ...speed.batching import Policy, Served, simulate
from ...speed.cost import StepCost, step_cost
from ...speed.dynamic import policy_of
from ...speed.serving import left_out, places, speed_of
from ...speed.setup import setup_of
from ...speed.workload import Lengths, poisson
from ..answer import arguments_of, launch_of
from ..candidates import PlannedRow
from ..launch.serving import ServedWeights
from ..plan_json import row_json
from ..prices import Price
from ..search import PlanRow
from .order import Standing, TunedRow, flag_words
from .question import TuneQuestion
from .search import TuneLoad
from .slo import NO_PROMISE, Slo


class TunedSetting(NamedTuple):
    """A row of the answer."""

    planned: PlannedRow[PlanRow]
    standing: Standing
    changes: tuple[str, ...]
    """Flags that differ from what was asked."""
    of_quality: tuple[str, ...]
    """Those of them that may cost quality."""
    max_request_rate: float | None
    """Requests a second inside the promise, over all cards; None: no promise, or no measured speed."""
    speed_arguments: tuple[str, ...]
    """Of `oomless`, which ask for the speed again."""
    left_out: tuple[str, ...]
    """What the figures of speed do not count."""

    @property
    def row(self) -> PlanRow:
        return self.planned.row

    @property
    def on_the_host(self) -> bool:
        """Return whether the setting leaves weights to the host."""
        asked = self.row.asked
        return any(each.field in asked.changed() for each in engine(asked.engine).candidates.offloads)

    def to_json(self) -> dict[str, Any]:
        """Return the row as plan has it, with what tuning adds."""
        estimate = self.row.estimate
        return row_json(self.planned) | {
            "standing": self.standing,
            "starts": estimate.starts,
            "at_once": estimate.at_once,
            "changes": list(self.changes),
            "changes_of_quality": list(self.of_quality),
            "max_request_rate": self.max_request_rate,
            "speed": list(self.speed_arguments),
            "left_out": list(self.left_out),
        }


class AskedPlace(NamedTuple):
    """MODEL and cards as they were asked for."""

    model_word: str
    gpu_word: str
    served: ServedWeights | None = None
    """What a pasted command serves; its form is where the search begins."""

    def served_in(self, row: TunedRow, start: Asked, published: str) -> ServedWeights | None:
        """Return what a row serves: what the command does, unless its weights lie in another form there than
        the row has; None: the catalogue's."""
        if self.served is None or row.asked.quantization == start.quantization:
            return self.served
        made = (None, "none", published, *engine(start.engine).start.made_on_loading)
        return self.served._replace(form=published) if start.quantization in made else None


def best_of_each(rows: Iterable[TunedRow]) -> list[TunedRow]:
    """Return the first setting of each layout with each form of weights and cache, of rows in order."""
    found: dict[tuple[object, ...], TunedRow] = {}
    for row in rows:
        form = tuple(row.asked.value(field) for field in row.of_quality)
        found.setdefault((row.asked.layout, row.of_quality, form), row)
    return list(found.values())


def tuned_setting(
    question: TuneQuestion, place: AskedPlace, row: TunedRow, first: TunedRow, price: Price | None
) -> TunedSetting:
    """Return a row of the answer; with a promise its largest rate of requests is bisected."""
    estimate, load, word, gpu = row.estimate, question.load, place.model_word, place.gpu_word
    whole = PlanRow(question.hardware, gpu, estimate.replicas, row.asked, estimate, row.speed, price)
    asks = arguments_of(estimate, row.asked, word, gpu)
    why = "" if row is first else why_not(row, first)
    served = place.served_in(row, question.start, question.model.quantization)
    rate = None
    if question.slo != NO_PROMISE:
        lengths = load.input_len, load.output_len
        rate = max_request_rate(estimate, lengths, question.slo, question.shared_prefix, question.seed)
    return TunedSetting(
        PlannedRow(whole, asks, launch_of(question.model, word, whole, served), why, False),
        row.standing,
        flag_words(question.start, row.asked, row.changed),
        flag_words(question.start, row.asked, row.of_quality),
        rate,
        speed_arguments(row, word, gpu, load),
        left_out(estimate),
    )


def speed_arguments(row: TunedRow, word: str, gpu: str, load: TuneLoad) -> tuple[str, ...]:
    """Return the `speed` command that asks for the same figures."""
    asked = row.asked._replace(context=None, concurrency=None)
    same = arguments_of(row.estimate, asked, word, gpu)[2:]
    lengths = [(name, str(getattr(load, name))) for name in ("input_len", "output_len")]
    return ("speed", word, *same, *arguments("speed", [*lengths, ("concurrency", load.concurrency)]))


def why_not(row: TunedRow, first: TunedRow) -> str:
    """Return why a setting came after the first one."""
    if first.estimate.support.runs == "runs" != row.estimate.support.runs:
        return "nobody is known to have run it"
    if row.standing == "may not start" != first.standing:
        return "it may not start"
    if first.runs_all and not row.runs_all:
        once, whole = row.estimate.at_once, row.estimate.asked.concurrency or 1
        if once >= whole:
            return "tight: the estimate's spread does not settle that it fits"
        return f"{once:,} of {whole:,} at once, the rest waits"
    if left_out(row.estimate) and not left_out(first.estimate):
        return "its speed is not counted in full"
    if first.rate and row.rate < first.rate:
        return f"{row.rate / first.rate:.2f} x the tokens a second"
    return "more changes, or less room"


REQUESTS = 200
"""Requests of a replica that are simulated."""
ATTAINED = 90
"""Percent of the requests that must keep each promise."""
LEAST = 4096
"""A rate so many times below the most that the setting serves counts as none."""
PRECISION = 1.02


def max_request_rate(
    estimate: Estimate, lengths: tuple[int, int], slo: Slo, shared_prefix: int = 0, seed: int = 0
) -> float | None:
    """Return the most requests a second over all replicas of which 90 % keep each promise; 0.0 where not even
    rare ones do, None where no speed was measured of such a machine.

    The requests of a replica (200) have the load's own lengths and exponential gaps, as `oomless speed
    --arrival-rate` simulates them; the rate is found to 2 %, and is at most that of the closed form with a
    full cache, since a burst of any rate is served in the end. 90 % is what "goodput" papers count
    (DistServe, OSDI 2024). Ignored: lengths that differ.

    >>> from ...estimate.serving.estimate import estimate_serving
    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Asked, Layout
    >>> eight = estimate_serving(
    ...     load("deepseek-r1"), Asked(layout=Layout(tp=8), max_model_len=16384), parse_gpu("h200:8")
    ... )
    >>> rates = [max_request_rate(eight, (2000, 500), Slo(2.0, tpot)) for tpot in (0.02, 0.05)]
    >>> 0 < rates[0] < rates[1]
    True
    """
    try:
        setup = setup_of(estimate)
        policy = policy_of(estimate, setup, shared_prefix=shared_prefix)
        cost = step_cost(setup)
    except OomlessError:
        return None
    if setup.is_bound or policy.capacity_tokens < 1:
        return None
    own = max(lengths[0] - shared_prefix, 1), lengths[1]
    room = min(places(estimate, sum(own)), float(policy.max_running))
    most = speed_of(setup, *own, room, room, estimate.replicas).tokens_per_s.value / lengths[1]

    def keeps(rate: float) -> bool:
        return is_kept(rate, estimate.replicas, lengths, slo, cost, policy, seed)

    if keeps(most):
        return most
    low, high = most / LEAST, most
    if not keeps(low):
        return 0.0
    while high / low > PRECISION:
        middle = sqrt(low * high)
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def is_kept(
    rate: float,
    replicas: int,
    lengths: tuple[int, int],
    slo: Slo,
    cost: StepCost,
    policy: Policy,
    seed: int,
) -> bool:
    """Return whether the requests of one replica, of all that come at a rate, keep the promise."""
    prompt, output = (Lengths(each, each) for each in lengths)
    requests = poisson(rate, REQUESTS * replicas, prompt, output, seed)
    done = simulate(requests[::replicas], cost, policy)
    if done.refused or not done.served:
        return False
    return slo.excess(*attained(done.served)) <= 1


def attained(served: Sequence[Served]) -> tuple[float, float]:
    """Return the times that ATTAINED percent of the requests stay below: to the first token, between
    tokens."""
    several = [each.tpot_s for each in served if each.output_tokens > 1]
    return percentile([each.ttft_s for each in served]), percentile(several) if several else 0.0


def percentile(values: list[float]) -> float:
    """Return the value that ATTAINED percent stay below.

    >>> percentile([1.0, 2.0]), percentile([3.0])
    (1.9, 3.0)
    """
    return quantiles(values, n=100, method="inclusive")[ATTAINED - 1] if len(values) > 1 else values[0]
