"""A live run is watched: phases and bytes of every step, the categories of sampled ones, leaks, and what a
death was of.

    from oomless.monitor import watch
    with watch(model, optimizer):
        train()

torch is imported inside of functions alone.
"""

import os
from typing import Any

from .run_watch import Watch
from .training_callbacks import lightning_callback, trainer_callback

__all__ = ["Watch", "lightning_callback", "trainer_callback", "watch"]


def watch(
    model: Any,
    optimizer: Any = None,
    *,
    run: str | os.PathLike[str] | None = None,
    every: int | None = None,
    expect: Any = None,
) -> Watch:
    """Return a context manager that watches the training of `model`.

    `optimizer` may be left out: whatever optimizer steps is seen. `run` is the folder, `oomless_runs/...`
    without it. One step in `every` is sampled, none with 0; without it one in 100, or fewer where that would
    take more than half a percent of the time. `expect` is an answer of `oomless.train` or `oomless.trace`:
    its total stands beside the peak of the first two steps.
    """
    return Watch(model, optimizer, run=run, every=every, expect=expect)
