"""What a rank holds while it loads, where a question asks for that: most load what stays."""

from typing import NamedTuple

from .rank import Placed


class Loading(NamedTuple):
    """What a rank holds while it loads a checkpoint of 16 bit, where that is more than what stays.

    It is said, where it is too much for the card, and decides nothing: in six public cases of six the flag
    names a checkpoint that is published in the form (405B and GLM-4.6 in FP8), which loads as it stays.
    """

    placed: list[Placed]
    """Its tensors at that moment."""
    why: str
    """Which rule of the engine that is."""
    instead: str
    """What loads less."""
    source: str
