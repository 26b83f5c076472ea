"""Arithmetic of a shell on whole numbers: $((2 * 1408)). Nothing is run."""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

INSIDE = r"[^()\n]{0,200}+(?:\([^()\n]{0,200}+\)[^()\n]{0,200}+){0,9}"
"""An expression with one level of parentheses."""
ARITHMETIC = re.compile(rf"\$\(\(({INSIDE})\)\)")
"""$((2 * 1408))."""
MAX_EXPRESSION = 200
MAX_RESULT = 10**15
COMPARED: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FORMS = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.USub,
    ast.UAdd,
    ast.Compare,
)
SIGNS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod)


def calculated(expression: str, variables: dict[str, str]) -> str | None:
    """Return the value of whole numbers under + - * / %, comparisons, a ? b : c and parentheses, as a shell
    has it: quotients lose their rest towards zero. None: the expression is something else.

    >>> calculated("2 * (1408 + 64) / 3", {}), calculated("TP * 2", {"TP": "4"}), calculated("2 ** 99", {})
    ('981', '8', None)
    >>> calculated("C*3/2>8?C*3/2:8", {"C": "64"}), calculated("C>8?C:8", {"C": "4"})
    ('96', '8')
    """
    if len(expression) > MAX_EXPRESSION:
        return None
    asked, chooses, rest = expression.partition("?")
    if chooses:
        holds, (yes, _, no) = calculated(asked, variables), rest.partition(":")
        return None if holds is None else calculated(no if holds == "0" else yes, variables)
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not all(isinstance(node, (*FORMS, *SIGNS, *COMPARED)) for node in ast.walk(tree)):
        return None
    try:
        found = _value(tree.body, variables)
    except (ZeroDivisionError, ValueError, RecursionError):
        return None
    return str(found) if abs(found) <= MAX_RESULT else None


def _value(node: Any, variables: dict[str, str]) -> int:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if variables.get(name, "").isdecimal():
            return int(variables[name][:18])
        case ast.UnaryOp(op=sign, operand=operand):
            value = _value(operand, variables)
            return -value if isinstance(sign, ast.USub) else value
        case ast.Compare(left=left, ops=[sign], comparators=[right]):
            return int(COMPARED[type(sign)](_value(left, variables), _value(right, variables)))
        case ast.BinOp(left=left, op=sign, right=right):
            return _applied(sign, _value(left, variables), _value(right, variables))
    raise ValueError("no whole number")


def _applied(sign: ast.operator, a: int, b: int) -> int:
    if max(abs(a), abs(b)) > MAX_RESULT:
        raise ValueError("too large")
    match sign:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient if isinstance(sign, ast.Div) else a - quotient * b
