"""Lines of operators: torch's profiler says from which line a function was called, but `x + y` calls none.
What was allocated between two calls comes from an operator that the source evaluates between them."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from typing import Literal, NamedTuple

MAX_SOURCE_BYTES = 2_000_000
OPERATORS = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.AugAssign)
INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
VALUE_FIRST = (ast.Assign, ast.AnnAssign, ast.NamedExpr)
"""What computes its value before it looks at where that goes."""


class Evaluated(NamedTuple):
    """A piece of an expression as Python evaluates it."""

    line: int
    kind: Literal["call", "operator", "part"]
    """A part, `x[a]`, is most often a view, which allocates nothing."""


class Function(NamedTuple):
    """A function of a source file, and its calls and operators in the order in which they are evaluated."""

    name: str
    first: int
    last: int
    evaluated: tuple[Evaluated, ...]


@cache
def functions(path: str) -> tuple[Function, ...]:
    """Return the functions of a file, inner ones after those around them; nothing where it cannot be read."""
    try:
        tree = source_tree(path)
        found = [Function("<module>", 1, sys.maxsize, tuple(evaluated(tree)))]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
                name = getattr(node, "name", "<lambda>")
                found.append(Function(name, first, node.end_lineno or first, tuple(evaluated(node))))
    except UNREADABLE:
        return ()
    return tuple(found)


UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)
"""What reading somebody's source, and walking it, may raise."""


def source_tree(path: str) -> ast.Module:
    """Return what a source file says, or raise one of UNREADABLE."""
    with open(path, "rb") as file:
        return ast.parse(file.read(MAX_SOURCE_BYTES))


def evaluated(around: ast.AST) -> Iterator[Evaluated]:
    """Yield the calls and operators of a function in the order in which Python evaluates them, those of
    functions inside of it left out.

    >>> [each[:] for each in evaluated(ast.parse("y = (q * c) + f(q) * s"))]
    [(1, 'operator'), (1, 'call'), (1, 'operator'), (1, 'operator')]
    """
    children = list(ast.iter_child_nodes(around))
    if isinstance(around, VALUE_FIRST) and around.value is not None:
        children = [around.value, *(each for each in children if each is not around.value)]
    for child in children:
        if isinstance(child, INNER):
            continue
        yield from evaluated(child)
        if isinstance(child, ast.Call):
            yield Evaluated(child.lineno, "call")
        elif isinstance(child, ast.Subscript):
            yield Evaluated(child.lineno, "part")
        elif isinstance(child, OPERATORS) and not (
            isinstance(child, ast.UnaryOp) and isinstance(child.op, ast.Not)
        ):
            yield Evaluated(child.lineno, "operator")


@cache
def function_at(path: str, name: str, line: int) -> Function | None:
    """Return the innermost function of that name around a line."""
    found = [each for each in functions(path) if each.name == name and each.first <= line <= each.last]
    return min(found, key=lambda each: each.last - each.first, default=None)


@cache
def lines_between(
    path: str, name: str, line: int, before: int, after: int | None, count: int
) -> tuple[int, ...]:
    """Return the same as `between`, of the innermost function of that name around a line of a file."""
    return between(function_at(path, name, line), before, after, count)


def between(function: Function | None, before: int, after: int | None, count: int) -> tuple[int, ...]:
    """Return lines for `count` allocations that lie between a call on line `before` and one on line `after`
    (None: the function's end), in order: those of the operators that are evaluated between them, where these
    are as many; else of as many as there are lines with operators, or with calls that were not heard.

    >>> source = "def r(q, k):\\n a = q * c + f(q) * s\\n b = k * c + f(k) * s"
    >>> rotated = Function("r", 1, 3, tuple(evaluated(ast.parse(source).body[0])))
    >>> between(rotated, 1, 2, 1), between(rotated, 2, 3, 3), between(rotated, 3, None, 2)
    ((2,), (2, 2, 3), (3, 3))
    >>> between(rotated, 2, 3, 5), between(None, 5, 7, 2)
    ((2, 3, 3, 3, 3), (7, 7))
    """
    near = after if after is not None else before
    if function is None:
        return (near,) * count
    passed = steps_between(function.evaluated, before, after)
    for kinds in (("operator",), ("operator", "part")):
        exact = tuple(each.line for each in passed if each.kind in kinds)
        if len(exact) == count:
            return exact
    last = after if after is not None else function.last
    known = sorted({each.line for each in function.evaluated if each.kind != "call"})
    if last >= before:
        lines = [line for line in known if before <= line <= last]
    else:  # a loop has begun again
        lines = [line for line in known if line >= before] + [line for line in known if line <= last]
    lines = lines or [each.line for each in passed]  # calls that nobody hears, as of a partial
    if not lines:
        return (near,) * count
    return tuple(lines[min(at, len(lines) - 1)] for at in range(count))


def steps_between(steps: tuple[Evaluated, ...], before: int, after: int | None) -> tuple[Evaluated, ...]:
    """Return what is evaluated after the last call on a line and before the next one on another; round the
    end where a loop has begun again."""
    calls = [at for at, each in enumerate(steps) if each == (before, "call")]
    begin = calls[-1] + 1 if calls else next((at for at, each in enumerate(steps) if each.line >= before), 0)
    if after is None:
        return steps[begin:]
    ends = [at for at, each in enumerate(steps) if each == (after, "call")]
    later = [at for at in ends if at >= begin]
    if later:
        return steps[begin : later[0]]
    return steps[begin:] + steps[: ends[0]] if ends else ()
