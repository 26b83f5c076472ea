"""A workload on an estimate: the simulation, what its requests met, its course over time, and the closed form
beside it."""

from collections.abc import Sequence
from statistics import quantiles
from typing import NamedTuple

from ..engines.speed_classes import speed_class
from ..errors import UsageError
from ..estimate.serving.estimate import Estimate
from .band import bound, spread
from .batching import MEMORY, Memory, Policy, Request, Served, Simulation, simulate
from .cost import step_cost
from .serving import evidence_of, left_out, notes, places, speed_of
from .setup import Setup, setup_of
from .steady import added

BINS = 24


class Spread(NamedTuple):
    """A quantity over all requests."""

    what: str
    unit: str
    mean: float
    p50: float
    p90: float
    p99: float
    most: float


class Slice(NamedTuple):
    """One of equal slices of the time that a workload takes."""

    start_s: float
    running: float
    waiting: float
    cache_share: float
    output_tokens_per_s: float


class Steady(NamedTuple):
    """What the closed form says: the number that runs when as many tokens leave as requests bring."""

    saturated: bool
    running: float
    tpot_s: float
    ttft_s: float
    tokens_per_s: float


class Dynamic(NamedTuple):
    """The answer for a workload. With several replicas the requests are dealt in turn and one replica is
    simulated."""

    estimate: Estimate
    policy: Policy
    num_requests: int
    refused: int
    """Requests longer than the cache."""
    replicas: int
    arrival_rate: float
    mean_prompt: float
    mean_output: float
    duration_s: float
    tokens_per_s: float
    mean_running: float
    most_running: int
    evictions: int
    num_steps: int
    spreads: tuple[Spread, ...]
    slices: tuple[Slice, ...]
    steady: Steady
    band: float
    """Factor by which times and rates may be off either way."""
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Everything but the estimate."""
        return {
            "policy": self.policy._asdict(),
            **{
                name: getattr(self, name)
                for name in self._fields
                if name not in ("estimate", "policy", "spreads", "slices", "steady")
            },
            "spreads": [each._asdict() for each in self.spreads],
            "slices": [each._asdict() for each in self.slices],
            "steady": self.steady._asdict(),
        }


def policy_of(
    estimate: Estimate,
    setup: Setup,
    memory: str = "evict",
    chunked: bool = True,
    shared_prefix: int = 0,
    token_budget: int | None = None,
) -> Policy:
    """The scheduler's room on one replica of an estimate: its cache in tokens, its sequences, its budget."""
    request = estimate.request
    groups = setup.split.dp
    if memory not in MEMORY:
        raise UsageError(f"--memory-policy {memory!r} is not known", f"known are {', '.join(MEMORY)}")
    kind: Memory = next(each for each in MEMORY if each == memory)
    if shared_prefix < 0:
        raise UsageError(f"--shared-prefix is {shared_prefix}", "it must be 0 or more")
    if token_budget is not None and token_budget < 1:
        raise UsageError(f"--token-budget is {token_budget}", "it must be 1 or more")
    rules = speed_class(setup.run.engine)
    return Policy(
        capacity_tokens=tokens_together(estimate) * groups,
        max_running=(request.max_num_seqs or DEFAULT_RUNNING) * groups,
        token_budget=token_budget or setup.budget,
        groups=groups,
        micro_batches=setup.micro_batches,
        memory=kind,
        chunked=chunked,
        mixed=rules.mixes_prompts,
        max_length=request.max_model_len or 0,
        block_size=request.block_size or DEFAULT_BLOCK,
        shared_prefix=shared_prefix,
        kept_free=rules.keeps_free_of_groups if groups > 1 else rules.keeps_free,
    )


def tokens_together(estimate: Estimate) -> int:
    """Return the tokens of all sequences that run together in one data-parallel group: where layers keep a
    window, more than the engine prints, which counts each sequence as if it filled a step alone."""
    cache = estimate.kv_cache
    if not any(group.window for rank in estimate.ranks for group in rank.cache.groups):
        return cache.max_tokens
    return max(cache.max_tokens, int(cache.max_concurrency * estimate.request.context))


DEFAULT_RUNNING = 256
DEFAULT_BLOCK = 16


def run_workload(
    estimate: Estimate, requests: Sequence[Request], policy: Policy | None = None, host: str | None = None
) -> Dynamic:
    """Simulate a workload on an estimate."""
    if not requests:
        raise UsageError("the workload has no requests", "give at least one")
    setup = setup_of(estimate, host)._replace(drafts=None)
    policy = policy or policy_of(estimate, setup)
    if policy.capacity_tokens < 1:
        raise UsageError(
            "there is no room for a cache", "take more or larger cards; `oomless infer` shows what is missing"
        )
    ordered = sorted(requests)
    mine = ordered[:: estimate.replicas]
    done = simulate(mine, step_cost(setup), policy)
    if done.refused == len(mine):
        raise UsageError(
            "every request is longer than the cache or than --max-model-len",
            f"the shortest has {min(one.prompt_tokens + one.output_tokens for one in mine):,} tokens",
        )
    prompts = sum(one.prompt_tokens for one in ordered) / len(ordered)
    outputs = sum(one.output_tokens for one in ordered) / len(ordered)
    lasted = ordered[-1].arrival_s - ordered[0].arrival_s
    rate = (len(ordered) - 1) / lasted if lasted > 0 else float("inf")
    duration = done.moments[-1].time_s if done.moments else 0.0
    tokens = done.moments[-1].output_tokens * estimate.replicas if done.moments else 0
    warnings = list[str]()
    if estimate.replicas > 1:
        warnings.append(
            f"requests are dealt in turn to {estimate.replicas} replicas; one of them is simulated"
        )
    if done.refused:
        warnings.append(
            f"{done.refused:,} requests are longer than the cache or than --max-model-len and are refused"
        )
    if setup.is_bound:
        warnings += notes(setup, evidence_of(setup), 0)
    warnings += left_out(estimate, drafts_count=False)
    return Dynamic(
        estimate,
        policy,
        len(ordered),
        done.refused,
        estimate.replicas,
        rate if rate != float("inf") else 0.0,
        prompts,
        outputs,
        duration,
        tokens / duration if duration else 0.0,
        added(one.finished_s - one.started_s for one in done.served) / duration if duration else 0.0,
        max((moment.running for moment in done.moments), default=0),
        done.num_evictions,
        done.num_steps,
        spreads(done.served),
        slices(done, policy),
        steady(setup, estimate, rate / estimate.replicas, prompts, outputs, policy),
        bound(1.0).high if setup.is_bound else spread("serving", evidence_of(setup)),
        tuple(warnings),
    )


def spreads(served: Sequence[Served]) -> tuple[Spread, ...]:
    """Queue, first token, time between tokens and whole time of all requests."""
    several = [one for one in served if one.output_tokens > 1]
    return tuple(
        _spread(what, values)
        for what, values in (
            ("waiting for a place", [one.started_s - one.arrival_s for one in served]),
            ("first token", [one.ttft_s for one in served]),
            ("between tokens", [one.tpot_s for one in several]),
            ("whole request", [one.finished_s - one.arrival_s for one in served]),
        )
        if values
    )


def _spread(what: str, values: list[float]) -> Spread:
    percentiles = quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
    half, nine, most = (percentiles[index - 1] for index in (50, 90, 99))
    return Spread(what, "s", added(values) / len(values), half, nine, most, max(values))


def slices(done: Simulation, policy: Policy) -> tuple[Slice, ...]:
    """The course over time, in BINS slices: means over the time of a slice."""
    if not done.moments:
        return ()
    length = done.moments[-1].time_s / BINS
    sums = [[0.0, 0.0, 0.0, 0.0, 0.0] for _ in range(BINS)]  # running, waiting, cached, tokens, time
    before, tokens = 0.0, 0
    for moment in done.moments:
        lasted, made = moment.time_s - before, moment.output_tokens - tokens
        index = min(int(before / length), BINS - 1)
        at = before
        while lasted > 0 and at < moment.time_s:
            end = min(length * (index + 1), moment.time_s) if index < BINS - 1 else moment.time_s
            part = end - at
            for place, amount in enumerate(
                (moment.running, moment.waiting, moment.cached_tokens, made / lasted, 1.0)
            ):
                sums[index][place] += amount * part
            at, index = end, min(index + 1, BINS - 1)
        before, tokens = moment.time_s, moment.output_tokens
    return tuple(
        Slice(
            number * length,
            running / taken,
            waiting / taken,
            cached / taken / policy.capacity_tokens,
            made / taken,
        )
        for number, (running, waiting, cached, made, taken) in enumerate(sums)
        if taken
    )


def steady(
    setup: Setup, estimate: Estimate, rate: float, prompt: float, output: float, policy: Policy
) -> Steady:
    """The closed form: the load at which tokens leave as fast as requests ask for them (Little: running =
    rate x time of a request).

    Ignored: that arrivals bunch and lengths differ, which makes the simulation's tails.
    """
    whole = round(prompt) + round(output)
    room = min(places(estimate, whole), policy.max_running)
    asked, own = rate * output, max(round(prompt) - policy.shared_prefix, 1)

    def at(running: float) -> tuple[float, float, float]:
        kept = round(prompt) - own
        speed = speed_of(setup, own, max(round(output), 1), running, room, kept=kept)
        return speed.tokens_per_s.value, speed.tpot_s.value, speed.ttft_s.value

    most, between, first = at(room)
    if asked >= most:
        return Steady(True, room, between, first, most * estimate.replicas)
    alone, between, first = at(1.0)
    if asked <= alone:
        return Steady(False, asked / alone, between, first, asked * estimate.replicas)
    low, high = 1.0, room
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[0] < asked else (low, middle)
    _, between, first = at(high)
    return Steady(False, high, between, first, asked * estimate.replicas)


BISECTIONS = 24
