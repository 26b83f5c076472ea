"""The monitor does no harm: whatever fails in it, the run goes on, and what was written can be read."""

import cProfile
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from small_models import batch, make, one_thread, train_step
from written_runs import end, leak, question, sample, start, step, write

from oomless.monitor import Watch, watch
from oomless.monitor.entries import MonitorFault, RunEnd, RunStart, WatchedStep
from oomless.monitor.journal import RunJournal, read_rank, read_run
from oomless.monitor.kept import recording_path
from oomless.recording.file import read_trace

pytestmark = pytest.mark.torch
__all__ = ["one_thread"]


def losses(num: int = 6) -> list[float]:
    model, optimizer = make(7)
    return [train_step(model, optimizer, batch()) for _ in range(num)]


def watched(folder: Path) -> tuple[Any, Any, Watch]:
    model, optimizer = make(7)
    return model, optimizer, watch(model, optimizer, run=folder, every=2)


@pytest.mark.parametrize(
    "where",
    ["counter.live", "counter.read", "sampler.finish", "sampler.begin", "leaks.stepped", "journal.write"],
)
def test_an_exception_inside_switches_the_monitor_off(where: str, tmp_path: Path) -> None:
    plain = losses()
    model, optimizer, watching = watched(tmp_path)

    def fails(*arguments: Any, **named: Any) -> Any:
        raise ZeroDivisionError(where)

    found = []
    with watching:
        for number in range(6):
            if number == 1:
                part, name = where.split(".")
                owner = getattr(watching, part)
                if part == "counter":
                    watching.counter = owner._replace(**{name: fails})
                else:
                    setattr(owner, name, fails)
            found.append(train_step(model, optimizer, batch()))
    assert found == plain
    assert watching.guard.is_off
    assert watching.hooks is not None
    assert not watching.hooks.removals
    (run,) = read_run(tmp_path)
    if where != "journal.write":
        (fault,) = run.of(MonitorFault)
        assert "ZeroDivisionError" in fault.message


def test_a_tool_that_takes_python_s_calls_over_costs_a_sample(tmp_path: Path) -> None:
    """cProfile is switched on within a sampled step: the step is forgotten, the monitor goes on."""
    plain = losses(8)
    model, optimizer, watching = watched(tmp_path)
    found, profiler = [], cProfile.Profile()
    with watching:
        for _ in range(8):
            if watching.sampler is not None and watching.sampler.running:
                profiler.enable()
            found.append(train_step(model, optimizer, batch()))
            profiler.disable()
    assert found == plain
    assert not watching.guard.is_off
    (run,) = read_run(tmp_path)
    assert not run.of(MonitorFault)
    assert len(run.of(WatchedStep)) == 8


def test_a_full_disk_ends_the_journal_and_nothing_else(tmp_path: Path) -> None:
    """The kernel lets files grow to so much and no more, which is what a full disk does to a write."""
    plain = losses(20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    model, optimizer, watching = watched(tmp_path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
        with watching:
            found = [train_step(model, optimizer, batch()) for _ in range(20)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert found == plain
    assert watching.guard.is_off
    (run,) = read_run(tmp_path)
    assert run.of(WatchedStep)


def test_a_folder_that_cannot_be_written_is_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    model, optimizer, watching = watched(tmp_path / "file" / "run")
    with watching:
        train_step(model, optimizer, batch())
    assert "is off; the run goes on" in capsys.readouterr().err


def test_a_clock_that_jumps_changes_no_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(10**9, 0, -(10**6)))
    monkeypatch.setattr(time, "time", lambda: float(next(moments)))
    model, optimizer, watching = watched(tmp_path)
    with watching:
        for _ in range(5):
            train_step(model, optimizer, batch())
    (run,) = read_run(tmp_path)
    steps = run.of(WatchedStep)
    assert len(steps) == 5
    assert all(0 < each.seconds < 600 for each in steps)
    assert not run.of(MonitorFault)


def test_a_child_of_a_fork_writes_nothing(tmp_path: Path) -> None:
    model, optimizer, watching = watched(tmp_path)
    with watching:
        for number in range(6):
            train_step(model, optimizer, batch())
            if number == 2:
                child = os.fork()
                if not child:
                    try:
                        code = 0 if watching.guard.is_off and watching.journal is None else 9
                    finally:
                        os._exit(code)
                assert os.waitpid(child, 0)[1] == 0
    (run,) = read_run(tmp_path)
    assert [each.step for each in run.of(WatchedStep)] == list(range(1, 7))
    assert not run.of(MonitorFault)


KILLED = """
import os, signal, sys
from small_models import batch, make, train_step
from oomless.monitor import watch
model, optimizer = make()
with watch(model, optimizer, run=sys.argv[1], every=2):
    for number in range(int(sys.argv[2])):
        train_step(model, optimizer, batch())
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("num", [1, 2, 5])
def test_a_run_that_is_killed_leaves_all_its_steps(num: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "run"), str(num)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    (run,) = read_run(tmp_path / "run")
    assert [each.step for each in run.of(WatchedStep)] == list(range(1, num + 1))
    assert not run.of(RunEnd)


KILLED_ANYWHERE = """
import os, signal, sys
from small_models import batch, make, train_step
from oomless.monitor import watch
model, optimizer = make()
with watch(model, optimizer, run=os.path.join(sys.argv[1], "first"), every=0):
    train_step(model, optimizer, batch())  # everything is imported now
for number in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        model, optimizer = make()
        signal.setitimer(signal.ITIMER_PROF, 0.001 * (number + 1) * 4)
        with watch(model, optimizer, run=os.path.join(sys.argv[1], str(number)), every=2):
            while True:
                train_step(model, optimizer, batch())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGPROF
"""
PLACES = 100


@pytest.mark.slow
def test_a_run_that_is_killed_at_a_hundred_places_loses_its_last_line_alone(tmp_path: Path) -> None:
    """Each run dies after so many milliseconds of its own CPU time, in whatever it does then."""
    subprocess.run(
        [sys.executable, "-c", KILLED_ANYWHERE, str(tmp_path), str(PLACES)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        check=True,
    )
    journals = sorted(tmp_path.glob("[0-9]*/rank0.jsonl"))
    assert len(journals) > PLACES // 2  # the first ones die before they write a line
    most = 0
    for path in journals:
        if not path.read_bytes().count(b"\n"):
            continue
        run = read_rank(path)
        steps = [each.step for each in run.of(WatchedStep)]
        assert steps == list(range(1, len(steps) + 1))
        assert len(run.entries) == path.read_bytes().count(b"\n")
        assert not run.of(MonitorFault)
        most = max(most, len(steps))
    assert most > 2


def test_a_journal_cut_anywhere_loses_its_last_line_alone(tmp_path: Path) -> None:
    path = write(tmp_path, start(), question(), step(1), sample(2), leak(2), step(3), end(3))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole), max((len(whole) - first) // 100, 1)):
        path.write_bytes(whole[:cut])
        run = read_rank(path)
        assert len(run.entries) == whole[:cut].count(b"\n")
        assert run.num_unread == 0


def test_a_week_stays_below_its_share(tmp_path: Path) -> None:
    share = 300_000
    journal = RunJournal(tmp_path / "rank0.jsonl", share)
    journal.write(start())
    for number in range(1, 20_001):
        journal.write(step(number))
        if number % 100 == 0:
            journal.write(sample(number))
    journal.close()
    assert journal.path.stat().st_size < share
    run = read_rank(journal.path)
    assert sum(each.num for each in run.of(WatchedStep)) == 20_000
    assert run.of(RunStart)
    assert run.of(WatchedStep)[0].num == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"step","step":1e400}\n',
        b'{"kind":"step"}\n',
        b"[" * 100_000 + b"\n",
        b'{"kind":"sample","lines":[[1,2]]}\n',
        b"\xff\xfe\n",
        json.dumps({"kind": "unknown"}).encode() + b"\n",
    ],
)
def test_a_line_that_is_none_is_counted_and_left(line: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, start())
    with path.open("ab") as file:
        file.write(line)
    write(tmp_path, step(1))
    run = read_rank(path)
    assert (run.num_unread, len(run.of(WatchedStep))) == (1, 1)


def test_the_recording_of_a_run_is_read_back(tmp_path: Path) -> None:
    """What the monitor writes passes the checks of every trace that comes from outside."""
    model, optimizer, watching = watched(tmp_path)
    with watching:
        for _ in range(4):
            train_step(model, optimizer, batch())
    recording = read_trace(recording_path(read_run(tmp_path)[0].path))
    assert recording.request["for"] == "watch"
    assert recording.tensors.sizes
