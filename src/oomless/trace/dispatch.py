"""The dispatch mode that feeds the recorder, and what torch must be told so that a run without data goes the
way of a real one.

Fake tensors are on the CPU device: fake CUDA ones abort without a GPU, meta ones make attention choose
another kernel. What depends on the device (attention, autocast, foreach) is decided by our own rules for the
card that is asked for, never by torch's for the CPU.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from ..errors import UnsupportedError, need
from ..recording.code_owner import OWN, of_torch
from ..recording.workspaces import NAME as WORKSPACE
from .accumulation import Accumulation
from .cpu.kernels import Temporaries
from .recorder import Recorder

HARMLESS = "transformers/masking_utils.py"
"""Asks whether sequences are packed or padded, which those of a trace are not."""
SHOWN_EVERY = 1000
"""Operators between two looks at the clock."""
DATA_DEPENDENT = "its size or way depends on the data, which a trace does not have"


def recording_mode(recorder: Recorder, values: "Values", progress: Callable[[int], None] | None) -> Any:
    """A TorchDispatchMode that reports every tensor of every operator."""
    torch = need("torch", "trace")
    python_dispatch = need("torch.utils._python_dispatch", "trace")
    tensor_class, made = torch.Tensor, recorder.made
    sums = Accumulation(recorder)
    aten = torch.ops.aten
    special = {**values.rules(), aten.add.Tensor: sums.add}
    special |= dict.fromkeys((aten.scatter_add.default, aten.index_add.default, aten.scatter.src), sums.fill)
    distributed = _distributed_tensor()
    inside = None if recorder.on_device else Temporaries()
    beside = recorder.workspaces

    class RecordingMode(python_dispatch.TorchDispatchMode):  # type: ignore[misc, name-defined]
        def __enter__(self) -> Any:
            entered = super().__enter__()
            sums.learn()
            return entered

        def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if distributed is not None and distributed in types:
                return NotImplemented  # it comes again as operators on the local shards
            rule = special.get(operator)
            result = operator(*args, **(kwargs or {})) if rule is None else rule(operator, args, kwargs or {})
            recorder.counted += 1
            if progress is not None and recorder.counted % SHOWN_EVERY == 0:
                progress(recorder.counted)
            if isinstance(result, tensor_class):
                made(result, operator)
            elif isinstance(result, (list, tuple)):
                for each in result:
                    if isinstance(each, tensor_class):
                        made(each, operator)
                    elif isinstance(each, (list, tuple)):
                        for inner in each:
                            if isinstance(inner, tensor_class):
                                made(inner, operator)
            if inside is not None and (extra := inside.of(operator, args, kwargs or {}, result)):
                recorder.drop(recorder.extra(extra, f"inside {operator.__name__}"))
            if beside is not None:
                extra, stays = beside.of(operator, args, kwargs or {}, result)
                if extra:
                    number = recorder.extra(extra, f"{WORKSPACE} {operator.__name__}", stays)
                    if not stays:
                        recorder.drop(number)
            return result

    return RecordingMode()


def _distributed_tensor() -> Any:
    """DTensor, if something has imported it."""
    module = sys.modules.get("torch.distributed.tensor")
    return getattr(module, "DTensor", None)


class Values:
    """Answers for what a trace cannot know: numbers read from tensors, and sizes that depend on data.

    Inside of an optimizer and of a library's checks any answer does; elsewhere the line is named. `experts`
    (number, chosen a token) lets a mixture that loops over its experts route evenly.
    """

    def __init__(self, recorder: Recorder, experts: tuple[int, int] | None, trusted: tuple[str, ...]) -> None:
        self.recorder = recorder
        self.experts = experts
        self.trusted = trusted
        """How paths of files begin whose control flow does not change memory."""

    def rules(self) -> dict[Any, Callable[[Any, Any, Any], Any]]:
        """Operators with a rule of ours."""
        torch = need("torch", "trace")
        aten = torch.ops.aten
        rules: dict[Any, Callable[[Any, Any, Any], Any]] = {
            aten._local_scalar_dense.default: self._number,
            aten.nonzero.default: self._nonzero,
            aten._grouped_mm.default: grouped_product,
            aten.native_layer_norm.default: self._layer_norm,
        }
        return rules

    def _layer_norm(self, operator: Any, args: Any, kwargs: Any) -> Any:
        """Mean and deviation are kept in F32 on a card, and in the type of the weight on a CPU; torch's rule
        for fake ones has the input's."""
        out, *kept = operator(*args, **kwargs)
        weight = args[2] if len(args) > 2 and args[2] is not None else args[0]
        dtype = self.recorder.torch.float32 if self.recorder.on_device else weight.dtype
        return (
            out,
            *(
                each if each.dtype is dtype else self.recorder.torch.empty_like(each, dtype=dtype)
                for each in kept
            ),
        )

    def line(self) -> str:
        number = self.recorder._line()  # a line that was not seen before becomes a word now
        return self.recorder.line_words.texts()[number]

    def _number(self, operator: Any, args: Any, kwargs: Any) -> Any:
        tensor = args[0]
        if self.recorder.phase != "optimizer":
            line = self.line()
            if asked_by_torch():
                return True if tensor.dtype is self.recorder.torch.bool else 1
            if not line.startswith(self.trusted):
                raise UnsupportedError(
                    f"{line}: reads a number from a tensor: {DATA_DEPENDENT}", "give it as a plain number"
                )
            if not line.startswith(HARMLESS):
                self.recorder.asked = line
                self.recorder.warnings[f"{line} reads a number from a tensor; it was answered with 1"] = None
        return (
            True
            if tensor.dtype is self.recorder.torch.bool
            else (tensor.dtype.is_floating_point and 1.0) or 1
        )

    def _nonzero(self, operator: Any, args: Any, kwargs: Any) -> Any:
        tensor, torch = args[0], self.recorder.torch
        line = self.line()
        if self.experts is None or tensor.dim() not in (1, 2):
            raise UnsupportedError(
                f"{line}: selects by a mask: {DATA_DEPENDENT}", "rewrite it with torch.where on full tensors"
            )
        num, chosen = self.experts
        rows = tensor.shape[0] if tensor.dim() == 1 else -(-tensor.shape[1] * chosen // num)
        self.recorder.warnings[f"{line} routes tokens: each of {num} experts was given as many"] = None
        return torch.empty((rows, tensor.dim()), dtype=torch.int64, device=tensor.device)


def asked_by_torch() -> bool:
    """Whether torch's own distributed code reads the number: what it asks there, a world without other ranks
    answers with yes."""
    frame: Any = sys._getframe(2)
    passed = (OWN, of_torch("_compile.py")[:-1], of_torch("_dynamo"), of_torch("utils"))
    while frame is not None and frame.f_code.co_filename.startswith(passed):
        frame = frame.f_back
    return frame is not None and bool(frame.f_code.co_filename.startswith(of_torch("distributed")))


def grouped_product(operator: Any, args: Any, kwargs: Any) -> Any:
    """The output of a grouped matrix product of any float type; torch's own rule knows bfloat16 alone.

    Two matrices with offsets give one product a group; a matrix and a stack, or two stacks, give rows of the
    first.
    """
    torch = need("torch", "trace")
    left, right = args[0], args[1]
    offsets = kwargs.get("offs", args[2] if len(args) > 2 else None)
    dtype = kwargs.get("out_dtype") or left.dtype
    shape: tuple[int, ...]
    if left.dim() == 2 and right.dim() == 2:
        shape = (offsets.shape[0], left.shape[0], right.shape[1])
    elif left.dim() == 2:
        shape = (left.shape[0], right.shape[-1])
    elif right.dim() == 2:
        shape = (left.shape[1], right.shape[1])
    else:
        shape = (left.shape[0], left.shape[1], right.shape[-1])
    return torch.empty(shape, dtype=dtype, device=left.device)


@contextmanager
def recorded(
    recorder: Recorder,
    values: Values,
    fake: Any,
    patches: list[AbstractContextManager[Any]],
    progress: Callable[[int], None] | None = None,
) -> Iterator[None]:
    """Everything inside runs on tensors of the fake mode and is recorded."""
    with ExitStack() as stack:
        stack.enter_context(_resizes(recorder))
        stack.enter_context(_modules(recorder))
        stack.enter_context(_not_tracing())
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(_attention(recorder))
        stack.enter_context(fake)
        stack.enter_context(recording_mode(recorder, values, progress))
        yield


@contextmanager
def _resizes(recorder: Recorder) -> Iterator[None]:
    """Follow `UntypedStorage.resize_`, which no dispatch mode sees."""
    torch = need("torch", "trace")
    original = torch.UntypedStorage.resize_

    def resize(storage: Any, num_bytes: int) -> Any:
        before = storage.size()
        result = original(storage, num_bytes)
        if before != num_bytes:
            recorder.resized(storage, num_bytes)
        return result

    torch.UntypedStorage.resize_ = resize
    try:
        yield
    finally:
        torch.UntypedStorage.resize_ = original


@contextmanager
def _attention(recorder: Recorder) -> Iterator[None]:
    """Tell the recorder when torch's attention runs."""
    functional = need("torch.nn.functional", "trace")
    original = functional.scaled_dot_product_attention

    def attention(*args: Any, **kwargs: Any) -> Any:
        recorder.in_attention = True
        try:
            return original(*args, **kwargs)
        finally:
            recorder.in_attention = False

    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


@contextmanager
def _modules(recorder: Recorder) -> Iterator[None]:
    """Tell the recorder which module's forward runs; modules are named by `names`, which whoever builds the
    model fills."""
    hooks = need("torch.nn.modules.module", "trace")
    names = recorder.names

    def enter(module: Any, _: Any) -> None:
        recorder.entered(names.get(id(module), recorder.stack[-1]))

    def leave(module: Any, *_: Any) -> None:
        recorder.left()

    before = hooks.register_module_forward_pre_hook(enter)
    after = hooks.register_module_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def _not_tracing() -> Iterator[None]:
    """transformers takes fake tensors for a compiler's and then builds masks that a real run does without:
    tell it that they are none."""
    checks: Any = sys.modules.get("transformers.utils.import_utils")
    original = getattr(checks, "is_fake_tensor", None)
    if original is not None:
        checks.is_fake_tensor = lambda _: False
    try:
        yield
    finally:
        if original is not None:
            checks.is_fake_tensor = original
