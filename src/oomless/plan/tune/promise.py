"""What a setting serves within a promise: the most requests a second, and the order that it gives where none
keeps the promise under the asked load."""

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import quantiles

from ...errors import OomlessError
from ...estimate.serving.estimate import Estimate
from ...speed.batching import Policy, Served, simulate
from ...speed.cost import StepCost, step_cost
from ...speed.dynamic import policy_of
from ...speed.serving import places, speed_of
from ...speed.setup import setup_of
from ...speed.workload import Lengths, poisson
from .order import TunedRow, order, steps
from .question import TuneQuestion
from .slo import Slo


def missed(row: TunedRow, slo: Slo) -> int:
    """Return by how many steps a setting misses a promise under the asked load; 0: it keeps it, or there is
    none."""
    return steps(slo.excess(*row.times))


def by_promise(rows: Iterable[TunedRow], question: TuneQuestion) -> list[TunedRow]:
    """Return the settings worth showing of rows in order, of which none keeps the promise under the asked
    load: those first that serve most requests a second within it. Of each layout and form the first row of
    each pace and batch is tried, and left unless it serves a tenth more than those before it."""
    load, slo = question.load, question.slo
    lengths = load.input_len, load.output_len
    paces, batches = (
        [each.field for each in question.space.levers if each.purpose == purpose]
        for purpose in ("pace", "batch")
    )
    tried, hopeless = set[tuple[object, ...]](), set[tuple[object, ...]]()
    most: dict[tuple[object, ...], float] = {}
    found = list[TunedRow]()
    for row in rows:
        form = form_of(row)
        pace = (*form, *(row.asked.value(field) for field in paces))
        setting = (*pace, *(row.asked.value(field) for field in batches))
        if setting in tried:
            continue
        tried.add(setting)
        above = most.get(form, 0.0)
        rate: float | None = 0.0
        if pace not in hopeless:
            rate = max_request_rate(
                row.estimate, lengths, slo, question.shared_prefix, question.seed, above * WORTH_IT
            )
        if not above and rate == 0:  # a request alone misses it, whatever the batch
            hopeless.add(pace)
        most[form] = max(above, rate or 0.0)
        found.append(row._replace(within_promise=rate))
    return sorted(found, key=lambda row: order(row, slo))


def form_of(row: TunedRow) -> tuple[object, ...]:
    """Return a setting's layout, and the form of its weights and cache where they differ from the asked."""
    return (row.asked.layout, row.of_quality, *(row.asked.value(field) for field in row.of_quality))


REQUESTS = 200
"""Requests of a replica that are simulated."""
ATTAINED = 90
"""Percent of the requests that must keep each promise."""
LEAST = 4096
"""A rate so many times below the most that the setting serves counts as none."""
FEW = 4
"""Rare requests, of which each is alone: where they miss the promise, so do more."""
PRECISION = 1.02
WORTH_IT = 1.1
"""Of the requests within a promise, what makes another setting of a layout worth it: bursts of arrivals fall
differently on either."""


def max_request_rate(
    estimate: Estimate,
    lengths: tuple[int, int],
    slo: Slo,
    shared_prefix: int = 0,
    seed: int = 0,
    above: float = 0.0,
) -> float | None:
    """Return the most requests a second over all replicas of which 90 % keep each promise; 0.0 where not even
    rare ones do, or not more than `above`; None where no speed was measured of such a machine.

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

    low, high = max(most / LEAST, above), most
    if low > high or not is_kept(most / LEAST, 1, lengths, slo, cost, policy, seed, FEW) or not keeps(low):
        return 0.0
    if keeps(high):
        return high
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
    number: int = REQUESTS,
) -> bool:
    """Return whether so many requests of one replica, of all that come at a rate, keep the promise."""
    prompt, output = (Lengths(each, each) for each in lengths)
    requests = poisson(rate, number * replicas, prompt, output, seed)
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
