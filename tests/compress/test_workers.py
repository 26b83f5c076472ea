"""Workers in processes of their own: the same bytes whoever does the work, the same words when it fails, and
nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")

import numpy as np
from bench.compress import children
from test_death import contents, loads, write_bf16, write_model

from command import environment
from oomless.compress.checkpoint import crew
from oomless.compress.checkpoint.run import Writing
from oomless.compress.weights import CompressRequest, compress, plan
from oomless.errors import OomlessError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are threads")
SLOW = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts behind & ignores it
from oomless.compress.checkpoint import crew
crew.SMALL_BYTES = 0
write = os.pwrite
def slowly(*words):
    time.sleep(0.02)
    return write(*words)
os.pwrite = slowly
from oomless.cli import process
process()
"""
"""The command, with workers in processes for the smallest model, each of which takes its time."""
GONE_S = 20.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("workers") / "model")


@pytest.fixture(autouse=True)
def always_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one other thread here brings messages to pytest."""
    monkeypatch.setattr(crew, "SMALL_BYTES", 0)
    monkeypatch.setattr(crew, "may_fork", lambda: True)


def made(model: Path, word: str, out: Path, workers: int, **more: Any) -> dict[str, bytes]:
    compress(plan(CompressRequest(str(model), word, **more)), out, writing=Writing(threads=workers))
    return contents(out)


@pytest.mark.parametrize("word", ["int4", "int8", "nvfp4", "fp8-tensor", "mxfp4"])
def test_any_number_of_processes_or_threads_writes_the_same(
    model: Path, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"keep": ("model.layers.1.*",)}  # copies go to workers, too
    one = made(model, word, tmp_path / "1", 1, **more)
    assert made(model, word, tmp_path / "2", 2, **more) == one
    assert made(model, word, tmp_path / "4", 4, **more) == one
    monkeypatch.setattr(crew, "may_fork", lambda: False)
    assert made(model, word, tmp_path / "threads", 3, **more) == one


def test_beside_another_thread_nothing_is_forked(model: Path, tmp_path: Path) -> None:
    """It may be in a product of matrices: OpenBLAS would wait for it before the fork, forever."""
    script = f"""
import threading
import numpy as np
from pathlib import Path
from oomless.compress.checkpoint import crew
from oomless.compress.checkpoint.run import Writing
from oomless.compress.weights import CompressRequest, compress, plan
crew.SMALL_BYTES = 0
assert crew.may_fork()
over, matrix = threading.Event(), np.ones((256, 256), np.float32)
def busy():
    while not over.is_set():
        matrix @ matrix
thread = threading.Thread(target=busy, daemon=True)
thread.start()
assert not crew.may_fork()
planned, two = plan(CompressRequest({str(model)!r}, "int4")), Writing(threads=2)
compress(planned, Path({str(tmp_path / "beside")!r}), writing=two)
over.set()
thread.join()
assert crew.may_fork()
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=environment(), timeout=120)
    assert contents(tmp_path / "beside") == made(model, "int4", tmp_path / "here", 2)


def test_a_process_that_is_killed_is_told_and_the_run_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, real, calls = os.getpid(), os.pwrite, [0]

    def killed(*words: Any) -> int:
        calls[0] += 1
        if os.getpid() != parent and calls[0] == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words)

    whole, out = made(model, "int4", tmp_path / "whole", 1), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", killed)
        with pytest.raises(OomlessError, match=r"has died \(exit status -9\)") as raised:
            made(model, "int4", out, 2)
    assert "goes on where it stopped" in raised.value.hint
    assert not loads(out)
    assert not children(os.getpid())
    assert made(model, "int4", out, 2) == whole


def test_a_full_disk_in_a_process_is_told_in_the_same_words(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(crew, "SameProcess", None)
    planned = plan(CompressRequest(str(model), "int4"))
    with monkeypatch.context() as patch:
        patch.setattr("oomless.compress.checkpoint.worker.put", full)
        with pytest.raises(OomlessError, match="No space left") as raised:
            compress(planned, tmp_path / "out", writing=Writing(threads=2))
    assert "goes on where it stopped" in raised.value.hint
    assert not loads(tmp_path / "out")


def test_a_fault_in_a_process_reaches_the_caller_with_its_place(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*words: Any) -> int:
        raise ZeroDivisionError("in a process")

    monkeypatch.setattr("oomless.compress.checkpoint.worker.put", wrong)
    with pytest.raises(ZeroDivisionError) as raised:
        compress(plan(CompressRequest(str(model), "int4")), tmp_path / "out", writing=Writing(threads=2))
    assert "worker.py" in "".join(raised.value.__notes__)


@pytest.mark.parametrize("word", ["int4", "nvfp4"])
def test_a_weight_that_is_no_number_is_named(word: str, tmp_path: Path) -> None:
    """In an encoding, or in a measurement that others wait for."""
    source = write_model(tmp_path / "model", num_layers=2)
    values = np.zeros((1024, 1024), np.float32)
    values[700, 7] = np.nan
    shards = sorted(source.glob("*.safetensors"))
    names = ["model.layers.0.mlp.gate_proj.weight", "model.layers.1.mlp.gate_proj.weight"]
    write_bf16(shards[0], {names[0]: values * 0, names[1]: values})
    with pytest.raises(OomlessError, match="no number"):
        compress(plan(CompressRequest(str(source), word)), tmp_path / "out", writing=Writing(threads=2))
    assert not children(os.getpid())


def start_slowly(model: Path, out: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", SLOW, "compress", str(model), "--to", "int4", "--out", str(out)]
    process = subprocess.Popen(
        [*words, "--threads", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment(),
        text=True,
        start_new_session=True,
    )
    while len(children(process.pid)) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    return process


def gone(pids: list[int]) -> bool:
    """Whether none is there any more, soon."""
    end = time.monotonic() + GONE_S
    while any(Path(f"/proc/{pid}/smaps_rollup").exists() and not zombie(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def zombie(pid: int) -> bool:
    """Whether a process has ended and nobody has asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_nobody_is_left_when_the_first_process_is_killed(model: Path, tmp_path: Path) -> None:
    whole, out = made(model, "int4", tmp_path / "whole", 1), tmp_path / "out"
    process = start_slowly(model, out)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    assert gone(workers)
    assert not loads(out)
    assert made(model, "int4", out, 2) == whole


def test_an_interrupt_of_the_whole_group_is_one_for_the_first_process(model: Path, tmp_path: Path) -> None:
    whole, out = made(model, "int4", tmp_path / "whole", 1), tmp_path / "out"
    process = start_slowly(model, out)
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert gone(workers)
    assert not loads(out)
    assert made(model, "int4", out, 2) == whole
