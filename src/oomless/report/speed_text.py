"""Speed for people: of a steady load figures with their bands and what a step is made of, of a simulated
workload what its requests waited for."""

from ..api.screen import question_line, seconds, steady_lines, verdict_line
from ..api.serving import ServingAnswer
from ..speed.band import TimePart
from ..speed.dynamic import Dynamic
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
        part_table(prompt_title(found.prompt_steps), found.prompt_parts),
    ]
    lines += [f"warning: {note}" for note in (*serving.warnings, *found.warnings)]
    return "\n".join(lines)


def silicon_line(found: Silicon) -> str:
    """Return the figures of the measured kernels of a system."""
    return (
        f"silicon         {seconds(found.ttft_s)} first token, {seconds(found.tpot_s)} each token, "
        f"{found.tokens_per_s:,.1f} tokens/s (kernels measured on {found.system})"
    )


def prompt_title(steps: int) -> str:
    """Return the heading of a prompt's parts."""
    return "one prompt" if steps == 1 else f"one prompt, read in {steps} steps"


def part_table(title: str, parts: tuple[TimePart, ...]) -> str:
    """What takes how long, and why."""
    rows = [(f"  {part.what}", seconds(part.seconds), part.formula) for part in parts]
    return f"{title}\n{table(rows)}"


def dynamic_text(serving: ServingAnswer, answer: Dynamic) -> str:
    """The whole answer."""
    policy = answer.policy
    lines = [
        verdict_line(serving),
        "",
        f"requests: {answer.num_requests:,}, {answer.arrival_rate:,.3g} a second, "
        f"{answer.mean_prompt:,.0f} tokens in and "
        f"{answer.mean_output:,.0f} out on average; {answer.refused:,} refused",
        f"cache of {policy.capacity_tokens:,} tokens ({policy.memory}), at most "
        f"{policy.max_running:,} at once, "
        f"{policy.token_budget:,} tokens a step, "
        f"{'chunked prompts' if policy.chunked else 'whole prompts first'}",
        "",
        beside_closed_form(answer),
        "",
        spreads(answer),
        "",
        course(answer),
        f"times and rates may be off by a factor of {answer.band:g} either way",
    ]
    lines += [f"warning: {note}" for note in (*serving.warnings, *answer.warnings)]
    return "\n".join(lines)


def beside_closed_form(answer: Dynamic) -> str:
    """What the simulation found beside the steady state of the closed form."""
    steady = answer.steady
    saturated = " (saturated)" if steady.saturated else ""
    running = f"{answer.mean_running:,.1f} (most {answer.most_running:,})"
    return table(
        [
            ("", "simulated", "closed form"),
            ("output tokens/s", f"{answer.tokens_per_s:,.0f}", f"{steady.tokens_per_s:,.0f}{saturated}"),
            ("running", running, f"{steady.running:,.1f}"),
            *(
                (each.what, seconds(each.mean), seconds(value))
                for each, value in zip(answer.spreads[1:3], (steady.ttft_s, steady.tpot_s), strict=False)
            ),
            ("evictions", f"{answer.evictions:,}", "-"),
            ("steps", f"{answer.num_steps:,}", "-"),
        ]
    )


def spreads(answer: Dynamic) -> str:
    """What requests met: mean, quantiles and the worst."""
    rows = [("", "mean", "half", "90 %", "99 %", "most")]
    for each in answer.spreads:
        mean, p50, p90, p99, most = map(seconds, (each.mean, each.p50, each.p90, each.p99, each.most))
        rows.append((each.what, mean, p50, p90, p99, most))
    return table(rows)


def course(answer: Dynamic) -> str:
    """How it went over time."""
    return table(
        [
            ("from", "running", "waiting", "cache", "tokens/s"),
            *(
                (
                    seconds(each.start_s),
                    f"{each.running:,.1f}",
                    f"{each.waiting:,.1f}",
                    f"{each.cache_share:.0%}",
                    f"{each.output_tokens_per_s:,.0f}",
                )
                for each in answer.slices
            ),
        ]
    )
