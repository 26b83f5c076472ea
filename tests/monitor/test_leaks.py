"""Planted leaks are found with their lines, kinds and bytes; what only looks like one is not told."""

import inspect
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import clean_loops
import leaking_loops
import torch
from small_models import make, one_thread

from oomless.monitor import watch
from oomless.monitor.entries import Leak, MonitorFault
from oomless.monitor.journal import read_run
from oomless.monitor.leaks import Leaks

pytestmark = pytest.mark.torch
__all__ = ["one_thread"]
EVERY = 2
SAMPLES = 7
"""Within so many samples beyond the first two steps a leak must be told."""


def leaks_of(folder: Path, loop: Callable[[Any, Any], None]) -> list[Leak]:
    model, optimizer = make()
    with watch(model, optimizer, run=folder, every=EVERY):
        loop(model, optimizer)
    run = read_run(folder)[0]
    assert not run.of(MonitorFault)
    return run.of(Leak)


def marked(loop: Callable[..., None], mark: str) -> set[int]:
    """Lines of the leaking loops that bear a mark, those of the loop itself before those of what it calls."""
    lines, first = inspect.getsourcelines(loop)
    own = {first + at for at, line in enumerate(lines) if mark in line.partition("#")[2]}
    everywhere = Path(leaking_loops.__file__).read_text(encoding="utf-8").splitlines()
    called = {at for at, line in enumerate(everywhere, 1) if mark in line.partition("#")[2]}
    return own or called


def some_now(loops: Iterable[Any]) -> list[Any]:
    """Every third loop in each run, the others among the slow tests: each takes two to ten seconds."""
    return [
        pytest.param(each, marks=[pytest.mark.slow] if number % 3 else [])
        for number, each in enumerate(loops)
    ]


@pytest.mark.parametrize("name", some_now(leaking_loops.LOOPS))
def test_a_leak_is_told_with_its_line_kind_and_bytes(name: str, tmp_path: Path) -> None:
    planted = leaking_loops.LOOPS[name]
    found = leaks_of(tmp_path, planted.loop)
    assert [each.leak for each in found] == [planted.kind]
    leak = found[0]
    assert leak.step <= 2 + (SAMPLES + 1) * EVERY
    assert leak.file.endswith("leaking_loops.py") or planted.kind == "data_pipeline"
    assert leak.line in marked(planted.loop, "MADE") | marked(planted.loop, "KEPT")
    if planted.bytes_per_step:
        assert leak.bytes_per_step == pytest.approx(planted.bytes_per_step, rel=planted.tolerance)
    if leak.held_at:
        assert int(leak.held_at.rpartition(":")[2]) in marked(planted.loop, "KEPT")


@pytest.mark.parametrize("loop", some_now(clean_loops.LOOPS), ids=lambda loop: loop.__name__)
def test_what_comes_and_goes_is_no_leak(loop: Callable[[Any, Any], None], tmp_path: Path) -> None:
    assert not leaks_of(tmp_path, loop)


SCRIPT = """
import sys
from small_models import batch, loss_of, make
from oomless.monitor import watch

model, optimizer = make()
kept = []
with watch(model, optimizer, run=sys.argv[1], every=2):
    for _ in range(20):
        ids = batch()
        logits = model(ids)
        logits.float().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        kept.append(logits.detach())
"""


def test_a_list_of_the_script_itself_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script's own variables are those of its module: no copy of a frame's, and must not be passed over."""
    script = tmp_path / "train_script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    monkeypatch.setattr("sys.argv", [str(script), str(tmp_path / "run")])
    runpy.run_path(str(script), run_name="__main__")
    (leak,) = read_run(tmp_path / "run")[0].of(Leak)
    assert leak.leak == "kept_outputs"
    assert leak.held_at.endswith("train_script.py:15")
    assert "`kept`" in leak.held_by


KEPT: list[Any] = []


def test_of_two_tensors_with_one_storage_the_kept_one_is_found() -> None:
    """What a step itself still has led to no name, and the list that kept it detached was never asked."""
    KEPT.append(torch.ones(4))
    around: Any = SimpleNamespace(around=SimpleNamespace(batch=lambda: ()))
    survivor: Any = SimpleNamespace(pointer=1)
    found = Leaks._accuse(around, {1: [KEPT[0].detach(), KEPT[0]]}, [survivor])
    assert found is not None
    assert found.holder.name == "KEPT"
    KEPT.clear()
