"""What a training question needs on whatever card of a generation, so that one estimate serves many cards."""

from typing import NamedTuple

from ..estimate.training.training_estimate import TrainingEstimate
from ..ledger import Ledger
from ..run.cards import Hardware
from ..run.training import TrainingAsked

BY_SEQUENCE = ("activations.kept", "activations.kept_below", "activations.running", "activations.in_flight")
"""Lines that are there once for each sequence of a micro-batch; under adapters autograd keeps changed weights
among them."""


class Needed(NamedTuple):
    """What the worst rank takes of its own accord: without the process around it, and without what an
    allocator holds only where there is room."""

    low_bytes: int
    high_bytes: int
    activations_high_bytes: int
    """Of the high end, what there is once for each sequence of the micro-batch."""

    def high_bytes_of(self, times: int) -> int:
        """Return the least that the high end can be of so many times the micro-batch: at the moment that is
        now the fullest its activations are so many times as large, and the rest is not less."""
        return self.high_bytes + (times - 1) * self.activations_high_bytes


class NearMiss(NamedTuple):
    """A question that does not fit, and what is missing at least."""

    missing_bytes: int
    asked: TrainingAsked
    hardware: Hardware


def near_first(miss: NearMiss) -> int:
    """Order by what is missing."""
    return miss.missing_bytes


class NeededBytes:
    """What the estimates that were made say of other cards.

    Kernels and types follow from the maker and the generation of a card, groups from the cards of a machine;
    the lines of the policy are then the same.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[TrainingAsked, int, int, str, int], Needed] = {}

    def of(self, asked: TrainingAsked, hardware: Hardware) -> Needed | None:
        """Return what is known of a question on such cards."""
        return self.known.get(key_of(asked, hardware))

    def remember(self, asked: TrainingAsked, hardware: Hardware, estimate: TrainingEstimate) -> Needed:
        """Return what an estimate says of all such cards."""
        needed = [of_ledger(ledger, asked.method == "full") for ledger in estimate.ledgers]
        fullest = max(needed, key=lambda each: each.high_bytes)
        found = fullest._replace(low_bytes=max(each.low_bytes for each in needed))
        self.known[key_of(asked, hardware)] = found
        return found


def key_of(asked: TrainingAsked, hardware: Hardware) -> tuple[TrainingAsked, int, int, str, int]:
    """Return what the lines of the policy follow from."""
    card = hardware.card
    return asked, hardware.num_gpus, hardware.per_node, card.vendor, card.major


def of_ledger(ledger: Ledger, full: bool) -> Needed:
    """Return what one group of ranks needs on any card of the generation."""
    lines = [each for each in ledger.lines if each.owner == "policy" and each.key != "fragmentation.reserved"]
    return Needed(
        sum(line.low_bytes for line in lines),
        sum(line.high_bytes for line in lines),
        sum(line.high_bytes for line in lines if full and line.key in BY_SEQUENCE),
    )
