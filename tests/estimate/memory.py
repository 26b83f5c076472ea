# mypy: ignore-errors
# Its types are torch's, which not every machine that checks types has.
"""Bytes of one rank's training step as the CPU allocator reports them to torch.profiler: every allocation and
every free, in order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile, record_function

from estimate import steps
from threads import known_frees, patient, settle

MARK = "phase "


@contextmanager
def phase(name: str) -> Iterator[None]:
    with record_function(MARK + name):
        yield


def recorded(act: Callable[[], None]) -> dict[str, int]:
    """For each phase that is marked while `act` runs: the most that was alive in it, and what was alive
    before and after it.

    What is allocated before `act` runs is not seen: networks are built inside. Names that come again
    overwrite earlier ones, so that the last step counts.
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
    """What the estimate leaves out between steps: rotary tables, and one F32 that counts the steps of each
    tensor."""
    buffers = sum(each.numel() * each.element_size() for each in model.buffers())
    return buffers + 4 * sum(1 for each in model.parameters() if each.requires_grad)


def train(
    rank: int,
    world: int,
    how: str,
    config: dict[str, Any],
    micro_batch: int,
    seq_len: int,
    checkpoint: bool = False,
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
            # without the first broadcast: its flat copy of all weights is let go in C++, perhaps last by a
            # thread of gloo's, unseen
            model = torch.nn.parallel.DistributedDataParallel(
                model, gradient_as_bucket_view=True, init_sync=False
            )
        elif how == "fsdp2":
            steps.shard(model)
        elif how == "tp":
            steps.cut(model, world, True)
        two_steps(model, ids)

    return recorded(act) | beside


def log_probs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of whole sequences, as trainers of preferences gather them."""
    found = logits[:, :-1, :].log_softmax(-1)
    return found.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2).sum(-1)


def compare(model: torch.nn.Module, reference: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The loss of DPO over a batch of chosen sequences, then rejected ones: the policy runs first."""
    with phase("policy"):
        output = model(input_ids=ids, use_cache=False)
        policy = log_probs(output.logits, ids)
    with phase("reference"), torch.no_grad():
        answer = reference(input_ids=ids, use_cache=False)
        frozen = log_probs(answer.logits, ids)
    chosen, rejected = (policy - frozen).chunk(2)
    return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean()


def preference(
    rank: int, world: int, config: dict[str, Any], micro_batch: int, seq_len: int, checkpoint: bool = False
) -> dict[str, int]:
    """Two steps of DPO of `micro_batch` pairs, with a frozen copy of the policy."""
    ids = steps.batch(config, 2 * micro_batch, seq_len)
    beside = {}

    def act() -> None:
        model, reference = steps.llama(config), steps.llama(config).eval()
        beside["extras"] = extras(model) + sum(
            each.numel() * each.element_size() for each in reference.buffers()
        )
        reference.requires_grad_(False)
        if checkpoint:
            model.train()
            model.gradient_checkpointing_enable({"use_reentrant": False})
        optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
        for _ in range(2):
            loss = compare(model, reference, ids)
            with phase("backward"):
                loss.backward()
            del loss
            with phase("optimizer"):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            settle()
        with phase("end"):
            pass

    return recorded(act) | beside


def pipeline(
    rank: int,
    world: int,
    config: dict[str, Any],
    schedule: str,
    virtual: int,
    micro_batches: int,
    micro_batch: int,
    seq_len: int,
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
