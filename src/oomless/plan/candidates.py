"""What candidates of serving and of training have in common, and the search over cards that makes them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from ..run.card_names import flag_name, offered_name
from ..run.cards import Card, Hardware, cards
from ..run.hardware import parse_gpu
from ..units import format_bytes
from .goals import Wanted
from .launch import Launch
from .prices import Price, cheapest

if TYPE_CHECKING:  # of two searches a plan makes one
    from ..estimate.serving.estimate import Estimate
    from ..estimate.training.training_estimate import TrainingEstimate
    from ..speed.serving import ServingSpeed
    from ..speed.training import TrainingSpeed

NO_ROOM, NO_HOST = "does not fit", "needs more of the host than --host-memory"
NOT_RUN = "the engine does not run it there"
NO_DIVISION = "the model does not divide so"
NO_LAUNCH = "no launch file can say it"
NEAREST_MISSES = 20
"""Of the nearest misses, what an answer says."""


class Candidate(Protocol):
    """A setting on some cards that holds what is asked: what ranking and every view read of it."""

    @property
    def hardware(self) -> Hardware: ...
    @property
    def gpu(self) -> str: ...
    @property
    def estimate(self) -> "Estimate | TrainingEstimate": ...
    @property
    def speed(self) -> "ServingSpeed | TrainingSpeed | None": ...
    @property
    def price(self) -> Price | None: ...
    @property
    def runner(self) -> str: ...
    @property
    def layout_words(self) -> str: ...
    @property
    def ranked_last(self) -> bool:
        """Whether it comes after rows that are equal in all else."""
        return False

    @property
    def weights(self) -> str:
        """How weights are stored; "" where all rows have the same."""
        return ""

    @property
    def cost(self) -> float | None: ...

    @property
    def usd_per_hour(self) -> float | None:
        return None if self.price is None else self.price.usd_per_hour(self.hardware.num_gpus)

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Rent over tokens: output of the asked load, or trained ones."""
        if self.usd_per_hour is None or not self.rate:
            return None
        from .buy_or_rent import usd_per_million_tokens

        return usd_per_million_tokens(self.usd_per_hour, self.rate, 1.0)

    @property
    def rate(self) -> float | None:
        """Tokens a second to count on: of a bound the lower end."""
        return None if self.speed is None else self.speed.tokens_per_s.counted_on

    @property
    def ttft_s(self) -> float | None:
        return None

    @property
    def tpot_s(self) -> float | None:
        return None

    @property
    def is_known(self) -> bool:
        """Whether it is known to run at all."""
        return True

    @property
    def is_bound(self) -> bool:
        """Whether its speed is what the hardware allows at best, and no more is known."""
        return self.speed is not None and self.speed.tokens_per_s.kind == "bound"

    @property
    def is_measured(self) -> bool:
        """Whether its speed goes back to measurements of this class of card and engine."""
        return self.speed is not None and self.speed.tokens_per_s.kind == "fitted"

    @property
    def fits(self) -> bool:
        """Return whether it fits whatever the estimate's doubt: a tight row does not."""
        return self.estimate.verdict == "fits"

    @property
    def headroom_bytes(self) -> int:
        return self.estimate.headroom_bytes


AnyRow = TypeVar("AnyRow", bound=Candidate)


class Miss(NamedTuple):
    """The candidate that came nearest to fitting, of cards that hold it in no setting."""

    gpu: str
    engine: str
    what: str
    missing_bytes: int


class Searched(NamedTuple, Generic[AnyRow]):
    """All rows, what was left out by reason, and the nearest misses."""

    rows: tuple[AnyRow, ...]
    excluded: "Counter[str]"
    misses: tuple[Miss, ...]
    num_candidates: int
    num_estimates: int


class PlannedRow(NamedTuple, Generic[AnyRow]):
    """A row of the answer."""

    row: AnyRow
    arguments: tuple[str, ...]
    """Of `oomless`, which re-estimates it."""
    launch: Launch
    why: str
    """Why it lost against the first row; "" for that."""
    on_front: bool
    copies: int = 1
    """Engines that one card holds, each with the whole load; 1 for rows of several cards, and for training.
    """

    def __repr__(self) -> str:
        row = self.row
        how = f"{row.layout_words}, {row.weights} weights" if row.weights else row.layout_words
        parts = [
            f"{row.gpu}, {row.runner}, {how}: {row.estimate.verdict}",
            f"{format_bytes(row.headroom_bytes)} to spare",
            *([] if row.rate is None else [f"{row.rate:,.0f} tokens/s"]),
            *([] if row.usd_per_hour is None else [f"{row.usd_per_hour:,.2f} USD an hour"]),
        ]
        return ", ".join(parts)


MOST_SHOWN = 20


def plan_screen(
    question: str, rows: "Sequence[PlannedRow[AnyRow]]", num_more: int, excluded: dict[str, int]
) -> str:
    """Return a plan as a short text: what was asked, a line a row, what was left out."""
    lines = [f"{number}. {each!r}" for number, each in enumerate(rows[:MOST_SHOWN], 1)]
    num_more += len(rows[MOST_SHOWN:])
    lines += [f"... and {num_more:,} more"] if num_more else []
    out = [f"left out, {count:,}: {reason}" for reason, count in excluded.items()]
    return "\n".join([question, *(lines or ["nothing holds it within the limits"]), *out])


class CardSearch(Generic[AnyRow]):
    """Every card in turn, with what is counted on the way."""

    makers: tuple[str, ...] = ()
    """Of cards that are looked at where the user names none; (): all."""

    def __init__(self, wanted: Wanted, table: tuple[Price, ...] | None) -> None:
        self.wanted, self.table = wanted, table
        self.excluded: Counter[str] = Counter()
        self.misses: dict[str, Miss] = {}
        self.num_candidates = self.num_estimates = 0

    def of_card(self, card: Card, fixed: Hardware | None) -> Iterable[AnyRow]:
        """The rows of one card; of these cards alone where their number is given."""
        raise NotImplementedError

    def run(self) -> Searched[AnyRow]:
        """All rows."""
        rows = [row for card, fixed in self.cards() for row in self.of_card(card, fixed)]
        held = {row.gpu for row in rows}
        misses = sorted(
            (miss for miss in self.misses.values() if miss.gpu not in held),
            key=lambda miss: miss.missing_bytes,
        )
        return Searched(tuple(rows), self.excluded, tuple(misses), self.num_candidates, self.num_estimates)

    def cards(self) -> Iterator[tuple[Card, Hardware | None]]:
        """The cards to look at, and the hardware where its number is given."""
        vendors = {vendor.lower() for vendor in self.wanted.vendors}
        for word in self.wanted.gpus:
            hardware = parse_gpu(word)
            counted = ":" in word or "+" in word or word.startswith(("cpu", "local"))
            yield hardware.card, hardware if counted else None
        for card in () if self.wanted.gpus else cards().values():
            known = not self.makers or card.vendor in self.makers
            if card.memory_bytes and known and (not vendors or card.vendor.lower() in vendors):
                yield card, None

    def price(self, hardware: Hardware) -> Price | None:
        card, wanted = offered_name(hardware), self.wanted
        return (
            cheapest(card, hardware.num_gpus, wanted.tier, wanted.providers, wanted.regions, self.table)
            if card
            else None
        )

    def gpu_word(self, hardware: Hardware) -> str:
        return gpu_word(hardware, self.wanted.gpus)

    def without(self, reason: str) -> AnyRow | None:
        """No row, and why."""
        self.excluded[reason] += 1
        return None

    def miss(self, hardware: Hardware, engine: str, what: str, missing_bytes: int) -> None:
        """Remember the nearest of those that do not fit."""
        gpu = self.gpu_word(hardware)
        if gpu not in self.misses or missing_bytes < self.misses[gpu].missing_bytes:
            self.misses[gpu] = Miss(gpu, engine, what, missing_bytes)


def gpu_word(hardware: Hardware, words: tuple[str, ...]) -> str:
    """The cards as --gpu takes them; what the catalogue has no name for (a size, a slice, a mixed machine) as
    the user wrote it.

    >>> gpu_word(parse_gpu("h100:16"), ()), gpu_word(parse_gpu("rtx-3090+rtx-4090"), ("rtx-3090+rtx-4090",))
    ('h100-80gb-sxm5:8x2', 'rtx-3090+rtx-4090')
    """
    name = flag_name(hardware.card)
    if hardware.mixed or not name:
        for word in words:
            meant = parse_gpu(word)
            if (meant.card, meant.mixed) == (hardware.card, hardware.mixed):
                several = hardware.num_gpus > 1 and ":" not in word and not hardware.mixed
                return f"{word}:{hardware.num_gpus}" if several else word
        return hardware.card.name
    return (
        f"{name}:{hardware.per_node}x{hardware.num_nodes}"
        if hardware.num_nodes > 1
        else f"{name}:{hardware.num_gpus}"
    )
