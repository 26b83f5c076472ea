"""Best setting? as a part of the page: the first setting in full, then one row a layout."""

from ...api.screen import rate_of, seconds
from ...api.serving import ServingAnswer
from ...api.tune import TuneAnswer
from ...plan.tune.rows import TunedSetting
from ...units import gib
from ..language import Phrases
from ..plan_text import rate_text
from .estimate import verdict_part
from .html import Html, el, join, notes, number
from .plan import figures, launch_part, ranked_table, setting
from .sentences import waiting


def tune_part(answer: TuneAnswer, words: Phrases) -> Html:
    """Return the whole answer of `tune`."""
    tuned = answer.tuned
    if not tuned.rows:
        said = notes(words("notes"), map(words.said, answer.warnings))
        return join((el("p", words("tune.none"), class_="verdict no"), said))
    best = tuned.rows[0]
    serving = ServingAnswer(best.row.estimate)
    load = tuned.question.load
    question = words(
        "question.plan",
        model=tuned.question.model.name,
        load=f"{load.concurrency:,} × {load.input_len + load.output_len:,}",
        prompt=f"{load.input_len:,}",
        output=f"{load.output_len:,}",
    )
    return join(
        (
            verdict_part(serving.ledger, words, waiting(serving, words)),
            el("p", question, class_="question"),
            el("ul", [el("li", each) for each in said_of(best, tuned.keeps_slo, words)]),
            launch_part(best.planned, words),
            row_table(tuned.rows, words),
            notes(words("notes"), map(words.said, answer.warnings)),
        )
    )


def said_of(best: TunedSetting, keeps_slo: bool, words: Phrases) -> list[str]:
    """Return the changes of the best setting, its speed, and what it costs in quality."""
    found = [
        words("tune.changes", flags=" ".join(best.changes) or words("tune.nothing")),
        *figures(best.row, words),
    ]
    if best.of_quality:
        found.append(words("tune.quality", flags=" ".join(best.of_quality)))
    if not keeps_slo:
        found.append(words("tune.broken"))
    if best.max_request_rate is not None:
        found.append(words("tune.requests", rate=rate_of(best.max_request_rate)))
    return found


def row_table(rows: tuple[TunedSetting, ...], words: Phrases) -> Html:
    """Return one row a layout; a head sorts by its column."""
    heads = ["plan.setting", "tune.at_once", "plan.spare", "plan.rate", "speed.first", "speed.each"]
    found = [_row(each, words) for each in rows]
    return ranked_table(heads, found, [each.planned.why for each in rows], words)


def _row(each: TunedSetting, words: Phrases) -> list[object]:
    row, speed = each.row, each.row.speed
    first, per_token = (
        (number("?", None), number("?", None))
        if speed is None
        else (
            number(seconds(speed.ttft_s.value), speed.ttft_s.value),
            number(seconds(speed.tpot_s.value), speed.tpot_s.value),
        )
    )
    return [
        setting(row, words),
        number(f"{row.estimate.at_once:,}", row.estimate.at_once),
        number(f"{gib(row.headroom_bytes):.1f}", row.headroom_bytes),
        number("?" if speed is None else rate_text(speed.tokens_per_s), row.rate),
        first,
        per_token,
    ]
