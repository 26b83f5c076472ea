"""No English sentence in a Chinese answer: every message that code can say has a Chinese one."""

import json
from html.parser import HTMLParser

import pytest
from said import Reader, on_a_terminal
from web_questions import drawn, pairs_of

from oomless import facts
from oomless.plan import candidates, ranking
from oomless.plan import search as plan_search
from oomless.plan.tune import answer as tune_answer
from oomless.plan.tune import search as tune_search
from oomless.report.messages import filled, in_chinese, is_english, templates
from oomless.report.word_tables import rows_of
from oomless.run.cards import cards
from oomless.web.page import view

HELP = "facts/options"
"""Help of options has a table of its own: words/options.csv."""
AS_THEY_ARE = ("code", "pre", "svg", "script", "style")
"""Flags, formulas, commands, files and pictures."""


def messages() -> dict[str, str]:
    return {text: where for text, where in Reader().all().items() if not where.startswith(HELP)}


def test_every_message_has_a_chinese_sentence() -> None:
    """A new one fails here: add its row to report/words/messages.csv."""
    known = {row["en"] for table in ("messages", "claims") for row in rows_of(table)}
    found = messages()
    assert len(found) > 1200
    missing = [f"{where}: {text}" for text, where in sorted(found.items()) if text not in known]
    assert not missing, "no Chinese in report/words/messages.csv:\n" + "\n".join(missing)


def test_a_message_has_one_chinese_sentence() -> None:
    for table in ("messages", "claims", "printed"):
        said = [row["en"] for row in rows_of(table)]
        assert not sorted({each for each in said if said.count(each) > 1}), table


def test_every_message_of_the_terminal_has_a_chinese_sentence() -> None:
    """What compress, trace, monitor, recordings and the command line say: report/words/printed.csv."""
    known = {row["en"] for table in ("messages", "printed", "help") for row in rows_of(table)}
    said = Reader(on_a_terminal).all().items()
    found = {text.removeprefix("oomless: "): where for text, where in said if is_english(text)}
    assert len(found) > 300
    missing = [f"{where}: {text}" for text, where in sorted(found.items()) if text not in known]
    assert not missing, "no Chinese in report/words/printed.csv:\n" + "\n".join(missing)


def test_a_sentence_has_the_values_of_its_message() -> None:
    for template in templates():
        fields = len(template.parts) - 1
        values = [f"<{index}>" for index in range(fields)]
        shown = filled(template.zh, values)
        assert all(value in shown for value in values), template


def test_a_message_is_found_by_its_template() -> None:
    """No other template takes its place: with names for values each gives its own sentence."""
    wrong = []
    for template in templates():
        values = [f"name_{index}" for index in range(len(template.parts) - 1)]
        text = "".join(part + value for part, value in zip(template.parts, [*values, ""], strict=True))
        found = in_chinese(text)
        if found != filled(template.zh, values) and is_english(found):
            wrong.append((text, found))
    assert not wrong


def test_reasons_of_tables_have_a_chinese_sentence() -> None:
    reasons = {row["how"] for row in facts.table("support") if row["runs"] != "runs"}
    readings = {row["reading"] for row in facts.table("gpu_aliases")}
    hosts = {row["what"] for row in facts.table("hosts")}
    claims = {row["claim"] for row in facts.table("guide_claims")}
    memory = {f"memory of {card.name}: {card.memory_source}" for card in cards().values()}
    found = {text: in_chinese(text) for text in reasons | readings | hosts | claims | memory if text}
    assert not {text: shown for text, shown in found.items() if is_english(shown)}


def test_reasons_of_a_search_have_a_chinese_sentence() -> None:
    """They are constants of the rooms that search: counted, then said."""
    rooms = (ranking, candidates, plan_search, tune_search, tune_answer)
    constants = {name: text for room in rooms for name, text in vars(room).items() if name.isupper()}
    said = {text for text in constants.values() if isinstance(text, str) and is_english(text)}
    said |= {text + ranking.OF_A_BOUND for text in (ranking.LATE, ranking.SLOW, ranking.FEW)}
    assert "tokens slower than --max-tpot-s" in said
    assert not [text for text in said if is_english(in_chinese(text))]


class Shown(HTMLParser):
    """Texts of a page that are said, not quoted."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, bool]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("br", "input", "meta", "link", "hr"):
            self.open.append((tag, tag in AS_THEY_ARE or ("lang", "en") in attrs))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not any(quoted for _, quoted in self.open):
            self.texts.append(data)


QUESTIONS = [(words[0], pairs_of(words)) for words in drawn(60, "chinese")]
WRONG = [
    ("infer", [("model", "deepsek-r1"), ("gpu", "h20:8")]),
    ("infer", [("model", "deepseek-r1"), ("gpu", "h20:8"), ("tp", "7")]),
    ("infer", [("model", "deepseek-r1"), ("gpu", "h20")]),
    ("infer", [("model", "deepseek-v4-flash"), ("gpu", "a100-80gb:8")]),
    ("infer", [("model", "deepseek-r1"), ("gpu", "h20:8"), ("context", "many")]),
    ("train", [("model", "deepseek-v2-lite"), ("gpu", "h100:8"), ("zero", "5")]),
    ("plan", [("model", "deepseek-v4-flash"), ("context", "32k"), ("concurrency", "64")]),
    ("claims", []),
    ("accuracy", []),
]


@pytest.mark.parametrize(("command", "pairs"), [*QUESTIONS, *WRONG])
def test_an_answer_in_chinese_has_no_english_sentence(command: str, pairs: list[tuple[str, str]]) -> None:
    page = Shown()
    page.feed(json.loads(view(command, [*pairs, ("lang", "zh")]).content)["html"])
    assert not [text for text in page.texts if is_english(text)]
