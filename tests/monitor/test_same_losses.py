"""A watched training is the plain one, to the bit of every loss, alone and on two ranks."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import watched_ranks

from oomless.monitor.entries import MonitorFault, SampledStep, WatchedStep
from oomless.monitor.journal import read_run

pytestmark = pytest.mark.torch
COMPILES = ("compiled",)


def losses(kind: str, folder: Path | None = None) -> list[str]:
    """What each rank prints, one after the other."""
    num = 2 if kind in watched_ranks.SHARED else 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, str(watched_ranks.__file__), kind, *([str(folder)] if folder else [])]
    ranks = [
        subprocess.Popen(
            words,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OMP_NUM_THREADS": "1",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "RANK": str(rank),
                "WORLD_SIZE": str(num),
                "LOCAL_WORLD_SIZE": str(num),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num)
    ]
    told = [each.communicate(timeout=400) for each in ranks]
    assert not any(each.returncode for each in ranks), told
    return [line for out, _ in told for line in out.splitlines() if line.startswith("losses")]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(each, marks=pytest.mark.slow) if each in COMPILES else each
        for each in watched_ranks.KINDS
    ],
)
def test_losses_are_those_of_the_plain_run(kind: str, tmp_path: Path) -> None:
    plain = losses(kind)
    assert plain
    assert losses(kind, tmp_path) == plain
    ranks = read_run(tmp_path)
    assert len(ranks) == len(plain)
    for run in ranks:
        assert not run.of(MonitorFault)
        assert len(run.of(WatchedStep)) == watched_ranks.STEPS
        assert run.of(SampledStep) or kind in COMPILES
