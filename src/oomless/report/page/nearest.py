"""The measured runs nearest to an answer, as a part of the page."""

from typing import TYPE_CHECKING

from ...api.nearest_runs import Neighbour, RunFigure, nearest_runs
from ..language import Phrases
from .html import Html, el, fold

if TYPE_CHECKING:
    from ...api.serving import ServingAnswer


def nearest_part(answer: "ServingAnswer", words: Phrases) -> Html | None:
    """Return the nearest measured runs beside what is predicted for them; None where none is near."""
    found = nearest_runs(answer)
    if not found:
        return None
    return el(
        "section",
        fold(
            el("b", words("nearest.title")),
            el("p", words("nearest.what"), class_="key"),
            el("ul", [run_part(each, words) for each in found], class_="runs"),
            class_="more",
        ),
    )


def run_part(each: Neighbour, words: Phrases) -> Html:
    """Return one run: what ran, what it had otherwise, its figures, where they are from."""
    run = each.run
    axes = (("TP", run.tp), ("PP", run.pp))
    layout = [f"{axis} {size}" for axis, size in axes if size not in ("", "1")]
    named = [run.stored, f"{run.engine} {run.engine_version}".strip(), run.card, *layout]
    differs = words("comma").join(words(f"nearest.{word}") for word in each.differs)
    figures = [
        el(
            "li",
            words(
                "nearest.figure",
                quantity=words.known(f"quantity.{figure.quantity}", figure.quantity),
                measured=shown(figure.measured, figure),
                predicted=shown(figure.predicted, figure),
                off=off(figure.error),
            ),
        )
        for figure in run.figures
    ]
    return el(
        "li",
        el("b", run.model),
        el("span", ", ".join(["", *filter(None, named)]), lang="en"),
        el("small", differs or words("nearest.none")),
        el("ul", figures),
        el("small", words("source", source=run.source), lang="en"),
    )


def off(error: float) -> str:
    """Return how far a prediction is off.

    >>> off(-0.00031), off(-0.006), off(0.021)
    ('0.0 %', '\u22120.6 %', '+2.1 %')
    """
    text = f"{100 * error:+.1f} %"
    return text[1:] if text[1:] == "0.0 %" else text.replace("-", "\N{MINUS SIGN}")


def shown(value: float, figure: RunFigure) -> str:
    """Return a value with its unit.

    >>> shown(126256.0, RunFigure("kv_tokens", 126256, 126256, 0, 0, "tokens"))
    '126,256'
    """
    return f"{value:,.0f}" if figure.unit == "tokens" else f"{value:,.2f} {figure.unit}"
