"""The page: its frame with every form, its files, and answers as parts of it. The same bytes come from the
server and lie in an exported site."""

import os
import shlex
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import OomlessError, UsageError, meant
from ..files import json_text
from ..kept import PutAside
from ..report.language import LANGUAGES, Language, Phrases, words_of
from ..report.page.html import Html, coded, el, join
from ..run.options import asked_of
from .question import ASKED, STATUS, Names, Pairs, Reply, asked, fields_of, names_of

ASSETS = {
    "app.js": "text/javascript; charset=utf-8",
    "state.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "pyodide.js": "text/javascript; charset=utf-8",
    "worker.js": "text/javascript; charset=utf-8",
    "package.mjs": "text/javascript; charset=utf-8",
    "offline.js": "text/javascript; charset=utf-8",
    "first.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
SAID = (
    "working",
    "starting",
    "empty",
    "empty.reconcile",
    "empty.cost",
    "copied",
    "unpin",
    "error.offline",
    "error.engine",
    "view.infer",
)
"""Sentences that the page's script shows."""

LATER = ("infer", "train")
"""Commands of whose answer a part follows."""
NO_HEAD = Html("")


@cache
def asset(name: str) -> tuple[bytes, str]:
    """Return the bytes of a file of the page and its media type."""
    return files(__package__).joinpath("assets", name).read_bytes(), ASSETS[name]


@cache
def shell(language: Language, backend: str = "server", head: Html = NO_HEAD) -> str:
    """Return the page without an answer: everything that it asks with, in one language."""
    from .form import VIEWS, form, lists, versions  # the engines behind it are no matter of a server's start

    words = words_of(language)
    said = json_text({key: words(key) for key in SAID})
    content = join(
        (
            el("a", words("skip"), href="#answer", class_="skip"),
            header(words, VIEWS),
            el("main", el("div", [form(name, words) for name in VIEWS], class_="forms"), answer_frame(words)),
            lists(),
        )
    )
    page = el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            head,
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("title", words("title")),
            el("script", type="module", async_=True, src="../pyodide.js") if backend == "pyodide" else None,
            el("link", rel="stylesheet", href="../style.css"),
            el("link", rel="icon", href="../icon.svg"),
            el("script", type="module", src="../app.js"),
        ),
        el("body", content, data_said=said, data_versions=versions()),
        lang=language,
        data_backend=backend,
    )
    return f"<!doctype html>\n{page}\n"


def header(words: Phrases, views: Iterable[str]) -> Html:
    """Return the name of the page, its questions, and the other language."""
    other = next(each for each in LANGUAGES if each != words.language)
    links = [el("a", words(f"view.{name}"), href=f"#{name}", data_view=name) for name in views]
    return el(
        "header",
        el("div", el("h1", "oomless"), el("span", words("lead")), class_="brand"),
        el("a", words("other_language"), href=f"../{other}/", lang=other, hreflang=other, id="language"),
        el("nav", links, aria_label=words("nav")),
    )


def answer_frame(words: Phrases) -> Html:
    """Return where answers are shown, with what is done to them."""
    buttons = [
        el("button", words(f"copy.{what}"), type="button", data_copy=what)
        for what in ("link", "command", "python", "json")
    ]
    return el(
        "section",
        el("p", role="status", aria_live="polite", id="status", class_="sr"),
        el("div", id="answer", tabindex="-1"),
        el(
            "div",
            buttons,
            el("button", words("pin"), type="button", id="pin"),
            el("button", words("print"), type="button", id="print"),
            class_="tools",
            id="tools",
            hidden=True,
        ),
        el("section", el("h2", words("pinned")), el("div", class_="pins"), id="pinned", hidden=True),
        class_="answer",
        aria_label=words("answer"),
    )


def view(command: str, pairs: Pairs, posted: Names = ()) -> Reply:
    """Return an answer as a part of the page: one JSON object with its HTML and how else to ask it."""
    given, words = given_in(pairs)

    def shown() -> dict[str, str]:
        part = part_of(command, asked(command, given, posted, os.environ), words)
        model, fields = fields_of(command, given)
        return {
            "html": part,
            "command": command_line(command, given),
            "python": python(command, model, fields),
        }

    return replied(shown, words)


def later(command: str, pairs: Pairs, posted: Names = ()) -> Reply:
    """Return what of an answer takes a search, and follows when the rest stands: what would fit."""
    given, words = given_in(pairs)
    return replied(lambda: found_later(command, asked(command, given, posted, os.environ), words), words)


def found_later(command: str, answer: Any, words: Phrases) -> dict[str, str]:
    """Return the part of an answer that takes a search, in HTML."""
    from ..report.page.estimate import changes_part

    if command not in LATER:
        raise UsageError(f"{command} has no view", f"ask /api/{command}")
    changes = [(each.flags, each.headroom_bytes) for each in answer.changes]
    return {"html": changes_part(command, answer.gpu_word, changes, words) or ""}


def given_in(pairs: Pairs) -> tuple[list[tuple[str, str]], Phrases]:
    """Return a question without its language, and the words of that."""
    given = [(name, text) for name, text in pairs if name != "lang"]
    return given, words_of(next((text for name, text in pairs if name == "lang"), "en"))


def replied(made: Callable[[], dict[str, str]], words: Phrases) -> Reply:
    """Return a part of the page as a reply, or the error that says why there is none."""
    try:
        return Reply(200, json_text(made()).encode())
    except PutAside:
        raise
    except OomlessError as error:
        return refused(error, STATUS[error.code], words)
    except Exception as error:  # a defect of ours
        return refused(meant(error), 500, words)


def refused(error: OomlessError, status: int, words: Phrases) -> Reply:
    """Return an error as a part of the page: what, and what to do."""
    part = el(
        "div",
        el("p", words("error"), class_="verdict no"),
        el("p", error.said(words.said(error.message)), class_="message"),
        el("p", coded(error.said(words.said(error.hint))), class_="hint") if error.hint else None,
        class_="refused",
    )
    return Reply(status, json_text({"html": part, "field": error.field}).encode())


def part_of(command: str, answer: Any, words: Phrases) -> Html:
    """Return an answer in HTML."""
    match command:
        case "infer":
            from ..report.page.estimate import serving_part

            return serving_part(answer, words)
        case "train":
            from ..report.page.estimate import training_part

            return training_part(answer, words)
        case "plan":
            from ..report.page.plan import plan_part

            return plan_part(answer, words)
        case "tune":
            from ..report.page.tune import tune_part

            return tune_part(answer, words)
        case "speed":
            from ..report.page.speed import speed_part

            return speed_part(answer, words)
        case "cost" if not isinstance(answer, dict):
            from ..report.page.cost import cost_part

            return cost_part(answer, words)
        case "reconcile":
            from ..report.page.reconcile import reconciled_part

            return reconciled_part(answer, words)
        case "claims":
            from ..report.page.accuracy import claims_part

            return claims_part(answer, words)
        case "accuracy":
            from ..report.page.accuracy import accuracy_part

            return accuracy_part(words)
    raise UsageError(f"{command} has no view", f"ask /api/{command}")


def command_line(command: str, pairs: Pairs) -> str:
    """Return the same question as a command.

    >>> command_line("infer", [("model", "deepseek-r1"), ("gpu", "h200:8"), ("enforce-eager", "")])
    'oomless infer deepseek-r1 --gpu h200:8 --enforce-eager'
    """
    known, words = names_of(command), list[str]()
    for name, text in pairs:
        if name == "model" and command in ASKED:
            words.insert(0, text)
            continue
        option = known[name]
        words += [option.flag] if option.kind == "switch" else [option.flag, text]
    return f"oomless {shlex.join([command, *words])}"


def python(command: str, model: str | None, fields: dict[str, Any]) -> str:
    """Return the same question as a line of Python.

    >>> python("infer", "deepseek-r1", {"gpu": "h200:8", "tp": 8})
    "oomless.infer('deepseek-r1', gpu='h200:8', tp=8)"
    """
    names = {"purpose": "for_"} if command == "plan" else {}
    words = [] if model is None else [repr(model)]
    words += [f"{names.get(field, field)}={_literal(value)}" for field, value in fields.items()]
    keywords = {option.field for option in asked_of(command)} if command in ASKED else set()
    return f"oomless.{command}({', '.join(words)})" if keywords.issuperset(fields) and keywords else ""


def _literal(value: Any) -> str:
    if hasattr(value, "_asdict"):
        from ..run.option_values import json_of

        return repr(json_of(value))
    return repr(list(value)) if isinstance(value, tuple) else repr(value)
