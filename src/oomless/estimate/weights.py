"""Placed tensors -> lines: the shapes of each part, and what the allocator adds to them."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

from ..engines import Count, Placed
from ..ledger import Line, exact
from .allocator import SMALL, allocated_bytes, reserved_bytes, rounded

Sizes = tuple[tuple[int, int, tuple[int, ...]], ...]
"""(bytes, count, layers) of each group of equal tensors."""


def weight_lines(placed: Sequence[Placed], counts: Count, what: str) -> list[Line]:
    """One line a part of the model, and one for rounding where torch allocates: their sum is what the engine calls its weights."""
    parts: dict[str, list[Placed]] = {}
    for group in placed:
        parts.setdefault(group.part, []).append(group)
    lines = []
    for part, groups in parts.items():
        total = sum(group.total_bytes for group in groups)
        notes = dict.fromkeys(group.note for group in groups if group.note)
        formula = " + ".join(_formula(group) for group in groups[:MOST_SHOWN])
        if len(groups) > MOST_SHOWN:
            formula += f" + {len(groups) - MOST_SHOWN} smaller groups"
        line = exact("weights", part, total, formula, "; ".join([what, *notes]))
        if part in ("scales on Blackwell", "unexplained tensors"):  # may be there or not
            line = line._replace(kind="assumed", low_bytes=0)
        lines.append(line)
    if counts == "plain":
        return lines
    sizes: Sizes = tuple((group.num_bytes, group.per_layer, group.layers) for group in placed)
    slack = _counted(sizes, counts) - sum(group.total_bytes for group in placed)
    formula = f"torch's {counts} bytes for these tensors in order of creation, less their own bytes"
    lines.append(exact("fragmentation", "allocator rounding of weights", slack, formula, "estimate/allocator.py"))
    return lines


MOST_SHOWN = 12


def _formula(group: Placed) -> str:
    times = group.per_layer * (len(group.layers) or 1)
    short = group.name.removeprefix("model.layers.{}.").removeprefix("model.")
    return f"{short} {times} x {group.num_bytes:,} B" if times > 1 else f"{short} {group.num_bytes:,} B"


@lru_cache(maxsize=4096)
def _counted(sizes: Sizes, counts: Count) -> int:
    """Allocated or reserved bytes of the tensors in order: what is outside of the layers first, then layer after layer.

    Small tensors have segments of their own, so their order does not matter: they go in as one.
    """
    outside: list[int] = []
    by_layer: dict[int, list[int]] = {}
    small = 0
    for num_bytes, count, layers in sizes:
        if num_bytes <= SMALL:
            small += rounded(num_bytes) * count * (len(layers) or 1)
        elif layers:
            for layer in layers:
                by_layer.setdefault(layer, []).extend([num_bytes] * count)
        else:
            outside += [num_bytes] * count
    in_order = chain(outside, *(by_layer[layer] for layer in sorted(by_layer)))
    return (reserved_bytes if counts == "reserved" else allocated_bytes)(in_order, small)
