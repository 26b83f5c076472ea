"""What the page's own tests do not try: axe-core over every view in Chinese and on a phone, and what would
fit with more of the same cards."""

import pytest
from in_browser import CHROMIUM, Browser, Seen, serious_faults
from test_page_in_browser import FITS, NO, VIEWS, languages, widths

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]


@widths
@pytest.mark.parametrize("view", [*VIEWS, "claims"])
def test_no_serious_fault_in_chinese(browser: Browser, site: str, view: str, width: int) -> None:
    seen = Seen(browser, width, locale="zh-CN")
    page = seen.open(f"{site}zh/#{view}?{VIEWS.get(view, '')}")
    page.locator("#answer .verdict, #answer .claim").first.wait_for()
    assert serious_faults(page, ("dark",)) == []
    seen.close()


@languages
def test_no_serious_fault_beside_a_log(browser: Browser, site: str, language: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}{language}/#reconcile")
    page.fill("#log-text", "INFO GPU KV cache size: 437,760 tokens\nINFO Model loading took 14.2 GiB\n")
    page.click("#log-read")
    page.locator("#answer .verdict").first.wait_for()
    assert serious_faults(page) == []
    seen.close()


@languages
def test_more_of_the_same_cards_are_applied_by_a_click(browser: Browser, site: str, language: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}{language}/#infer?model=deepseek-r1&gpu=h20:8")
    seen.verdict(NO[language])
    page.locator("#answer [data-apply]", has_text="--tp 16").click()
    seen.verdict(FITS[language])
    assert (page.input_value("#infer-card"), page.input_value("#infer-count")) == ("h20", "16")
    seen.close()
