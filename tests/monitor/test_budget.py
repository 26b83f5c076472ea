"""A budget is held against all processes of a command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("psutil")

from fake_nvml import GIB, FakeNvml

from command import environment
from oomless.monitor.budget import HighestUse, Meter
from oomless.monitor.cards import Cards

GROW = "import time; held = bytearray(200_000_000); time.sleep(0.6)"
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {GROW!r}])"
PASSED, OVER = 0, 3


def monitor(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "oomless", "monitor", *words],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("program", [GROW, CHILD])
def test_a_command_over_its_budget_ends_with_three(program: str) -> None:
    done = monitor("--budget", "150MB", "--json", "--", sys.executable, "-c", program)
    found = json.loads(done.stderr)
    assert done.returncode == OVER
    assert (found["over"], found["where"]) == (True, "host")
    assert 200_000_000 < found["taken_bytes"] < 300_000_000


def test_a_command_within_its_budget_ends_as_it_ends() -> None:
    assert monitor("--budget", "2GB", "--", sys.executable, "-c", "print('x')").stdout == "x\n"
    assert monitor("--budget", "2GB", "--", sys.executable, "-c", "exit(9)").returncode == 9


def test_a_card_counts_before_the_host() -> None:
    meter = Meter(
        os.getpid(), Cards(FakeNvml([os.getpid(), 2, 3, 4, 5, 6, 7, 8, os.getpid()])), with_root=True
    )
    meter.look()
    assert (meter.taken.where, meter.taken.num_bytes) == ("card", 2 * GIB)
    assert HighestUse(5, 0).num_bytes == 5


def test_a_budget_without_a_command_is_refused() -> None:
    done = monitor("--budget", "2GB")
    assert done.returncode == 2
    assert "-- pytest" in done.stderr


TESTS = """
import time
def test_large():
    held = bytearray(200_000_000)
    time.sleep(0.4)
def test_fixture(memory_budget):
    with memory_budget("{size}"):
        held = bytearray(100_000_000)
        time.sleep(0.1)
"""


@pytest.mark.parametrize(
    ("budget", "size", "code"), [("2GB", "1GB", 0), ("100MB", "1GB", 3), ("2GB", "50MB", 1)]
)
def test_the_plugin_fails_a_session_and_a_test(budget: str, size: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS.format(size=size), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--memory-budget", budget],  # installed, it is found by itself
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "the budget of" in done.stdout
