"""What an editor knows of `import oomless`: src/oomless/__init__.pyi, made from the tables of options."""

import ast
from pathlib import Path

import oomless
from oomless.facts.options import Kind, Option
from oomless.run.options import TABLES, asked_of

PACKAGE = Path(oomless.__file__).parent
TYPES: dict[Kind, str] = {
    "whole": "int",
    "tokens": "int | str",
    "length": "int | str",
    "layers": "int | str",
    "number": "float",
    "positive": "float",
    "share": "float",
    "gib": "float",
    "text": "str",
    "lengths": "int | str",
    "json": "str",
    "words": "str | Sequence[str]",
    "switch": "bool",
    "onoff": "bool | str",
    "images": "int | str",
    "speculation": "Speculation | str | int",
}
"""What a keyword takes, by the kind of its option."""
CALLED = {"compress": "compress.request"}
"""Rooms that answer when they are called, and where the function is."""
HEAD = '''"""Made from the tables of options by tests/package_stub.py; OOMLESS_UPDATE_SURFACE=1 renews it."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .run.speculation import Speculation
'''


def stub() -> str:
    """The whole file."""
    homes = {**vars(oomless)["_HOMES"], **CALLED}
    functions = [name for name in oomless.__all__ if name in homes and name.islower()]
    rooms = [name for name in oomless.__all__ if name not in homes]
    trees = {name: ast.parse(source_of(homes[name])) for name in functions}
    defined = {name: function_in(trees[name], name) for name in functions}
    named = {
        node.id
        for function in defined.values()
        for annotation in annotations(function)
        for node in ast.walk(annotation)
        if isinstance(node, ast.Name)
    }
    imports = sorted(
        {
            line
            for name in functions
            for line in imports_of(trees[name], homes[name], named)
            if line not in HEAD
        }
        | {f"from .{homes[name]} import {name} as {name}" for name in oomless.__all__ if not name.islower()}
        | {f"from . import {name} as {name}" for name in rooms}
    )
    names = ",\n".join(f'    "{name}"' for name in oomless.__all__)
    parts = [HEAD + "\n".join(imports), "__version__: str\n__all__ = [\n" + names + ",\n]"]
    return "\n\n".join([*parts, *(signature(name, defined[name]) for name in functions)]) + "\n"


def source_of(home: str) -> str:
    """The text of the module in which a public name lives."""
    path = PACKAGE.joinpath(*home.split("."))
    file = path.with_suffix(".py")
    return (file if file.exists() else path / "__init__.py").read_text(encoding="utf-8")


def function_in(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)


def annotations(function: ast.FunctionDef) -> list[ast.expr]:
    """Every annotation of a function; those that are written as text are read."""
    arguments = function.args
    every = [*arguments.args, *arguments.kwonlyargs, *([arguments.vararg] if arguments.vararg else [])]
    found = [each.annotation for each in every if each.annotation]
    found.append(function.returns or ast.Constant(None))
    return [ast.parse(plain(each), mode="eval").body for each in found]


def plain(annotation: ast.expr) -> str:
    """An annotation as text without quotes."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation)


def imports_of(tree: ast.Module, home: str, wanted: set[str]) -> list[str]:
    """The imports of a module that its signatures need, as they are written in the package itself."""
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    found = [f"from .{home} import {name} as {name}" for name in sorted(own & wanted)]
    package = home.split(".")[:-1]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level or node.col_offset > 4:
            continue
        base = package[: len(package) - node.level + 1]
        module = ".".join([*base, *(node.module.split(".") if node.module else [])])
        found += [
            f"from .{module} import {each.name} as {each.name}" for each in node.names if each.name in wanted
        ]
    return found


def keywords(command: str, taken: set[str]) -> list[str]:
    """Every keyword of a command with its type: fields in the order of the help, then other spellings."""
    options = [each for each in asked_of(command) if each.flags]
    fields = {each.field: each for each in options}
    others = {
        name[2:].replace("-", "_"): each
        for each in options
        for name in each.names
        if name.startswith("--") and name[2:].replace("-", "_").isidentifier()
    }
    return [
        f"    {name}: {type_of(each)} = ...,"
        for name, each in (fields | others).items()
        if name not in taken and name not in ("for", "from")
    ]


def type_of(option: Option) -> str:
    """The type of a keyword; None means not given."""
    several = "str | Sequence[str]" if option.several and option.kind == "text" else TYPES[option.kind]
    return f"{several} | None"


def room(name: str, text: str) -> str:
    """A callable room as an object: what it is called with, and its own names."""
    called = text.replace(f"def {name}(", "    def __call__(\n        self,").replace("\n    ", "\n        ")
    kind = f"_{name.capitalize()}"
    more = "    def __getattr__(self, name: str) -> Any: ..."
    return f"class {kind}:\n{called.replace(chr(10) + ')', chr(10) + '    )')}\n{more}\n\n{name}: {kind}"


def signature(name: str, function: ast.FunctionDef) -> str:
    """A public function with what it takes by itself, and the options of its command."""
    arguments = function.args
    lines = [f"def {name}("]
    optional = len(arguments.args) - len(arguments.defaults)
    for index, each in enumerate(arguments.args):
        lines.append(parameter(each, index >= optional))
    if arguments.vararg:
        lines.append(f"    *{parameter(arguments.vararg, False).strip()}")
    elif arguments.kwonlyargs or arguments.kwarg:
        lines.append("    *,")
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        lines.append(parameter(each, default is not None))
    if arguments.kwarg and name in TABLES:
        lines += keywords(name, {each.arg for each in (*arguments.args, *arguments.kwonlyargs)})
    returns = plain(function.returns) if function.returns else "None"
    text = "\n".join([*lines, f") -> {returns}: ..."])
    return room(name, text) if name in CALLED else text


def parameter(each: ast.arg, is_optional: bool) -> str:
    assert each.annotation is not None
    return f"    {each.arg}: {plain(each.annotation)}{' = ...' if is_optional else ''},"
