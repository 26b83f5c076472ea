"""How far off a figure may be: a band by what was measured of its kind, on its class of card and with its
engine."""

from typing import Literal, NamedTuple

from .banded import Figure
from .efficiency import efficiency, rows

Kind = Literal["decode", "prefill", "serving", "throughput", "train"]


class Evidence(NamedTuple):
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


def spread(kind: Kind, evidence: Evidence) -> float:
    """The factor by which a figure may be off either way; of the rows that apply the most particular, then
    the later one.

    >>> spread("decode", Evidence("gddr", "llamacpp")) < spread("decode", Evidence("cpu", "vllm"))
    True
    """
    conditions: set[str] = {kind}
    if evidence.several:
        conditions.add("several")
    if evidence.nodes:
        conditions.add("nodes")
    if evidence.sparse:
        conditions.add("sparse")
    if not evidence.model_known:
        conditions.add("unnamed")
    if not measured(kind, evidence):
        conditions.add("unmeasured")
    return efficiency("band", "", "", frozenset(conditions)).value


def measured(kind: Kind, evidence: Evidence) -> bool:
    """Whether rows of this kind were measured on this class of card with this engine."""
    return any(
        row.quantity == "measured"
        and row.device == evidence.device
        and row.engine == evidence.engine
        and kind in row.when
        for row in rows()
    )


def figure(value: float, kind: Kind, evidence: Evidence) -> Figure:
    """A value with its band."""
    factor = spread(kind, evidence)
    return Figure(value, value / factor, value * factor, "fitted" if measured(kind, evidence) else "assumed")


def bound(seconds: float) -> Figure:
    """A time of which nothing is known but that the hardware cannot do better."""
    return Figure(
        seconds, seconds, seconds * efficiency("band", "", "", frozenset(("bound",))).value, "bound"
    )
