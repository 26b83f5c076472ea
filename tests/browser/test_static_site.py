"""The exported site in a real browser: Python runs in its worker, and says the same as the command line."""

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from in_browser import CHROMIUM, Seen, chromium
from web_questions import drawn, pairs_of

from command import call
from oomless.web.export import LOADER, MAX_LOADER_BYTES, export, loader

PYODIDE = Path(__file__).parents[2] / ".pyodide" / "node_modules" / "pyodide"
"""Where `npm install --prefix .pyodide pyodide@314` puts it."""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
    pytest.mark.skipif(not PYODIDE.is_dir(), reason="npm install --prefix .pyodide pyodide@314"),
]
pytest.importorskip("playwright", reason="playwright is not installed")
MOST_BYTES = 8_000_000
START_MS = 60_000


class Handler(SimpleHTTPRequestHandler):
    """Files as a static host gives them."""

    extensions_map = {  # noqa: RUF012 - as the class above has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(exported: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(exported)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


@pytest.fixture(scope="module")
def opened(site: str) -> Iterator[Seen]:
    with chromium() as browser:
        seen = Seen(browser)
        seen.page.set_default_timeout(START_MS)
        seen.open(f"{site}en/#infer?model=deepseek-r1&gpu=h20:8")
        yield seen
        seen.close()


def ask(seen: Seen, command: str, pairs: list[tuple[str, str]], file: str | None = None) -> tuple[int, str]:
    script = """async ([command, query, file]) => {
        const { ask } = await import("/pyodide.js");
        const content = file && new TextEncoder().encode(file).buffer;
        const files = file ? [{ name: "server.log", content, size: content.byteLength }] : [];
        const found = await ask(command, query, files);
        return [found.status, found.text];
    }"""
    status, text = seen.page.evaluate(script, [command, urlencode(pairs), file])
    return status, text


def same(seen: Seen, words: list[str]) -> None:
    """The browser's Python says the same."""
    printed = call(*words, "--json")
    status, text = ask(seen, words[0], pairs_of(words))
    assert (status == 200) == bool(printed.out), words
    assert text == (printed.out or printed.err), words


def test_the_page_answers_in_the_browser(opened: Seen) -> None:
    opened.verdict("Does not fit:")
    opened.page.fill("#infer-card", "h200")
    opened.verdict("Fits:")


def test_the_same_answers_as_the_command_line(opened: Seen) -> None:
    for words in drawn(40, "static"):
        same(opened, words)


@pytest.mark.slow
def test_the_same_answers_as_the_command_line_300_times(opened: Seen) -> None:
    for words in drawn(300, "static, slow"):
        same(opened, words)


def test_every_list_and_a_log(opened: Seen) -> None:
    for command in ("engines", "gpus", "models", "claims", "accuracy"):
        assert ask(opened, command, [])[1] == call(command, "--json").out
    status, text = ask(opened, "reconcile", [], "INFO GPU KV cache size: 437,760 tokens\n")
    assert status == 200
    assert "437760" in text


def test_the_first_visit_is_small(exported: Path) -> None:
    sent = 0
    for path in exported.rglob("*"):
        if path.is_file() and path.parent.name != "zh":
            content = path.read_bytes()
            sent += min(len(gzip.compress(content, 6)), len(content))
    assert sent <= MOST_BYTES


def test_it_answers_without_a_network_after_one_visit(opened: Seen, site: str) -> None:
    page = opened.open(f"{site}en/#infer?model=deepseek-r1&gpu=h200:8")
    opened.verdict("Fits:")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    opened.context.set_offline(True)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    opened.verdict("Fits:")
    opened.context.set_offline(False)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    from oomless.errors import OomlessError, UsageError

    left = export(str(tmp_path / "site"), None)
    assert all(name in left for name in LOADER)
    assert not (tmp_path / "site" / "server.js").exists()
    with pytest.raises(UsageError, match="not empty"):
        export(str(tmp_path / "site"), None)
    with pytest.raises(OomlessError, match="not there"):
        loader(tmp_path)
    assert MAX_LOADER_BYTES > 10_000_000
