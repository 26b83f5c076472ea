"""How accurate? and is that true? as parts of the page: rounds that were predicted blind, every table as it
is predicted now, what ran beside the verdicts, known misses; and the numbers of the guide."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...api.accuracy import (
    BLIND,
    TableError,
    VerdictCount,
    known_misses,
    table_errors,
    verdict_counts,
)
from ..language import Phrases
from ..validate_text import percent
from .html import Html, coded, el, fold, join, number, table

COLUMNS = ("rows", "median", "p90", "max", "inside", "width")


def accuracy_part(words: Phrases) -> Html:
    """Return the whole view."""
    errors = table_errors()
    blind = [each for each in errors if each.made.startswith(BLIND)]
    now = [each for each in errors if not each.made.startswith(BLIND)]
    rounds = {(each.about, each.made) for each in blind}
    said = words("accuracy.blind", rounds=len(rounds), rows=f"{sum(each.num_scored for each in blind):,}")
    return join(
        (
            el("p", said, class_="verdict open"),
            el("h3", words("accuracy.blind.title")),
            el("p", words("accuracy.key"), class_="question"),
            [about_part(name, words, rows) for name, rows in grouped(blind)],
            verdicts_part(verdict_counts(), words),
            el("h3", words("accuracy.now.title")),
            el("p", words("accuracy.now"), class_="key"),
            [
                fold(words.known(f"about.{name}", name), about_part(name, words, rows), class_="more")
                for name, rows in grouped(now)
            ],
            misses_part(words),
        )
    )


def grouped(errors: Sequence[TableError]) -> list[tuple[str, list[TableError]]]:
    """Return the errors by what they are about, serving first; rounds of one quantity stand together."""
    names = sorted(dict.fromkeys(each.about for each in errors), key=lambda name: name != "serving")
    order = list(dict.fromkeys(each.quantity for each in errors))
    return [
        (
            name,
            sorted(
                (each for each in errors if each.about == name), key=lambda each: order.index(each.quantity)
            ),
        )
        for name in names
    ]


def about_part(about: str, words: Phrases, errors: Iterable[TableError]) -> Html:
    """Return the errors of one kind of run as a table."""
    head = [
        words("accuracy.quantity"),
        words("accuracy.round"),
        *(words(f"accuracy.{name}") for name in COLUMNS),
    ]
    rows = [
        (
            words.known(f"quantity.{each.quantity}", each.quantity),
            round_of(each, words),
            number(f"{each.num_scored} / {each.num_rows}", each.num_scored),
            number(percent(each.median, 1), each.median),
            number(percent(each.p90, 1), each.p90),
            number(percent(each.max, 0), each.max),
            number(percent(each.inside, 0), each.inside),
            number(percent(each.width, 0), each.width),
        )
        for each in errors
    ]
    return table(head, rows, words.known(f"about.{about}", about))


def round_of(each: TableError, words: Phrases) -> Html:
    """Return which round it was, or which table it is."""
    is_blind = each.made.startswith(BLIND)
    return el("td", made_of(each.made, words) if is_blind else el("code", each.table))


def made_of(made: str, words: Phrases) -> str:
    """Return which blind round it was, that it is all of them, or that it is the verdict of now."""
    if made == BLIND:
        return words("accuracy.all_rounds")
    if made.startswith(BLIND):
        return words("accuracy.number", number=made.removeprefix(BLIND).strip())
    return words("accuracy.made_now")


def verdicts_part(counts: Sequence[VerdictCount], words: Phrases) -> Html:
    """Return how many verdicts were right, and how many wrong ones said that it fits."""
    lines = [
        words(
            "accuracy.verdicts",
            kind=words.known(f"about.case.{each.kind}", each.kind),
            made=made_of(each.made, words),
            rows=each.num_rows,
            firm=each.num_firm,
            right=each.num_right,
            wrong=len(each.wrong_fits),
            tight=each.num_tight,
        )
        for each in counts
    ]
    return el(
        "section", el("h3", words("accuracy.verdicts.title")), el("ul", [el("li", line) for line in lines])
    )


def misses_part(words: Phrases) -> Html:
    """Return where predictions are known to be off."""
    is_zh = words.language == "zh"
    found = [(row[2], row[3]) if is_zh else (row[0], row[1]) for row in known_misses()]
    items = [el("li", el("b", title), words("colon"), coded(text)) for title, text in found]
    return el("section", el("h3", words("accuracy.misses.title")), el("ul", items))


CLASSES = {"holds": "fits", "depends": "tight", "does not hold": "no", "not settled": "open"}


def claims_part(document: Mapping[str, Any], words: Phrases) -> Html:
    """Return all of them, each of which opens."""
    found = document["claims"]
    counts = {name: sum(each["evidence"]["verdict"] == name for each in found) for name in CLASSES}
    said = words("comma").join(f"{words(f'claim.{name}')} {count}" for name, count in counts.items() if count)
    lead = words("claims.lead", count=len(found), said=said)
    return join((el("p", lead, class_="verdict open"), [claim_part(each, words) for each in found]))


def claim_part(each: Mapping[str, Any], words: Phrases) -> Html:
    """Return one number of the guide."""
    evidence = each["evidence"]
    mark = el("b", words(f"claim.{evidence['verdict']}"), class_=f"mark {CLASSES[evidence['verdict']]}")
    figures = [
        el("li", words.said(figure["what"]), el("span", _value(figure), class_="num"))
        for figure in evidence["figures"]
    ]
    commands = [el("pre", f"$ {command}", tabindex="0") for command in evidence["commands"]]
    return fold(
        join((el("span", each["id"], class_="id"), mark, el("span", words.said(each["statement"])))),
        el("p", coded(words.said(evidence["because"]))),
        el("ul", figures, class_="lines figures") if figures else None,
        commands,
        class_="claim",
    )


def _value(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:,.6g} {figure['unit']}".strip()
