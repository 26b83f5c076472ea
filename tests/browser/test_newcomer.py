"""Who knows neither a terminal nor this page asks: does R1 fit on 8 H20, which length does, what would help,
what does it cost? Only what can be seen is clicked, and clicks and words are counted."""

import re
from typing import Any

import pytest
from in_browser import CHROMIUM, Browser, Seen

from oomless.report.language import LANGUAGES, Language, Phrases, words_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]
for package in ("playwright", "starlette", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed")

LOCALES = {"en": "en-US", "zh": "zh-CN"}
MOST_CLICKS, MOST_WORDS = 6, 3
"""Two minutes: some ten seconds to find and read what is behind a click, five to type a word."""


class Newcomer:
    """Somebody before the page, who clicks, types and reads."""

    def __init__(self, seen: Seen, language: Language) -> None:
        self.seen, self.page, self.words = seen, seen.page, words_of(language)
        self.clicks = self.typed = 0

    def click(self, what: Any) -> None:
        """Click what can be seen."""
        what.scroll_into_view_if_needed()
        assert what.is_visible()
        what.click()
        self.clicks += 1

    def fill(self, label: str, text: str) -> None:
        """Write a word into the field of a label that can be seen."""
        field = self.page.locator("form:visible").get_by_label(re.compile(f"^{re.escape(label)}")).first
        self.click(field)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text) if text else self.page.keyboard.press("Delete")
        self.typed += bool(text)

    def reads(self, key: str) -> re.Match[str]:
        """Find a sentence of the page among what can be seen."""
        pattern = re.compile(sentence(self.words, key))
        line = self.page.locator("#answer").get_by_text(pattern).first
        line.wait_for()
        found = pattern.search(line.inner_text())
        assert found
        return found


def sentence(words: Phrases, key: str) -> str:
    """Return a sentence of the page as a pattern that finds its values."""
    parts = re.split(r"\{\w+\}", words.known(key, ""))
    return r"([\d.,]+)".join(map(re.escape, parts))


@pytest.mark.parametrize("language", LANGUAGES)
def test_four_questions_are_answered(browser: Browser, site: str, language: Language) -> None:
    seen = Seen(browser, locale=LOCALES[language])
    seen.open(site)
    person = Newcomer(seen, language)
    no, fits = {"en": ("Does not fit", "Fits"), "zh": ("放不下", "放得下")}[language]
    seen.verdict(fits)
    assert seen.page.input_value("#infer-model") == "deepseek-r1"
    assert seen.page.input_value("#infer-count") == "8"
    person.fill(person.words("card"), "h20")
    seen.verdict(no)
    longest = person.reads("cache.tokens")[2]
    person.fill(person.words("label.max_model_len"), longest.replace(",", ""))
    seen.page.locator("#answer .verdict.tight, #answer .verdict.fits").wait_for()
    person.fill(person.words("label.max_model_len"), "")
    seen.verdict(no)
    person.click(seen.page.locator("#answer [data-apply]").first)
    seen.verdict(fits)
    person.click(seen.page.get_by_role("link", name=person.words("view.cost")))
    rent = seen.page.locator("#answer .hint")
    rent.wait_for()
    assert re.search(r"\d\.\d\d", rent.inner_text())
    assert seen.page.get_attribute("#cost-rent_usd_per_hour", "aria-invalid") == "true"
    assert (person.clicks, person.typed) <= (MOST_CLICKS, MOST_WORDS)
    assert person.clicks <= MOST_CLICKS
    seen.close()
