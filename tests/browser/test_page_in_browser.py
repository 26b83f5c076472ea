"""The page as people meet it: both languages, phone and desktop, mouse and keyboard, light and dark."""

import json
from pathlib import Path
from typing import Any

import pytest
from in_browser import CHROMIUM, Browser, Seen, serious_faults

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]
for package in ("playwright", "starlette", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed")

FITS = {"en": "Fits:", "zh": "放得下："}
NO = {"en": "Does not fit:", "zh": "放不下："}
VIEWS = {
    "infer": "model=deepseek-r1&gpu=h20:8",
    "train": "model=deepseek-v2-lite&gpu=a100-80gb:8",
    "plan": "model=deepseek-r1&gpu=h200&gpu=b200&context=32768&concurrency=64",
    "tune": "model=deepseek-r1-distill-qwen-7b&gpu=h100&concurrency=8",
    "speed": "model=deepseek-r1&gpu=h200:8&concurrency=32",
    "cost": "gpu=h100:8",
    "accuracy": "",
}
languages = pytest.mark.parametrize("language", ["en", "zh"])
WIDTHS = (360, 1280)
widths = pytest.mark.parametrize("width", WIDTHS)


@languages
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address(browser: Browser, site: str, view: str, language: str) -> None:
    """Opened as on a phone, and made as wide as a desktop: the width is a matter of the style sheet alone."""
    seen = Seen(browser, WIDTHS[0])
    page = seen.open(f"{site}{language}/#{view}?{VIEWS[view]}")
    page.locator("#answer .verdict").first.wait_for()
    for width in WIDTHS:
        seen.widen(width)
        assert page.evaluate("[innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [
            width,
            True,
        ]
        assert page.locator("nav a[aria-current=page]").get_attribute("data-view") == view
        assert page.locator("#tools").is_visible()
    seen.close()


@languages
@widths
def test_typing_changes_answer_and_address(browser: Browser, site: str, width: int, language: str) -> None:
    seen = Seen(browser, width)
    page = seen.open(f"{site}{language}/#infer?model=deepseek-r1&gpu=h200:8")
    seen.verdict(FITS[language])
    page.fill("#infer-card", "h20")
    seen.verdict(NO[language])
    assert page.url.endswith("#infer?model=deepseek-r1&gpu=h20:8")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    seen.verdict(NO[language])
    assert page.input_value("#infer-card") == "h20"
    seen.close()


def test_on_a_phone_the_verdict_stands_below_while_the_answer_is_out_of_sight(
    browser: Browser, site: str
) -> None:
    seen = Seen(browser)
    seen.page.set_viewport_size({"width": WIDTHS[0], "height": 500})
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h20:8")
    seen.verdict("Does not fit:")
    below = page.locator("#status.far")
    below.wait_for()
    assert "Does not fit" in below.inner_text()
    below.click()
    page.locator("#status:not(.far)").wait_for(state="attached")
    assert page.locator("#answer .verdict").first.is_visible()
    seen.close()


@languages
def test_what_would_fit_is_applied_by_a_click(browser: Browser, site: str, language: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}{language}/#infer?model=deepseek-r1-distill-qwen-32b&gpu=h100")
    seen.verdict(NO[language])
    page.locator("#answer [data-apply]").first.click()
    seen.verdict(FITS[language])
    page.go_back()
    seen.verdict(NO[language])
    seen.close()


@languages
def test_a_line_opens_to_formula_and_source(browser: Browser, site: str, language: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}{language}/#infer?model=deepseek-r1&gpu=h200:8")
    page.locator("#answer details.category summary").first.click()
    line = page.locator("#answer .lines li").first
    assert line.locator(".formula").inner_text().startswith("=")
    assert line.locator("small").is_visible()
    seen.close()


def test_keyboard_alone(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h200:8")
    seen.verdict("Fits:")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#infer-count")
    page.keyboard.press("Control+A")
    page.keyboard.type("4")
    seen.verdict("Does not fit:")
    page.focus("#answer details.category summary")
    page.keyboard.press("Enter")
    assert page.locator("#answer details.category[open]").count() == 1
    seen.close()


def test_a_slider_sets_a_length(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h200:8")
    page.focus("[data-for=infer-concurrency]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("location.hash.includes('concurrency=4')")
    assert page.input_value("#infer-concurrency") == "4"
    seen.close()


def test_a_wrong_value_is_marked_where_it_stands(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h200:8&tp=0")
    page.locator("#answer .refused").wait_for()
    assert page.get_attribute("#infer-tp", "aria-invalid") == "true"
    assert page.locator("#infer-tp").is_visible()
    page.fill("#infer-tp", "8")
    seen.verdict("Fits:")
    assert page.get_attribute("#infer-tp", "aria-invalid") is None
    seen.close()


def test_options_of_other_engines_are_put_away(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h200:8&engine=sglang")
    page.locator("details.all summary").first.click()
    hidden = page.evaluate("document.querySelector('#infer-gpu_memory_utilization').closest('.field').hidden")
    shown = page.evaluate("document.querySelector('#infer-mem_fraction_static').closest('.field').hidden")
    assert (hidden, shown) == (True, False)
    seen.close()


def changed(page: Any, before: str) -> str:
    """Return what lies on the clipboard once it is no longer `before`: JSON is asked for first."""
    for _ in range(100):
        if (text := page.evaluate("navigator.clipboard.readText()")) != before:
            return str(text)
        page.wait_for_timeout(100)
    raise AssertionError("nothing was copied")


def test_copies_are_the_same_question(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h200:8&enforce-eager=")
    seen.verdict("Fits:")
    copied = {}
    for what in ("link", "command", "python", "json"):
        page.evaluate("navigator.clipboard.writeText('before')")
        page.click(f"[data-copy={what}]")
        copied[what] = changed(page, "before")
    assert copied["command"] == "oomless infer deepseek-r1 --gpu h200:8 --enforce-eager"
    assert copied["python"] == "oomless.infer('deepseek-r1', gpu='h200:8', enforce_eager=True)"
    assert copied["link"] == page.url
    assert json.loads(copied["json"])["verdict"] == "fits"
    seen.close()


@languages
def test_a_log_is_dropped_or_pasted(browser: Browser, site: str, language: str, tmp_path: Path) -> None:
    log = (
        "INFO 06-01 10:00:00 [core.py:58] Initializing a V1 LLM engine (v0.9.0) with config: model='x'\n"
        "INFO Available KV cache memory: 50.10 GiB\nINFO GPU KV cache size: 437,760 tokens\n"
    )
    seen = Seen(browser)
    page = seen.open(f"{site}{language}/#reconcile")
    page.fill("#log-text", log)
    page.click("#log-read")
    assert "vllm 0.9.0" in seen.verdict("vllm")
    file = tmp_path / "server log.txt"
    file.write_text(log.replace("0.9.0", "0.8.5"), encoding="utf-8")
    page.set_input_files("[data-file=log]", str(file))
    seen.verdict("0.8.5")
    seen.close()


def test_a_config_is_read_in_place_of_a_name(browser: Browser, site: str, tmp_path: Path) -> None:
    from oomless.facts import model_config

    file = tmp_path / "config.json"
    file.write_text(json.dumps(model_config("deepseek-v3")), encoding="utf-8")
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1-distill-qwen-7b&gpu=h200:8")
    seen.verdict("Fits:")
    page.set_input_files("#form-infer [data-file=model]", str(file))
    page.locator("#answer .question", has_text="671.0B").wait_for()
    seen.close()


def test_answers_stand_beside_each_other_and_in_the_address(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h200:8")
    seen.verdict("Fits:")
    page.click("#pin")
    page.locator("#pinned article .verdict").wait_for()
    page.fill("#infer-card", "h20")
    seen.verdict("Does not fit:")
    page.reload()
    page.locator("#pinned article .verdict", has_text="Fits:").wait_for()
    page.locator("#pinned article > button").click()
    page.locator("#pinned").wait_for(state="hidden")
    seen.close()


def test_a_table_sorts_by_its_column(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#plan?{VIEWS['plan']}")
    page.locator("#answer .sortable").wait_for()
    rate = page.locator("#answer th .sort", has_text="tokens/s")
    rate.click()
    rows = "[...document.querySelectorAll('#answer .sortable tbody tr')]"
    cells = f"{rows}.map((row) => Number(row.children[4].dataset.sort))"
    rising = page.evaluate(cells)
    assert rising == sorted(rising)
    rate.click()
    assert page.evaluate(cells) == sorted(rising, reverse=True)
    seen.close()


def test_launch_files_are_saved(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#plan?{VIEWS['plan']}")
    page.locator("#answer .launch details summary").first.click()
    with page.expect_download() as download:
        page.locator("#answer .launch .save").first.click()
    assert download.value.suggested_filename
    seen.close()


def test_the_other_language_shows_the_same_question(browser: Browser, site: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h20:8")
    seen.verdict("Does not fit:")
    page.click("#language")
    seen.verdict("放不下：")
    assert "/zh/#infer?model=deepseek-r1&gpu=h20:8" in page.url
    seen.close()


@pytest.mark.parametrize(("locale", "language"), [("zh-CN", "zh"), ("de-DE", "en")])
def test_the_browser_chooses_the_language(browser: Browser, site: str, locale: str, language: str) -> None:
    seen = Seen(browser, locale=locale)
    page = seen.open(site)
    assert f"/{language}/" in page.url
    seen.close()


@pytest.mark.parametrize("view", VIEWS)
def test_no_serious_fault_for_who_cannot_see(browser: Browser, site: str, view: str) -> None:
    seen = Seen(browser)
    page = seen.open(f"{site}en/#{view}?{VIEWS[view]}")
    page.locator("#answer .verdict").first.wait_for()
    assert serious_faults(page, ("light", "dark")) == []
    seen.close()


def test_the_head_of_a_gguf_file_is_read_in_place_of_a_name(
    browser: Browser, site: str, tmp_path: Path
) -> None:
    pytest.importorskip("gguf", reason="the extra `compress` is not installed")
    from file_readers import gguf_seeds

    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf_seeds()[0])
    seen = Seen(browser)
    page = seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=rtx-4090")
    seen.verdict("Does not fit:")
    page.set_input_files("#form-infer [data-file=model]", str(file))
    seen.verdict("Fits:")
    page.locator("#answer .question", has_text="tiny").wait_for()
    page.fill("#infer-model", "deepseek-r1")
    seen.verdict("Does not fit:")
    seen.close()
