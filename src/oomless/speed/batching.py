"""Continuous batching, simulated: requests arrive, wait for cache, have their prompts read, decode together,
and may be evicted.

Between two events (an arrival, an end, a full cache) steps differ by their context alone, so they are taken
in one leap: the cost is that of events, not of tokens.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from math import ceil
from typing import Literal, NamedTuple

from ..errors import UsageError
from .cost import StepCost

Memory = Literal["reserve", "no-evict", "evict"]
MEMORY: tuple[Memory, ...] = Memory.__args__  # type: ignore[attr-defined]


class Request(NamedTuple):
    """One request of a workload."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int


class Policy(NamedTuple):
    """What the scheduler may do."""

    capacity_tokens: int
    """Tokens that the paged cache holds."""
    max_running: int
    token_budget: int = 8192
    """Tokens of a step: one for each decoding sequence, the rest for prompts."""
    memory: Memory = "evict"
    """reserve: room for max_length tokens a sequence; no-evict: for its own prompt and output; evict: for
    what it has now, and if the cache is full the youngest sequence gives its room back and is computed
    again later."""
    chunked: bool = True
    """Prompts are read in pieces; else whole prompts go first and decoding waits."""
    mixed: bool = True
    """Pieces of prompts run beside decoding sequences (vLLM, TensorRT-LLM); else a step has either, and
    prompts go first (SGLang without --enable-mixed-chunk)."""
    max_length: int = 0
    block_size: int = 16
    shared_prefix: int = 0
    """Tokens at the beginning of every prompt that are the same: computed and kept once."""
    kept_free: float = 0.0
    """Under evict, of the tokens that running sequences have still to write the share that is kept free when
    another is let in; it falls to LEAST_KEPT of itself over KEPT_STEPS decoding steps (SGLang's
    new_token_ratio)."""
    groups: int = 1
    """Data-parallel groups, which share the budget: a step reads no more of one prompt than a group's."""
    micro_batches: int = 1
    """Of a pipeline, each of which has the budget in a step of all."""


LEAST_KEPT = 0.14
KEPT_STEPS = 600
"""SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR and SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS (sglang/srt/environ.py)."""


class Served(NamedTuple):
    """What became of one request. Times are from the start of the workload; no first token: it never fits."""

    arrival_s: float
    started_s: float
    first_token_s: float
    finished_s: float
    output_tokens: int
    evictions: int

    @property
    def ttft_s(self) -> float:
        return self.first_token_s - self.arrival_s

    @property
    def tpot_s(self) -> float:
        return (self.finished_s - self.first_token_s) / max(self.output_tokens - 1, 1)


class BatchingMoment(NamedTuple):
    """Who ran, waited and held cache in the time up to the end of an event."""

    time_s: float
    running: int
    waiting: int
    cached_tokens: float
    output_tokens: int


class Simulation(NamedTuple):
    """What a workload meets."""

    served: tuple[Served, ...]
    refused: int
    """Requests that are longer than the whole cache."""
    moments: tuple[BatchingMoment, ...]
    num_steps: int
    num_evictions: int


class _Sequence:
    """A request on its way; `length` counts the tokens whose keys and values lie in the cache."""

    __slots__ = (
        "evictions",
        "first_s",
        "generated",
        "late_s",
        "number",
        "request",
        "room",
        "started_s",
        "step",
        "to_read",
        "version",
    )

    def __init__(self, number: int, request: Request, prefix: int) -> None:
        self.number = number
        self.request = request
        self.to_read = max(request.prompt_tokens - prefix, 1)
        self.generated = 0
        self.started_s = -1.0
        self.first_s = -1.0
        self.late_s = 0.0
        self.step = 0
        self.room = 0
        self.version = 0
        self.evictions = 0


def simulate(requests: Sequence[Request], cost: StepCost, policy: Policy) -> Simulation:
    """Serve a workload to its end.

    >>> from .cost import Curve
    >>> step, none = Curve((0, 1), (0.01, 0.01)), Curve((0, 1), (0, 0))
    >>> flat = StepCost(step, step, none, none, 0.0)
    >>> two = simulate([Request(0, 100, 5), Request(0, 100, 5)], flat, Policy(1000, 8))
    >>> two.num_steps, round(two.served[0].finished_s, 3)
    (5, 0.05)
    """
    _check(policy)
    return _Run(requests, cost, policy).to_end()


def _check(policy: Policy) -> None:
    if policy.memory not in MEMORY:
        raise UsageError(f"memory policy {policy.memory!r} is not known", f"known are {', '.join(MEMORY)}")
    for name in ("capacity_tokens", "max_running", "token_budget", "block_size"):
        if getattr(policy, name) < 1:
            raise UsageError(f"{name} is {getattr(policy, name)}", "it must be 1 or more")
    if policy.memory == "reserve" and policy.max_length < 1:
        raise UsageError("reserving the maximum needs a maximum", "give the longest sequence")


class _Run:
    """The state of a simulation."""

    def __init__(self, requests: Sequence[Request], cost: StepCost, policy: Policy) -> None:
        self.cost, self.policy = cost, policy
        order = sorted(range(len(requests)), key=lambda index: requests[index].arrival_s)
        self.arrivals = deque(_Sequence(index, requests[index], policy.shared_prefix) for index in order)
        self.waiting: deque[_Sequence] = deque()
        self.reading: deque[_Sequence] = deque()
        self.ends: list[tuple[int, int, int, _Sequence]] = []
        self.young: list[tuple[int, _Sequence]] = []
        self.decoding = 0
        self.context = 0
        """Tokens of the decoding sequences."""
        self.held = 0
        """Tokens of room that running sequences have or were promised."""
        self.unwritten = 0
        """Tokens that running sequences have still to write."""
        self.leapt = 0
        """Steps that decoded and nothing else."""
        self.time = 0.0
        self.step = 0
        self.tokens = 0
        self.evictions = 0
        self.refused = 0
        self.served: list[Served | None] = [None] * len(requests)
        self.moments: list[BatchingMoment] = []

    def to_end(self) -> Simulation:
        """Run until every request is served or refused, and return what came of each."""
        while self.arrivals or self.waiting or self.reading or self.decoding:
            while self.arrivals and self.arrivals[0].request.arrival_s <= self.time:
                self.waiting.append(self.arrivals.popleft())
            self._admit()
            if self.reading:
                self._mixed_step()
            elif self.decoding:
                self._leap()
            elif self.arrivals:
                self.time = max(self.time, self.arrivals[0].request.arrival_s)
            self.moments.append(
                BatchingMoment(
                    self.time, self.decoding + len(self.reading), len(self.waiting), self._used(), self.tokens
                )
            )
            self._finish()
        served = tuple(each for each in self.served if each is not None)
        return Simulation(served, self.refused, tuple(self.moments), self.step, self.evictions)

    def _rounded(self, tokens: int) -> int:
        block = self.policy.block_size
        return -(-tokens // block) * block

    def _used(self) -> float:
        """Tokens of cache in use: what is promised, or under eviction what is there, half a block a sequence
        beside it."""
        shared = self.policy.shared_prefix
        if self.policy.memory != "evict":
            return self.held + shared
        return self.held + self.context + (self.policy.block_size - 1) / 2 * self.decoding + shared

    def _needs(self, each: _Sequence) -> int:
        """Room to begin with; shared tokens take none of their own."""
        prefix = min(self.policy.shared_prefix, each.request.prompt_tokens)
        match self.policy.memory:
            case "reserve":
                return self._rounded(max(self.policy.max_length - prefix, 1))
            case "no-evict":
                return self._rounded(each.request.prompt_tokens + each.request.output_tokens - prefix)
            case "evict":
                return self._rounded(each.to_read)

    def _admit(self) -> None:
        """From the queue's head on, as long as there is room: nobody overtakes."""
        capacity = self.policy.capacity_tokens
        while self.waiting and self.decoding + len(self.reading) < self.policy.max_running:
            head = self.waiting[0]
            whole = head.request.prompt_tokens + head.request.output_tokens
            room = min(capacity, self.policy.max_length or capacity)
            if whole > room or self._needs(head) + self.policy.shared_prefix > capacity:
                self.waiting.popleft()
                self.refused += 1
                continue
            need = self._needs(head)
            if self._used() + self._kept_free() + need + self.decoding > capacity:
                return
            self.waiting.popleft()
            head.room = need
            self.held += need
            self.unwritten += head.request.output_tokens - head.generated
            if head.started_s < 0:
                head.started_s = self.time
            self.reading.append(head)

    def _kept_free(self) -> float:
        """Room that running sequences will need, as far as it is kept from one that waits."""
        gone = min(self.leapt / KEPT_STEPS, 1.0) * (1 - LEAST_KEPT)
        return self.policy.kept_free * (1 - gone) * self.unwritten

    def _mixed_step(self) -> None:
        """A step with tokens of prompts: beside the decoding sequences, or without them."""
        cut = self.policy.chunked
        beside = cut and self.policy.mixed
        if beside:
            self._make_room()
        batches = self.policy.micro_batches
        whole, groups = self.policy.token_budget * batches, self.policy.groups * batches
        budget = max(whole - (self.decoding if beside else 0), 1)
        of_group = max(budget // groups, 1) if cut else budget
        taken, largest, before, done = 0, 0, 0.0, list[tuple[_Sequence, int]]()
        for each in self.reading:
            there = each.request.prompt_tokens + each.generated - each.to_read
            piece = each.to_read if not cut and not taken else min(each.to_read, budget - taken, of_group)
            if piece <= 0 or (not cut and taken and piece < each.to_read):
                break
            before += piece * (there + piece / 2)
            each.to_read -= piece
            taken, largest = taken + piece, max(largest, piece)
            if each.to_read == 0:
                done.append((each, piece))
            if taken >= budget:
                break
        decoding = self.decoding if beside else 0
        self.time += self.cost.step_s(decoding, self.context, taken, before / taken, largest)
        self.step += 1
        if beside:
            self.context += self.decoding
            self.tokens += self.decoding
            self.unwritten -= self.decoding
        else:  # ends are counted in steps that decode
            self._delay(1)
        for each, piece in done:
            self.reading.remove(each)
            self._begin(each, piece)

    def _delay(self, steps: int) -> None:
        """Steps in which nobody decodes move every end."""
        self.ends = [(end + steps, number, version, each) for end, number, version, each in self.ends]
        for _, _, _, each in self.ends:
            each.step += steps

    def _begin(self, each: _Sequence, piece: int) -> None:
        """The prompt is read, last a piece of it: its last token's logits are the next token."""
        if each.first_s < 0:
            each.late_s = self.cost.late_s(piece)
            each.first_s = self.time + each.late_s
        each.generated += 1
        self.tokens += 1
        self.unwritten -= 1
        each.step = self.step
        left = each.request.output_tokens - each.generated
        if self.policy.memory == "evict":
            self.held -= each.room
            each.room = 0
        self.decoding += 1
        self.context += self._length(each)
        each.version += 1
        heappush(self.ends, (self.step + left, each.number, each.version, each))
        if self.policy.memory == "evict":
            self.young.append((each.version, each))

    def _length(self, each: _Sequence) -> int:
        """Tokens of its own in the cache, when it has decoded up to the current step."""
        prefix = min(self.policy.shared_prefix, each.request.prompt_tokens)
        return each.request.prompt_tokens - prefix + each.generated + self.step - each.step

    def _leap(self) -> None:
        """As many decoding steps as nothing else happens in."""
        self._make_room()
        steps = max(self.ends[0][0] - self.step, 1)
        free = self.policy.capacity_tokens - self._used()
        if self.policy.memory == "evict":
            steps = min(steps, max(int(free // self.decoding), 1))
        first = self.cost.step_s(self.decoding, self.context)
        if self.arrivals and not self.waiting and self.decoding < self.policy.max_running:
            until = self.arrivals[0].request.arrival_s - self.time
            steps = min(steps, max(ceil(until / first), 1))
        last = self.cost.step_s(self.decoding, self.context + self.decoding * (steps - 1))
        self.time += steps * (first + last) / 2
        self.step += steps
        self.leapt += steps
        self.context += steps * self.decoding
        self.tokens += steps * self.decoding
        self.unwritten -= steps * self.decoding

    def _make_room(self) -> None:
        """The youngest sequences give way until every other one can grow by a token; one alone always can."""
        if self.policy.memory != "evict":
            return
        while self.decoding > 1 and self._used() + self.decoding > self.policy.capacity_tokens:
            while True:
                version, each = self.young.pop()
                if version == each.version:
                    break
            length = self._length(each)
            self.decoding -= 1
            self.context -= length
            each.generated += self.step - each.step
            self.unwritten -= each.request.output_tokens - each.generated
            prefix = min(self.policy.shared_prefix, each.request.prompt_tokens)
            each.to_read = max(each.request.prompt_tokens - prefix + each.generated, 1)
            each.version += 1  # its end in the heap counts no longer
            each.evictions += 1
            self.evictions += 1
            self.waiting.appendleft(each)
        while self.ends and self.ends[0][2] != self.ends[0][3].version:
            heappop(self.ends)

    def _finish(self) -> None:
        """Sequences whose last token is there leave."""
        while self.ends and (self.ends[0][0] <= self.step or self.ends[0][2] != self.ends[0][3].version):
            _, _, version, each = heappop(self.ends)
            if version != each.version:
                continue
            self.decoding -= 1
            self.context -= self._length(each)
            self.held -= each.room
            each.version += 1
            one, late_s = each.request, each.late_s
            times = one.arrival_s, each.started_s, each.first_s, self.time + late_s
            self.served[each.number] = Served(*times, one.output_tokens, each.evictions)
