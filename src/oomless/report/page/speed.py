"""How fast? as a part of the page: figures with their bands, and what a step is made of."""

from ...api.screen import rate_of, seconds
from ...api.speed import SpeedAnswer
from ...speed.band import Figure, TimePart
from ...speed.dynamic import Dynamic
from ...speed.serving import ServingSpeed
from ..language import Phrases
from .estimate import verdict_part
from .html import Html, el, fold, join, notes, number, table
from .sentences import serving_question


def speed_part(answer: SpeedAnswer, words: Phrases) -> Html:
    """Return the whole answer of `speed`."""
    found = answer.speed
    inner = (
        steady(found, answer.serving.replicas, words)
        if isinstance(found, ServingSpeed)
        else simulated(found, words)
    )
    return join(
        (
            el("p", headline(found, words), class_="verdict fits" if answer.starts else "verdict no"),
            verdict_part(answer.serving.ledger, words),
            el("p", serving_question(answer.serving, words), class_="question"),
            inner,
            notes(words("notes"), map(words.said, answer.warnings)),
        )
    )


def headline(found: ServingSpeed | Dynamic, words: Phrases) -> str:
    """Return the rate in one sentence."""
    rate = found.tokens_per_s
    return words("speed.rate", rate=rate_of(rate if isinstance(rate, float) else rate.value))


def steady(found: ServingSpeed, replicas: int, words: Phrases) -> Html:
    """Return the figures of a steady load."""
    times = [(name, figure) for name, figure in (("first", found.ttft_s), ("each", found.tpot_s))]
    rows = [
        (words(f"speed.{name}"), number(seconds(figure.value)), number(band(figure)), _kind(figure, words))
        for name, figure in times
    ]
    rate = found.tokens_per_s
    rate_band = f"{rate_of(rate.low)} – {rate_of(rate.high)}"
    rows.append((words("speed.all"), number(rate_of(rate.value)), number(rate_band), _kind(rate, words)))
    said = words("speed.at_once", running=number_of(found.running), waiting=number_of(found.waiting))
    return join(
        (
            table(
                ("", words("speed.value"), words("interval"), words("speed.known")),
                rows,
                words("speed.title"),
            ),
            el("p", said + (words("speed.replicas", count=replicas) if replicas > 1 else "")),
            parts_of(words("speed.step"), (*found.decode_parts, *found.between_parts), words),
            parts_of(words("speed.prompt"), found.prompt_parts, words),
        )
    )


def number_of(sequences: float) -> str:
    """Return how many sequences on average; of whole ones no fraction is said.

    >>> number_of(32.0), number_of(0.25)
    ('32', '0.2')
    """
    return f"{sequences:,.1f}".removesuffix(".0")


def band(figure: Figure) -> str:
    return f"{seconds(figure.low)} – {seconds(figure.high)}"


def _kind(figure: Figure, words: Phrases) -> str:
    return words.known(f"kind.{figure.kind}", figure.kind)


def parts_of(title: str, parts: tuple[TimePart, ...], words: Phrases) -> Html:
    """Return what takes how long, and why."""
    items = [
        el(
            "li",
            el("b", words.said(part.what)),
            el("span", seconds(part.seconds), class_="num"),
            el("code", part.formula, class_="formula"),
        )
        for part in parts
    ]
    return fold(title, el("ul", items, class_="lines"))


def simulated(found: Dynamic, words: Phrases) -> Html:
    """Return what the requests of a workload met."""
    rows = [
        (words.said(each.what), *map(number, map(seconds, (each.mean, each.p50, each.p90, each.p99))))
        for each in found.spreads
    ]
    said = words(
        "speed.requests",
        count=f"{found.num_requests:,}",
        rate=f"{found.arrival_rate:,.3g}",
        refused=f"{found.refused:,}",
        running=f"{found.mean_running:,.1f}",
    )
    heads = ("", words("speed.mean"), "50 %", "90 %", "99 %")
    return join((el("p", said), table(heads, rows, words("speed.title"))))
