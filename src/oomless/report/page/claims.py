"""Is that true? as a part of the page: each number of the guide with verdict, figures and commands."""

from collections.abc import Mapping
from typing import Any

from ..language import Phrases
from .html import Html, coded, el, fold, join

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
