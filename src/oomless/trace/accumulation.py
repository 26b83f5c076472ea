"""Sums of gradients that meet at a tensor: torch's engine adds in place where nothing else holds the first
one.

It never does so with tensors of a Python class, as fake ones are (input_buffer.cpp, can_accumulate_inplace):
a trace that left it there would hold three of them where a real run holds two, for each tensor that is used
more than once.
"""

import sys
from typing import Any

from ..errors import need
from ..recording.code_owner import OWN, of_torch
from .recorder import Recorder


class Accumulation:
    """Tells the engine's own additions from those of a model, and makes them as a real run does."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.torch = recorder, need("torch", "trace")
        self.alone: tuple[int, int] | None = None
        """Uses of a tensor and of its storage that the engine alone holds, as they are counted here."""
        self.asking = False
        self.between = (
            OWN,
            of_torch("_compile.py")[:-1],
            of_torch("_dynamo"),
            of_torch("utils"),
            of_torch("_ops.py")[:-1],
        )

    def learn(self) -> None:
        """Count the uses in a backward of two products of one tensor, whose gradients nobody else holds."""
        self.asking, paused, self.recorder.paused = True, self.recorder.paused, True
        try:
            with self.torch.enable_grad():
                value = self.torch.zeros(2, requires_grad=True) * 1
                ((value * 2) + (value * 3)).sum().backward()
        finally:
            self.asking, self.recorder.paused = False, paused

    def add(self, operator: Any, args: Any, kwargs: Any) -> Any:
        """aten.add.Tensor: in place if the engine would."""
        first, second = args[0], args[1]
        if self.recorder.in_attention and isinstance(second, self.torch.Tensor):
            result = operator(*args, **kwargs)
            if result.shape == first.shape and result.dtype is first.dtype:
                self.recorder.moved(
                    first, result
                )  # attention.cpp adds its mask in place, unless a tensor is of a Python class
            return result
        if (
            kwargs
            or self.torch.is_grad_enabled()
            or not isinstance(second, self.torch.Tensor)
            or not self._by_engine()
        ):
            return operator(*args, **kwargs)
        held = first._use_count(), self.torch._C._storage_Use_Count(first.untyped_storage()._cdata)
        if self.asking:
            self.alone = held
        elif held == self.alone and self._of_another_node(first) and is_dense(first):
            return first.add_(second)
        return operator(*args, **kwargs)

    def fill(self, operator: Any, args: Any, kwargs: Any) -> Any:
        """Gradients of a selection (gather, index_select, a maximum) go into zeros that the same node has
        made: in place, unless a tensor is of a Python class (FunctionsManual.cpp, gather_backward)."""
        result = operator(*args, **kwargs)
        if not self.torch.is_grad_enabled() and self._by_engine() and self._of_this_node(args[0]):
            self.recorder.moved(args[0], result)
        return result

    def _by_engine(self) -> bool:
        """Whether no Python code stands between the engine and this addition."""
        frame: Any = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename.startswith(self.between):
            frame = frame.f_back
        return frame is not None and frame.f_code.co_name == "_engine_run_backward"

    def _of_another_node(self, tensor: Any) -> bool:
        """Whether a tensor came from an earlier node of the graph: what one node adds up for itself is no sum
        of gradients."""
        made_by, running = self._node_of(tensor), self._running()
        return made_by is not None and running is not None and made_by != running

    def _of_this_node(self, tensor: Any) -> bool:
        running = self._running()
        return running is not None and self._node_of(tensor) == running

    def _node_of(self, tensor: Any) -> int | None:
        """The number of the node that made a tensor of this backward."""
        return self.recorder.nodes.get(self.recorder.storages.get(tensor.untyped_storage()._cdata, -1))

    def _running(self) -> int | None:
        """The number of the node that runs."""
        node = self.torch._C._current_autograd_node()
        return None if node is None else node._sequence_nr()


def is_dense(tensor: Any) -> bool:
    """Whether a tensor's elements fill one stretch of memory, each once, in whatever order of its
    dimensions."""
    expected = 1
    for size, stride in sorted(zip(tensor.shape, tensor.stride(), strict=True), key=lambda pair: pair[1]):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
