"""A real browser over a real server, for tests marked `browser`."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from command import environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 20_000


@contextmanager
def served() -> Iterator[str]:
    """`oomless web` as a process of its own, on a free port; gives its address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "oomless", "web", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert "http://" in line, line
        yield line[line.index("http://") : line.index(" (")]
    finally:
        server.terminate()
        server.wait(10)


class Browser:
    """A browser with a tab a locale. The page keeps nothing between visits, so that a tab is used again: its
    files are known then, and a test begins in half the time."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.tabs: dict[str, tuple[Any, list[str]]] = {}

    def tab(self, locale: str) -> tuple[Any, list[str]]:
        """Return a page and the list of what the browser complains of there."""
        if locale not in self.tabs:
            allowed = ["clipboard-read", "clipboard-write"]
            page = self.browser.new_context(locale=locale, permissions=allowed).new_page()
            page.set_default_timeout(WAIT_MS)
            complaints: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.extend(complaint(message)))
            self.tabs[locale] = page, complaints
        return self.tabs[locale]


def complaint(message: Any) -> list[str]:
    """Return what of a message of the console is a complaint: refusals of questions are none."""
    is_one = message.type in ("error", "warning") and "status of 4" not in message.text
    return [message.text] if is_one else []


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium under Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Browser(browser)
        browser.close()


class Seen:
    """A page that was opened, with what the browser complained of."""

    def __init__(
        self, browser: Browser, width: int = 1280, theme: str = "light", locale: str = "en-US"
    ) -> None:
        self.page, self.complaints = browser.tab(locale)
        self.complaints.clear()
        self.context = self.page.context
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=theme)

    def open(self, address: str) -> Any:
        """Go to an address from elsewhere and wait for the page to be ready."""
        self.page.goto("about:blank")
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]")
        return self.page

    def widen(self, width: int) -> None:
        """Give the page another width, and wait until it is laid out."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def verdict(self, part: str) -> str:
        """Wait for a verdict that says something; return all of it."""
        found = self.page.locator("#answer .verdict", has_text=part).first
        found.wait_for()
        return str(found.inner_text())

    def close(self) -> None:
        self.page.goto("about:blank")
        assert self.complaints == []


def serious_faults(page: Any, themes: tuple[str, ...] = ("light",)) -> list[tuple[str, str]]:
    """Open all that opens, and return what axe-core finds a screen reader or weak eyes stumble over.

    A theme is another set of colours on the same page: in the second one the rules of colour alone are asked,
    of two fields and two rows of each kind, since the others have the same classes.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()

    page.evaluate(OPEN_ALL)
    page.emulate_media(color_scheme=themes[0])
    found = axe.run(page, options=FAULTS).response["violations"]
    for theme in themes[1:]:
        page.evaluate(KEEP_TWO)
        page.emulate_media(color_scheme=theme)
        assert page.evaluate(f"matchMedia('(prefers-color-scheme: {theme})').matches")
        found += axe.run(page, options={**FAULTS, **OF_COLOUR}).response["violations"]
    return [
        (each["id"], f"{each['nodes'][0]['html'][:160]} {each['nodes'][0]['failureSummary'][:200]}")
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


OPEN_ALL = "for (const each of document.querySelectorAll('details')) each.open = true"
KEEP_TWO = """for (const each of document.querySelectorAll(".more .fields, tbody")) {
    [...each.children].slice(2).forEach((one) => one.remove());
}"""
FAULTS = {"resultTypes": ["violations"]}
"""What holds is not listed node by node."""
OF_COLOUR = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
