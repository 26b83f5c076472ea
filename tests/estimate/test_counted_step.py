"""A step is counted once for all cards that run it alike: no answer follows from what was asked before."""

import pytest

from oomless.estimate.training import counted_step
from oomless.estimate.training.estimate import estimate_training
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.training import Mesh, TrainingAsked

CARDS = ("a100-80gb:8", "t4:8", "h200:8", "mi300x:8", "rtx-4090:8", "ascend-910b:8", "a100-40gb:8")
QUESTIONS = {
    "adapters": TrainingAsked(framework="axolotl", method="lora", precision="amp-fp16"),
    "chunks of what a card leaves": TrainingAsked(
        framework="unsloth", method="qlora", loss="chunked", precision="fp16", seq_len=65536
    ),
    "a pipeline": TrainingAsked(framework="torchtitan", precision="fp32", mesh=Mesh(pp=2), grad_accum=4),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_cards_asked_before_change_nothing(what: str) -> None:
    model, asked = load("deepseek-llm-7b"), QUESTIONS[what]
    one = what.startswith("chunks")
    cards = [parse_gpu(word.replace(":8", ":1") if one else word) for word in CARDS]
    alone = []
    for hardware in cards:
        counted_step._KNOWN.clear()
        alone.append(estimate_training(model, asked, hardware))
    counted_step._KNOWN.clear()
    for _ in range(2):
        assert [estimate_training(model, asked, hardware) for hardware in cards] == alone
    assert len({each.ledger.total_bytes for each in alone}) > 1
