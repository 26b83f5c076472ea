"""A question -> a recording: builds the model without memory, runs the steps under the recorder."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from ..errors import OomlessError, address_space_limit, need
from ..recording.recording import Recording
from ..run.tracing import Tracing
from ..units import parse_bytes
from .attention import attention_of
from .autocast import autocast_of_a_card
from .build import (
    ModelSource,
    build_inference,
    build_model,
    build_optimizer,
    prompt_batch,
    stepping,
    training_batch,
    vocabulary,
)
from .dispatch import Values, recorded
from .models import experts_of, failing_clearly, materialized, quiet
from .recorder import Recorder
from .step import inference_steps, own_model, training_steps
from .workspaces import Workspaces

TRUSTED = ("transformers/", "peft/")
"""Libraries whose checks of values do not change what is allocated."""

LEAST_ADDRESS_SPACE = "800MiB"
"""torch 2.13 for CPUs maps 644 MiB when it is imported (VmPeak); with transformers 5.24 a trace of a small
model ran in 781 MiB, not in 732."""

Progress = Callable[[int, str], None]


def trace(
    source: ModelSource, asked: Tracing, request: dict[str, Any], progress: Progress | None = None
) -> Recording:
    """The steps of a model on one rank."""
    asked.check()
    enough_address_space()
    recorder = Recorder(on_device=asked.attention != "cpu")
    used: dict[str, int] = {}
    with failing_clearly(source.name, recorder), quiet():
        if asked.world_size > 1:
            from .ranks.sharded import trace_rank

            trace_rank(source, asked, recorder, used, progress)
        elif asked.purpose == "infer":
            _inference(source, asked, recorder, used, progress)
        else:
            _training(source, asked, recorder, used, progress)
        if recorder.on_device:
            request = {**request, "attention_kernels": dict(sorted(used.items()))}
        return recorder.recording(request)


def enough_address_space() -> None:
    """Refuse an address space into which torch and transformers do not fit: importing them there may end the
    process without a word."""
    limit = address_space_limit()
    if limit is not None and limit < parse_bytes(LEAST_ADDRESS_SPACE):
        raise OomlessError(
            f"this process may map {limit:,} bytes, and a trace needs {LEAST_ADDRESS_SPACE} or more",
            "raise the limit (ulimit -v)",
        )


def eager(asked: Tracing) -> str | None:
    """What transformers is told about attention: its own choice, but where eager is asked for."""
    return "eager" if asked.attention == "eager" else None


def _training(
    source: ModelSource, asked: Tracing, recorder: Recorder, used: dict[str, int], progress: Progress | None
) -> None:
    training = asked.training
    fake = fake_mode()
    model = prepare(recorder, materialized(build_model(source, training, eager(asked)), fake))
    with running(recorder, model, asked, fake, used, progress):
        batch = training_batch(model, training)
        own_inputs(recorder, batch)
        optimizer = build_optimizer(model, training, not recorder.on_device)
        training_steps(recorder, model, optimizer, batch, stepping(training))


def _inference(
    source: ModelSource, asked: Tracing, recorder: Recorder, used: dict[str, int], progress: Progress | None
) -> None:
    fake = fake_mode()
    model = prepare(recorder, materialized(build_inference(source, asked.prompt, eager(asked)), fake))
    with running(recorder, model, asked, fake, used, progress):
        batch = prompt_batch(model, asked.prompt)
        own_inputs(recorder, batch)
        inference_steps(recorder, model, batch, asked.prompt.num_decoded)


def fake_mode() -> Any:
    """Tensors without data."""
    return need("torch._subclasses.fake_tensor", "trace").FakeTensorMode(allow_non_fake_inputs=True)


def prepare(recorder: Recorder, model: Any) -> Any:
    """Let the recorder know a model's modules, its logits and its weights."""
    recorder.name_modules(model)
    recorder.widths |= frozenset({vocabulary(model)} - {0})
    own_model(recorder, model)
    return model


@contextmanager
def running(
    recorder: Recorder, model: Any, asked: Tracing, fake: Any, used: dict[str, int], progress: Progress | None
) -> Iterator[None]:
    """The region in which a model's steps are recorded under the rules of the device."""
    values = Values(recorder, experts_of(model), TRUSTED)
    shown = None if progress is None else lambda count: progress(count, recorder.phase)
    with ExitStack() as stack:
        stack.enter_context(recorded(recorder, values, fake, device_rules(recorder, asked, used), shown))
        gc.freeze()  # what was imported so far is looked at no more while the steps run
        try:
            yield
        finally:
            recorder.ended = True
            gc.unfreeze()


def own_inputs(recorder: Recorder, batch: dict[str, Any]) -> None:
    """Token ids and labels."""
    for tensor in batch.values():
        if hasattr(tensor, "untyped_storage"):
            recorder.kind_of(tensor, "inputs")


def device_rules(
    recorder: Recorder, asked: Tracing, used: dict[str, int]
) -> list[AbstractContextManager[Any]]:
    """What follows the device: attention kernels of the card, or random states that a CPU run keeps for
    recomputation."""
    if recorder.on_device:
        recorder.workspaces = Workspaces(asked.capability)
        wanted = "auto" if asked.attention == "eager" else asked.attention
        return [autocast_of_a_card(), attention_of(asked.capability, wanted, used)]
    return [random_states(recorder)]


@contextmanager
def random_states(recorder: Recorder) -> Iterator[None]:
    """Checkpointing keeps the state of the random generator of each layer, which on a CPU run is memory like
    any other."""
    torch = need("torch", "trace")
    original = torch.get_rng_state

    def get_rng_state() -> Any:
        state = original()
        recorder.own(state, "activations", operator="random state")
        return state

    torch.get_rng_state = get_rng_state
    try:
        yield
    finally:
        torch.get_rng_state = original
