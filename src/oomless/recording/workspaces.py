"""What kernels of a card allocate beside their outputs: rows of facts/workspaces.csv, each with a source and
whether it was checked.

They are part of a trace under a name of their own (`workspace of ...`) and make its lines assumed: no row was
measured on a card yet.
"""

from functools import cache
from typing import NamedTuple

from .. import facts

NAME = "workspace of"


class Workspace(NamedTuple):
    """One row."""

    operator: str
    capability_from: float
    rule: str
    constant: int
    checked: bool
    source: str


@cache
def table() -> tuple[Workspace, ...]:
    """A row an operator."""
    return tuple(
        Workspace(
            operator,
            float(row["capability_from"]),
            row["rule"],
            int(row["constant"]),
            row["checked"] != "not yet checked",
            row["source"],
        )
        for row in facts.table("workspaces")
        for operator in row["operators"].split()
    )
