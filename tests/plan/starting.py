"""Starting a written file on the CPU: its variables, its patience, and an end for all that it started."""

import os
import signal
import subprocess
from pathlib import Path

PATIENCE_S = 560
"""DeepSpeed compiles an optimizer first, which takes minutes where all cores are busy."""


def run_here(words: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Return what a command in `folder` said. What torch compiles lies beside this run's folders: a
    compiler that was killed elsewhere leaves a lock behind, for which everybody else waits."""
    alone = {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TORCH_EXTENSIONS_DIR": str(folder.parent / "extensions"),
    }
    with subprocess.Popen(
        words,
        cwd=folder,
        env=os.environ | alone | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # a launcher ends its ranks, which SIGKILL would leave behind
            out, err = process.communicate()
            raise AssertionError(f"{words} took longer than {PATIENCE_S} s: {err[-3000:]}") from None
    return subprocess.CompletedProcess(words, process.returncode, out, err)
