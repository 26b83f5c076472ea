"""Masks: zeros that stay zeros while a model is tuned."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import UsageError, need


def linear_weights(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and weight of each linear layer, heads left out: what pruning is about."""
    torch = need("torch", "compress")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not name.endswith(("lm_head", "embed_out", "score")):
            yield name, module.weight


@contextmanager
def masked(model: Any, optimizer: Any) -> Iterator[dict[str, Any]]:
    """Keep every zero of the linear weights a zero, after each step of an optimizer; yields the masks.

    The gradients of zeros are taken away before the step, so that momenta do not grow for them.
    """
    masks = {name: weight.detach() != 0 for name, weight in linear_weights(model)}
    weights = dict(linear_weights(model))
    if all(bool(mask.all()) for mask in masks.values()):
        raise UsageError("masked(): no weight of this model is zero", "prune it first: compress --to 2:4")
    handles = [
        optimizer.register_step_pre_hook(lambda *words: mask_gradients(weights, masks)),
        optimizer.register_step_post_hook(lambda *words: mask_weights(weights.items(), masks)),
    ]
    try:
        yield masks
    finally:
        for handle in handles:
            handle.remove()


def mask_gradients(weights: dict[str, Any], masks: dict[str, Any]) -> None:
    """Set the gradients of masked weights to zero."""
    for name, weight in weights.items():
        if weight.grad is not None:
            weight.grad.mul_(masks[name])


def mask_weights(weights: Iterable[tuple[str, Any]], masks: dict[str, Any]) -> None:
    """Set masked weights to zero: decay and momenta may have moved them."""
    torch = need("torch", "compress")
    with torch.no_grad():
        for name, weight in weights:
            weight.mul_(masks[name])
