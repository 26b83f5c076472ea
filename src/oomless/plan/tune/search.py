"""The search over an engine's flags on cards that are given. What is left out cannot be the best:
`TuneSearch` says why, and a test holds it against trying everything."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from ...errors import OomlessError, UnsupportedError
from ...estimate.serving.estimate import Estimate, estimate_serving
from ...estimate.serving.stage_rank import Adjust
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Layout, Resolved
from ...speed.serving import ServingSpeed, left_out, serving_speed, speed_of
from ...speed.setup import setup_of
from ..candidates import NO_DIVISION, NOT_RUN
from .order import STANDINGS, TunedRow, changed_fields, order, quality_fields, standing_of, steps
from .slo import NO_PROMISE, Slo
from .space import TuneSpace

NO_START = "the engine does not start"
SLOWER = "slower than another setting, whatever room it had"
Values = dict[str, Any]


class TuneLoad(NamedTuple):
    """The load of every setting: sequences over all cards, of so many tokens."""

    input_len: int
    output_len: int
    concurrency: int


def is_off(values: Values) -> bool:
    """Return whether graphs are switched off."""
    return any(values.values())


class TuneSearch:
    """One search. Three things are not tried, since they cannot come first:

    - of the shares of a card those below the largest with which the engine surely starts: they hold less;
    - more changes than a setting needs with which nothing waits and graphs run: they serve the same sequences
      in the same steps (with a promise, smaller batches are tried, which serve each sooner);
    - paces and graphs that would be slower than what was found though all of the load ran at once, where none
      of their settings can hold more of the load than that one does.
    """

    def __init__(
        self,
        model: Model,
        hardware: Hardware,
        space: TuneSpace,
        load: TuneLoad,
        slo: Slo = NO_PROMISE,
        adjust: Adjust | None = None,
        *,
        exhaustive: bool = False,
    ) -> None:
        self.model, self.hardware, self.space, self.load = model, hardware, space, load
        self.slo, self.adjust, self.exhaustive = slo, adjust, exhaustive
        self.num_estimates = self.num_faults = 0
        self.fault: OomlessError | None = None
        """The first setting's fault."""
        self.excluded: Counter[str] = Counter()
        self.best: TunedRow | None = None
        self.enough: int | None = None
        """Changes of the setting of this pace with which nothing waits."""
        self.full: set[tuple[object, ...]] = set()
        """Settings of this pace with graphs with which nothing waits."""

    def run(self) -> list[TunedRow]:
        """Return the settings with which the engine starts, best first; where none does, those that leave
        weights to the host."""
        rows = [row for layout in self.space.layouts for row in self.of_layout(layout)]
        if not rows:
            rows = [row for layout in self.space.layouts for row in self.on_the_host(layout)]
        if self.fault is not None and self.num_estimates == self.num_faults:
            raise self.fault  # no setting has an answer
        return sorted(rows, key=self.key)

    def key(self, row: TunedRow) -> tuple[object, ...]:
        return order(row, self.slo)

    def of_layout(self, layout: Layout) -> Iterator[TunedRow]:
        """Yield the settings of a layout, form by form and pace by pace."""
        for form in self.space.forms:
            seen: set[Resolved] = set()
            for pace in self.space.settings(layout, "pace"):
                most = self.roomiest(layout, {**form, **pace})
                if most is None and not self.exhaustive:
                    continue
                if most is not None and not self.exhaustive:
                    if most.estimate.request in seen:
                        continue  # the engine's own pace in other words
                    seen.add(most.estimate.request)
                yield from self.of_pace(layout, {**form, **pace}, most)

    def of_pace(self, layout: Layout, values: Values, most: TunedRow | None) -> Iterator[TunedRow]:
        """Yield what makes room at one pace; `most` is its roomiest setting."""
        self.enough, self.full = None, set()
        for graphs in sorted(self.space.settings(layout, "graphs"), key=is_off):
            if most is not None and self.is_beaten(most, graphs):
                self.excluded[SLOWER] += 1
                continue
            for batch in self.space.settings(layout, "batch"):
                yield from self.of_rooms(layout, {**values, **graphs, **batch})

    def of_rooms(self, layout: Layout, values: Values) -> Iterator[TunedRow]:
        """Yield a batch with what makes room at no cost of time; where all of it together changes nothing
        that counts, no part of it does."""
        rooms = list(self.space.settings(layout, "captures", "room"))
        plain = list(self.of_shares(layout, {**values, **rooms[0]}))
        yield from plain
        if len(rooms) == 1:
            return
        most = self.space.roomiest(layout, "captures", "room")
        if len(rooms) > 2 and not self.exhaustive:
            extreme = list(self.of_shares(layout, {**values, **most}))
            yield from extreme
            if list(map(self.outcome, plain)) == list(map(self.outcome, extreme)):
                return
        for more in rooms[1:]:
            if more != most or len(rooms) == 2 or self.exhaustive:
                yield from self.of_shares(layout, {**values, **more})

    def outcome(self, row: TunedRow) -> tuple[object, ...]:
        """Return what the order tells apart of a setting, but for its changes and its room."""
        return row.standing, row.runs_all, steps(row.rate), steps(self.slo.excess(*row.times))

    def roomiest(self, layout: Layout, values: Values) -> TunedRow | None:
        """Return the setting of a pace that leaves most to the cache; None where it does not start either."""
        more = self.space.roomiest(layout, "batch", "captures", "room", "graphs")
        best: TunedRow | None = None
        for number, share in enumerate(self.space.settings(layout, "share")):
            row = self.row(layout, {**values, **more, **share})
            if row is not None and (
                best is None or STANDINGS.index(row.standing) < STANDINGS.index(best.standing)
            ):
                best = row
            if row is not None and (row.standing == "holds" or (number and row.standing == "queues")):
                break
        return best

    def is_beaten(self, most: TunedRow, graphs: Values) -> bool:
        """Return whether the best so far stands no worse than the roomiest setting here can, and is faster
        than any would be if all of the load ran at once."""
        best = self.best
        if self.exhaustive or best is None or best.speed is None or best.estimate.support.runs != "runs":
            return False
        if not best.runs_all and most.standing == "holds":
            return False
        if best.standing == "may not start" or self.slo.excess(*best.times) > 1:
            return False
        if is_off(graphs) and not best.asked.enforce_eager and not left_out(best.estimate):
            return True
        ideal = self.ideal(most.estimate, graphs)
        return ideal is None or steps(ideal) < steps(best.rate)

    def ideal(self, estimate: Estimate, graphs: Values) -> float | None:
        """Return the tokens a second if all of the load ran at once; None where no speed is known."""
        request = estimate.request
        if graphs:
            request = request._replace(**graphs)
        replicas = estimate.replicas
        here = max(self.load.concurrency / replicas, 1.0)
        try:
            setup = setup_of(estimate._replace(request=request))
            found = speed_of(setup, self.load.input_len, self.load.output_len, here, here, replicas)
        except OomlessError:
            return None
        return found.tokens_per_s.counted_on

    def of_shares(self, layout: Layout, values: Values) -> Iterator[TunedRow]:
        """Yield a setting with the share of the card that was asked, and with the largest other one with
        which the engine surely starts; those with which it may start on the way."""
        for number, share in enumerate(self.space.settings(layout, "share")):
            setting = {**values, **share}
            changes = self.num_changed(setting)
            if self.enough is not None and changes > self.enough + self.is_smaller_batch(setting):
                continue
            if self.is_full_with_graphs(setting):
                continue
            row = self.row(layout, setting)
            if row is None:
                continue
            yield row
            self.note(row, setting, changes)
            if number and row.standing != "may not start" and not self.exhaustive:
                return

    def is_full_with_graphs(self, values: Values) -> bool:
        """Return whether graphs do not stand in the way of a setting without them: it is none worth
        trying."""
        off = any(values[lever.field] for lever in self.space.levers if lever.purpose == "graphs")
        return off and self.without_graphs(values) in self.full

    def without_graphs(self, values: Values) -> tuple[object, ...]:
        """Return a setting but for its graphs."""
        graphs = [lever.field for lever in self.space.levers if lever.purpose == "graphs"]
        return tuple(value for field, value in values.items() if field not in graphs)

    def note(self, row: TunedRow, values: Values, changes: int) -> None:
        """Remember the best setting, and how many changes are enough at this pace."""
        if self.best is None or self.key(row) < self.key(self.best):
            self.best = row
        full = row.standing == "holds" and row.speed is not None and row.speed.waiting <= 0
        if full and not row.asked.enforce_eager:
            self.full.add(self.without_graphs(values))
        if full and not row.asked.enforce_eager and not self.exhaustive:
            self.enough = changes if self.enough is None else min(self.enough, changes)

    def num_changed(self, values: Values) -> int:
        """Return how many fields a setting changes."""
        return sum(value != self.space.start.value(field) for field, value in values.items())

    def is_smaller_batch(self, values: Values) -> bool:
        """Return whether a setting has another batch, where a promise may make that worth it."""
        batch = [lever.field for lever in self.space.levers if lever.purpose == "batch"]
        return self.slo != NO_PROMISE and any(
            values[field] != self.space.start.value(field) for field in batch
        )

    def row(self, layout: Layout, values: Values) -> TunedRow | None:
        """Return one setting, estimated; None, with the reason counted, where it has no answer."""
        asked = self.space.start._replace(layout=layout, **values)
        self.num_estimates += 1
        try:
            estimate = estimate_serving(self.model, asked, self.hardware, self.adjust)
        except OomlessError as error:
            self.excluded[NOT_RUN if isinstance(error, UnsupportedError) else NO_DIVISION] += 1
            self.fault, self.num_faults = self.fault or error, self.num_faults + 1
            return None
        standing = standing_of(estimate)
        if standing is None:
            self.excluded[NO_START] += 1
            return None
        changed = changed_fields(self.space.start, asked)
        quality = quality_fields(self.space, changed)
        return TunedRow(asked, estimate, self.speed(estimate), standing, changed, quality)

    def speed(self, estimate: Estimate) -> ServingSpeed | None:
        """Return how fast a setting serves the load; None where the cards' speed is not known."""
        try:
            return serving_speed(estimate, **self.load._asdict())
        except OomlessError:
            return None

    def on_the_host(self, layout: Layout) -> Iterator[TunedRow]:
        """Yield the settings of each pace that leave least to the host: to start, and to hold the whole load.
        A larger micro-batch is sent the host's matrices less often."""
        for lever, pace in product(self.space.offloads, self.space.settings(layout, "pace")):
            for only_holding in (False, True):
                low, high, found = 0, len(lever.values), None
                while low < high:
                    middle = (low + high) // 2
                    row = self.row(layout, {**pace, lever.field: lever.values[middle]})
                    if row is not None and (row.standing == "holds" or not only_holding):
                        high, found = middle, row
                    else:
                        low = middle + 1
                if found is not None:
                    yield found
