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


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium under Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Seen:
    """A page that was opened, with what the browser complained of."""

    def __init__(self, browser: Any, width: int = 1280, theme: str = "light", locale: str = "en-US") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            locale=locale,
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and "status of 4" not in message.text:
            self.complaints.append(message.text)

    def open(self, address: str) -> Any:
        """Go to an address and wait for the page to be ready."""
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
        self.context.close()
        assert self.complaints == []


def serious_faults(page: Any) -> list[tuple[str, str]]:
    """Open all that opens, and return what axe-core finds a screen reader or weak eyes stumble over."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found = axe.Axe().run(page).response["violations"]
    return [
        (each["id"], f"{each['nodes'][0]['html'][:160]} {each['nodes'][0]['failureSummary'][:200]}")
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
