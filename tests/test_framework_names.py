"""A framework's name stands in frameworks/, facts/ and tests alone: elsewhere code asks its record.

Recipes that are named after one are found too (`megatron-bf16` outside of facts is a rule that should be a
column of recipes.csv), and flags that name one.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import oomless
from oomless import facts
from oomless.frameworks import names

SOURCE = Path(oomless.__file__).parent
OWN = ("frameworks", "facts", "engines")
NAMES = frozenset(names())
RECIPES = frozenset(
    row["recipe"]
    for row in facts.table("recipes")
    if row["recipe"].split("-")[0] in {name.split("-")[0] for name in NAMES}
)
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] not in OWN]

PACKAGE = "the Python package of that name is imported"
FLAG = "the flag --fsdp, a spelling of --sharding"
CLAIM = "the guide's claim is about it"
ALLOWED: dict[str, tuple[str, tuple[str, ...]]] = {
    "claims/parallel.py": (CLAIM, ("fsdp",)),
    "claims/speed.py": (CLAIM, ("deepspeed",)),
    "claims/training.py": (CLAIM, ("deepspeed",)),
    "compress/quality/lazy_model.py": (PACKAGE, ("transformers",)),
    "cli/catalogues.py": (PACKAGE, ("transformers",)),
    "cli/train.py": ("an example of the help", ("torchtitan",)),
    "model/gguf_builds.py": ("a publisher of files on the hub", ("unsloth",)),
    "monitor/question.py": ("the package of adapters is what a loop holds", ("peft",)),
    "plan/launch/framework_files.py": ("a key of LLaMA-Factory's own file", ("deepspeed",)),
    "trace/build.py": (PACKAGE, ("peft",)),
    "trace/models.py": (PACKAGE, ("transformers",)),
    "trace/packed.py": (PACKAGE, ("peft",)),
    "monitor/training_callbacks.py": (PACKAGE, ("transformers",)),
    "run/training_question.py": (FLAG, ("fsdp",)),
}
"""File -> why names stand in it, and which. It only shrinks: an entry that is not needed any more is a
fault."""


def named(path: Path) -> Iterator[tuple[int, str]]:
    """Yield lines and names of a file's strings that are a framework, one of its recipes, or a flag with
    one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            flag = re.search(r"--framework (\S+)", node.value)
            text = flag[1] if flag else node.value
            if text in NAMES or text in RECIPES:
                yield node.lineno, text


def test_no_name_of_a_framework_outside_of_its_room() -> None:
    wrong, needed = [], dict[str, set[str]]()
    for path in FILES:
        where = path.relative_to(SOURCE).as_posix()
        _, allowed = ALLOWED.get(where, ("", ()))
        for line, text in named(path):
            needed.setdefault(where, set()).add(text)
            if text not in allowed:
                wrong.append(f"{where}:{line}: {text!r}")
    assert not wrong, "ask the framework's record: " + "; ".join(wrong)
    assert needed == {where: set(allowed) for where, (_, allowed) in ALLOWED.items()}, "shrink ALLOWED"
