"""A training of several kinds, plain or watched, as one rank of it runs: `losses_of_rank` says its losses as
bits. Without a folder it is plain."""

import os
import struct
from contextlib import nullcontext
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch._dynamo  # the first optimizer would load it, in each process again
from small_models import SmallModel, batch, loss_of, make
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint

STEPS = 6
SINGLE = (
    "plain",
    "sgd",
    "accumulation",
    "checkpointing",
    "autocast",
    "bfloat16",
    "lora",
    "evaluation",
    "dropout",
    "compiled",
)
SHARED = ("ddp", "fsdp2")
KINDS = (*SINGLE, *SHARED)


class Adapter(nn.Module):
    """A frozen layer with two small matrices beside it."""

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.down = nn.Linear(frozen.in_features, 4, bias=False)
        self.up = nn.Linear(4, frozen.out_features, bias=False)

    def forward(self, hidden: torch.Tensor) -> Any:
        return self.frozen(hidden) + self.up(self.down(hidden))


def with_adapters(model: SmallModel) -> None:
    model.requires_grad_(False)
    for layer in model.layers:
        layer.up = Adapter(layer.up)  # type: ignore[arg-type]


def step(kind: str, model: Any, optimizer: Any, number: int) -> float:
    total = 0.0
    for _ in range(3 if kind == "accumulation" else 1):
        ids = batch()
        with torch.autocast("cpu", torch.bfloat16) if kind == "autocast" else nullcontext():
            if kind == "checkpointing":
                hidden = model.embedding(ids)
                for layer in model.layers:
                    hidden = checkpoint(layer, hidden, use_reentrant=False)
                logits = model.head(hidden)
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
            elif kind == "dropout":
                loss = nn.functional.dropout(loss_of(model, ids).reshape(1).expand(8), 0.5).mean()
            else:
                loss = loss_of(model, ids).float()
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    if kind == "evaluation" and number % 2:
        model.eval()
        with torch.no_grad():
            total += loss_of(model, batch()).item()
        model.train()
    return total


def prepared(kind: str) -> tuple[Any, Any]:
    model, optimizer = make(3)
    made: Any = model
    match kind:
        case "lora":
            with_adapters(model)
            optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad])
        case "sgd":
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        case "bfloat16":
            made = model.bfloat16()
        case "compiled":
            made = torch.compile(model, backend="aot_eager")
        case "ddp":
            made = nn.parallel.DistributedDataParallel(model)
        case "fsdp2":
            for layer in model.layers:
                fully_shard(layer)
            fully_shard(model)
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return made, optimizer


def losses_of_rank(kind: str, folder: str, environment: dict[str, str], told: Connection) -> None:
    """In a process of its own."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    if kind in SHARED:
        distributed.init_process_group("gloo")
    model, optimizer = prepared(kind)
    torch.manual_seed(5 + int(os.environ["RANK"]))
    if folder:
        from oomless.monitor import watch

        around: Any = watch(model, optimizer, run=folder, every=2)
    else:
        around = nullcontext()
    with around:
        losses = [step(kind, model, optimizer, number) for number in range(STEPS)]
    told.send([struct.pack("<d", each).hex() for each in losses])
    if kind in SHARED:
        distributed.barrier()
        os._exit(0)  # taken down one after the other, a reducer and gloo's threads may wait for ever
