"""Two training steps, or a prefill and decode steps, on a model with fake weights: the code that a user would
write, under the recorder."""

from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any

from ..errors import OomlessError, need
from ..recording.held_tensors import held_cache, held_gradients, held_states, held_weights
from .recorder import Recorder

NUM_STEPS = 2
"""The second step is the one that counts: it finds the optimizer's states."""


def own_model(recorder: Recorder, model: Any) -> None:
    """Weights and buffers in the order in which a model is moved to a device."""
    for held in held_weights(model):
        recorder.own(held.tensor, held.category, held.module, "weight")


def training_steps(
    recorder: Recorder, model: Any, optimizer: Any, batch: dict[str, Any], settings: "Stepping"
) -> None:
    """Forward, backward and optimizer, twice; gradients become None after each step."""
    for step in range(NUM_STEPS):
        for _ in range(settings.grad_accum):
            with recorder.during("forward", step), settings.region():
                loss = _loss(model(**batch))
                if settings.grad_accum > 1:
                    loss = loss / settings.grad_accum
            with recorder.during("backward", step):
                loss.backward()
                own_gradients(recorder, model)
        with recorder.during("optimizer", step):
            optimizer.step()
            own_states(recorder, model, optimizer)
            optimizer.zero_grad(set_to_none=True)


def _loss(output: Any) -> Any:
    """The loss of what a model returns: its `loss`, or the tensor itself."""
    loss: Any = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", output)
    if getattr(loss, "requires_grad", False) and loss.numel() == 1:
        return loss
    shape = f" of shape {tuple(loss.shape)}" if hasattr(loss, "shape") else ""
    without = " that does not depend on what is trained" if shape and loss.numel() == 1 else ""
    raise OomlessError(
        "the model returns "
        f"{'a tensor' if shape and loss is output else type(output).__name__}{shape}{without}, "
        "which is no loss to train with",
        "return one number with a gradient, or an object with it as `loss`",
    )


def own_gradients(recorder: Recorder, model: Any) -> None:
    """What lies in `.grad` now is a gradient."""
    for held in held_gradients(model):
        recorder.kind_of(held.tensor, held.category, held.module)


def own_states(recorder: Recorder, model: Any, optimizer: Any) -> None:
    """What an optimizer keeps is a state; the counter of steps lies on the host unless the step is fused."""
    fused = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    for held, name in held_states(model, optimizer):
        recorder.kind_of(held.tensor, held.category, held.module or None)
        if name == "step" and not fused and recorder.on_device:
            recorder.on_host(held.tensor)


class Stepping:
    """How a step is made: micro-batches, and the region of mixed precision."""

    def __init__(self, grad_accum: int = 1, autocast: Any = None) -> None:
        self.grad_accum = grad_accum
        self.autocast = autocast

    def region(self) -> AbstractContextManager[Any]:
        """Where operators choose their type: `torch.autocast`, or nothing."""
        if self.autocast is None:
            return nullcontext()
        region: AbstractContextManager[Any] = need("torch", "trace").autocast("cpu", dtype=self.autocast)
        return region


def inference_steps(recorder: Recorder, model: Any, batch: dict[str, Any], num_decoded: int) -> None:
    """A prefill of the whole prompt, then single tokens, with the cache that the model makes; logits of the
    last token alone."""
    torch = recorder.torch
    last = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
    with torch.no_grad():
        with recorder.during("prefill", 0):
            output = model(**batch, use_cache=True, **last)
            cache = getattr(output, "past_key_values", None)
            own_cache(recorder, cache)
        token = batch["input_ids"][:, -1:]
        for _ in range(num_decoded):
            del output
            with recorder.during("decode", 0):
                output = model(input_ids=token, past_key_values=cache, use_cache=True, **last)
                cache = getattr(output, "past_key_values", None)
                own_cache(recorder, cache)


def own_cache(recorder: Recorder, cache: Any) -> None:
    """Every tensor that a cache's layers hold."""
    for held in held_cache(cache):
        recorder.kind_of(held.tensor, held.category)
