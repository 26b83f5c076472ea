"""What is released: the same bytes twice, small, without tests and tables, with completions of the shells."""

import ast
import csv
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import pytest

import oomless
from command import call

ROOT = Path(__file__).resolve().parents[1]
NAMED = (ast.FunctionDef, ast.ClassDef)
MOST_BYTES = 2_000_000
FOR_DEVELOPERS = {"accuracy", "architecture", "benchmarks", "compared", "index"}
"""Pages that stay on the site."""


def built(kind: str, folder: Path) -> Path:
    """A wheel or an sdist of this tree."""
    build = pytest.importorskip("hatchling.build", reason="the builder is not installed")
    with pytest.MonkeyPatch.context() as here:
        here.setenv("SOURCE_DATE_EPOCH", "1700000000")
        here.chdir(ROOT)
        name: str = (build.build_wheel if kind == "wheel" else build.build_sdist)(str(folder))
    return folder / name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that these tests read: building it takes longer than all of them."""
    return built("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_same_tree_is_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    again = built("wheel", tmp_path)
    assert hashlib.sha256(again.read_bytes()).hexdigest() == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_the_same_tree_is_the_same_sdist(tmp_path_factory: pytest.TempPathFactory) -> None:
    one, two = (built("sdist", tmp_path_factory.mktemp("sdist")).read_bytes() for _ in range(2))
    assert hashlib.sha256(one).hexdigest() == hashlib.sha256(two).hexdigest()


def test_the_wheel_is_small_and_holds_no_test_data(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    outside = [name for name in names if not name.startswith(("oomless/", "oomless-"))]
    assert outside == []
    assert not [name for name in names if "/tables/" in name or name.rpartition("/")[2].startswith("test_")]
    pages = json.loads(zipfile.ZipFile(wheel).read("oomless/docs/pages.json"))
    assert {*pages} == {path.stem for path in (ROOT / "docs/en").glob("*.md")} - FOR_DEVELOPERS
    for place in ("bash-completion/completions/oomless", "site-functions/_oomless", "oomless.fish"):
        assert [name for name in names if name.endswith(place)], place


def test_the_wheel_shortens_what_nobody_asks_it_for(wheel: Path) -> None:
    """Pages keep the first lines of what commands print, rules all but their sources."""
    files = zipfile.ZipFile(wheel)
    assert len(files.namelist()) == len({*files.namelist()})
    page = json.loads(files.read("oomless/docs/pages.json"))["train"]
    assert "$ oomless train deepseek-v2-lite" in page
    assert "<!--" not in page
    shortened = []
    codes = [each.read_text(encoding="utf-8") for each in (ROOT / "src/oomless").rglob("*.py")]
    code = "".join(codes)
    nodes = (node for each in codes for node in ast.walk(ast.parse(each)))
    functions = [ast.unparse(node) for node in nodes if isinstance(node, ast.FunctionDef)]
    for path in sorted((ROOT / "src/oomless/facts").glob("*.csv")):
        if f"oomless/facts/{path.name}" not in files.namelist():
            continue  # it is for developers
        texts = path.read_text(encoding="utf-8"), files.read(f"oomless/facts/{path.name}").decode()
        mine, its = (list(csv.DictReader(io.StringIO(text))) for text in texts)
        blank = {name for own, row in zip(mine, its, strict=True) for name in own if row[name] != own[name]}
        assert its == [{**row, **dict.fromkeys(blank, "")} for row in mine]
        shortened += [path.stem] if "source" in blank else []
        read = [name for name in blank - {"source", "note"} if re.search(rf"""["']{name}["']""", code)]
        assert not read, f"{path.stem}: read, and not in the wheel"
        own = [each for each in functions if f"table('{path.stem}')" in each and "row['source']" in each]
        assert "source" not in blank or not own, f"{path.stem}: its sources are read, and not in the wheel"
    assert {"engine_rules", "habits"} <= {*shortened}
    assert not {"engines", "prices", "recipes"} & {*shortened}


def is_note(statement: ast.stmt) -> bool:
    """Whether a statement is a text that Python drops."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def code_of(module: str) -> str:
    """A module without what its docstrings and notes say, each statement with its line."""
    tree = ast.parse(module)
    tree.body[:] = [each for each in tree.body if not is_note(each)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.body[:] = [each for each in node.body if not is_note(each)] or node.body[-1:]
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str()) as docstring):
                docstring.value = ""
    return ast.dump(tree, include_attributes=False) + str(
        [node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    )


def test_the_wheel_has_the_modules_of_the_tree_without_their_examples(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel)
    modules = [name for name in files.namelist() if name.endswith(".py")]
    assert len(modules) == len(list((ROOT / "src/oomless").rglob("*.py")))
    for name in modules:
        mine, its = (ROOT / "src" / name).read_text(encoding="utf-8"), files.read(name).decode()
        assert code_of(its) == code_of(mine), name
        assert "    >>> " not in its, name


def test_help_finds_in_the_wheel_what_the_fronts_and_commands_say(wheel: Path) -> None:
    """So are functions of the rooms with formulas, which --explain names; others in the tree alone."""
    files = zipfile.ZipFile(wheel)

    def said(module: str, name: str) -> str:
        statements = ast.walk(ast.parse(files.read(f"oomless/{module}.py").decode()))
        kinds = ast.FunctionDef | ast.ClassDef
        found = next(each for each in statements if isinstance(each, kinds) and each.name == name)
        return ast.get_docstring(found) or ""

    homes = vars(oomless)["_HOMES"].items()
    assert [name for name, home in homes if not said(home.replace(".", "/"), name)] == []
    assert said("api/serving", "to_json")
    assert said("web/command", "web").startswith("The page in a browser")
    assert said("cli/config", "show_config")
    assert said("monitor/pytest_plugin", "memory_budget")
    assert said("engines/vllm/budget", "budget_bytes")
    assert not said("engines/command_reading", "spellings")
    assert not said("frameworks/record", "Framework")
    rooms = "engines|estimate|frameworks|recording|run|speed"
    code = "".join(each.read_text(encoding="utf-8") for each in (ROOT / "src/oomless").rglob("*.py"))
    for module in {*re.findall(rf'"((?:{rooms})/[a-z0-9_/]+)\.py', code)}:
        tree, shipped = ((ROOT / f"src/oomless/{module}.py").read_text(), files.read(f"oomless/{module}.py"))
        of_tree, of_wheel = (
            {
                each.name
                for each in ast.parse(text).body
                if isinstance(each, NAMED) and ast.get_docstring(each)
            }
            for text in (tree, shipped.decode())
        )
        assert of_wheel >= {name for name in of_tree if not name.startswith("_")}, module
    assert not said("api/pasted", "by_its_name")
    assert not said("plan/ranking", "rank")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completions_are_those_that_the_command_prints(shell: str) -> None:
    assert (ROOT / "completions" / f"oomless.{shell}").read_text(encoding="utf-8") == call(
        "completion", shell
    ).out
