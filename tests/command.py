"""The command line as a script sees it: a whole process under limits, or `main` in this process where that is
enough."""

import io
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from oomless.cli import main

MAX_ADDRESS_SPACE_BYTES = 400 << 20
"""Of which the interpreter itself maps about half: what the process has in memory stays below the 200 MB of
the promise."""
MAX_S = 20
"""No timing: only that it ends."""


class Answer(NamedTuple):
    """What a caller sees."""

    code: int
    out: str
    err: str


def limit_memory() -> None:
    """In the child: an input that wants more than this fails in place of the machine."""
    if sys.platform == "linux":  # elsewhere the limit is not kept, or refused
        resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE_BYTES, MAX_ADDRESS_SPACE_BYTES))


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would change answers, so that a test means the same
    everywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "_OOMLESS"))}
    return {**kept, "NO_COLOR": "1", **more}


def run(*words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Answer:
    """`oomless WORDS` as a process of its own with bounded memory, and an end."""
    done = subprocess.run(
        [sys.executable, "-m", "oomless", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env or environment(),
        timeout=MAX_S,
        check=False,
        preexec_fn=limit_memory,
        stdin=subprocess.DEVNULL,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def call(*words: str) -> Answer:
    """`oomless WORDS` within this process: the same code from the console script on, fifty times cheaper."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(list(words))
    except SystemExit as end:
        code = end.code
    assert isinstance(code, int)
    return Answer(code, out.getvalue(), err.getvalue())
