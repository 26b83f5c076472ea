"""Figure and Part: the shapes in which times and rates leave this room."""

from typing import Literal, NamedTuple

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
