"""Figure and Part, the shapes in which times and rates leave this room, and how far off one may be: a band by
what was measured of its kind, on its class of card and with its engine."""

from functools import cache
from typing import Literal, NamedTuple

from ..facts import select, table

FigureKind = Literal["fitted", "assumed", "bound"]


class Figure(NamedTuple):
    """A time or a rate with its band; nine of ten measurements are meant to lie inside it."""

    value: float
    low: float
    high: float
    kind: FigureKind
    """fitted: measured for this class of card and engine; assumed: taken over from other ones; bound:
    nothing is known but what the hardware allows at best. That is the value then, and the other end of the
    band is the worst share of it that was ever seen."""

    def times(self, factor: float) -> "Figure":
        """The figure in another unit."""
        return Figure(self.value * factor, self.low * factor, self.high * factor, self.kind)

    def over(self, amount: float) -> "Figure":
        """`amount` divided by the figure: a time becomes a rate, so the ends of the band change places.

        >>> Figure(0.5, 0.4, 1.0, "fitted").over(10)
        Figure(value=20.0, low=10.0, high=25.0, kind='fitted')
        """
        return Figure(amount / self.value, amount / self.high, amount / self.low, self.kind)

    @property
    def counted_on(self) -> float:
        """The figure to compare others with: of a rate that is a bound, the lower end."""
        return self.low if self.kind == "bound" else self.value

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return {"value": self.value, "low": self.low, "high": self.high, "kind": self.kind}


class TimePart(NamedTuple):
    """Seconds that one thing takes in a forward pass of the slowest rank, and where the number comes from."""

    what: str
    seconds: float
    formula: str
    source: str


Kind = Literal["decode", "prefill", "serving", "throughput", "train"]


class Coverage(NamedTuple):
    """What is known of a case."""

    device: str
    engine: str
    model_known: bool = True
    several: bool = False
    """Several cards share the model."""
    nodes: bool = False
    """They are in several nodes."""
    sparse: bool = False
    """Routed experts or linear attention under llama.cpp on NVIDIA cards, whose kernels for them changed from
    release to release."""
    served: bool = False
    """A prompt passes a server before its first token: tokeniser, queues between processes, HTTP."""


def spread(kind: Kind, evidence: Coverage) -> float:
    """Return the factor by which a figure may be off either way: the most particular row of bands.csv that
    applies.

    >>> spread("decode", Coverage("gddr", "llamacpp")) < spread("decode", Coverage("cpu", "vllm"))
    True
    """
    holds = {
        "several": evidence.several,
        "nodes": evidence.nodes,
        "sparse": evidence.sparse,
        "served": evidence.served,
        "unnamed": not evidence.model_known,
        "unmeasured": not measured(kind, evidence),
    }
    return select("bands", (kind,), [word for word, true in holds.items() if true]).constant.value


def measured(kind: Kind, evidence: Coverage) -> bool:
    """Return whether rows of this kind were measured on this class of card with this engine."""
    return (evidence.device, evidence.engine, kind) in _measured()


@cache
def _measured() -> frozenset[tuple[str, str, str]]:
    return frozenset((row["device"], row["engine"], row["kind"]) for row in table("measured"))


def figure(value: float, kind: Kind, evidence: Coverage) -> Figure:
    """A value with its band."""
    factor = spread(kind, evidence)
    return Figure(value, value / factor, value * factor, "fitted" if measured(kind, evidence) else "assumed")


def bound(seconds: float) -> Figure:
    """A time of which nothing is known but that the hardware cannot do better."""
    factor = select("bands", ("bound",)).constant.value
    return Figure(seconds, seconds, seconds * factor, "bound")
