"""Which kind of leak a tensor is part of, and which line keeps it."""

import ast
import os
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

from .holders import LOADERS, QUEUES, Holder
from .leak_signs import MODULE_HOOKS, TENSOR_HOOKS
from .operator_lines import UNREADABLE, source_tree
from .source_files import shown_path, source_file, split_place

LeakKind = Literal[
    "kept_outputs",
    "retained_graph",
    "reference_cycle",
    "growing_cache",
    "hooks",
    "data_pipeline",
    "pinned_memory",
    "dropped_parameters",
    "unknown",
]

ADVICE: dict[LeakKind, str] = {
    "kept_outputs": "keep a number (.item()) or a detached copy on the host, or empty the list each report",
    "retained_graph": "keep loss.item() or loss.detach(): the tensor holds all that its backward would need",
    "reference_cycle": "break the circle (a weakref, del, no attribute that points back): only Python's "
    "collector frees it, and it rarely runs",
    "growing_cache": "bound it (evict, functools.lru_cache, a deque with maxlen) or empty it each epoch",
    "hooks": "keep the handle that register_..._hook returns, and call its remove()",
    "data_pipeline": "bound the queue (maxsize, prefetch_factor); move a batch to the device when it is used",
    "pinned_memory": "reuse pinned buffers, or pin in the loader (pin_memory=True) in place of each batch",
    "dropped_parameters": "make a new optimizer, or delete its state and group, when parameters are replaced",
    "unknown": "nothing that Python shows holds it: look at what C++ or an extension keeps",
}
"""Kinds of leaks, and what to change for each."""

DICTIONARIES = ("dict", "OrderedDict", "defaultdict", "WeakValueDictionary", "_lru_cache_wrapper")


def kind_of_leak(holder: Holder, phase: str, has_graph: bool, like_input: bool, is_pinned: bool) -> LeakKind:
    """Return the kind of leak that a holder makes of a tensor.

    >>> kind_of_leak(
    ...     Holder("list", "outputs", "train", "train.py", ("list",)), "forward", False, False, False
    ... )
    'kept_outputs'
    """
    if is_pinned:
        return "pinned_memory"
    if holder.name in (*MODULE_HOOKS, *TENSOR_HOOKS):
        return "hooks"
    if has_graph:
        return "retained_graph"
    if not {*QUEUES, *LOADERS}.isdisjoint(holder.through) or like_input:
        return "data_pipeline"
    if holder.container in DICTIONARIES or not (holder.is_local or phase in ("forward", "evaluation")):
        return "growing_cache"
    return "kept_outputs"


def is_like(tensor: Any, batch: tuple[int, ...]) -> bool:
    """Return whether a tensor has the shape of the model's input, but for the number of sequences."""
    shape = tuple(tensor.shape)
    return len(batch) > 1 and len(shape) == len(batch) and shape[1:] == batch[1:] and not tensor.requires_grad


def kept_at(holder: Holder, place: str) -> str:
    """Return FILE:LINE of the statement that puts things into a holder: one in the function where it has its
    name, else one in its file, else one in the file where the tensor was made."""
    made_in = source_file(split_place(place)[0]).path if place else ""
    for path in dict.fromkeys((holder.path, made_in)):
        if not path or not os.path.isfile(path):
            continue
        found = keeping_lines(path, holder.name)
        inside = [line for function, line in found if function == holder.where] or [line for _, line in found]
        if inside:
            return f"{shown_path(path)}:{inside[0]}"
    return ""


PUTTING = frozenset(
    "append appendleft add extend insert put put_nowait update setdefault register_forward_hook".split()
)


@cache
def keeping_lines(path: str, name: str) -> tuple[tuple[str, int], ...]:
    """Return (function, line) of the statements of a file that put something into what is called `name`:
    calls such as `name.append`, assignments to `name[...]`, and `name += ...`; for an attribute, of whatever
    object."""
    try:
        tree = source_tree(path)
    except UNREADABLE:
        return ()
    return tuple(found(tree, name, "<module>"))


def found(node: ast.AST, name: str, function: str) -> Iterator[tuple[str, int]]:
    """Yield (function, line) of the statements below a node."""
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if puts(child, name):
            yield function, getattr(child, "lineno", 0)
        yield from found(child, name, inside)


def puts(node: ast.AST, name: str) -> bool:
    """Return whether a node puts something into what is called `name`.

    >>> (
    ...     puts(ast.parse("kept.append(1)").body[0].value, "kept"),
    ...     puts(ast.parse("kept[1] = 2").body[0], "kept"),
    ... )
    (True, True)
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PUTTING:
        return last_name(node.func.value) == name
    if isinstance(node, ast.Assign):
        return any(isinstance(each, ast.Subscript) and last_name(each.value) == name for each in node.targets)
    return isinstance(node, ast.AugAssign) and last_name(node.target) == name


def last_name(node: ast.AST) -> str:
    """Return the last part of a dotted name; of a subscript, what is subscripted."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
