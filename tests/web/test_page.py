"""The page: forms are the tables of options, answers are parts of it in both languages, escaped by
construction."""

import csv
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from string import Formatter
from typing import Any

import pytest

from oomless.ledger import CATEGORIES, KEYS
from oomless.report.language import LANGUAGES, Language, words_of
from oomless.report.page.html import VOID
from oomless.web.form import FIRST, VIEWS
from oomless.web.page import ASSETS, asset, shell, view
from oomless.web.question import ASKED, COMMANDS, table_of

QUESTIONS: dict[str, list[tuple[str, str]]] = {
    "infer": [("model", "deepseek-r1"), ("gpu", "h20:8")],
    "train": [("model", "deepseek-v2-lite"), ("gpu", "a100-80gb")],
    "plan": [("model", "deepseek-r1"), ("gpu", "h200"), ("gpu", "b200"), ("concurrency", "64")],
    "tune": [("model", "deepseek-r1-distill-qwen-7b"), ("gpu", "h100"), ("concurrency", "8")],
    "speed": [("model", "deepseek-r1"), ("gpu", "h200:8")],
    "cost": [("gpu", "h100:8"), ("tokens-per-s", "1000")],
    "claims": [("id", "C07")],
    "accuracy": [],
}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


class Reader(HTMLParser):
    """Reads a page strictly: what opens is closed, and every control has a name."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.controls: list[dict[str, str | None]] = []
        self.english: list[str] = []
        """Texts outside of what is marked as English, code or a number."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert not [name for name in found if name.startswith("on") or name == "style"], (tag, found)
        self.ids += [str(found["id"])] if found.get("id") else []
        if tag == "label" and found.get("for"):
            self.labelled.add(str(found["for"]))
        if tag in ("input", "select", "textarea"):
            self.controls.append(found)
        if tag not in VOID:
            self.open.append((tag, str(found.get("lang") or "")))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        marked = any(
            lang == "en" or tag in ("code", "pre", "title", "option", "html") for tag, lang in self.open[1:]
        )
        if not marked and re.search(r"[a-z]{4,} [a-z]{3,}", data) and not CHINESE.search(data):
            self.english.append(data)


def read(text: str) -> Reader:
    found = Reader()
    found.feed(text)
    found.close()
    assert not found.open
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_frame_is_whole_and_every_control_has_a_label(language: Language) -> None:
    page = read(shell(language))
    assert len(set(page.ids)) == len(page.ids)
    for control in page.controls:
        named = (
            control.get("id") in page.labelled or control.get("aria-label") or control.get("type") == "file"
        )
        assert named, control
    assert page.english == [] or language == "en", page.english


@pytest.mark.parametrize("command", [command for command in VIEWS if command in ASKED])
def test_every_option_stands_in_its_form(command: str) -> None:
    page = shell("en")
    start = page.index(f'id="form-{command}"')
    form = page[start : page.index("</form>", start)]
    hidden = {"model", "gpu", "gpus", "list_prices"}
    missing = [
        option.flag
        for option in table_of(command)
        if f'data-field="{option.field}"' not in form and option.field not in hidden and not option.file
    ]
    assert missing == []
    assert set(FIRST[command]) <= {option.field for option in table_of(command)}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("command", QUESTIONS)
def test_every_answer_is_a_part_of_the_page(command: str, language: Language) -> None:
    found = view(command, [*QUESTIONS[command], ("lang", language)])
    assert found.status == 200, found.content
    answer = json.loads(found.content)
    assert answer["command"].startswith(f"oomless {command}")
    page = read(f"<div>{answer['html']}</div>")
    if language == "zh":
        assert page.english == []
        assert CHINESE.search(answer["html"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_says_what_and_where(language: Language) -> None:
    found = view("infer", [("model", "deepseek-r1"), ("gpu", "h20:8"), ("tp", "0"), ("lang", language)])
    answer = json.loads(found.content)
    assert (found.status, answer["field"]) == (400, "tp")
    assert {"en": "--tp is 0", "zh": "--tp 是 0"}[language] in answer["html"]


def test_what_comes_from_outside_is_text() -> None:
    evil = '<img src=x onerror="alert(1)">'
    answer = json.loads(view("infer", [("model", evil), ("gpu", "h20:8")]).content)
    assert "<img" not in answer["html"]
    assert "&lt;img" in answer["html"]


def test_the_python_line_and_the_command_ask_the_same() -> None:
    import oomless

    pairs = [("model", "deepseek-r1"), ("gpu", "h200:8"), ("max-model-len", "32k"), ("enforce-eager", "")]
    answer = json.loads(view("infer", pairs).content)
    assert answer["command"] == "oomless infer deepseek-r1 --gpu h200:8 --max-model-len 32k --enforce-eager"
    asked: Any = eval(answer["python"], {"oomless": oomless})
    assert asked.to_json()["request"]["max_model_len"] == 32000


def rows(name: str) -> list[dict[str, str]]:
    text = files("oomless.report").joinpath("words", f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_sentence_has_both_languages_and_the_same_values() -> None:
    for row in rows("page"):
        assert row["en"], row
        assert row["zh"], row
        assert names(row["en"]) == names(row["zh"]), row
    assert len({row["key"] for row in rows("page")}) == len(rows("page"))


def test_every_option_and_line_is_said_in_chinese() -> None:
    options = {
        (command, row["field"]): row["zh"] for row in rows("options") for command in row["commands"].split()
    }
    wanted = {(command, option.field) for command in COMMANDS for option in table_of(command)}
    assert wanted - options.keys() == set()
    assert options.keys() - wanted == set()
    assert [text for text in options.values() if not CHINESE.search(text)] == []
    assert {row["key"] for row in rows("lines")} == set(KEYS)
    words = words_of("zh")
    assert all(words.known(f"category.{name}", "") for name in CATEGORIES)


def test_the_page_computes_nothing() -> None:
    """No arithmetic in its scripts: what is shown is made where the answer is made."""
    for name in ASSETS:
        if not name.endswith(".js"):
            continue
        text = asset(name)[0].decode()
        text = re.sub(r"//[^\n]*", "", text)
        text = re.sub(r"`[^`]*`|\"[^\"\n]*\"|/(?![*/ ])(?:\\.|\[[^\]]*\]|[^/\n\\])+/[gimsu]*", "''", text)
        text = re.sub(r"=>|\*/|/\*", "", text)
        assert not re.findall(r"[\w)\]] ?(?:[*/%]|\+(?!\+)|-(?!-)) ?[\w(]", text), name
        assert not re.findall(r"\bMath\b|parseInt|parseFloat|toFixed|\+\+|--|[-+*/]=", text), name
