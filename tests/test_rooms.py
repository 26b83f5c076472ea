"""Data flows one way: no room imports one to its right, and only `units` knows what a GiB is (design.md,
section 1)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import oomless

SOURCE = Path(oomless.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

GROUND = ("units", "records", "kept", "errors", "limits", "files", "ledger")
ROOMS = (
    "facts",
    "model",
    "run",
    "recording",
    "engines",
    "frameworks",
    "estimate",
    "speed",
    "plan",
    "truth",
    "claims",
    "report",
)
NEIGHBOURS = {"engines": "frameworks", "frameworks": "engines"}
"""Rooms side by side, which do not see each other."""
BESIDE_ESTIMATE = ("trace", "compress", "monitor")
ENTRIES = ("cli", "web")


def may_see(room: str) -> set[str]:
    """The rooms that a room may import, itself included."""
    if room in GROUND:
        return {*GROUND}
    if room in BESIDE_ESTIMATE:
        return {*GROUND, "facts", "model", "run", "recording", room}
    if room in ROOMS:
        left = {*ROOMS[: ROOMS.index(room) + 1]} - {NEIGHBOURS.get(room)}
        more = {"api"} if room == "report" else set()
        return {*GROUND, *left, *more, *(BESIDE_ESTIMATE if "speed" in left else ())}
    before_report = {*GROUND, *ROOMS[:-1], *BESIDE_ESTIMATE}
    if room == "api":
        return {*before_report, "api"}
    if room in ENTRIES:
        return {*before_report, "report", "api", room}
    return {"cli"} if room == "__main__" else set()  # the package itself imports nothing: it is lazy


class Import(NamedTuple):
    """One import: the room it reaches, and where it stands."""

    room: str
    function: str
    line: int


def imports(path: Path) -> Iterator[Import]:
    """Every import of a module of ours, wherever it stands."""
    package = path.relative_to(SOURCE).parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in ast.walk(tree):
        targets: list[tuple[str, ...]] = []
        match node:
            case ast.ImportFrom(level=0, module=str(name)) if name.split(".")[0] == "oomless":
                base = tuple(name.split(".")[1:])
                targets = [(*base, alias.name) for alias in node.names]
            case ast.ImportFrom(level=level, module=name) if level:
                assert level <= len(package) + 1, f"{path}: an import leaves the package"
                base = (*package[: len(package) - level + 1], *(name.split(".") if name else ()))
                targets = [(*base, alias.name) for alias in node.names]
            case ast.Import():
                targets = [
                    tuple(alias.name.split(".")[1:])
                    for alias in node.names
                    if alias.name.split(".")[0] == "oomless"
                ]
            case _:
                continue
        inside = [f.name for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
        for target in targets:
            if target and not target[0].startswith("__"):
                yield Import(target[0], inside[-1] if inside else "", node.lineno)


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def test_every_room_has_a_place() -> None:
    known = {*GROUND, *ROOMS, *BESIDE_ESTIMATE, *ENTRIES, "api", "__init__", "__main__"}
    assert {room_of(path) for path in MODULES} <= known


def test_no_import_runs_rightwards() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{found.line}: {room_of(path)} imports {found.room}, to its right"
        for path in MODULES
        for found in imports(path)
        if found.room not in may_see(room_of(path))
    ]
    assert not wrong, "\n".join(wrong)


VIEWS_TAKE_TYPES_FROM = ("estimate", "speed", "plan", "truth", "trace", "compress", "monitor")


def test_views_compute_nothing() -> None:
    """A view imports types from the rooms that compute, and no function of theirs."""
    wrong = []
    for path in MODULES:
        if room_of(path) != "report":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level != 2:
                continue
            if (node.module or "").partition(".")[0] in VIEWS_TAKE_TYPES_FROM:
                wrong += [
                    f"report/{path.name}:{node.lineno}: {alias.name}"
                    for alias in node.names
                    if alias.name[0].islower()
                ]
    assert not wrong, wrong


def test_heavy_packages_are_imported_inside_the_function_that_needs_them() -> None:
    heavy = {"torch", "transformers", "numpy", "huggingface_hub", "rich", "gguf", "psutil", "pynvml"}
    wrong = []
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            wrong += [f"{path.name}:{node.lineno}: {name}" for name in names if name.split(".")[0] in heavy]
    assert not wrong, wrong


UNIT_SHIFTS = (10, 20, 30, 40)
UNIT_POWERS = {(10, 3), (10, 6), (10, 9), (10, 12), (2, 10), (2, 20), (2, 30), (2, 40), (1024, 2), (1024, 3)}
UNIT_NUMBERS = {10**6, 10**9, 10**12, 1 << 20, 1 << 30, 1 << 40}

LIMIT = "a bound against corrupt input, not a size for people"
ALLOWED = {
    ("run/allocator.py", "1 << 20"): "a constant of PyTorch's allocator",
    ("run/allocator.py", "10 << 20"): "a constant of PyTorch's allocator",
    ("run/allocator.py", "20 << 20"): "a constant of PyTorch's allocator",
    ("run/allocator.py", "2 << 20"): "a constant of PyTorch's allocator",
    ("trace/ranks/parallel.py", "1 << 20"): "a constant of PyTorch's DDP",
    ("trace/ranks/parallel.py", "25 << 20"): "a constant of PyTorch's DDP",
    ("model/safetensors.py", "1 << 20"): LIMIT,
    ("model/families/deepseek_v4.py", "1 << 20"): LIMIT,
    ("model/families/deepseek_v41.py", "1 << 20"): LIMIT,
    ("api/catalogues.py", "model.num_parameters / 1000000000.0"): "billions of parameters",
    ("api/screen.py", "model.num_parameters / 1000000000.0"): "billions of parameters",
    ("report/plan_extra_text.py", "held.num_parameters / 1000000000.0"): "billions of parameters",
    ("api/screen.py", "model.num_active_parameters / 1000000000.0"): "billions of parameters",
}
ALLOWED_NAMES: dict[tuple[str, str], str] = {}
"""Constants of a module that may hold such numbers; those named MAX_... are bounds and need no entry."""


def allowed_constants(where: str, tree: ast.Module) -> set[int]:
    """Lines of the constants that bound an input, or that are on the list."""
    lines: set[int] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.startswith("MAX_") or (where, name) in ALLOWED_NAMES:
                lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def conversions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Arithmetic with a number that is a unit: shifts by 10 to 40, powers, and products or quotients with
    1024, 1e6, 1e9 ..."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(op=ast.LShift() | ast.RShift(), right=ast.Constant(value=shift)) if (
                shift in UNIT_SHIFTS
            ):
                yield node.lineno, ast.unparse(node)
            case ast.BinOp(op=ast.Pow(), left=ast.Constant(value=base), right=ast.Constant(value=power)) if (
                base,
                power,
            ) in UNIT_POWERS:
                yield node.lineno, ast.unparse(node)
            case ast.BinOp(op=ast.Mult() | ast.Div() | ast.FloorDiv() | ast.Mod(), left=left, right=right):
                for side in (left, right):
                    if isinstance(side, ast.Constant) and (side.value == 1024 or _is_unit(side.value)):
                        yield node.lineno, ast.unparse(node)


def _is_unit(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value in UNIT_NUMBERS


def test_only_units_converts_units() -> None:
    wrong = []
    for path in MODULES:
        where = path.relative_to(SOURCE).as_posix()
        if where == "units.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bounds = allowed_constants(where, tree)
        wrong += [
            f"{where}:{line}: {text}"
            for line, text in conversions(tree)
            if line not in bounds and (where, text) not in ALLOWED
        ]
    assert not wrong, "units.py should do this: " + "; ".join(wrong)


def test_no_two_test_files_share_a_name() -> None:
    """Pytest imports test files by their names alone, and stops where two are the same."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(set(names)) == sorted(names)


def test_no_code_reads_what_an_error_says() -> None:
    """A decision goes by an error's field and kind; its words are for people."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        and re.search(r"\berror\.(message|hint)\b|str\(error\)", ast.unparse(node))
    ]
    assert not found


def test_no_code_reads_what_a_line_is_called() -> None:
    """`what` is for people: lines are chosen by key and owner. Only views and composed texts may read it."""
    wrong = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            operands = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            asked = [each for each in operands if isinstance(each, ast.Attribute) and each.attr == "what"]
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr == "what"
            ):
                asked.append(node)  # .what.startswith and the like
            wrong += [
                f"{path.relative_to(SOURCE).as_posix()}:{each.lineno}: {ast.unparse(each)}" for each in asked
            ]
    assert not wrong, wrong


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_architecture_page_shows_the_house_as_it_is(language: str) -> None:
    """The rooms of the table are those of the source, in the order of the law; the picture names each."""
    page = SOURCE.parents[1] / "docs" / language / "architecture.md"
    text = page.read_text(encoding="utf-8")
    picture = text[text.index("```text") : text.index("```\n", text.index("```text") + 7)]
    listed = re.findall(r"^\| `(\w+)` \|", text, re.M)
    assert [room for room in listed if room in ROOMS] == list(ROOMS)
    there = {room_of(path) for path in MODULES} - {"__init__", "__main__"}
    assert there <= set(listed)
    assert not [room for room in listed if room not in picture]
