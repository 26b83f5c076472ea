"""Every message that an answer, a note, a refusal or an error can give, read from the source.

A message is what reaches an error (`UsageError(...)`, `config.fault(...)`), a refusal, a note or a warning:
literals, what stands in their fields, what local names hold, what functions called there return, and what
callers put into parameters. Fields of an f-string are `{}`.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "oomless"
TERMINAL_ALONE = ("compress", "trace", "monitor", "cli", "recording")
"""Rooms of which the page shows nothing."""
NOT_ON_THE_PAGE = (*TERMINAL_ALONE, "claims", "report")
WRITTEN = ("card.py", "part_files.py", "quantize_command.py")
"""Files of the terminal's rooms that hold what is written into files, for other programs."""
SINKS = {"OomlessError", "UsageError", "UnsupportedError", "MissingExtra", "Refusal", "PatternError"}
SINKS |= {"NotFinite", "Mixed", "Unsupported", "noting", "note", "fault"}
NOTES = {
    "because",
    "notes",
    "warnings",
    "said",
    "why",
    "reason",
    "hint",
    "note",
    "warning",
    "dropped",
    "left_out",
}
"""Names of locals, fields and keywords in which notes and reasons travel."""
NAMED = re.compile(rf"^_?({'|'.join(sorted(NOTES))})(_|$)|(notes|warnings|_note|reason)$")
"""Functions that return them."""
NO_MESSAGE = {"format_bytes", "shown", "str", "int", "len", "repr", "gib"}
DEEP = 4
"""Calls and names that are followed."""
MOST_METHODS = 3
"""A method of a name that more classes have is not followed."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module:
    """A file with its functions and what each name in it was given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.nodes = list(_nodes(self.tree))
        self.constants = _given(self.tree.body)


def _given(body: list[ast.stmt]) -> dict[str, list[ast.expr]]:
    """Return each name of a body with the expressions that it was given, nested blocks included."""
    found: dict[str, list[ast.expr]] = {}
    for node in (each for stmt in body for each in ast.walk(stmt)):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    for name in _names(target):
                        found.setdefault(name, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found.setdefault(name, []).append(value)
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                found.setdefault(name, []).append(value)
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                found.setdefault(name, []).append(value)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append" | "extend"), args=args):
                found.setdefault(name, []).extend(args)
    return found


def _names(target: ast.expr) -> list[str]:
    match target:
        case ast.Name(id=name):
            return [name]
        case ast.Tuple(elts=parts):
            return [name for part in parts for name in _names(part)]
        case ast.Subscript(value=ast.Name(id=name)):
            return [name]
    return []


class Reader:
    """Follows an expression to the texts that it can be."""

    def __init__(self, chosen: Callable[[Path], bool] | None = None) -> None:
        chosen = chosen or _on_the_page
        self.modules = [Module(path) for path in sorted(SOURCE.rglob("*.py")) if chosen(path)]
        self.functions: dict[str, list[tuple[Module, Function]]] = {}
        self.calls: dict[str, list[tuple[Module, Function | None, ast.Call]]] = {}
        self.constants: dict[str, list[tuple[Module, ast.expr]]] = {}
        for module in self.modules:
            for name, values in module.constants.items():
                self.constants.setdefault(name, []).extend((module, value) for value in values)
            for function, node in module.nodes:
                if isinstance(node, ast.Call):
                    self.calls.setdefault(_called(node), []).append((module, function, node))
                elif isinstance(node, Function):
                    self.functions.setdefault(node.name, []).append((module, node))
        self.seen: dict[int, int] = {}
        self.found: dict[str, str] = {}

    def all(self) -> dict[str, str]:
        """Return each message with one place where it is said."""
        for name in sorted(SINKS):
            for module, function, call in self.calls.get(name, []):
                values = call.args[1:] if name == "Refusal" else call.args[:2]
                for value in (*values, *(word.value for word in call.keywords)):
                    self.follow(module, function, value, DEEP)
        for module in self.modules:
            for function, node in module.nodes:
                for inner, value in _noted(function, node):
                    self.follow(module, inner, value, DEEP)
        return self.found

    def follow(self, module: Module, function: Function | None, value: ast.expr, deep: int) -> None:
        """Keep what an expression can say."""
        if self.seen.get(id(value), -1) >= deep:
            return
        self.seen[id(value)] = deep
        text = template_of(value)
        if text is not None and is_said(text):
            self.found.setdefault(text, f"{module.path.relative_to(SOURCE)}:{value.lineno}")
        match value:
            case ast.JoinedStr(values=parts):
                for part in parts:
                    if isinstance(part, ast.FormattedValue):
                        self.follow(module, function, part.value, deep - 1)
            case ast.Name(id=name):
                self.named(module, function, name, deep)
            case ast.Call():
                self.called(module, function, value, deep)
            case ast.Attribute() | ast.Compare() | ast.Constant():
                pass
            case _ if text is None:
                for part in _parts(value):
                    self.follow(module, function, part, deep)

    def called(self, module: Module, function: Function | None, call: ast.Call, deep: int) -> None:
        """Follow what a call returns, and what it is given."""
        name = _called(call)
        if name in NO_MESSAGE:
            return
        makers = self.functions.get(name, [])
        if not isinstance(call.func, ast.Attribute) or len(makers) <= MOST_METHODS:
            for where, maker in makers:
                for returned in _returned(maker):
                    self.follow(where, maker, returned, deep - 1)
        for arg in call.args:
            self.follow(module, function, arg, deep - 1)

    def named(self, module: Module, function: Function | None, name: str, deep: int) -> None:
        """Follow a name: what it was given here, what callers give, a constant of any module."""
        for value in _local(function).get(name, []):
            self.follow(module, function, value, deep)
        if function is not None and name in _parameters(function):
            for where, caller, call in self.calls.get(function.name, []):
                for value in _given_to(function, name, call):
                    self.follow(where, caller, value, deep - 1)
        elif name.isupper():
            for where, value in self.constants.get(name, []):
                self.follow(where, None, value, deep)


def _noted(function: Function | None, node: ast.AST) -> Iterator[tuple[Function | None, ast.expr]]:
    """Yield what a node says by its name: keywords, functions of notes and reasons, counted reasons, parts of
    a time."""
    match node:
        case ast.Call(keywords=keywords, args=args):
            yield from ((function, word.value) for word in keywords if word.arg in NOTES)
            if _called(node) == "TimePart":
                yield from ((function, arg) for arg in args[:1])
        case ast.FunctionDef() if NAMED.search(node.name):
            yield from ((node, value) for value in _returned(node))
            for name, values in _given(node.body).items():
                yield from ((node, value) for value in values if name in NOTES)
        case ast.Subscript(value=ast.Attribute(attr="excluded") | ast.Name(id="excluded"), slice=key):
            yield function, key


def _parts(value: ast.expr) -> list[ast.expr]:
    match value:
        case ast.Lambda(body=body):
            return [body]
        case ast.Dict(values=values):
            return values
        case ast.Subscript(value=inner):
            return [inner]
        case ast.GeneratorExp(elt=elt) | ast.ListComp(elt=elt) | ast.SetComp(elt=elt):
            return [elt]
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case ast.DictComp(key=key, value=each):
            return [key, each]
    return [child for child in ast.iter_child_nodes(value) if isinstance(child, ast.expr)]


def _parameters(function: Function) -> list[str]:
    names = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [each.arg for each in names]


def _given_to(function: Function, name: str, call: ast.Call) -> list[ast.expr]:
    """Return what a call gives to a parameter."""
    names = _parameters(function)
    place = names.index(name) - (names[0] in ("self", "cls"))
    by_place = call.args[place : place + 1] if place >= 0 else []
    return [*by_place, *(word.value for word in call.keywords if word.arg == name)]


@cache
def _local(function: Function | None) -> dict[str, list[ast.expr]]:
    return {} if function is None else _given(function.body)


def _on_the_page(path: Path) -> bool:
    return path.relative_to(SOURCE).parts[0] not in NOT_ON_THE_PAGE


def on_a_terminal(path: Path) -> bool:
    """Return whether a file's messages reach a terminal alone."""
    return path.relative_to(SOURCE).parts[0] in TERMINAL_ALONE and path.name not in WRITTEN


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
    return ""


def _returned(function: Function) -> list[ast.expr]:
    return [
        value
        for node in ast.walk(function)
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) and (value := node.value) is not None
    ]


def _nodes(tree: ast.AST) -> Iterator[tuple[Function | None, ast.AST]]:
    """Yield every node below a tree as it is read, each with the innermost function around it."""
    left: list[tuple[Function | None, ast.AST]] = [(None, tree)]
    while left:
        function, node = left.pop()
        if node is not tree:
            yield function, node
        left += [
            (child if isinstance(child, Function) else function, child)
            for child in reversed([*ast.iter_child_nodes(node)])
        ]


def template_of(value: ast.expr) -> str | None:
    """Return a text with `{}` for each field; None of what is no text."""
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            one, two = template_of(left), template_of(right)
            return (
                None
                if one is None and two is None
                else ("{}" if one is None else one) + ("{}" if two is None else two)
            )
    return None


def is_said(text: str) -> bool:
    """Return whether a text holds a word of English: no flag, path, unit, command or name alone."""
    plain = re.sub(r"`[^`]*`|\{\}|--[\w-]+", " 0 ", text)
    if text.count("\n") > 1 or re.search(r"\(\?|\\[sdw]", text):  # programs and patterns
        return False
    return bool(re.search(r"(?<![\w./=:@-])[a-z]{2,}(?![\w/=\[(-])", plain)) and (
        " " in text.strip() or "{}" in text
    )
