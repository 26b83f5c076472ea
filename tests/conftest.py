"""How hypothesis searches here: the same examples on every run, so that a change fails because of itself
alone.

OOMLESS_FUZZ=20 searches twenty times as long, with other examples each time.
"""

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from in_browser import Browser

PYODIDE = Path(__file__).parents[1] / ".pyodide" / "node_modules" / "pyodide"
"""Where `npm install --prefix .pyodide pyodide@314` puts it."""
FACTOR = int(os.environ.get("OOMLESS_FUZZ", "0"))

settings.register_profile(
    "oomless",
    deadline=None,  # a timing is never a test
    derandomize=not FACTOR,
    database=None,
    max_examples=100 * max(FACTOR, 1),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("oomless")


if find_spec("torch") is None:  # their doctests are collected, and they are imported by tests that need torch
    collect_ignore = [
        str(path)
        for path in Path(__file__).parent.rglob("*.py")
        if not path.name.startswith("test_")
        and re.search(r"^(?:import|from) torch\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


@pytest.fixture(autouse=True)
def no_defaults_of_whoever_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers must not depend on a config file or variables of the machine."""
    for name in os.environ:
        if name.startswith("OOMLESS_") and name not in (
            "OOMLESS_FUZZ",
            "OOMLESS_UPDATE_SURFACE",
            "OOMLESS_UPDATE_DOCS",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(Path(os.devnull) / "none"))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small checkpoints, a folder a family; `deepseek_v3_fp8` is stored as V3 is published. Needs torch."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from small_checkpoints import FAMILIES, write_family, write_fp8

    root = tmp_path_factory.mktemp("checkpoints")
    found = {family: write_family(family, root / family) for family in FAMILIES}
    found["deepseek_v3_fp8"] = write_fp8(found["deepseek_v3"], root / "deepseek_v3_fp8")
    return found


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A server for the tests of a file, as starting it takes longer than most of them; gives its address."""
    from in_browser import served

    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A browser for the tests of a file."""
    from in_browser import chromium

    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a static site, with its loader."""
    from oomless.web.export import export

    target = tmp_path_factory.mktemp("site") / "out"
    assert export(str(target), str(PYODIDE)) == ""
    return target
