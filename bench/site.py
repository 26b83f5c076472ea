"""What the static site costs who opens it: bytes of a first visit, the first answer, each change after it,
and a plan over the whole catalogue.

`python -m bench.site [LOADER]` prints the figures of this machine; LOADER is npm's package pyodide, unpacked.
"""

import gzip
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path
from statistics import median
from typing import Any

from oomless.web.export import export

LOADER = Path(".pyodide/node_modules/pyodide")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PLAN = "plan?model=deepseek-r1&context=32768&concurrency=16"
VISITS = 3
"""Of each the browser is a new one, whose caches are empty."""
PLAN_MS = 120_000
IDLE_MS = 5_000
CARDS = ("h100", "h20", "b200", "a100-80gb", "mi300x", "h800", "rtx-4090", "l40s", "h200")
MODELS = ("deepseek-v3.2", "deepseek-v4-flash", "qwen3-8b", "kimi-k2-instruct", "deepseek-r1-distill-qwen-7b")
LENGTHS = ("1024", "2048", "4096", "8192", "16384", "32768", "65536", "131072")
LOADS = ("64", "32", "128")
TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm"}
SHOWN = """new MutationObserver(() => {
    window.shown ??= document.querySelector("#answer .verdict") && performance.now();
}).observe(document, { childList: true, subtree: true })"""
"""Notes when the first verdict stands, in milliseconds since the address was opened."""
CHANGE = """([id, text]) => new Promise((done) => {
    const box = document.getElementById(id), begun = performance.now();
    new MutationObserver((_, seen) => { seen.disconnect(); done(performance.now() - begun); })
        .observe(document.getElementById("answer"), { childList: true });
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
})"""
"""Types a text into a field; milliseconds until another answer stands."""
FOLLOWED = """([id, text]) => new Promise((done) => {
    const box = document.getElementById(id), begun = performance.now();
    const answer = document.getElementById("answer");
    new MutationObserver((_, seen) => {
        if (!answer.querySelector("[data-later]:not([aria-busy])")) return;
        seen.disconnect();
        done(performance.now() - begun);
    }).observe(answer, { childList: true, subtree: true, attributes: true });
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
})"""
"""Types a text with which it does not fit; milliseconds until what would fit stands too."""
TOO_SMALL = ("h100", "h20", "a100-80gb", "rtx-4090", "l40s")


class Host:
    """A host of static files, which sends them compressed, as hosts do, and counts what it sends."""

    def __init__(self, folder: Path) -> None:
        self.sent = 0
        self.files = {
            f"/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        self.packed = {name: gzip.compress(content, 6) for name, content in self.files.items()}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Send a file, compressed where that is shorter."""
        name = request.path.partition("?")[0]
        name += "index.html" if name.endswith("/") else ""
        whole, packed = self.files.get(name), self.packed.get(name, b"")
        if whole is None:
            request.send_error(404)
            return
        body, mark = min(whole, packed, key=len), f'"{sha256(whole).hexdigest()}"'
        if request.headers.get("If-None-Match") == mark:
            request.send_response(304)
            request.end_headers()
            return
        request.send_response(200)
        request.send_header(
            "Content-Type", TYPES.get(Path(name).suffix) or guess_type(name)[0] or "text/plain"
        )
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Cache-Control", "max-age=600")
        request.send_header("ETag", mark)
        if body is not whole:
            request.send_header("Content-Encoding", "gzip")
        request.end_headers()
        request.wfile.write(body)
        self.sent += len(body)


@contextmanager
def hosted(loader: Path) -> Iterator[Host]:
    """Export the site and serve it on a free port."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site")
        if left := export(str(site), str(loader)):
            raise SystemExit(left)
        host = Host(site)
    threading.Thread(target=host.server.serve_forever, daemon=True).start()
    yield host
    host.server.shutdown()


@contextmanager
def visited(playwright: Any, address: str) -> Iterator[Any]:
    """Open an address in a browser that was never anywhere."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    page = browser.new_page()
    page.add_init_script(SHOWN)
    page.goto(address)
    page.wait_for_selector("#answer .verdict", timeout=PLAN_MS)
    yield page
    browser.close()


def changes(page: Any) -> list[float]:
    """Change one thing after the other; return milliseconds, each from the key to the answer."""
    page.wait_for_selector("html[data-ready]")
    steps = [("infer-card", each) for each in CARDS] + [("infer-max_model_len", each) for each in LENGTHS]
    steps += [("infer-model", each) for each in MODELS] + [("infer-concurrency", each) for each in LOADS]
    return [float(page.evaluate(CHANGE, list(step))) for step in steps]


def followed(page: Any) -> list[float]:
    """Change to cards that are too small; return milliseconds until what would fit stands."""
    page.evaluate(CHANGE, ["infer-model", "deepseek-r1"])
    return [float(page.evaluate(FOLLOWED, ["infer-card", each])) for each in TOO_SMALL]


def first_plan(page: Any) -> float:
    """Go to a plan over the catalogue from an answer; return milliseconds until its table stands."""
    page.wait_for_timeout(IDLE_MS)  # what somebody takes to read the answer
    begun = float(page.evaluate(f"(location.hash = '{PLAN}', performance.now())"))
    page.wait_for_selector("#answer .sortable", timeout=PLAN_MS)
    return float(page.evaluate("performance.now()")) - begun


def plans(page: Any) -> list[float]:
    """Plan over the whole catalogue, at one load after the other; return milliseconds of each."""
    return [float(page.evaluate(CHANGE, ["plan-concurrency", each])) for each in LOADS]


def main(loader: Path = LOADER) -> None:
    """Print all of it."""
    from playwright.sync_api import sync_playwright

    with hosted(loader) as host, sync_playwright() as playwright:
        question = f"{host.address}en/#infer?model=deepseek-r1&gpu=h200:8"
        cold, taken, after, first = list[float](), list[float](), list[float](), list[float]()
        for _ in range(VISITS):
            host.sent = 0
            with visited(playwright, question) as page:
                cold.append(page.evaluate("window.shown"))
                taken += changes(page)
                after += followed(page)
                first.append(first_plan(page))
        print(f"first visit: {host.sent:,} B over the wire")
        print(f"first answer, nothing cached: {seconds(cold)} of {VISITS} visits")
        taken.sort()
        print(
            f"each change, {len(taken)} of them: p50 {median(taken):.0f} ms, "
            f"p95 {taken[int(len(taken) * 0.95)]:.0f} ms, slowest {taken[-1]:.0f} ms"
        )
        print(f"what would fit stands after the change: {seconds(after)}")
        print(f"the first plan over the catalogue after an answer: {seconds(first)}")
        with visited(playwright, f"{host.address}en/#{PLAN}") as page:
            print(
                f"opened at a plan over the catalogue, nothing cached: {page.evaluate('shown') / 1e3:.2f} s"
            )
            print(f"each plan over the catalogue after it: {seconds(plans(page))}")


def seconds(taken: list[float]) -> str:
    """Return the middle of some milliseconds, and their ends."""
    return f"{median(taken) / 1e3:.2f} s ({min(taken) / 1e3:.2f} to {max(taken) / 1e3:.2f})"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
