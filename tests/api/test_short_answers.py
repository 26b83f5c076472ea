"""What a notebook shows of each public answer is at most a screen."""

from collections.abc import Callable
from pathlib import Path

import pytest

import oomless

LOG = Path(__file__).parents[1] / "tables" / "logs" / "vllm-ready.log"
ANSWERS: dict[str, Callable[[], object]] = {
    "load": lambda: oomless.load("deepseek-r1"),
    "infer": lambda: oomless.infer("deepseek-r1", "h200:8"),
    "train": lambda: oomless.train("llama-3.1-8b", "h100:8"),
    "plan": lambda: oomless.plan("deepseek-v2-lite"),
    "plan for training": lambda: oomless.plan("llama-3.1-8b", for_="train", gpu="h100"),
    "a row": lambda: oomless.plan("deepseek-v2-lite", gpu="h100:1").rows[0],
    "speed": lambda: oomless.speed("deepseek-r1", "h200:8"),
    "tune": lambda: oomless.tune("deepseek-r1", "h200:8"),
    "guide": lambda: oomless.guide("deepseek-r1", "h200:8"),
    "cost": lambda: oomless.cost("a100-80gb:8", buy_usd=80000, rent_usd_per_hour=25),
    "reconcile": lambda: oomless.reconcile(LOG),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_short(name: str) -> None:
    """A plan was 1.2 million characters, a model 49,000."""
    text = repr(ANSWERS[name]())
    assert 20 < len(text) < 5000
    assert text.count("\n") < 40


@pytest.mark.torch
def test_a_trace_is_short() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    traced = oomless.trace("profile-deepseek-lite-0.7b", seq_len=64)
    assert "peak" in repr(traced)
    assert len(repr(traced)) < 2000


def test_one_request_is_not_several() -> None:
    found = oomless.speed("deepseek-v2-lite", "h100", requests=1, arrival_rate=1)
    assert "\nrequests: 1, " in repr(found)
