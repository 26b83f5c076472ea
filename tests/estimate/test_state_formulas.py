"""Formulas of optimizer states say what the bytes are."""

import re
from typing import Any

import pytest

from oomless.api.training import train

NUMBER = re.compile(r"\d[\d,]*")


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"framework": "fsdp", "optimizer": "adamw"}, "optimizer.moments"),
        ({"framework": "fsdp", "optimizer": "muon"}, "optimizer.moments"),
        ({"framework": "megatron-lm", "sharding": "distopt"}, "optimizer.moments"),
        ({"framework": "megatron-lm", "sharding": "distopt"}, "optimizer.master_copies"),
        ({"framework": "megatron-lm", "sharding": "distopt"}, "weights.trained"),
    ],
)
def test_a_formula_gives_its_bytes(flags: dict[str, Any], key: str) -> None:
    """Muon's said "8,030,261,248 values / 8, 1 moments", Megatron's "98 tensors"."""
    line = next(each for each in train("llama-3.1-8b", "h100:8", **flags).ledger.lines if each.key == key)
    numbers = [int(word.replace(",", "")) for word in NUMBER.findall(line.formula)]
    if flags.get("optimizer") == "muon":
        values, ranks, size, again = numbers
        found: float = (values / ranks + again) * size
    elif flags["framework"] == "fsdp":
        values, ranks, moments, size = numbers
        found = values / ranks * moments * size
    else:
        values, size, _ = numbers
        found = values * size
    assert found == pytest.approx(line.bytes, rel=1e-4)
