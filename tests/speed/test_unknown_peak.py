"""A card of which no table has the rate in 16 bit: memory is answered, and speed is said to be unknown."""

import json

import pytest

from command import call

MODEL = "deepseek-r1-distill-qwen-1.5b"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_on_a_card_without_a_peak_is_answered(method: str) -> None:
    answer = call("train", MODEL, "--method", method, "--gpu", "ascend-950pr:1", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["speed"] is None
    text = call("train", MODEL, "--method", method, "--gpu", "ascend-950pr:1").out
    assert "no table has how much it computes in bf16" in text


def test_a_plan_over_a_card_without_a_peak_does_not_crash() -> None:
    answer = call("plan", MODEL, "--for", "train", "--method", "lora", "--gpu", "ascend-950pr:1")
    assert answer.code in (0, 3), answer.err
    assert "internal error" not in answer.err
