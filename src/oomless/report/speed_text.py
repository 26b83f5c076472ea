"""The speed of a steady load: figures with their bands, and what a step is made of."""

from ..api.screen import question_line, seconds, steady_lines, verdict_line
from ..api.serving import ServingAnswer
from ..speed.banded import TimePart
from ..speed.serving import ServingSpeed
from ..truth.silicon import Silicon
from .plan_cost_text import table


def speed_text(serving: ServingAnswer, found: ServingSpeed, silicon: Silicon | None = None) -> str:
    """Return the whole answer, beside it what measured kernels give where they were asked."""
    lines = [
        verdict_line(serving),
        question_line(serving),
        "",
        *steady_lines(found, serving.replicas),
        *([] if silicon is None else [silicon_line(silicon)]),
        "",
        part_table("a decoding step", (*found.decode_parts, *found.between_parts)),
        "",
        part_table("one prompt", found.prompt_parts),
    ]
    lines += [f"warning: {note}" for note in (*serving.warnings, *found.warnings)]
    return "\n".join(lines)


def silicon_line(found: Silicon) -> str:
    """Return the figures of the measured kernels of a system."""
    return (
        f"silicon         {seconds(found.ttft_s)} first token, {seconds(found.tpot_s)} each token, "
        f"{found.tokens_per_s:,.1f} tokens/s (kernels measured on {found.system})"
    )


def part_table(title: str, parts: tuple[TimePart, ...]) -> str:
    """What takes how long, and why."""
    return table(
        [(title, "", ""), *((f"  {part.what}", seconds(part.seconds), part.formula) for part in parts)]
    )
