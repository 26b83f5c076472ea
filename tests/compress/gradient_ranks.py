"""One rank of a data-parallel training on this machine: prints the loss, and the bytes that it sent."""

import json
import sys
from typing import Any, cast

import torch
import torch.distributed as dist

from oomless.compress.gradients.hooks import Settings, Way, compress_gradients

WORLD, WIDTH, STEPS, BATCH = 4, 256, 120, 32


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


def main() -> None:
    rank, way, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
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
    if rank == 0:
        print(json.dumps({"first": last[0], "last": sum(last[-20:]) / 20, "wire": sent, "counted": counted}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
