"""A serving estimate as one SVG: bars by category for each group of ranks, and memory against context with
the card's line.

Written by hand, since two kinds of shapes do not need a plotting library; colours keep apart in greyscale and
for colour-blind eyes.
"""

from collections.abc import Sequence
from html import escape

from ..api.screen import verdict_line
from ..api.serving import ServingAnswer
from ..estimate.serving.estimate import Estimate
from ..ledger import CATEGORIES
from ..units import gib

WIDTH, PAD, BAR_HEIGHT, ROW = 860, 24, 26, 52
PLOT_HEIGHT = 260
COLOURS = {
    "weights": "#1f4e79",
    "gradients": "#7b3294",
    "optimizer": "#c2a5cf",
    "activations": "#e69f00",
    "logits": "#f0c866",
    "kv_cache": "#009e73",
    "communication": "#d55e00",
    "temporaries": "#cc79a7",
    "inputs": "#999999",
    "runtime": "#56b4e9",
    "fragmentation": "#bbbbbb",
}


def estimate_svg(answer: ServingAnswer) -> str:
    """Return the picture: the ranks, and the worst one's memory against the context."""
    estimate, curve = answer.estimate, answer.context_curve
    parts = [text(PAD, 28, verdict_line(answer), 15, "bold")]
    top = 48
    most = max(max(ledger.capacity_bytes, ledger.high_bytes) for ledger in estimate.ledgers)
    scale = (WIDTH - 2 * PAD) / most
    for ledger in estimate.ledgers:
        title = f"{ledger.group}: {gib(ledger.total_bytes):.1f} of {gib(ledger.capacity_bytes):.1f} GiB"
        parts.append(text(PAD, top + 12, title, 12))
        left = float(PAD)
        for category, num_bytes in ledger.by_category().items():
            width = num_bytes * scale
            label = f"{category}: {gib(num_bytes):.2f} GiB"
            parts.append(rect(left, top + 18, width, BAR_HEIGHT, COLOURS[category], label))
            left += width
        parts.append(
            line(
                PAD + ledger.capacity_bytes * scale,
                top + 14,
                PAD + ledger.capacity_bytes * scale,
                top + 48,
                "#b00020",
            )
        )
        low, high = (PAD + num * scale for num in (ledger.low_bytes, ledger.high_bytes))
        parts.append(line(low, top + 47, high, top + 47, "#333333"))
        top += ROW
    shown = [name for name in CATEGORIES if any(name in ledger.by_category() for ledger in estimate.ledgers)]
    parts.append(legend(shown, top + 10))
    top += 10 + 20 * (-(-len(shown) // 4))
    if len(curve) > 1:
        parts.append(curve_plot(estimate, curve, top + 24))
        top += PLOT_HEIGHT + 60
    size = f'width="{WIDTH}" height="{top + 12}" viewBox="0 0 {WIDTH} {top + 12}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" role="img">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def legend(categories: Sequence[str], top: float) -> str:
    """Four names a row."""
    parts = []
    for number, category in enumerate(categories):
        x, y = PAD + (number % 4) * (WIDTH - 2 * PAD) / 4, top + 20 * (number // 4)
        parts += [rect(x, y - 9, 10, 10, COLOURS[category], category), text(x + 16, y, category, 12)]
    return "\n".join(parts)


def curve_plot(estimate: Estimate, curve: Sequence[tuple[int, int, int, int]], top: float) -> str:
    """Memory of the worst rank against the context of each sequence, with its band and the capacity."""
    capacity = estimate.ledger.capacity_bytes
    left, right, bottom = PAD + 56.0, WIDTH - PAD - 24, top + PLOT_HEIGHT
    most_tokens = curve[-1][0]
    most_bytes = max(capacity, *(high for *_, high in curve)) * 1.05

    def at(tokens: float, num_bytes: float) -> tuple[float, float]:
        return left + (right - left) * tokens / most_tokens, bottom - PLOT_HEIGHT * num_bytes / most_bytes

    concurrency = estimate.concurrency
    parts = [text(PAD, top - 8, f"GiB a rank against tokens of each of {concurrency} sequences", 12)]
    for share in range(5):
        x, y = at(most_tokens * share / 4, most_bytes * share / 4)
        parts += [
            line(left, y, right, y, "#dddddd"),
            text(left - 6, y + 4, f"{gib(most_bytes * share / 4):.0f}", 11, anchor="end"),
        ]
        parts.append(text(x, bottom + 16, f"{int(most_tokens * share / 4):,}", 11, anchor="middle"))
    band = [at(tokens, low) for tokens, low, _, _ in curve] + [
        at(tokens, high) for tokens, _, _, high in reversed(curve)
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in band)
    parts.append(f'<polygon points="{points}" fill="#009e73" fill-opacity="0.2"/>')
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(tokens, value) for tokens, _, value, _ in curve))
    parts.append(f'<polyline points="{points}" fill="none" stroke="#009e73" stroke-width="2"/>')
    _, y = at(0, capacity)
    parts += [
        line(left, y, right, y, "#b00020"),
        text(right, y - 5, f"capacity {gib(capacity):.1f}", 11, anchor="end"),
    ]
    return "\n".join(parts)


def rect(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" '
        f'fill="{colour}"><title>{escape(title)}</title></rect>'
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="1.5"/>'
    )


def text(x: float, y: float, content: str, size: int, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(content)}</text>'
    )
