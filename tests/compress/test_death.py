"""Runs that die: killed, out of disk, interrupted, with a source that breaks. What lies there never loads
before it is whole, and who goes on ends with the same bytes."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from command import environment

pytest.importorskip("numpy")

import numpy as np

from oomless.compress.checkpoint import crew
from oomless.compress.checkpoint import run as running
from oomless.compress.checkpoint import stream as streaming
from oomless.compress.checkpoint.blocks import Measure, jobs
from oomless.compress.checkpoint.journal import Journal, Part, journals, read_journal
from oomless.compress.checkpoint.run import Writing
from oomless.compress.weights import CompressRequest, compress, finish_parts, plan
from oomless.errors import OomlessError, UsageError

NUM_LAYERS, WIDTH = 6, 1024
KILLS, FULL_DISKS = 12, 8
"""In `make test`; the slow tests do 200 and 50."""
PARTS = range(1, 17)


def write_model(folder: Path, num_layers: int = NUM_LAYERS, width: int = WIDTH, num_files: int = 3) -> Path:
    """A folder of bfloat16 matrices in several files, written by hand."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(7)
    names = [
        f"model.layers.{layer}.mlp.{part}_proj.weight"
        for layer in range(num_layers)
        for part in ("gate", "up", "down")
    ]
    weight_map: dict[str, str] = {}
    for number in range(num_files):
        file = f"model-{number + 1:05}-of-{num_files:05}.safetensors"
        mine = names[number::num_files]
        tensors = {name: chance.standard_normal((width, width)).astype(np.float32) * 0.02 for name in mine}
        write_bf16(folder / file, tensors)
        weight_map |= dict.fromkeys(mine, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "torch_dtype": "bfloat16"}))
    return folder


def write_bf16(path: Path, tensors: dict[str, Any]) -> None:
    """A safetensors file of bfloat16, cut off from float32."""
    header, data = {}, b""
    for name, values in tensors.items():
        content = (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("death") / "model")


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run that nothing disturbs writes."""
    folder = tmp_path_factory.mktemp("whole")
    compress(plan(CompressRequest(str(model), "int4")), folder)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def loads(folder: Path) -> bool:
    """Whether anything could take the folder for a model: transformers, vLLM and SGLang all need its
    config."""
    return (folder / "config.json").exists()


def start(model: Path, out: Path, *more: str) -> "subprocess.Popen[bytes]":
    words = [
        sys.executable,
        "-m",
        "oomless",
        "compress",
        str(model),
        "--to",
        "int4",
        "--out",
        str(out),
        *more,
    ]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), stdin=subprocess.DEVNULL
    )


def kill_and_go_on(model: Path, whole: dict[str, bytes], out: Path, kills: int, seed: int) -> None:
    """Kill runs at random moments, each of which goes on where the last one died; then let one end."""
    chance = random.Random(seed)
    started = time.monotonic()
    first = start(model, out)
    first.wait()
    duration_s = time.monotonic() - started
    shutil.rmtree(out)
    for _ in range(kills):
        before = marks(out)
        process = start(model, out)
        time.sleep(chance.uniform(0.1, 1.05) * duration_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert loads(out) or marks(out) >= before, "work that was noted is never lost"
        if loads(out):
            left = {name: content for name, content in contents(out).items() if not name.startswith(".")}
            assert left == whole, "what loads is whole"
            shutil.rmtree(out)
    process = start(model, out, *(["--force"] if loads(out) else []))
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert contents(out) == whole


def marks(out: Path) -> int:
    """Jobs that the journal says are done; of a folder that is whole, none are left to do."""
    found = [journal[1] for path in journals(out) if (journal := read_journal(path))] if out.exists() else []
    return max(found, default=0)


def test_killed_anywhere_it_never_loads_before_it_is_whole_and_goes_on(
    model: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    kill_and_go_on(model, whole, tmp_path / "out", KILLS, seed=1)


@pytest.mark.slow
def test_killed_at_two_hundred_places(model: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    kill_and_go_on(model, whole, tmp_path / "out", 200, seed=2)


def test_little_is_lost(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no moment is more written than the journal knows by over 64 MB."""
    assert streaming.MOST_UNSYNCED_BYTES <= 64_000_000
    monkeypatch.setattr(crew, "SMALL_BYTES", 0)
    monkeypatch.setattr(streaming, "SYNC_BYTES", 1 << 18)
    monkeypatch.setattr(streaming, "MOST_UNSYNCED_BYTES", 3 << 20)
    most, written = [0], [0]
    answered, note = streaming.Stream._account, Journal.note
    planned = plan(CompressRequest(str(model), "int4"))
    noted = list(
        accumulate(
            (job.written for _, job in jobs(planned.target, 0, sys.maxsize) if not isinstance(job, Measure)),
            initial=0,
        )
    )

    def watched(self: streaming.Stream, *words: Any) -> None:
        answered(self, *words)
        most[0] = max(most[0], self._written - written[0])

    def noting(self: Journal, done: int, durable: bool) -> None:
        note(self, done, durable)
        written[0] = noted[done]

    monkeypatch.setattr(streaming.Stream, "_account", watched)
    monkeypatch.setattr(Journal, "note", noting)
    compress(planned, tmp_path, writing=Writing(threads=2))
    parts_once = planned.target.num_bytes - noted[-1]
    assert 1 << 20 < most[0] <= (3 << 20) + parts_once


def fail_at(number: int, error: BaseException) -> Callable[..., int]:
    """A pwrite that fails at its n-th call."""
    real, calls = os.pwrite, [0]

    def pwrite(*words: Any) -> int:
        calls[0] += 1
        if calls[0] == number:
            raise error
        return real(*words)

    return pwrite


def full_disk_and_go_on(
    model: Path, whole: dict[str, bytes], folder: Path, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, places + 1):
        out = folder / str(number)
        place = 1 + number * 60 // places
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", fail_at(place, OSError(28, "No space left on device")))
            try:
                compress(plan(CompressRequest(str(model), "int4")), out)
            except OomlessError as error:
                assert "No space left" in error.message
                assert "goes on where it stopped" in error.hint
                assert not loads(out)
                assert all(name.endswith((".part", ".journal")) for name in contents(out))
        if not loads(out):
            compress(plan(CompressRequest(str(model), "int4")), out)
        assert contents(out) == whole
        shutil.rmtree(out)


def test_a_disk_that_fills_leaves_parts_alone(
    model: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk_and_go_on(model, whole, tmp_path, FULL_DISKS, monkeypatch)


@pytest.mark.slow
def test_a_disk_that_fills_at_fifty_places(
    model: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk_and_go_on(model, whole, tmp_path, 50, monkeypatch)


def test_files_are_not_larger_than_the_system_allows(model: Path, tmp_path: Path) -> None:
    """A real refusal of the kernel: files may not pass 1 MB."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    words = [
        sys.executable,
        "-m",
        "oomless",
        "compress",
        str(model),
        "--to",
        "int4",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, env=environment(), preexec_fn=limit, check=False
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert not loads(tmp_path / "out")


def test_need_of_disk_is_said_before_anything_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OomlessError, match="are needed, 10 are free"):
        compress(plan(CompressRequest(str(model), "int4")), tmp_path / "out")
    assert not contents(tmp_path / "out")


def test_interrupted_it_says_so_and_goes_on(model: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(model, out)
    while not list(out.glob("*.part")):
        time.sleep(0.005)
        assert process.poll() is None or loads(out)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    if process.returncode:
        assert process.returncode == 130
        assert b"Traceback" not in err
        assert not loads(out)
        compress(plan(CompressRequest(str(model), "int4")), out)
    assert contents(out) == whole


def test_a_failure_in_a_thread_reaches_the_caller(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", fail_at(20, ZeroDivisionError("in a thread")))
    with pytest.raises(ZeroDivisionError):
        compress(plan(CompressRequest(str(model), "int4")), tmp_path / "out")


def test_a_shard_that_is_cut_off_while_it_is_read(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    planned = plan(CompressRequest(str(copy), "int4"))
    shard = sorted(copy.glob("*.safetensors"))[1]
    os.truncate(shard, shard.stat().st_size - 100)
    with pytest.raises(OomlessError, match="too early"):
        compress(planned, tmp_path / "out")
    assert not loads(tmp_path / "out")


def test_another_run_does_not_go_on_with_this_one(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail_at(30, OSError(28, "No space left on device")))
        with pytest.raises(OomlessError):
            compress(plan(CompressRequest(str(model), "int4")), out)
    for request in (
        CompressRequest(str(model), "int8"),
        CompressRequest(str(model), "int4", keep=("model.layers.0.*",)),
    ):
        with pytest.raises(UsageError, match="an unfinished run of something else"):
            compress(plan(request), out)
    compress(plan(CompressRequest(str(model), "int8")), out, writing=Writing(force=True))
    assert json.loads((out / "config.json").read_text())["quantization_config"]["format"] == "int-quantized"


def test_a_folder_with_files_needs_force(model: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        compress(plan(CompressRequest(str(model), "int4")), tmp_path)
    compress(plan(CompressRequest(str(model), "int4")), tmp_path, writing=Writing(force=True))
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert {name: content for name, content in contents(tmp_path).items() if name != "mine.txt"} == whole


def test_the_source_is_never_the_target(model: Path) -> None:
    before = contents(model)
    with pytest.raises(UsageError, match="the source itself"):
        compress(plan(CompressRequest(str(model), "int4")), model, writing=Writing(force=True))
    assert contents(model) == before


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder in which even root may not write")
def test_a_target_that_may_not_be_written(model: Path) -> None:
    before = contents(model)
    with pytest.raises(OomlessError, match="cannot be"):
        compress(plan(CompressRequest(str(model), "int4")), Path("/sys/kernel/oomless"))
    assert contents(model) == before


def test_a_part_that_begins_meanwhile_is_no_stranger(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight parts begun at once: one looked for journals, another wrote its own and its files, and the first
    found files without a journal."""

    def looked(folder: Path) -> list[Path]:
        found = journals(folder)
        (folder / ".oomless-compress-00002-of-00008.journal").touch()
        (folder / "model-00001-of-00003.safetensors.part").touch()
        return found

    monkeypatch.setattr(running, "journals", looked)
    planned = plan(CompressRequest(str(model), "int4"))
    compress(planned, tmp_path / "out", part=Part(1, 8))
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize(
    "num_parts",
    [pytest.param(count, marks=() if count in (1, 3, 16) else pytest.mark.slow) for count in PARTS],
)
def test_parts_in_any_order_give_the_same_bytes(
    model: Path, whole: dict[str, bytes], tmp_path: Path, num_parts: int
) -> None:
    """Parts are processes of their own, several at a time; joining them is a command of its own."""
    out, order = tmp_path / "out", list(range(1, num_parts + 1))
    random.Random(num_parts).shuffle(order)
    planned = plan(CompressRequest(str(model), "int4"))
    if num_parts > 1:
        with pytest.raises(OomlessError, match="is not begun"):
            finish_parts(planned, out, num_parts)
    for first in range(0, num_parts, 4):
        running = [
            start(model, out, "--part", f"{number}/{num_parts}") for number in order[first : first + 4]
        ]
        for process in running:
            _, err = process.communicate()
            assert process.returncode == 0, err
        assert loads(out) is (num_parts == 1)
    if num_parts > 1:
        words = [sys.executable, "-m", "oomless", "compress", "--join", str(out)]
        assert subprocess.run(words, env=environment(), capture_output=True, check=False).returncode == 0
    assert contents(out) == whole


def test_nvfp4_in_parts_is_nvfp4_in_one(model: Path, tmp_path: Path) -> None:
    """Partners whose maximum is needed may lie in another part: they are read, not waited for."""
    planned = plan(CompressRequest(str(model), "nvfp4"))
    compress(planned, tmp_path / "one")
    for number in (2, 1, 3):
        from oomless.compress.checkpoint.journal import Part

        compress(planned, tmp_path / "parts", Part(number, 3))
    finish_parts(planned, tmp_path / "parts", 3)
    assert contents(tmp_path / "one") == contents(tmp_path / "parts")
