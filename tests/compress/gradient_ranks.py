"""Data-parallel trainings of some ranks on this machine, one after the other: prints of each way the loss
and the bytes that were sent. Ranks are forks of one process, which has torch loaded."""

import json
import sys
from multiprocessing import get_context
from typing import Any, cast

import torch
import torch._dynamo  # the first optimizer would load it, in each rank again
import torch.distributed as dist

from oomless.compress.gradients.hooks import Settings, Way, compress_gradients

WORLD, WIDTH, STEPS, BATCH = 4, 256, 120, 32
WAYS = ("plain", "fp16", "int8", "powersgd", "dgc")


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(),
        torch.nn.Linear(WIDTH, 16),
    )  # fmt: skip


def batch(rank: int, step: int, teacher: Any) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    inputs = torch.randn(BATCH, WIDTH, generator=generator)
    return inputs, inputs @ teacher


def loopback_bytes() -> int:
    """What this network namespace has sent to itself."""
    with open("/proc/net/dev", encoding="ascii") as file:
        (line,) = [line for line in file if line.strip().startswith("lo:")]
    return int(line.split()[9])


def train(rank: int, way: str, folder: str) -> dict[str, Any]:
    """What a training comes to: its first and last losses, and bytes a step."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/{way}", rank=rank, world_size=WORLD)
    teacher = torch.randn(WIDTH, 16, generator=torch.Generator().manual_seed(7)) / WIDTH**0.5
    ddp = torch.nn.parallel.DistributedDataParallel(network())
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1, momentum=0.0 if way == "dgc" else 0.9)
    state = (
        None if way == "plain" else compress_gradients(ddp, Settings(cast(Way, way), density=0.01, clip=4.0))
    )
    last, before, steps_before = [], 0, 0
    for step in range(STEPS):
        if step == STEPS - 20:  # after warm-ups
            dist.barrier()
            before, steps_before = loopback_bytes(), getattr(state, "sent_bytes", 0)
            dist.barrier()
        inputs, wanted = batch(rank, step, teacher)
        optimizer.zero_grad()
        loss = (ddp(inputs) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        last.append(float(loss.detach()))
    dist.barrier()
    sent = (loopback_bytes() - before) / 20 / WORLD
    counted = (getattr(state, "sent_bytes", 0) - steps_before) / 20
    del ddp, optimizer, loss, state  # a reducer goes before the group that it sums in
    dist.destroy_process_group()
    return {"way": way, "first": last[0], "last": sum(last[-20:]) / 20, "wire": sent, "counted": counted}


def trainings(rank: int, folder: str) -> list[dict[str, Any]]:
    """What every way comes to."""
    return [train(rank, way, folder) for way in WAYS]


if __name__ == "__main__":
    torch.set_num_threads(1)
    others = [
        get_context("fork").Process(target=trainings, args=(rank, sys.argv[1])) for rank in range(1, WORLD)
    ]
    for each in others:
        each.start()
    print(json.dumps(trainings(0, sys.argv[1])))
    for each in others:
        each.join()
        assert each.exitcode == 0
