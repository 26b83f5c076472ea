"""Claims C18 and C19: planted leaks before the guide's recipe (memory_profiler, empty_cache) and before the
monitor, side by side, and a data pipeline that prefetches too much before and after its bound.

    pip install memory_profiler
    python -m bench.leaks            # the tables
    python -m bench.leaks --rows     # rows of facts/watched_leaks.csv
"""

import ctypes
import gc
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

STEPS, EVERY = 30, 2
VOCABULARY, HIDDEN, LENGTH, BATCH = 2048, 256, 128, 8
DEEP, BOUND = 12, 2
"""Batches that are on the device ahead of the model, before and after."""
LOGITS: list[Any] = []
LOSSES: list[Any] = []
AHEAD: list[Any] = []


def kept_logits(model: Any, optimizer: Any, step: Callable[..., Any]) -> None:
    for _ in range(STEPS):
        logits = step(model, optimizer, batch())
        LOGITS.append(logits.detach())  # PLANTED


def summed_losses(model: Any, optimizer: Any, step: Callable[..., Any]) -> None:
    for _ in range(STEPS):
        ids = batch()
        LOSSES.append(loss_of(model(ids), ids))  # PLANTED
        step(model, optimizer, batch())


def loads_ahead(model: Any, optimizer: Any, step: Callable[..., Any]) -> None:
    for _ in range(STEPS):
        for _ in range(9):
            AHEAD.append(batch(128))  # PLANTED
        step(model, optimizer, AHEAD.pop(0)[:BATCH])


LOOPS = (kept_logits, summed_losses, loads_ahead)


def forget() -> None:
    """Let go of what the loops kept."""
    for kept in (LOGITS, LOSSES, AHEAD):
        kept.clear()


def batch(num: int = BATCH) -> Any:
    """Token ids."""
    import torch

    return torch.randint(0, VOCABULARY, (num, LENGTH))


def loss_of(logits: Any, ids: Any) -> Any:
    """The mean cross-entropy."""
    import torch

    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())


def train_step(model: Any, optimizer: Any, ids: Any) -> Any:
    """One step; the logits come back."""
    logits = model(ids)
    loss_of(logits, ids).backward()
    optimizer.step()
    optimizer.zero_grad()
    return logits


def make() -> tuple[Any, Any]:
    """A small model and its optimizer."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    inner = [torch.nn.Sequential(torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.GELU()) for _ in range(3)]
    model = torch.nn.Sequential(
        torch.nn.Embedding(VOCABULARY, HIDDEN), *inner, torch.nn.Linear(HIDDEN, VOCABULARY)
    )
    return model, torch.optim.AdamW(model.parameters(), foreach=False)


def planted(loop: Callable[..., None]) -> int:
    """The line that leaks."""
    import inspect

    lines, first = inspect.getsourcelines(loop)
    return next(first + at for at, line in enumerate(lines) if "# PLANTED" in line)


class Side(NamedTuple):
    """What one tool says of a loop."""

    line: int
    """The line that it names first; 0 if it names none."""
    num_bytes: int
    """What it says of that line: bytes a step, or what it freed."""


def by_monitor(loop: Callable[..., None]) -> Side:
    """The first leak that is told."""
    from oomless.monitor import watch
    from oomless.monitor.entries import Leak
    from oomless.monitor.journal import read_run

    model, optimizer = make()
    folder = Path(tempfile.mkdtemp(prefix="oomless-bench-"))
    with watch(model, optimizer, run=folder, every=EVERY):
        loop(model, optimizer, train_step)
    forget()
    leaks = read_run(folder)[0].of(Leak)
    if not leaks:
        return Side(0, 0)
    kept = int(leaks[0].held_at.rpartition(":")[2] or leaks[0].line)
    return Side(kept, leaks[0].bytes_per_step)


def by_memory_profiler(loop: Callable[..., None]) -> Side:
    """The line of the loop with the largest increment of the process's resident memory."""
    line_profiler = import_module("memory_profiler").LineProfiler
    model, optimizer = make()
    profiler = line_profiler()
    profiler(loop)(model, optimizer, train_step)
    forget()
    gc.collect()
    lines = dict(next(iter(profiler.code_map.items()))[1])
    head = min(lines)  # the head of the function stands for all that was there before
    grown = {line: found[0] for line, found in lines.items() if found is not None and line != head}
    most = max(grown, key=lambda line: grown[line])
    return Side(most, round(grown[most] * 2**20 / STEPS))


def by_empty_cache(loop: Callable[..., None]) -> Side:
    """Live bytes that collecting and emptying caches free of what the loop left: torch's own cache where
    there is a card, and the C library's on a CPU."""
    import torch

    from oomless.monitor.counters import malloc_counter

    model, optimizer = make()
    counter = malloc_counter()
    assert counter is not None
    loop(model, optimizer, train_step)
    gc.collect()
    before = counter.live()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    ctypes.CDLL(None).malloc_trim(0)
    freed = before - counter.live()
    forget()
    gc.collect()
    return Side(0, max(freed, 0))


def pipeline(depth: int) -> int:
    """The most that is alive in a training whose batches wait on the device, so many deep."""
    from oomless.monitor import watch
    from oomless.monitor.entries import WatchedStep
    from oomless.monitor.journal import read_run

    model, optimizer = make()
    folder = Path(tempfile.mkdtemp(prefix="oomless-bench-"))
    waiting = deque(batch(1024) for _ in range(depth))
    with watch(model, optimizer, run=folder, every=0):
        for _ in range(8):
            waiting.append(batch(1024))
            train_step(model, optimizer, waiting.popleft()[:BATCH])
    return max(each.highest_bytes for each in read_run(folder)[0].of(WatchedStep))


def in_a_process_of_its_own(depth: int) -> int:
    """The same, beside nothing that another loop left."""
    words = [sys.executable, "-m", "bench.leaks", "--pipeline", str(depth)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print what each tool says."""
    if "--pipeline" in sys.argv:
        print(pipeline(int(sys.argv[-1])))
        return
    rows = []
    print(f"{'planted':<16}{'line':>6}  {'memory_profiler':<26}{'empty_cache frees':<20}monitor")
    for loop in LOOPS:
        line = planted(loop)
        sides = (by_memory_profiler(loop), by_empty_cache(loop), by_monitor(loop))
        guess = f"line {sides[0].line}, {sides[0].num_bytes:,} B a step"
        told = f"line {sides[2].line}, {sides[2].num_bytes:,} B a step"
        print(f"{loop.__name__:<16}{line:>6}  {guess:<26}{sides[1].num_bytes:<20,}{told}", flush=True)
        rows.append((loop.__name__, line, sides))
    peaks = {depth: in_a_process_of_its_own(depth) for depth in (DEEP, BOUND)}
    print(f"pipeline: {DEEP} batches ahead {peaks[DEEP]:,} B, {BOUND} ahead {peaks[BOUND]:,} B")
    if "--rows" in sys.argv:
        for name, line, (profiled, freed, found) in rows:
            at = (profiled.line == line, found.line == line)
            print(f"C18,{name},{int(at[0])},{freed.num_bytes},{int(at[1])},{found.num_bytes}")
        for depth, num_bytes in peaks.items():
            print(f"C19,{depth} batches ahead,,,,{num_bytes}")


if __name__ == "__main__":
    main()
