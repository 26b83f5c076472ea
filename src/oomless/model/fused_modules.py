"""Matrices that a family's own code keeps as one module: what adapters can be named on, and where a group of
matrices shares one input half (facts/fused_modules.csv)."""

from collections.abc import Iterable
from typing import NamedTuple

from .. import facts


class FusedModule(NamedTuple):
    """One module of a family's own code, and the matrices that it is; shared if it is one matrix of them all,
    else a name of one or several."""

    name: str
    parts: tuple[str, ...]
    shared: bool


def fused_modules(family: str) -> tuple[FusedModule, ...]:
    """Return the modules of a family that are several matrices.

    >>> fused_modules("phi3")[0]
    FusedModule(name='qkv_proj', parts=('q_proj', 'k_proj', 'v_proj'), shared=True)
    >>> fused_modules("deepseek_v3")
    ()
    """
    rows = [row for row in facts.table("fused_modules") if row["family"] == family]
    return tuple(
        FusedModule(row["module"], tuple(row["parts"].split()), row["shared"] == "yes") for row in rows
    )


def as_matrices(family: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return names with a module's matrices in its place; a matrix that lies in a fused one stands for all of
    it, since there is no other module to name.

    >>> as_matrices("phi3", ("qkv_proj", "o_proj")), as_matrices("phi3", ("q_proj",))
    (('q_proj', 'k_proj', 'v_proj', 'o_proj'), ('q_proj', 'k_proj', 'v_proj'))
    >>> as_matrices("qwen", ("c_proj", "w1")), as_matrices("qwen", ("o_proj",))
    (('o_proj', 'down_proj', 'up_proj'), ('o_proj',))
    """
    modules = fused_modules(family)
    parts = {part: each.parts if each.shared else (part,) for each in modules for part in each.parts}
    parts |= {each.name: each.parts for each in modules}
    return tuple(dict.fromkeys(part for name in names for part in parts.get(name, (name,))))


def as_modules(family: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return names as the family's code has them.

    >>> as_modules("phi3", ("q_proj", "v_proj", "o_proj"))
    ('qkv_proj', 'o_proj')
    >>> as_modules("qwen", ("q_proj", "o_proj", "up_proj"))
    ('c_attn', 'attn.c_proj', 'w1')
    """
    of_part = {part: each.name for each in reversed(fused_modules(family)) for part in each.parts}
    return tuple(dict.fromkeys(of_part.get(name, name) for name in names))


def shares_input(family: str, name: str) -> bool:
    """Whether a matrix lies in a fused module behind its first one, so that the input half of an adapter is
    the first one's.

    >>> [shares_input("phi3", name) for name in ("q_proj", "v_proj", "o_proj")]
    [False, True, False]
    """
    return any(name in each.parts[1:] for each in fused_modules(family) if each.shared)
