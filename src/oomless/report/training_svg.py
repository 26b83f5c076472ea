"""A training estimate as one SVG: for each group of ranks the worst moment of each phase, by category, with
the card's line."""

from ..api.training_answer import TrainingAnswer
from ..api.training_screen import verdict_line
from ..ledger import CATEGORIES
from ..units import gib
from .svg import BAR_HEIGHT, COLOURS, PAD, WIDTH, legend, line, rect, text

LABEL = 190


def training_svg(estimate: TrainingAnswer) -> str:
    """The picture: a bar a phase; a thin line behind the worst one is what the device shows beyond the
    allocator."""
    parts = [text(PAD, 28, verdict_line(estimate), 15, "bold")]
    top = 48.0
    most = max(max(group.ledger.capacity_bytes, group.peaks.device_bytes) for group in estimate.groups)
    scale = (WIDTH - 2 * PAD - LABEL) / most
    shown: set[str] = set()
    for group in estimate.groups:
        parts.append(
            text(
                PAD,
                top + 12,
                f"{group.ledger.group}: {gib(group.peaks.device_bytes):.1f} of "
                f"{gib(group.ledger.capacity_bytes):.1f} GiB",
                12,
            )
        )
        top += 18
        for phase in group.phases:
            sums = group.at(phase)
            shown |= set(sums)
            parts.append(text(PAD + LABEL - 8, top + 17, f"{phase.name}, {phase.moment}", 11, anchor="end"))
            left = float(PAD + LABEL)
            for category, num_bytes in sums.items():
                label = f"{category}: {gib(num_bytes):.2f} GiB"
                parts.append(rect(left, top, num_bytes * scale, BAR_HEIGHT - 4, COLOURS[category], label))
                left += num_bytes * scale
            parts.append(text(left + 6, top + 16, f"{gib(sum(sums.values())):.1f}", 11))
            top += BAR_HEIGHT
        x = PAD + LABEL + group.ledger.capacity_bytes * scale
        parts.append(line(x, top - BAR_HEIGHT * len(group.phases) - 4, x, top, "#b00020"))
        device = PAD + LABEL + group.peaks.device_bytes * scale
        parts.append(line(PAD + LABEL, top + 2, device, top + 2, "#333333"))
        parts.append(
            text(device + 6, top + 6, f"{gib(group.peaks.device_bytes):.1f} on the device at the peak", 10)
        )
        top += 22
    names = [name for name in CATEGORIES if name in shown]
    parts.append(legend(names, top + 14))
    top += 14 + 20 * (-(-len(names) // 4))
    size = f'width="{WIDTH}" height="{top + 12:.0f}" viewBox="0 0 {WIDTH} {top + 12:.0f}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" role="img">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
