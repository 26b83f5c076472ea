"""A question -> a recording: builds the model without memory, runs the steps under the recorder."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ..errors import need
from ..run.training import Training
from .attention import attention_of
from .build import Source, build_model, build_optimizer, stepping, training_batch, vocabulary
from .mode import Values, recorded
from .models import experts_of, failing_clearly, materialized
from .recorder import Recorder
from .recording import Recording
from .step import own_model, training_steps

TRUSTED = ("/transformers/", "/peft/")
"""Libraries whose checks of values do not change what is allocated."""


def trace_training(
    source: Source,
    asked: Training,
    attention: str,
    capability: float,
    request: dict[str, Any],
    progress: Callable[[int], None] | None = None,
) -> Recording:
    """Two training steps of a model on one rank. `attention` cpu follows the CPU's own kernels, else the card of `capability`."""
    on_cpu = attention == "cpu"
    recorder = Recorder(on_device=not on_cpu)
    used: dict[str, int] = {}
    fake = need("torch._subclasses.fake_tensor", "trace").FakeTensorMode(allow_non_fake_inputs=True)
    with failing_clearly(source.name):
        model = materialized(build_model(source, asked, "eager" if attention == "eager" else None), fake)
        recorder.name_modules(model)
        recorder.widths = frozenset({vocabulary(model)} - {0})
        own_model(recorder, model)
        values = Values(recorder, experts_of(model), TRUSTED)
        patches = device_rules(recorder, attention, capability, used)
        with recorded(recorder, values, fake, patches, progress):
            batch = training_batch(model, asked)
            for tensor in batch.values():
                if hasattr(tensor, "untyped_storage"):
                    recorder.kind_of(tensor, "inputs")
            optimizer = build_optimizer(model, asked, on_cpu)
            training_steps(recorder, model, optimizer, batch, stepping(asked))
        recording = recorder.recording({**request, "attention_kernels": used})
    return recording


def device_rules(
    recorder: Recorder, attention: str, capability: float, used: dict[str, int]
) -> list[AbstractContextManager[Any]]:
    """What follows the device: attention kernels of the card, or random states that a CPU run keeps for recomputation."""
    if recorder.on_device:
        return [attention_of(capability, "auto" if attention == "eager" else attention, used)]
    return [random_states(recorder)]


@contextmanager
def random_states(recorder: Recorder) -> Iterator[None]:
    """Checkpointing keeps the state of the random generator of each layer, which on a CPU run is memory like any other."""
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
