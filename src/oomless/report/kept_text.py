"""Ways to keep activations beside each other, for people."""

from ..compress.backward.compare import Way
from ..compress.backward.printed_snippet import Fault
from ..units import format_bytes


def kept_text(ways: list[Way], faults: list[Fault]) -> str:
    """Return a row a way, then the faults of the guide's snippet."""
    plain = ways[0]
    width = max(len(way.name) for way in ways)
    lines = [
        f"{'kept for the backward':<{width}}  {'in memory':>10}  {'share':>6}  {'CPU time':>8}  "
        f"{'loss':>8}  gradient error"
    ]
    for way in ways:
        share = way.kept_bytes / plain.kept_bytes
        lines.append(
            f"{way.name:<{width}}  {format_bytes(way.kept_bytes):>10}  {share:>6.3f}  "
            f"{way.cpu_s / plain.cpu_s:>7.2f}x  {way.loss:>8.4f}  {way.gradient_error:.1e}"
        )
    lines += ["", "the guide's snippet, line by line:"]
    lines += [f"  {fault.line}\n    {fault.found}" for fault in faults]
    return "\n".join(lines) + "\n"
