"""Matrices that a family's own code keeps as one module: what adapters can be named on, and where a group of
matrices shares one input half (facts/fused_modules.csv)."""

from collections.abc import Iterable
from typing import NamedTuple

from .. import facts


class FusedModule(NamedTuple):
    """One module of transformers, and the matrices that it is."""

    name: str
    parts: tuple[str, ...]


def fused_modules(family: str) -> tuple[FusedModule, ...]:
    """Return the modules of a family that are several matrices.

    >>> fused_modules("phi3")[0]
    FusedModule(name='qkv_proj', parts=('q_proj', 'k_proj', 'v_proj'))
    >>> fused_modules("deepseek_v3")
    ()
    """
    rows = [row for row in facts.table("fused_modules") if row["family"] == family]
    return tuple(FusedModule(row["module"], tuple(row["parts"].split())) for row in rows)


def as_matrices(family: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return names with a fused module's matrices in its place; a matrix that lies in one stands for all of
    it, since there is no other module to name.

    >>> as_matrices("phi3", ("qkv_proj", "o_proj")), as_matrices("phi3", ("q_proj",))
    (('q_proj', 'k_proj', 'v_proj', 'o_proj'), ('q_proj', 'k_proj', 'v_proj'))
    """
    found: list[str] = []
    for name in names:
        whole = next((each for each in fused_modules(family) if name in (each.name, *each.parts)), None)
        found += whole.parts if whole else (name,)
    return tuple(dict.fromkeys(found))


def as_modules(family: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return names as the family's code has them.

    >>> as_modules("phi3", ("q_proj", "v_proj", "o_proj"))
    ('qkv_proj', 'o_proj')
    """
    of_part = {part: each.name for each in fused_modules(family) for part in each.parts}
    return tuple(dict.fromkeys(of_part.get(name, name) for name in names))


def shares_input(family: str, name: str) -> bool:
    """Whether a matrix lies in a fused module behind its first one, so that the input half of an adapter is
    the first one's.

    >>> [shares_input("phi3", name) for name in ("q_proj", "v_proj", "o_proj")]
    [False, True, False]
    """
    return any(name in each.parts[1:] for each in fused_modules(family))
