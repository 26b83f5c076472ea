"""The search: every card, engine, form, cache type, size and layout that can hold the load, estimated once;
what cannot is bounded away.

A candidate is not estimated if its weights alone (exact bytes, from an estimate of the same layout on a card
of the same kind, or the published ones over its ranks) are more than its cards hold. Nothing is called
fitting that was not estimated.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ..engines import engine as record
from ..errors import OomlessError, UnsupportedError, UsageError
from ..estimate.serving.drafting import drafts_with
from ..estimate.serving.estimate import Estimate, estimate_serving
from ..estimate.serving.notes import cut_off
from ..model.attention import V4, V41, Linear, Sliding
from ..model.model import Model
from ..run.cards import Card, Hardware
from ..run.serving import Asked, Layout
from ..speed.band import Figure
from ..speed.serving import ServingSpeed, serving_speed
from ..units import parse_bytes
from .candidates import NO_DIVISION, NO_HOST, NO_ROOM, NOT_RUN, Candidate, CardSearch
from .goals import Wanted
from .prices import Price
from .space import Form, engines_of, forms_of, kinds_of_cache, resident_bytes, sizes_of


class RowFields(NamedTuple):
    """What a row is made of."""

    hardware: Hardware
    gpu: str
    """Its word for --gpu, with the number of cards."""
    replicas: int
    asked: Asked
    estimate: Estimate
    speed: ServingSpeed | None
    """None: the card's bandwidth is not known."""
    price: Price | None
    """None: nobody known rents it out."""


class PlanRow(RowFields, Candidate):
    """A candidate that holds the load."""

    @property
    def cost(self) -> float | None:
        """What the cheapest row has least of: rent, since the load is the same for all."""
        return self.usd_per_hour

    @property
    def ttft_s(self) -> float | None:
        """Seconds to the first token to count on: of a bound the upper end."""
        return None if self.speed is None else later(self.speed.ttft_s)

    @property
    def tpot_s(self) -> float | None:
        return None if self.speed is None else later(self.speed.tpot_s)

    @property
    def layout_words(self) -> str:
        """The axes that are used."""
        return layout_text(self.estimate.request.worked)

    @property
    def weights(self) -> str:
        request = self.estimate.request
        return request.quantization or self.estimate.model.quantization or request.dtype

    @property
    def is_known(self) -> bool:
        return self.estimate.support.runs == "runs"

    @property
    def runner(self) -> str:
        """What runs it: the engine."""
        return self.asked.engine

    @property
    def ranked_last(self) -> bool:
        return record(self.asked.engine).candidates.ranked_last


def later(time: Figure) -> float:
    """A time to compare with a limit.

    >>> later(Figure(0.1, 0.1, 0.9, "bound")), later(Figure(0.1, 0.05, 0.2, "fitted"))
    (0.9, 0.1)
    """
    return time.high if time.kind == "bound" else time.value


class Bound(NamedTuple):
    """Exact bytes of a layout that no card of its kind changes."""

    weights: int
    cache: int


NO_COPIES = "several copies of the engine on a card: how each takes its share is not known"
TOO_LONG = "longer than the model or the engine admits"


LENGTHS = ("max_model_len", "max_num_batched_tokens")
"""Options by which a sequence is too long."""


class Search(CardSearch[PlanRow]):
    """One search over a model: it remembers bounds, and counts what it leaves out."""

    def __init__(
        self, model: Model, word: str, wanted: Wanted, table: tuple[Price, ...] | None = None
    ) -> None:
        super().__init__(wanted, table)
        self.model, self.word = model, word
        self.context = wanted.whole(model)
        self.input_len, self.output_len = wanted.lengths(model)
        self.bounds: dict[tuple[object, ...], Bound] = {}
        self.windows = model.kinds.has(Sliding, V4, V41, Linear)
        self.resident = resident_bytes(model)

    def of_card(self, card: Card, fixed: Hardware | None) -> Iterator[PlanRow]:
        """The rows of one card."""
        sizes = sizes_of(card, self.wanted.limits.max_gpus, fixed)
        for engine in engines_of(card, self.wanted.engines, self.wanted.concurrency):
            if self.wanted.speculation is not None and not drafts_with(engine, self.wanted.speculation):
                self.without(NOT_RUN)
                continue
            for form in forms_of(self.model, engine, card, self.wanted.quantizations):
                yield from self.of_form(engine, form, sizes)

    def of_form(self, engine: str, form: Form, sizes: list[Hardware]) -> Iterator[PlanRow]:
        """Sizes upwards. A replica of what already held the whole load is not tried: it only costs more."""
        alone: set[Layout] = set()
        for hardware in sizes:
            yield from self.of_machine(engine, form, hardware, alone)

    def of_machine(
        self, engine: str, form: Form, hardware: Hardware, alone: set[Layout]
    ) -> Iterator[PlanRow]:
        """The rows of so many cards; `alone` takes the layouts of which one copy holds the whole load."""
        for layout, replicas in record(engine).candidates.layouts(self.model, hardware):
            if replicas > 1 and (layout in alone or replicas > self.wanted.concurrency):
                continue
            for kind in kinds_of_cache(engine, self.wanted.kv_cache_dtypes):
                row = self.candidate(engine, form, kind, hardware, layout, replicas)
                if row is not None:
                    yield row
                    if replicas == 1:
                        alone.add(layout)
                    break
                if kind == "auto" and self.hopeless:
                    break

    hopeless = False
    """Whether the last candidate failed by more than a smaller cache could bring."""

    def candidate(
        self, engine: str, form: Form, kind: str, hardware: Hardware, layout: Layout, replicas: int
    ) -> PlanRow | None:
        """One candidate: bounded, estimated, or left out with its reason."""
        self.num_candidates += 1
        self.hopeless = True
        if self.wanted.instances > 1 and not record(engine).candidates.shares_card:
            return self.without(NO_COPIES)
        memory = hardware.card.memory_bytes
        host = record(engine).fills_host and self.wanted.host_memory is not None
        if not host and self.resident * form.least_share > memory * layout.num_ranks:
            return self.without(NO_ROOM)
        each = -(-self.wanted.concurrency // replicas)
        key = (
            engine,
            form.quantization,
            kind,
            layout,
            each,
            hardware.card.compute_capability,
            hardware.card.vendor,
        )
        bound = self.bounds.get(key)
        if not host and bound is not None and bound.weights + bound.cache > memory // self.wanted.instances:
            self.hopeless = bound.weights > memory // self.wanted.instances
            return self.without(NO_ROOM)
        asked = self.question(engine, form, kind, layout, each)
        self.num_estimates += 1  # once, whatever shares of the card are tried for it
        try:
            estimate = self.estimate(asked, hardware)
            if host and estimate.verdict == "does_not_fit":
                asked, estimate = self.on_the_host(asked, estimate, hardware)
            if not estimate.starts:
                asked, estimate = self.with_share(asked, estimate, hardware)
        except (UnsupportedError, UsageError) as error:
            self.hopeless = error.field != record(engine).cache_field
            if not self.hopeless or isinstance(error, UnsupportedError):
                return self.without(NOT_RUN)
            return self.without(TOO_LONG if error.field in LENGTHS else NO_DIVISION)
        if cut_off(self.model, asked):
            return self.without(TOO_LONG)
        self.bounds[key] = self.bound_of(estimate)
        if estimate.verdict == "does_not_fit":
            worst = estimate.ledger
            self.hopeless = worst.low_bytes - worst.by_category().get("kv_cache", 0) > worst.capacity_bytes
            self.miss(hardware, engine, layout_text(layout), -estimate.headroom_bytes)
            return self.without(NO_ROOM)
        if host and estimate.ram_bytes > parse_bytes(self.wanted.host_memory or "0B"):
            return self.without(NO_HOST)
        return PlanRow(
            hardware,
            self.gpu_word(hardware),
            replicas,
            asked,
            estimate,
            self.speed(estimate),
            self.price(hardware),
        )

    def bound_of(self, estimate: Estimate) -> "Bound":
        """What the layout's worst rank takes on any card of the kind. Blocks of windows grow with the batch,
        which goes by the card's size."""
        found = [
            Bound(sums.get("weights", 0), sums.get("kv_cache", 0))
            for sums in (each.by_category() for each in estimate.ledgers)
        ]
        worst = max(found, key=lambda bound: bound.weights + bound.cache)
        return worst._replace(cache=0) if self.windows else worst

    def question(self, engine: str, form: Form, kind: str, layout: Layout, each: int) -> Asked:
        """The serving question of a candidate; its batch is raised only where the engine's own would be too
        small."""
        per_group = -(-each // layout.dp)
        slots, step = record(engine).candidates.sets_slots, record(engine).candidates.least_step
        asked = Asked(
            engine=engine,
            layout=layout,
            quantization=form.quantization,
            max_model_len=self.wanted.max_model_len or self.context,
            max_num_seqs=per_group if per_group > LEAST_BATCH or slots else None,
            max_num_batched_tokens=max(per_group, USUAL_STEP) if 0 < step < per_group else None,
            context=self.context,
            concurrency=self.wanted.concurrency,
            instances=self.wanted.instances,
            speculation=self.wanted.speculation,
        )
        return asked if kind == "auto" else asked.with_values({record(engine).cache_field: kind})

    def estimate(self, asked: Asked, hardware: Hardware) -> Estimate:
        return estimate_serving(self.model, asked, hardware)

    def with_share(self, asked: Asked, own: Estimate, hardware: Hardware) -> tuple[Asked, Estimate]:
        """The first share of the card that surely holds the load, where the engine's own leaves no cache and
        the card has the room (SGLang's keeps much for graphs under attention in groups)."""
        if own.ledger.low_bytes <= hardware.card.memory_bytes // asked.instances:
            for share in (each for each in record(asked.engine).candidates.tuned if each.purpose == "share"):
                for value in share.values:
                    told = asked.with_values({share.field: value})
                    found = self.estimate(told, hardware)
                    if found.verdict == "fits":
                        return told, found
        return asked, own

    def on_the_host(self, asked: Asked, best: Estimate, hardware: Hardware) -> tuple[Asked, Estimate]:
        """llama.cpp with the fewest layers' experts, or else the fewest layers, in host memory."""
        num_layers = len(self.model.layers)
        experts = "n_cpu_moe" in {each.field for each in record(asked.engine).candidates.offloads}
        experts = experts and any(tensor.role == "expert" for tensor in self.model.tensors)
        low, high = 0, num_layers
        found = (asked, best)
        while high - low > 1 or found[1] is best:
            middle = (low + high + 1) // 2 if found[1] is not best else high
            moved = (
                asked._replace(n_cpu_moe=middle)
                if experts
                else asked._replace(n_gpu_layers=num_layers + 1 - middle)
            )
            answer = self.estimate(moved, hardware)
            if answer.verdict != "fits":
                if middle == num_layers:
                    return asked, best
                low = middle
            else:
                found, high = (moved, answer), middle
        return found

    def speed(self, estimate: Estimate) -> ServingSpeed | None:
        try:
            load = {
                "input_len": self.input_len,
                "output_len": self.output_len,
                "concurrency": self.wanted.concurrency,
            }
            return serving_speed(estimate, **load, host=self.wanted.host)
        except OomlessError:
            return None


LEAST_BATCH = 256
"""Engines run at least so many sequences at once unless told otherwise."""
USUAL_STEP = 8192
"""Tokens of a step of large cards, which one that must be told has at least."""


def layout_text(layout: Layout) -> str:
    """TP 8, PP 2: the axes that are used.

    >>> (
    ...     layout_text(Layout(tp=8, pp=2)),
    ...     layout_text(Layout(dp=16, enable_expert_parallel=True)),
    ...     layout_text(Layout()),
    ... )
    ('TP 8, PP 2', 'DP 16, EP', 'one card')
    """
    parts = [f"{axis} {size}" for axis, size in layout.axes.items()]
    if layout.enable_expert_parallel or layout.ep_size > 1:
        parts.append("EP")
    return ", ".join(parts) or "one card"
