"""What `compress` has done, for people: bytes before and after, by format and by kind of module."""

from collections import Counter
from typing import TYPE_CHECKING

from ..units import format_bytes

if TYPE_CHECKING:
    from ..compress.compressed import Compressed

WORST = 5
"""Modules with the largest error that are shown."""


def compress_text(answer: "Compressed") -> str:
    """Return the lines for a terminal."""
    planned = answer.planned
    before, after = planned.source.num_bytes, answer.predicted_bytes
    verb = "written" if answer.folder else "to write"
    lines = [
        f"{planned.request.to}: {format_bytes(before)} -> {format_bytes(after)} of tensor data "
        f"({after / before:.1%})"
        if before
        else f"{planned.request.to}: an empty checkpoint",
    ]
    if answer.written_bytes is not None:
        same = "as predicted, to the byte" if answer.written_bytes == after else f"predicted were {after:,} B"
        lines.append(f"{answer.written_bytes:,} B in {answer.folder}: {same}")
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for _, form, num_bytes, why in planned.modules():
        name = f"{form} ({why})" if why else form
        sizes[name] += num_bytes
        counts[name] += 1
    width = max((len(name) for name in sizes), default=0)
    lines.append(f"{verb}:")
    lines += [
        f"  {name:<{width}}  {counts[name]:>7,} weights  {format_bytes(size):>12}"
        for name, size in sizes.most_common()
    ]
    if answer.errors:
        worst = sorted(answer.errors.items(), key=lambda each: -each[1])[:WORST]
        lines.append("largest error, as a share of the weight's square:")
        lines += [f"  {error:.3e}  {name}" for name, error in worst]
    lines += [f"note: {warning}" for warning in answer.warnings]
    return "\n".join(lines) + "\n"
