"""Start-up is held by the list of modules that an answer loads; a timing is a benchmark (`make bench`), never
a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from command import environment
from frozen import check

INFER = ["infer", "deepseek-v3", "--gpu", "h200:8", "--json"]

LOADED = """
import sys
before = set(sys.modules)
{body}
sys.stderr.write("\\n".join(sorted(set(sys.modules) - before)))
"""
ANSWER = f"""
from oomless.cli import main
try:
    main({INFER!r})
except SystemExit as end:
    assert end.code == 0, end.code
"""

HEAVY = (
    "click rich huggingface_hub inspect dataclasses pathlib urllib http numpy torch "
    "asyncio logging fractions decimal "
    "importlib.metadata oomless.model.hub oomless.model.safetensors "
    "oomless.report.estimate_text oomless.truth oomless.claims"
).split()


def loads(body: str) -> tuple[str, set[str]]:
    """(stdout, modules) of a fresh interpreter; what the interpreter itself had loaded before is not
    counted."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(body=body)],
        capture_output=True,
        text=True,
        env={name: value for name, value in environment().items() if not name.startswith("OOMLESS_")},
        check=True,
        timeout=60,
    )
    return done.stdout, set(done.stderr.split())


@pytest.fixture(scope="module")
def infer_json() -> tuple[str, set[str]]:
    return loads(ANSWER)


def test_an_answer_for_scripts_loads_nothing_heavy(infer_json: tuple[str, set[str]]) -> None:
    _, modules = infer_json
    assert "oomless.estimate.serving.estimate" in modules
    assert not [name for name in HEAVY if name in modules]


def test_an_answer_for_scripts_loads_exactly_these_modules_of_ours(infer_json: tuple[str, set[str]]) -> None:
    _, modules = infer_json
    ours = sorted(name for name in modules if name.split(".")[0] == "oomless")
    check("startup_modules.txt", ours)


FEW_RECORDS = 66
"""Classes of records that an answer makes. The number only shrinks."""


def test_an_answer_for_scripts_makes_few_records_and_parses_one_table() -> None:
    counted = f"""{ANSWER}
import oomless.facts.tables as tables
from oomless.records import Record
modules = [vars(module) for name, module in sys.modules.items() if name.split(".")[0] == "oomless"]
classes = {{each for names in modules for each in names.values() if isinstance(each, type)}}
records = [each for each in classes if hasattr(each, "_fields")]
dear = sorted(each.__name__ for each in records if not issubclass(each, Record))
sys.stderr.write(f"{{len(records)}} {{tables.table.cache_info().currsize}} dear:{{','.join(dear)}}\\n")
"""
    _, said = loads(counted)
    records, whole_tables = sorted((int(each) for each in said if each.isdecimal()), reverse=True)
    assert records <= FEW_RECORDS
    assert whole_tables == 1, "of the others the rows of the question are enough (facts.rows_with)"
    assert "dear:" in said, "a class of records that this question loads is a records.Record"


COUNTED = """
import sys
heard = []
def hear(event, given):
    if event == "compile" and not str(given[1]).endswith(".py"):  # a module that was never compiled before
        heard.append(given)
sys.addaudithook(hear)
{body}
sys.stderr.write(f"compiled:{{len(heard)}} ")
"""


def compilations(body: str) -> str:
    """How often a fresh interpreter compiles a text."""
    _, said = loads(COUNTED.format(body=body))
    return next(word for word in said if word.startswith("compiled:"))


def test_an_answer_for_scripts_compiles_nothing_of_ours() -> None:
    """What stands in quotes for `typing`, and the constructor of a NamedTuple, are compiled at each start."""
    assert compilations(ANSWER) == compilations("import csv, json, typing")


def test_an_answer_for_scripts_is_one_json_object_and_nothing_else(infer_json: tuple[str, set[str]]) -> None:
    out, _ = infer_json
    document = json.loads(out)  # a second value, or a word beside it, would be an error
    assert isinstance(document, dict)
    assert document["schema"] == "oomless/estimate/1"
    assert out.endswith("}\n")


def test_importing_the_package_loads_no_module_of_it() -> None:
    _, modules = loads("import oomless")
    assert {name for name in modules if name.split(".")[0] == "oomless"} == {"oomless"}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["infer", "--help"]])
def test_help_loads_no_model_and_no_hub(words: list[str]) -> None:
    _, modules = loads(
        f"import os\nfrom oomless.cli import main\ntry:\n    main({words!r})\nexcept SystemExit:\n    pass"
    )
    unwanted = {"rich", "huggingface_hub", "oomless.model.hub", "oomless.truth", "oomless.claims"}
    assert not unwanted & modules


def test_frozen_files_are_sorted_text() -> None:
    for path in sorted((Path(__file__).parent / "surface").glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines == sorted(lines), path.name
