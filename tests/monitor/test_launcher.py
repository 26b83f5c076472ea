"""A child behind `oomless run` behaves as it does alone."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oomless.api.launched import predict
from oomless.monitor.child_output import ChildStream

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
WRAPPED = [sys.executable, "-m", "oomless", "run", "--quiet", "--"]


def wrapped(script: str) -> list[str]:
    return [*WRAPPED, sys.executable, "-c", script]


def start(script: str, **options: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(wrapped(script), env=ENVIRONMENT, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


WAITS = """
import signal, sys, time
def told(number, frame):
    print("got", number, flush=True)
    sys.exit(9)
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(each, told)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_child_once(number: signal.Signals) -> None:
    process = start(WAITS)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.stdout.read() == f"got {number.value}\n".encode()
    assert process.wait(20) == 9


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_child_that_a_signal_kills_is_seen_as_such(number: signal.Signals) -> None:
    script = f"import os; print('x', flush=True); os.kill(os.getpid(), {number.value})"
    process = start(script)
    assert process.communicate(timeout=20)[0] == b"x\n"
    assert process.returncode == -number


@pytest.mark.parametrize("code", [0, 1, 3, 77])
def test_exit_codes_and_order_of_lines(code: int) -> None:
    script = (
        "import sys\n"
        "for i in range(300):\n"
        "    print(i, file=sys.stderr if i % 3 else sys.stdout, flush=True)\n"
        f"sys.exit({code})"
    )
    process = start(script, stderr=subprocess.STDOUT)
    assert process.communicate(timeout=30)[0] == b"".join(b"%d\n" % i for i in range(300))
    assert process.returncode == code


def test_output_and_errors_stay_apart() -> None:
    process = start("import sys; print('out'); print('err', file=sys.stderr)", stderr=subprocess.PIPE)
    assert process.communicate(timeout=20) == (b"out\n", b"err\n")


def test_bytes_pass_as_they_are() -> None:
    script = "import os\nfor i in range(64): os.write(1, bytes(range(256)) * 64)"
    process = start(script)
    assert process.communicate(timeout=20)[0] == bytes(range(256)) * 64 * 64


def test_a_reader_that_goes_away_is_felt_by_the_child() -> None:
    process = start("import os\nwhile True: os.write(1, b'y' * 4096)", stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(20) != 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_does_not_stop_the_child(tmp_path: Path) -> None:
    done = tmp_path / "done"
    script = f"import os\nfor i in range(50): os.write(1, b'x' * 5000)\nopen({str(done)!r}, 'w').close()"
    with open("/dev/full", "wb") as full:
        process = subprocess.run(wrapped(script), env=ENVIRONMENT, stdout=full, timeout=20, check=False)
    assert process.returncode == 0
    assert done.exists()


def test_a_terminal_stays_a_terminal() -> None:
    script = "import sys, os; print(sys.stdout.isatty(), os.get_terminal_size().columns)"
    master, end = pty.openpty()
    process = subprocess.Popen(wrapped(script), env=ENVIRONMENT, stdout=end, stderr=end, stdin=end)
    os.close(end)
    process.wait(20)
    time.sleep(0.1)
    assert os.read(master, 1000).split() == [b"True", b"0"]
    os.close(master)


def test_a_terminal_keeps_no_child_waiting() -> None:
    """A terminal has room for 4 KiB: where each is passed on in its own time, this lasts two minutes."""
    script = "import os\nfor i in range(2000): os.write(1, b'x' * 4999 + b'\\n')"
    master, end = pty.openpty()
    process = subprocess.Popen(wrapped(script), env=ENVIRONMENT, stdout=end, stderr=end, stdin=end)
    os.close(end)
    size, until = 0, time.monotonic() + 60
    while time.monotonic() < until:
        try:
            piece = os.read(master, 1 << 16)
        except OSError:  # the other end is closed
            break
        size += len(piece)
    os.close(master)
    assert process.wait(20) == 0
    assert size >= 10_000_000


@pytest.mark.parametrize(
    ("room", "num_bytes", "since_s", "gap_s"),
    [
        (1 << 20, 100, 3.0, 0.05),  # a line now and then
        (1 << 20, 100, 0.001, 0.05),  # the first of many
        (1 << 20, 1500, 0.05, 1.0),  # 300 lines a second into a file
        (1 << 20, 15_000, 0.5, 1.0),
        (1 << 20, 1 << 18, 0.5, 0.0),  # soon it would have to wait
        (1 << 12, 800, 0.05, 0.05),  # somebody looks
        (1 << 12, 4096, 0.05, 0.0),
    ],
)
def test_how_long_output_gathers(room: int, num_bytes: int, since_s: float, gap_s: float) -> None:
    assert ChildStream(3, 1, room).gap_s(num_bytes, since_s) == gap_s


def test_input_reaches_the_child() -> None:
    process = subprocess.run(
        wrapped("print(input()[::-1])"),
        env=ENVIRONMENT,
        input=b"abc\n",
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert process.stdout == b"cba\n"


def test_a_grandchild_that_holds_the_pipe_keeps_nobody() -> None:
    sleeps = "[sys.executable, '-c', 'import time; time.sleep(20)']"
    script = f"import subprocess, sys; subprocess.Popen({sleeps}); print('x')"
    began = time.monotonic()
    process = start(script, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"x\n"
    assert process.wait(15) == 0
    assert time.monotonic() - began < 15


def test_the_report_holds_what_the_log_says(tmp_path: Path) -> None:
    log = ROOT / "tests" / "tables" / "logs" / "vllm-ready.log"
    report = tmp_path / "run.json"
    command = [*WRAPPED[:-1], "--gpu", "h100", "--report", str(report), "--", "cat", str(log)]
    process = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=60, check=False)
    assert process.stdout == log.read_bytes()
    found = json.loads(report.read_text())
    assert found["exit_code"] == 0
    assert found["runs"][0]["facts"]["kv_tokens"] == 465296
    assert found["runs"][0]["rows"][0]["predicted"] is not None


def test_what_does_not_fit_is_not_started(tmp_path: Path) -> None:
    command = [
        *WRAPPED[:-2],
        "--strict",
        "--gpu",
        "rtx-4090",
        "--",
        "vllm",
        "serve",
        "deepseek-ai/DeepSeek-V3",
    ]
    process = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, timeout=60, check=False, text=True
    )
    assert process.returncode == 3
    assert "does not fit" in process.stderr
    assert "not started" in process.stderr


def test_a_missing_command_is_a_wrong_usage() -> None:
    process = subprocess.run([*WRAPPED, "no-such-program"], env=ENVIRONMENT, capture_output=True, check=False)
    assert process.returncode == 2
    assert b"command not found" in process.stderr


def test_an_engine_without_a_prediction_is_an_engine_all_the_same() -> None:
    """Where no card is found, or no model is known, a server was watched as if it trained."""
    found = predict(["vllm", "serve", "nosuch-model"], "h100")
    assert (found.answer, found.engine) == (None, "vllm")
    assert "nosuch-model" in found.problem
    assert predict(["true"]).engine == ""
