"""A question -> a recording: builds the model without memory, runs the steps under the recorder."""

from typing import Any

from ..errors import OomlessError, address_space_limit
from ..recording.recording import Recording
from ..run.tracing import Tracing
from ..units import parse_bytes
from .build import (
    ModelSource,
    build_inference,
    build_model,
    build_optimizer,
    prompt_batch,
    stepping,
    training_batch,
)
from .models import failing_clearly, materialized, quiet
from .ranks.sharded import trace_rank
from .recorder import Recorder
from .region import Progress, eager, fake_mode, own_inputs, prepare, running
from .step import inference_steps, training_steps

LEAST_ADDRESS_SPACE = "800MiB"
"""torch 2.13 for CPUs maps 644 MiB when it is imported (VmPeak); with transformers 5.24 a trace of a small
model ran in 781 MiB, not in 732."""


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
        inference_steps(recorder, model, batch, asked.prompt.decode)
