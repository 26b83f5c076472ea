"""No circle among files, late imports included: a file can be read after those that it names (design.md,
section 1). An import for a type checker alone, which no program runs, is none."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import oomless

SOURCE = Path(oomless.__file__).parent


def name_of(path: Path) -> str:
    """The dotted name of a file below the package: `speed.serving`, or `speed` for its `__init__`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(tree: ast.AST, package: list[str]) -> Iterator[str]:
    """Yield the dotted names below oomless that a file of a package imports, at any depth of its code."""
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            words = node.module.split(".") if node.module else []
            base = package[: len(package) - node.level + 1] if node.level else []
            full = ["oomless", *base, *words] if node.level else words
            if full[:1] == ["oomless"]:
                yield from (".".join([*full[1:], alias.name]) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("oomless.") for a in node.names if a.name.startswith("oomless."))


def needed(name: str, path: Path) -> set[str]:
    """The files that a file imports: a name that is no file stands in the file of its package."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = imported(tree, [part for part in package if part])
    found = {each if each in FILES else each.rpartition(".")[0] for each in names}
    return (found & set(FILES)) - {name}


def test_no_circle_among_files() -> None:
    graph = {name: needed(name, path) for name, path in FILES.items() if name}
    assert sum(map(len, graph.values())) > 1000, "the reader of imports sees none"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of files: {' -> '.join(error.args[1])}")


def test_a_circle_is_seen() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"plan.cost": {"plan.rent"}, "plan.rent": {"plan.cost"}}).prepare()
    tree = ast.parse(
        "from .rent import hours\nfrom ..speed import load\ndef f():\n    import oomless.facts.cards"
    )
    assert set(imported(tree, ["plan"])) == {"plan.rent.hours", "speed.load", "facts.cards"}
