"""The speed of a steady load: figures with their bands, and what a step is made of."""

from typing import Any

from ..estimate.serving.estimate import Estimate
from ..speed.banded import Figure, TimePart
from ..speed.serving import ServingSpeed
from .estimate_text import verdict_line
from .plan_cost_text import table
from .plan_text import seconds


def times(figure: Figure) -> str:
    """A time with its band."""
    return f"{seconds(figure.value)} ({seconds(figure.low)} to {seconds(figure.high)}, {figure.kind})"


def speed_text(estimate: Estimate, answer: ServingSpeed) -> str:
    """The whole answer."""
    rate = answer.tokens_per_s
    lines = [
        verdict_line(estimate),
        "",
        f"first token     {times(answer.ttft_s)}",
        f"each token      {times(answer.tpot_s)}",
        f"all cards       {rate.value:,.1f} tokens/s ({rate.low:,.1f} to {rate.high:,.1f}, {rate.kind})",
        f"at once         {answer.running:,.1f} running, {answer.waiting:,.1f} waiting"
        + (f", on each of {estimate.replicas} replicas" if estimate.replicas > 1 else ""),
        "",
        part_table("a decoding step", answer.decode_parts),
        "",
        part_table("one prompt", answer.prompt_parts),
    ]
    lines += [f"warning: {note}" for note in (*estimate.warnings, *answer.warnings)]
    return "\n".join(lines)


def part_table(title: str, parts: tuple[TimePart, ...]) -> str:
    """What takes how long, and why."""
    return table(
        [(title, "", ""), *((f"  {part.what}", seconds(part.seconds), part.formula) for part in parts)]
    )


def speed_json(estimate: Estimate, answer: ServingSpeed) -> dict[str, Any]:
    """The object of --json."""
    document = estimate.to_json()
    found = answer.to_json()
    return {
        "schema": "oomless/speed/1",
        "model": document["model"],
        "request": document["request"],
        "verdict": estimate.verdict,
        "replicas": estimate.replicas,
        **found,
        "warnings": [*estimate.warnings, *answer.warnings],
    }
