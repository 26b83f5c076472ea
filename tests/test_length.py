"""A function is read at one sight, at most 60 lines; a file at one sitting, at most 400 (design.md,
section 1)."""

import ast
from pathlib import Path

import oomless

SOURCE = Path(oomless.__file__).parent
MOST_LINES, MOST_IN_A_FILE = 60, 400


def test_a_function_has_at_most_60_lines() -> None:
    longer = {
        node.name: f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or 0) - node.lineno >= MOST_LINES
    }
    assert longer == {}


def test_a_file_has_at_most_400_lines() -> None:
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in SOURCE.rglob("*.py")}
    longer = {str(path.relative_to(SOURCE)): count for path, count in lines.items() if count > MOST_IN_A_FILE}
    assert not longer


def test_no_sentence_of_a_docstring_is_cut_by_a_blank_line() -> None:
    """A filler of lines takes a short one for the end of a paragraph."""
    cut = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                prose = (ast.get_docstring(node) or "").partition(">>>")[0]
                parts = [part.rstrip() for part in prose.split("\n\n")[:-1] if part[:2] not in ("  ", "- ")]
                cut += [f"{path.name}: {part[-60:]}" for part in parts if part[-1:] not in "\"'`.:)?"]
    assert cut == []
