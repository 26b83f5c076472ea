"""How far a file may lie from the tensors that are predicted for it."""

from ..records import Record


class SizeSpread(Record):
    """Lowest and highest bytes of a file's tensors, as shares of those that are predicted."""

    experts: tuple[float, float]
    others: tuple[float, float]
