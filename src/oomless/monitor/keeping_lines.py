"""The line that puts something into a container: found in the source by the container's name."""

import ast
from collections.abc import Iterator
from functools import cache

MAX_SOURCE_BYTES = 2_000_000
PUTTING = frozenset(
    "append appendleft add extend insert put put_nowait update setdefault register_forward_hook".split()
)


@cache
def keeping_lines(path: str, name: str) -> tuple[tuple[str, int], ...]:
    """Return (function, line) of the statements of a file that put something into what is called `name`:
    calls such as `name.append`, assignments to `name[...]`, and `name += ...`; for an attribute, of whatever
    object."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(MAX_SOURCE_BYTES))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
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
