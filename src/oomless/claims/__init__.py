"""The guide's numbers (facts/guide_claims.csv), each re-derived: statement, verdict, figures, and the command
behind them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import facts
from ..errors import UsageError, did_you_mean
from .evidence import UNSETTLED, Claim, Evidence

if TYPE_CHECKING:
    from .traced import TracedFindings

__all__ = ["Claim", "claim", "claims"]


def claims() -> tuple[Claim, ...]:
    """All claims, in the guide's order."""
    return tuple(claim(row["id"]) for row in facts.table("guide_claims"))


def claim(claim_id: str) -> Claim:
    """One claim by its number, with its evidence worked out anew."""
    wanted = claim_id.strip().upper()
    if wanted[:1] == "C" and wanted[1:].isdecimal() and len(wanted) < 10:
        wanted = f"C{int(wanted[1:]):02}"
    row = next((row for row in facts.table("guide_claims") if row["id"] == wanted), None)
    if row is None:
        known = [row["id"] for row in facts.table("guide_claims")]
        raise UsageError(f"unknown claim {claim_id!r}", did_you_mean(wanted, known, "oomless claims"))
    settle = _settlers().get(wanted)
    evidence = settle() if settle else UNSETTLED
    figures, commands = evidence.figures, evidence.commands
    beside = _beside().get(wanted)
    if beside:
        more = beside()
        figures, commands = (*figures, *more.figures), (*commands, *more.commands)
    return Claim(
        wanted,
        row["section"],
        row["system"],
        row["claim"],
        row["first_reading"],
        row["how_to_settle"],
        evidence._replace(figures=tuple(figure.settled() for figure in figures), commands=commands),
    )


def _beside() -> "dict[str, Callable[[], TracedFindings]]":
    """What traces add to claims that are settled elsewhere."""
    from . import traced

    return dict(traced.BESIDE)


def _settlers() -> dict[str, Callable[[], Evidence]]:
    from . import (
        comparisons,
        compressed,
        compressing,
        money,
        parallel,
        serving,
        speed,
        traced,
        training,
        watched,
    )

    return {
        **serving.SETTLERS,
        **compressed.SETTLERS,
        **money.SETTLERS,
        **training.SETTLERS,
        **parallel.SETTLERS,
        **speed.SETTLERS,
        **traced.SETTLERS,
        **compressing.SETTLERS,
        **watched.SETTLERS,
        **comparisons.SETTLERS,
    }
