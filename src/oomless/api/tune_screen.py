"""A tuned answer on one plain screen: the first setting in full, then a line for each layout."""

import shlex
from typing import TYPE_CHECKING

from ..units import gib
from .screen import cut_to_screen, rate_of, seconds, times, verdict_of, waiting_of
from .serving import ServingAnswer

if TYPE_CHECKING:
    from ..plan.tune.answer import TunedAnswer
    from ..plan.tune.rows import TunedSetting

COLUMNS = ("", "at once", "GiB to spare", "tokens/s", "first", "each", "requests/s", "setting: lost by")


def tune_screen(answer: "TunedAnswer") -> list[str]:
    """Return the answer as lines of at most a screen."""
    return cut_to_screen(tune_lines(answer))


def tune_lines(answer: "TunedAnswer") -> list[str]:
    """Return the whole answer: the question, the best setting, one line a layout, what was left out,
    notes."""
    found = [question_line(answer), ""]
    found += first_setting(answer) if answer.rows else ["no setting starts on these cards"]
    if answer.rows:
        rows = [cells(number, each) for number, each in enumerate(answer.rows, 1)]
        found += ["", *aligned_left([COLUMNS, *rows])]
    if answer.num_more:
        found.append(f"{answer.num_more} more layouts: --rows")
    counted = f"{answer.num_settings:,} settings, {answer.num_estimates:,} estimated; left out:"
    found += ["", counted, *(f"  {count:,}: {reason}" for reason, count in answer.excluded.items())]
    return [*found, *([""] if answer.warnings else []), *(f"note: {note}" for note in answer.warnings)]


def question_line(answer: "TunedAnswer") -> str:
    """Return what was asked."""
    load, slo = answer.question.load, answer.question.slo
    promise = [
        f"{name} {seconds(value)}"
        for name, value in (("first token within", slo.ttft_s), ("each within", slo.tpot_s))
        if value is not None
    ]
    return (
        f"{answer.question.model.name} on {answer.place.gpu_word}, {answer.question.start.engine}: "
        f"{load.concurrency:,} x {load.input_len + load.output_len:,} tokens "
        f"({load.input_len:,} in, {load.output_len:,} out)" + "".join(f", {each}" for each in promise)
    )


def first_setting(answer: "TunedAnswer") -> list[str]:
    """Return the best setting: what becomes of the load, its speed, its changes, what starts it and asks for
    it again."""
    best = answer.rows[0]
    serving, speed = ServingAnswer(best.row.estimate), best.row.speed
    waiting = waiting_of(serving)
    lines = [f"{waiting}; {verdict_of(serving.ledger)}" if waiting else verdict_of(serving.ledger)]
    if speed is not None:
        lines += [
            f"  first token  {times(speed.ttft_s)}",
            f"  each token   {times(speed.tpot_s)}",
            f"  all cards    {rate_of(speed.tokens_per_s.value)} tokens/s ({rate_of(speed.tokens_per_s.low)} "
            f"to {rate_of(speed.tokens_per_s.high)}, {speed.tokens_per_s.kind})",
        ]
    if not answer.keeps_slo:
        lines.append("  the promise is not kept under this load by any setting")
    if best.max_request_rate is not None:
        lines.append(f"  {rate_of(best.max_request_rate)} requests a second are served within the promise")
    lines.append(f"  changes: {' '.join(best.changes) or 'none'}")
    if best.of_quality:
        lines.append(f"  at some cost of quality: {' '.join(best.of_quality)}")
    commands = (best.planned.arguments, best.speed_arguments)
    launch = best.planned.launch
    return [
        *lines,
        f"  $ {launch.command}",
        *(f"  $ oomless {shlex.join(words)}" for words in commands),
        *([f"  files in --json: {', '.join(launch.files)}"] if launch.files else ()),
    ]


def cells(number: int, each: "TunedSetting") -> tuple[str, ...]:
    """Return one line of the table."""
    row, speed = each.row, each.row.speed
    figures = ("?", "?", "?")
    if speed is not None:
        most = "< " if speed.tokens_per_s.kind == "bound" else ""
        rate = most + rate_of(speed.tokens_per_s.value)
        figures = (rate, seconds(speed.ttft_s.value), seconds(speed.tpot_s.value))
    mark = {"holds": "", "queues": "", "may not start": " (may not start)"}[each.standing]
    quality = " (quality)" if each.of_quality else ""
    return (
        f"{number}",
        f"{row.estimate.at_once:,}{mark}",
        f"{gib(row.headroom_bytes):.1f}",
        *figures,
        "-" if each.max_request_rate is None else rate_of(each.max_request_rate),
        (" ".join(each.changes) or "as it is")
        + quality
        + (f": {each.planned.why}" if each.planned.why else ""),
    )


def aligned_left(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows as columns, the first and the last to the left, figures to the right.

    >>> aligned_left([("", "rate", "setting"), ("1", "12", "--tp 8")])
    ['   rate  setting', '1    12  --tp 8']
    """
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    texts = (0, len(widths) - 1)
    return [
        "  ".join(
            word.ljust(width) if index in texts else word.rjust(width)
            for index, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
