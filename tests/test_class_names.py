"""A class name means one thing in the whole tree: a traceback or a search says which without its folder."""

import ast
from collections import defaultdict
from pathlib import Path

import oomless

SOURCE = Path(oomless.__file__).parent


def test_a_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice
