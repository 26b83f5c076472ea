"""Pictures of every view of the page, to be looked at: both languages, light and dark, phone and desktop.

`python -m bench.screenshots FOLDER [VIEW ...]` writes VIEW-LANGUAGE-THEME-WIDTH.png.
"""

import sys
from pathlib import Path
from typing import Any

from .server import started
from .site import CHROMIUM, FLAGS

QUESTIONS = {
    "infer": "model=deepseek-r1&gpu=h20:8",
    "infer-fits": "model=deepseek-r1&gpu=h200:8",
    "infer-wrong": "model=deepseek-r1&gpu=h200:8&tp=0",
    "train": "model=deepseek-v2-lite&gpu=a100-80gb:8",
    "plan": "model=deepseek-r1&gpu=h200&gpu=b200&gpu=h20&context=32768&concurrency=64",
    "tune": "model=deepseek-r1-distill-qwen-7b&gpu=h100&concurrency=8",
    "speed": "model=deepseek-r1&gpu=h200:8&concurrency=32",
    "cost": "gpu=h100:8",
    "reconcile": "",
    "claims": "",
    "accuracy": "",
}
"""What each view is asked; `infer` where it fits and where the question is wrong too."""
LOG = """INFO 06-01 10:00:00 [core.py:58] Initializing a V1 LLM engine (v0.9.0) with config: \
model='deepseek-ai/DeepSeek-R1', tensor_parallel_size=8, max_seq_len=163840
INFO Model loading took 79.2487 GiB and 3.1 seconds
INFO Available KV cache memory: 30.10 GiB
INFO GPU KV cache size: 437,760 tokens
"""
WIDTHS = {360: 740, 1280: 900}
"""Of a phone and of a desktop, each with its height."""
MOST_PIXELS = 4000
"""What of a long page is drawn."""


def shot(page: Any, address: str, view: str) -> None:
    """Open a view and wait for its answer."""
    page.goto("about:blank")
    page.goto(f"{address}#{view.partition('-')[0]}?{QUESTIONS[view]}")
    page.wait_for_selector("html[data-ready]")
    if view == "reconcile":
        page.fill("#log-text", LOG)
        page.click("#log-read")
    page.wait_for_selector("#answer .verdict, #answer .claim")
    page.wait_for_selector("#answer [aria-busy]", state="detached")


def main(folder: Path, views: list[str]) -> None:
    """Draw the views that are named, or all."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with started() as (port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        for language in ("en", "zh"):
            for view in views or QUESTIONS:
                shot(page, f"http://127.0.0.1:{port}/{language}/", view)
                for theme in ("light", "dark"):
                    page.emulate_media(color_scheme=theme)
                    for width, height in WIDTHS.items():
                        page.set_viewport_size({"width": width, "height": height})
                        tall = min(page.evaluate("document.documentElement.scrollHeight"), MOST_PIXELS)
                        page.set_viewport_size({"width": width, "height": max(tall, height)})
                        page.screenshot(path=folder / f"{view}-{language}-{theme}-{width}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
