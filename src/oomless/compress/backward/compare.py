"""All ways to keep activations on one model, one after the other: bytes, time and loss of a step."""

import copy
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

from ...errors import need
from .layers import checkpoint_layers
from .saved import activations


class Way(NamedTuple):
    """One way and what it takes: `kept_bytes` lie in memory between forward and backward."""

    name: str
    saved_bytes: int
    kept_bytes: int
    cpu_s: float
    loss: float
    gradient_error: float
    """Squared difference of all gradients from the plain step's, as a share of their square."""


WAYS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("plain", {}, ""),
    ("checkpointing, each layer", {}, "layer"),
    ("checkpointing, sqrt(n) segments", {}, "sqrt"),
    ("block floating point, 8 bits", {"bits": 8}, ""),
    ("block floating point, 4 bits", {"bits": 4}, ""),
    ("offload to a file", {"offload": "file"}, ""),
    ("8 bits on top of checkpointing", {"bits": 8}, "layer"),
)
"""Selective checkpointing is not among them: torch keeps its results where no hook of autograd sees them."""


def compare(model: Any, loss_of: Callable[[Any], Any], repeats: int = 3) -> list[Way]:
    """Return what each way takes: the model is copied for each, `loss_of` runs its forward."""
    found: list[Way] = []
    reference: list[Any] = []
    for name, words, checkpointing in WAYS:
        mine = copy.deepcopy(model)
        if checkpointing:
            checkpoint_layers(mine, checkpointing)  # type: ignore[arg-type]
        way, gradients = one(name, words, mine, loss_of, repeats)
        reference = reference or gradients
        error = sum(float((a - b).square().sum()) for a, b in zip(gradients, reference, strict=True))
        square = sum(float(each.square().sum()) for each in reference) or 1.0
        found.append(way._replace(gradient_error=error / square))
    return found


def one(
    name: str, words: dict[str, Any], model: Any, loss_of: Callable[[Any], Any], repeats: int
) -> tuple[Way, list[Any]]:
    """Return one way's figures and gradients."""
    torch = need("torch", "compress")
    times, loss, kept = [], 0.0, None
    folder = tempfile.TemporaryDirectory() if words.get("offload") else nullcontext("")
    with folder as place:
        words = {**words, "offload": place} if words.get("offload") else words
        for _ in range(repeats):
            model.zero_grad(set_to_none=True)
            torch.manual_seed(0)
            started = time.process_time()
            with activations(**words) as kept:
                result = loss_of(model)
                saved = kept.saved_bytes, kept.kept_bytes
                result.backward()
            times.append(time.process_time() - started)
            loss = float(result.detach())
    gradients = [each.grad.clone() for each in model.parameters() if each.grad is not None]
    return Way(name, saved[0], saved[1], min(times), loss, 0.0), gradients
