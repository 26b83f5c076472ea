"""The largest rate of requests that a setting serves inside a promise, bisected on the simulator."""

from collections.abc import Sequence
from math import sqrt
from statistics import quantiles

from ...errors import OomlessError
from ...estimate.serving.estimate import Estimate
from ...speed.batching import Policy, Served, simulate
from ...speed.cost import StepCost, step_cost
from ...speed.dynamic import policy_of
from ...speed.serving import places, setup_of, speed_of
from ...speed.workload import Lengths, poisson
from .slo import Slo

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
