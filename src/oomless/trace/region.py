"""The region in which a model's steps are recorded: tensors without data, the rules of the device, mixed
precision among them, and what the recorder must know of a model before it runs."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from ..errors import need
from ..run.tracing import Tracing
from .attention import attention_of
from .build import vocabulary
from .dispatch import Values, recorded
from .models import experts_of
from .recorder import Recorder
from .step import own_model
from .workspaces import Workspaces

TRUSTED = ("transformers/", "peft/")
"""Libraries whose checks of values do not change what is allocated."""

Progress = Callable[[int, str], None]


def eager(asked: Tracing) -> str | None:
    """What transformers is told about attention: its own choice, but where eager is asked for."""
    return "eager" if asked.attention == "eager" else None


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


IN_FLOAT = (
    "softmax.int log_softmax.int layer_norm group_norm exp expm1 log log10 log2 log1p "
    "pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar "
    "rsqrt reciprocal softplus sum sum.dim_IntList prod cumsum cumprod norm.Scalar "
    "norm.ScalarOpt_dim cosine_similarity"
).split()
"""The F32 list of aten/src/ATen/autocast_mode.h for CUDA (torch 2.13), less what the CPU's list has; not yet
checked on a card."""


@contextmanager
def autocast_of_a_card() -> Iterator[None]:
    """Cast half-precision inputs of the listed operators to F32, within regions of autocast."""
    torch = need("torch", "trace")
    library = need("torch.library", "trace").Library("aten", "IMPL")
    for name in IN_FLOAT:
        library.impl(name, _in_float(torch, name), "AutocastCPU")
    try:
        yield
    finally:
        library._destroy()


def _in_float(torch: Any, name: str) -> Any:
    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
    half = (torch.float16, torch.bfloat16)
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)

    def run(*args: Any, **kwargs: Any) -> Any:
        cast = [
            each.float() if isinstance(each, torch.Tensor) and each.dtype in half else each for each in args
        ]
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operator(*cast, **kwargs)

    return run
