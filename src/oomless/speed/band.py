"""How far off a figure may be: a band by what was measured of its kind, on its class of card and with its
engine."""

from functools import cache
from typing import Literal, NamedTuple

from ..facts import select, table
from .banded import Figure

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
