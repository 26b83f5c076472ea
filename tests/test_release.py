"""What is released: the same bytes twice, small, without tests and tables, with completions of the shells."""

import csv
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from command import call

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 2_000_000
FOR_DEVELOPERS = {"accuracy.md", "architecture.md", "benchmarks.md", "compared.md"}
"""Pages that stay on the site."""


def built(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel or an sdist of this tree."""
    build = pytest.importorskip("hatchling.build", reason="the builder is not installed")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.chdir(ROOT)
    folder.mkdir()
    name: str = (build.build_wheel if kind == "wheel" else build.build_sdist)(str(folder))
    return folder / name


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_same_tree_is_the_same_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (built(kind, tmp_path / name, monkeypatch).read_bytes() for name in ("one", "two"))
    assert hashlib.sha256(one).hexdigest() == hashlib.sha256(two).hexdigest()


def test_the_wheel_is_small_and_holds_no_test_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = built("wheel", tmp_path / "one", monkeypatch)
    assert wheel.stat().st_size < MOST_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    outside = [name for name in names if not name.startswith(("oomless/", "oomless-"))]
    assert outside == []
    assert not [name for name in names if "/tables/" in name or name.rpartition("/")[2].startswith("test_")]
    pages = {name.rpartition("/")[2] for name in names if name.startswith("oomless/docs/")}
    assert pages == {path.name for path in (ROOT / "docs/en").glob("*.md")} - FOR_DEVELOPERS
    for place in ("bash-completion/completions/oomless", "site-functions/_oomless", "oomless.fish"):
        assert [name for name in names if name.endswith(place)], place


def test_the_wheel_shortens_what_nobody_asks_it_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages keep the first lines of what commands print, rules all but their sources."""
    wheel = zipfile.ZipFile(built("wheel", tmp_path / "one", monkeypatch))
    page = wheel.read("oomless/docs/train.md").decode()
    assert "$ oomless train deepseek-v2-lite" in page
    assert "<!--" not in page
    mine, its = (
        list(csv.DictReader(io.StringIO(text)))
        for text in (
            (ROOT / "src/oomless/facts/engine_rules.csv").read_text(encoding="utf-8"),
            wheel.read("oomless/facts/engine_rules.csv").decode(),
        )
    )
    assert its == [{**row, "source": ""} for row in mine]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completions_are_those_that_the_command_prints(shell: str) -> None:
    assert (ROOT / "completions" / f"oomless.{shell}").read_text(encoding="utf-8") == call(
        "completion", shell
    ).out
