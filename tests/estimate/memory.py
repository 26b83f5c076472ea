# mypy: ignore-errors
# Its types are torch's, which not every machine that checks types has.
"""Bytes of one rank's training step as the CPU allocator reports them to torch.profiler: every allocation and every free, in order."""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_native_id
from time import sleep
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from torch.profiler import ProfilerActivity, profile, record_function

from estimate import steps

MARK = "phase "


@contextmanager
def phase(name: str) -> Iterator[None]:
    with record_function(MARK + name):
        yield


def settle() -> None:
    """Wait until every other thread of this process sleeps.

    The profiler sees one thread, so none of gloo's may be the one that frees what was sent. A gloo thread tells that it is done before
    it lets go of the tensor; until it has, it is running or waits for a core, and the kernel says so.
    """
    mine = str(get_native_id())
    while any(runs(each) for each in Path("/proc/self/task").iterdir() if each.name != mine):
        sleep(0.0002)


def runs(task: Path) -> bool:
    """Whether a thread has something to do: its state is the first word behind its name."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] != "S"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def patient() -> Iterator[None]:
    """Settle after every collective that Python waits for."""
    work = torch._C._distributed_c10d.Work
    waits = work.wait, functional.wait_tensor

    def after(wait: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*arguments: Any, **named: Any) -> Any:
            result = wait(*arguments, **named)
            settle()
            return result

        return slowly

    work.wait, functional.wait_tensor = after(waits[0]), after(waits[1])
    try:
        yield
    finally:
        work.wait, functional.wait_tensor = waits


def recorded(act: Callable[[], None]) -> dict[str, int]:
    """For each phase that is marked while `act` runs: the most that was alive in it, and what was alive before and after it.

    What is allocated before `act` runs is not seen: networks are built inside. Names that come again overwrite earlier ones, so that the
    last step counts.
    """
    with patient(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        act()
    events: list[tuple[int, int, int]] = []
    marks: list[tuple[int, int, str]] = []
    waiting = list(found.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.name == "[memory]":
            events.append((event.start_time_ns, event.extra_fields.alloc_size, event.extra_fields.ptr))
        elif event.name.startswith(MARK):
            marks.append((event.start_time_ns, event.end_time_ns, event.name.removeprefix(MARK)))
    allocations = known_frees(sorted(events))
    result: dict[str, int] = {}
    for start, end, name in sorted(marks):
        before = sum(size for at, size in allocations if at < start)
        alive = most = before
        for at, size in allocations:
            if start <= at < end:
                alive += size
                most = max(most, alive)
        result |= {name: most, f"before {name}": before, f"after {name}": alive}
    return result


def known_frees(events: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Events with the frees that no watched thread made: where an allocation lies over an older one, that one is gone.

    DDP waits for its broadcasts in C++, and frees what it sent before `settle` can be called.
    """
    starts: list[int] = []
    live: dict[int, int] = {}
    found = []
    for at, size, where in events:
        if size < 0:
            if live.pop(where, None) is not None:
                starts.remove(where)
            found.append((at, size))
            continue
        index = max(0, bisect_right(starts, where) - 1)
        gone = [each for each in starts[index : bisect_right(starts, where + size - 1)] if each + live[each] > where]
        for each in gone:
            found.append((at, -live.pop(each)))
            starts.remove(each)
        if size:
            insort(starts, where)
            live[where] = size
        found.append((at, size))
    return found


def two_steps(model: torch.nn.Module, ids: torch.Tensor, foreach: bool = False) -> None:
    """Two steps as trainers take them; the second one is what is read."""
    optimizer = torch.optim.AdamW(model.parameters(), foreach=foreach)
    for _ in range(2):
        with phase("forward"):
            loss = model(input_ids=ids, labels=ids).loss
        with phase("backward"):
            loss.backward()
        del loss
        with phase("optimizer"):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        settle()  # DDP makes its buckets anew at the second forward; the first ones must be its own by then
    with phase("end"):
        pass


def extras(model: torch.nn.Module) -> int:
    """What the estimate leaves out between steps: rotary tables, and one F32 that counts the steps of each tensor."""
    buffers = sum(each.numel() * each.element_size() for each in model.buffers())
    return buffers + 4 * sum(1 for each in model.parameters() if each.requires_grad)


def train(
    rank: int, world: int, how: str, config: dict[str, Any], micro_batch: int, seq_len: int, checkpoint: bool = False
) -> dict[str, int]:
    """One rank under plain training, DDP, FSDP2 or tensor parallelism."""
    ids = steps.batch(config, micro_batch, seq_len)
    beside = {}

    def act() -> None:
        model: Any = steps.llama(config)
        beside["extras"] = extras(model)
        if checkpoint:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if how == "ddp":
            model = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        elif how == "fsdp2":
            steps.shard(model)
        elif how == "tp":
            steps.cut(model, world, True)
        two_steps(model, ids)

    return recorded(act) | beside


def pipeline(
    rank: int, world: int, config: dict[str, Any], schedule: str, virtual: int, micro_batches: int, micro_batch: int, seq_len: int
) -> dict[str, int]:
    """Two flushes of a pipeline and its optimizer."""
    ids = steps.batch(config, micro_batches * micro_batch, seq_len)
    beside = {}

    def act() -> None:
        made, chunks = steps.pipe(rank, world, config, schedule, virtual, micro_batches)
        values = [each for chunk in chunks for each in chunk.parameters()]
        beside["extras"] = sum(extras(chunk) for chunk in chunks)
        beside["parameters"] = sum(each.numel() for each in values)
        optimizer = torch.optim.AdamW(values, foreach=False)
        for _ in range(2):
            with phase("flush"):
                steps.run_pipe(made, rank, world, ids)
            with phase("optimizer"):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            dist.barrier()
        with phase("end"):
            pass

    return recorded(act) | beside
