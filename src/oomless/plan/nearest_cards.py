"""The best cards of a goal without the whole search: cards are looked at in the order of what the goal
counts, which their number and price tell before anything is estimated, and the walk ends where no later ones
can be better."""

from collections.abc import Iterator
from functools import partial
from heapq import heappop, heappush

from ..kept import tried
from ..run.cards import Card, Hardware
from ..run.serving import Layout
from .goals import Goal
from .ranking import BIG, order
from .search import PlanRow, Search
from .space import Form, engines_of, forms_of, sizes_of

SURE = (False, False, False)
"""A row without doubts: it is known to run, it fits, its speed was measured (the head of `ranking.order`)."""


class NearestCards:
    """Rows of a search in the order of `rank` with one row a machine; each machine is estimated once, and no
    sooner than it can matter."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.rows: dict[Hardware, list[PlanRow]] = {}
        self.costs: dict[Hardware, float] = {}
        self.alone: dict[tuple[Card, str, Form], set[Layout]] = {}
        self.smaller: dict[Hardware, list[Hardware]] = {}
        """Machines in which the weights find room, with fewer of the same cards."""
        for card, fixed in search.cards():
            sizes = [
                each for each in sizes_of(card, search.wanted.limits.max_gpus, fixed) if self.has_room(each)
            ]
            self.smaller |= {hardware: sizes[:at] for at, hardware in enumerate(sizes)}

    def runs_of(self, card: Card) -> Iterator[tuple[str, Form]]:
        """Yield each engine of a card with each form of the weights."""
        wanted = self.search.wanted
        for engine in engines_of(card, wanted.engines, wanted.concurrency):
            for form in forms_of(self.search.model, engine, card, wanted.quantizations):
                yield engine, form

    def has_room(self, hardware: Hardware) -> bool:
        """Return whether the weights, in the narrowest form that is tried, are no more than there is."""
        if self.search.wanted.host_memory is not None:
            return True
        least = min((form.least_share for _, form in self.runs_of(hardware.card)), default=BIG)
        return self.search.resident * least <= hardware.card.memory_bytes * hardware.num_gpus

    def usd_per_hour(self, hardware: Hardware) -> float:
        """Return what the cards are rented for; BIG where nobody rents them out."""
        if hardware not in self.costs:
            price = self.search.price(hardware)
            self.costs[hardware] = BIG if price is None else price.usd_per_hour(hardware.num_gpus)
        return self.costs[hardware]

    def best_of(self, goal: Goal, hardware: Hardware) -> tuple[object, ...]:
        """Return what no row of these cards comes before in the order of a goal."""
        match goal:
            case "cheapest":
                cost = self.usd_per_hour(hardware)
                return (*SURE, cost, hardware.num_gpus if cost == BIG else 0)
            case "fewest":
                return (*SURE, hardware.num_gpus, self.usd_per_hour(hardware))
            case "fastest":
                return SURE

    def of_machine(self, hardware: Hardware) -> list[PlanRow]:
        """Return the rows of so many cards. Fewer of them come first: a copy of what holds the load alone is
        no row."""
        if hardware not in self.rows:
            for fewer in self.smaller[hardware]:
                self.of_machine(fewer)
            self.rows[hardware] = tried(("machine", hardware), lambda: self._rows_of(hardware))
        return self.rows[hardware]

    def _rows_of(self, hardware: Hardware) -> list[PlanRow]:
        return [
            row
            for engine, form in self.runs_of(hardware.card)
            for row in self.search.of_machine(
                engine, form, hardware, self.alone.setdefault((hardware.card, engine, form), set())
            )
        ]

    def ranked(self, goal: Goal) -> Iterator[PlanRow]:
        """Yield the best row of each machine, the best machine first."""
        key, bound = order(goal), partial(self.best_of, goal)
        found: list[tuple[tuple[object, ...], int, PlanRow]] = []
        for number, hardware in enumerate(sorted(self.smaller, key=bound)):
            least = bound(hardware)
            while found and found[0][0][: len(least)] < least:
                yield heappop(found)[2]
            if rows := self.of_machine(hardware):
                best = min(rows, key=key)
                heappush(found, (key(best), number, best))
        while found:
            yield heappop(found)[2]
