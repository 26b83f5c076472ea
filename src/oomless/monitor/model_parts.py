"""Which parts of a model are watched: the whole, and the longest row of equal modules in it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import need


class Parts(NamedTuple):
    """A model's root and its blocks by name."""

    root: Any
    blocks: tuple[tuple[str, Any], ...]
    compiled: bool
    """torch.compile runs the root: hooks inside of it would not be called, or become part of the program."""


def parts_of(model: Any) -> Parts:
    """Return what of a model gets hooks. A compiled model is one region, and counts as one."""
    compiled = is_compiled(model)
    if compiled:
        return Parts(model, (), True)
    torch = need("torch", "trace")
    rows = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential)) and len(module) > 1
    ]
    best = max(rows, key=lambda row: weight(row[1]), default=None)
    if best is None:
        return Parts(model, (), False)
    named = [(f"{best[0]}.{name}".lstrip("."), module) for name, module in best[1].named_children()]
    return Parts(model, tuple(each for each in named if not is_compiled(each[1])), False)


def is_compiled(module: Any) -> bool:
    """Return whether torch.compile stands around or in a module's call."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def weight(modules: Sequence[Any]) -> int:
    """Return how many parameters the modules of a row have together."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def device_of(model: Any) -> Any:
    """Return the device on which most of a model lies; the CPU if it has no parameters."""
    torch = need("torch", "trace")
    sizes: dict[Any, int] = {}
    for parameter in model.parameters():
        sizes[parameter.device] = sizes.get(parameter.device, 0) + parameter.numel()
    return max(sizes, key=lambda device: sizes[device], default=torch.device("cpu"))


def first_tensor(arguments: Sequence[Any], named: dict[str, Any]) -> Any:
    """Return the first tensor among a call's arguments, `input_ids` before others; None without one."""
    torch = need("torch", "trace")
    ids = named.get("input_ids")
    for each in (ids, *arguments, *named.values()):
        if isinstance(each, torch.Tensor):
            return each
        if isinstance(each, dict):
            found = first_tensor((), each)
            if found is not None:
                return found
    return None
