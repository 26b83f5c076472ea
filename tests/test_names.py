"""What is particular to an engine stands in its record: no engine's name is a string in any other room, and
no code asks one layer what the model is (design.md, section 2)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import oomless
from oomless.engines import engines
from oomless.facts.options import ENGINE_NAMES

SOURCE = Path(oomless.__file__).parent
ROOMS_OF_ENGINES = ("engines", "facts", "frameworks")
ALSO_A_FRAMEWORK = "transformers"
"""Its name is that of a package and of a framework as well, so its strings prove nothing."""

MODULES = sorted(
    path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in ROOMS_OF_ENGINES
)


def where(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of a module that is no docstring."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def named(path: Path) -> list[str]:
    """The places of a file that name an engine: as a string, or by a list of names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set(ENGINE_NAMES) - {ALSO_A_FRAMEWORK}
    found = [f"{where(path)}:{line}: {text!r}" for line, text in strings(tree) if text in names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("engines"):
            found += [
                f"{where(path)}:{node.lineno}: {alias.name}"
                for alias in node.names
                if alias.name in ("LLAMA", "VLLM")
            ]
    return found


def test_no_engine_is_named_outside_its_room() -> None:
    assert not [place for path in MODULES for place in named(path)]


def test_the_table_of_options_has_the_engines() -> None:
    assert tuple(each.name for each in engines()) == ENGINE_NAMES


def single_layers(path: Path) -> list[str]:
    """The places of a file that ask the first layer, the last one, or the first of a stage."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(
                attr="attention" | "ffn",
                value=ast.Subscript(value=ast.Attribute(attr="layers"), slice=index),
            ):
                text = ast.unparse(index)
                if text in ("0", "-1") or text.endswith(".start"):
                    found.append(f"{where(path)}:{node.lineno}: {ast.unparse(node)}")
    return found


ALL = sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "model")


def test_no_layer_stands_for_the_model() -> None:
    assert not [place for path in ALL for place in single_layers(path)]
