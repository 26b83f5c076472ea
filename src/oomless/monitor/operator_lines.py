"""Lines of operators: torch's profiler says from which line a function was called, but `x + y` calls none.
What was allocated between two calls comes from an operator that the source has between them."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

MAX_SOURCE_BYTES = 2_000_000
OPERATORS = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.AugAssign, ast.Subscript)


class Function(NamedTuple):
    """A function of a source file, and the lines of its operators in the order in which they stand."""

    name: str
    first: int
    last: int
    operators: tuple[int, ...]


@cache
def functions(path: str) -> tuple[Function, ...]:
    """Return the functions of a file, inner ones after those around them; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(MAX_SOURCE_BYTES))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found = [Function("<module>", 1, sys.maxsize, tuple(sorted(operator_lines(tree))))]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            name = getattr(node, "name", "<lambda>")
            found.append(Function(name, first, node.end_lineno or first, tuple(sorted(operator_lines(node)))))
    return tuple(found)


def operator_lines(function: ast.AST) -> Iterator[int]:
    """Yield a line for each operator of a function, those of functions inside of it left out."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, OPERATORS) and not (
            isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        ):
            yield node.lineno
        waiting.extend(ast.iter_child_nodes(node))


@cache
def function_at(path: str, name: str, line: int) -> Function | None:
    """Return the innermost function of that name around a line."""
    found = [each for each in functions(path) if each.name == name and each.first <= line <= each.last]
    return min(found, key=lambda each: each.last - each.first, default=None)


def between(function: Function | None, before: int, after: int | None, count: int) -> list[int]:
    """Return lines for `count` allocations that lie between a call on line `before` and one on line `after`
    (None: the function's end), in order.

    >>> body = Function("forward", 17, 19, (18, 19, 19))
    >>> between(body, 18, 19, 1), between(body, 18, 19, 2), between(body, 19, None, 1), between(None, 5, 7, 2)
    ([18], [18, 19], [19], [7, 7])
    """
    last = after if after is not None else (function.last if function else before)
    near = after if after is not None else before
    if function is None:
        return [near] * count
    if last >= before:
        lines = sorted({line for line in function.operators if before <= line <= last})
    else:  # a loop has begun again
        lines = sorted({line for line in function.operators if line >= before})
        lines += sorted({line for line in function.operators if line <= last})
    if not lines:
        return [near] * count
    return [lines[min(at, len(lines) - 1)] for at in range(count)]
