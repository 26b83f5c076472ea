"""A watched training is the plain one, to the bit of every loss, alone and on two ranks."""

import os
import socket
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

pytest.importorskip("torch")

import watched_ranks

from oomless.monitor.entries import MonitorFault, SampledStep, WatchedStep
from oomless.monitor.journal import read_run

pytestmark = pytest.mark.torch
COMPILES = ("compiled",)
MOST_S = 400


@pytest.fixture(scope="module")
def ranks() -> ForkServerContext:
    """Starts processes in which torch is loaded and has done nothing yet."""
    context = get_context("forkserver")
    context.set_forkserver_preload([watched_ranks.__name__])
    with pytest.MonkeyPatch.context() as patch:  # its server takes no path but that of the environment
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("OMP_NUM_THREADS", "1")
        context.Process(target=os.getpid).start()
    return context


def losses(context: ForkServerContext, kind: str, folder: Path | None = None) -> list[list[str]]:
    """What each rank says, one after the other."""
    num = 2 if kind in watched_ranks.SHARED else 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(num)}
    environment["LOCAL_WORLD_SIZE"] = str(num)
    started = []
    for rank in range(num):
        ours, theirs = context.Pipe(duplex=False)
        words = (kind, str(folder or ""), {**environment, "RANK": str(rank)}, theirs)
        process = context.Process(target=watched_ranks.losses_of_rank, args=words)
        process.start()
        theirs.close()
        started.append((process, ours))
    told = []
    for process, ours in started:
        assert ours.poll(MOST_S)
        told.append(ours.recv())
        process.join(MOST_S)
        assert process.exitcode == 0
    return told


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(each, marks=pytest.mark.slow) if each in COMPILES else each
        for each in watched_ranks.KINDS
    ],
)
def test_losses_are_those_of_the_plain_run(kind: str, ranks: ForkServerContext, tmp_path: Path) -> None:
    plain = losses(ranks, kind)
    assert all(len(each) == watched_ranks.STEPS for each in plain)
    assert losses(ranks, kind, tmp_path) == plain
    runs = read_run(tmp_path)
    assert len(runs) == len(plain)
    for run in runs:
        assert not run.of(MonitorFault)
        assert len(run.of(WatchedStep)) == watched_ranks.STEPS
        assert run.of(SampledStep) or kind in COMPILES
