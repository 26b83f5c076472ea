"""What would fit follows the answer: the answer does not wait for it, and in a browser it is looked for in
slices, between which the page's next question is heard."""

import json

import pytest

from oomless.web import in_browser
from oomless.web.in_browser import PUT_ASIDE, answer
from oomless.web.page import later, view

QUESTIONS = [
    ("infer", "model=deepseek-r1&gpu=h20:8"),
    ("infer", "model=deepseek-r1&gpu=rtx-4090&lang=zh"),
    ("infer", "model=deepseek-r1-distill-qwen-32b&gpu=h100&concurrency=64"),
    ("infer", "model=qwen3-8b&gpu=rtx-4090&engine=llamacpp&context=1m"),
    ("train", "model=deepseek-v2-lite&gpu=a100-80gb"),
    ("train", "model=deepseek-v2-lite&gpu=a100-80gb:8&lang=zh"),
    ("infer", "model=deepseek-r1&gpu=h200:8"),
]


def pairs_of(query: str) -> list[tuple[str, str]]:
    return [(name, text) for name, _, text in (each.partition("=") for each in query.split("&"))]


@pytest.fixture
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slice tries one thing."""
    monkeypatch.setattr(in_browser, "SLICE_SECONDS", 0.0)


@pytest.mark.usefixtures("short_slices")
@pytest.mark.parametrize(("command", "query"), QUESTIONS)
def test_a_search_in_slices_finds_what_one_in_one_go_finds(command: str, query: str) -> None:
    whole = later(command, pairs_of(query)).content.decode()
    slices = 1
    while (found := answer(f"later/{command}", query, b""))[0] == PUT_ASIDE:
        slices += 1
    assert found == (200, whole)
    fits = json.loads(whole)["html"] == ""
    assert fits == (slices == 1)
    assert in_browser.searches == {}


@pytest.mark.usefixtures("short_slices")
def test_searches_that_take_turns_both_end() -> None:
    asked, ended = [f"later/{command}" for command, _ in QUESTIONS], dict[str, str]()
    for _ in range(1000):
        for address, (_, query) in zip(asked, QUESTIONS, strict=True):
            if query not in ended:
                status, text = answer(address, query, b"")
                ended |= {query: text} if status != PUT_ASIDE else {}
    assert len(ended) == len(QUESTIONS)


@pytest.mark.usefixtures("short_slices")
def test_searches_that_are_given_up_are_forgotten() -> None:
    for length in range(4096, 4126):
        query = f"model=deepseek-r1&gpu=h20:4&max-model-len={length}"
        assert answer("later/infer", query, b"")[0] == PUT_ASIDE
    assert len(in_browser.searches) == in_browser.MOST_SEARCHES
    in_browser.searches.clear()


@pytest.mark.parametrize(("command", "query"), QUESTIONS)
def test_the_answer_does_not_wait_for_the_search(
    command: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oomless.api.serving import ServingAnswer
    from oomless.api.training_answer import TrainingAnswer

    def searched(_: object) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr(ServingAnswer, "changes", property(searched))
    monkeypatch.setattr(TrainingAnswer, "changes", property(searched))
    found = view(command, pairs_of(query))
    assert found.status == 200
    html = json.loads(found.content)["html"]
    assert ("data-later" in html) == ('data-verdict="fits"' not in html)


def test_what_has_nothing_that_follows_says_so() -> None:
    status, text = answer("later/plan", "model=deepseek-r1", b"")
    assert (status, json.loads(text)["field"]) == (400, "")
