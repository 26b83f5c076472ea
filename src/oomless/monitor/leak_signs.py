"""Signs of leaks that are counted, not seen in allocations: hooks of modules and parameters, states of
parameters that the model has no more, pinned memory."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .source_files import shown_path

RISES = 2
"""In a row, before a count counts as growing."""
MODULE_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)
TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class Rising:
    """A count at one step after the other."""

    def __init__(self) -> None:
        self.looks: list[tuple[int, int]] = []

    def look(self, step: int, count: int) -> None:
        """Note the count; one that did not rise begins anew."""
        if self.looks and count <= self.looks[-1][1]:
            self.looks.clear()
        self.looks.append((step, count))
        del self.looks[: -2 * RISES]

    def per_step(self) -> float:
        """Return by how much the count rises a step; 0 if it did not in each of the last looks.

        >>> rising = Rising()
        >>> for step in range(0, 12, 3):
        ...     rising.look(step, 2 * step)
        >>> rising.per_step()
        2.0
        """
        if len(self.looks) <= RISES:
            return 0.0
        (first, low), (last, high) = self.looks[-RISES - 1], self.looks[-1]
        return (high - low) / max(last - first, 1)


class Signs:
    """What is counted at each sample."""

    def __init__(self) -> None:
        self.hooks, self.dropped, self.pinned = Rising(), Rising(), Rising()
        self.dropped_pointers: set[int] = set()

    def look(self, model: Any, optimizers: list[Any], step: int, pinned_bytes: int) -> None:
        """Count now."""
        if model is None:
            return
        self.hooks.look(step, sum(len(hooks) for hooks in hooks_of(model)))
        num_bytes, self.dropped_pointers = dropped(model, optimizers)
        self.dropped.look(step, num_bytes)
        self.pinned.look(step, pinned_bytes)


def hooks_of(model: Any) -> Iterator[dict[int, Callable[..., Any]]]:
    """Yield the hooks of each module and parameter that has some."""
    for module in model.modules():
        for name in MODULE_HOOKS:
            hooks = getattr(module, name, None)
            if hooks:
                yield hooks
        for parameter in module._parameters.values():
            for name in TENSOR_HOOKS:
                hooks = getattr(parameter, name, None)
                if hooks:
                    yield hooks


class HookPlace(NamedTuple):
    """Where a hook's function begins, and its name."""

    place: str
    name: str


def newest_hook(model: Any) -> HookPlace:
    """Return the hook that was added last where most are; of a function, with its file and line."""
    hooks = max(hooks_of(model), key=len, default={})
    function: Any = next(reversed(hooks.values()), None)
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:
        return HookPlace("", type(function).__qualname__)
    return HookPlace(f"{shown_path(code.co_filename)}:{code.co_firstlineno}", function.__qualname__)


def dropped(model: Any, optimizers: list[Any]) -> tuple[int, set[int]]:
    """Return the bytes of parameters and states that optimizers keep of what the model has no more, and where
    those parameters lie. Other models of the run count too: only growth says something."""
    known = {id(parameter) for parameter in model.parameters()}
    num_bytes, pointers = 0, set()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) in known:
                    continue
                num_bytes += parameter.numel() * parameter.element_size()
                pointers.add(parameter.data_ptr())
                states = optimizer.state.get(parameter, {})
                for value in states.values() if isinstance(states, dict) else ():
                    if hasattr(value, "element_size"):
                        num_bytes += value.numel() * value.element_size()
    return num_bytes, pointers
