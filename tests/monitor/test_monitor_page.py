"""The scripts of the page run as they stand there, and leave runs that `monitor show` reads."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch")

from oomless.api.monitored import show
from oomless.monitor.entries import MonitorFault

pytestmark = pytest.mark.torch
PAGE = Path(__file__).parents[2] / "docs" / "en" / "monitor.md"
SCRIPT = re.compile(r"<!-- script: (\w+\.py) -->\n```python\n(.*?)```\n", re.S)
SCRIPTS = dict(SCRIPT.findall(PAGE.read_text(encoding="utf-8")))
NEEDS = {"train_with_transformers.py": "accelerate", "train_with_lightning.py": "lightning"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_of_the_page_runs_and_is_watched(name: str, tmp_path: Path) -> None:
    needed = NEEDS.get(name)
    if needed is not None and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    (tmp_path / name).write_text(SCRIPTS[name], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (each for each in tmp_path.glob("run-*"))
    (rank,) = show(folder).ranks
    assert not rank.run.of(MonitorFault)
    assert rank.num_steps >= 4
    assert rank.peak is not None
    assert rank.end is not None
    assert rank.end.how == "done"
    assert bool(rank.leaks) == (name == "train.py")
