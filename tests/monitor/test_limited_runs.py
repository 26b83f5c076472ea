"""Advice after an end without memory is kept: the run that is changed as it says fits where the other did
not."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import limited_run

from oomless.api.monitored import show
from oomless.monitor.advice import Fitting
from oomless.monitor.post_mortem import PostMortem

pytestmark = [pytest.mark.torch, pytest.mark.skipif(sys.platform != "linux", reason="limits of the kernel")]
UNLIMITED = 8 << 30
CUT, ROOM = 0.8, 1.35
"""Of what the second step of an unlimited run takes, that the limited one may have: too little for every
step, or enough until one grows."""
CASES = [(name, ROOM if setting.grows else CUT) for name, setting in limited_run.CASES.items()] + [
    ("plain", 0.6)
]


class Runs:
    """Runs in processes of their own, in which torch is loaded."""

    def __init__(self) -> None:
        script = Path(limited_run.__file__)
        paths = os.pathsep.join([str(script.parent), *sys.path])
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, **limited_run.ENVIRONMENT, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, folder: Path, case: str, limit_bytes: int, micro_batches: int = 1, how: str = "plain"
    ) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        words = (str(folder), case, str(limit_bytes), str(micro_batches), how)
        print(*words, sep="\t", file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        assert code in (0, limited_run.OUT_OF_MEMORY)
        return code


@pytest.fixture(scope="module")
def run() -> Iterator[Runs]:
    runs = Runs()
    yield runs
    runs.process.communicate(timeout=60)


def advised(found: PostMortem) -> list[Fitting]:
    return [each for each in found.changes if each.fits]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "share"), CASES)
def test_what_is_advised_fits(case: str, share: float, run: Runs, tmp_path: Path) -> None:
    assert run(tmp_path / "free", case, UNLIMITED) == 0
    (free,) = show(tmp_path / "free").ranks
    assert free.peak is not None
    limit = int(share * (free.peak.peak_bytes - free.run.start.weights_bytes))
    assert run(tmp_path / "limited", case, limit) == limited_run.OUT_OF_MEMORY
    death = show(tmp_path / "limited").ranks[0].death
    assert death is not None
    assert not death.reason
    assert advised(death)
    for each in advised(death):
        words = " ".join(each.changes)
        parts = re.search(r"summed over (\d+)", words)
        how = "recompute" if "recompute" in words else "plain"
        assert run(tmp_path / words[:9], case, limit, int(parts[1]) if parts else 1, how) == 0, words
