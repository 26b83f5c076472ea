"""A training run that may have so many bytes more than it starts with, and not one more: the kernel says no.
A script that reads lines of FOLDER, CASE, LIMIT_BYTES, MICRO_BATCHES and "recompute" or "plain", apart by
tabs, forks for each and says how the run ended: with 0, or with 7 where memory ran out.

The C library is told by the environment to take each tensor from the kernel by itself (see `ENVIRONMENT`), so
that the limit is one of what is alive.
"""

import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch._dynamo  # the first optimizer would load it, in each fork again
from small_models import SmallModel
from torch.utils.checkpoint import checkpoint

from oomless.monitor import watch

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_MMAP_MAX_": "1000000",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_TOP_PAD_": "0",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
}
OUT_OF_MEMORY = 7


class Setting(NamedTuple):
    """What a run trains."""

    sequences: int = 16
    length: int = 128
    hidden: int = 256
    num_layers: int = 6
    vocabulary: int = 2048
    steps: int = 5
    optimizer: str = "adamw"
    dtype: str = "float32"
    grows: str = ""
    """What doubles at the fourth step."""


CASES = {
    "plain": Setting(),
    "batch doubles": Setting(grows="sequences"),
    "length doubles": Setting(grows="length"),
    "sgd": Setting(optimizer="sgd"),
    "bfloat16": Setting(dtype="bfloat16"),
    "deep": Setting(num_layers=12, sequences=8),
    "wide": Setting(hidden=512, num_layers=3, sequences=32),
    "one sequence": Setting(sequences=1, length=2048),
    "large vocabulary": Setting(vocabulary=16384, num_layers=4, sequences=8),
}


def room_kept(limit_bytes: int) -> None:
    """Let the process map so much more than it has."""
    with open("/proc/self/statm", encoding="utf-8") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + limit_bytes, resource.RLIM_INFINITY))


def forward(model: Any, ids: torch.Tensor, recompute: bool) -> Any:
    if not recompute:
        return model(ids)
    hidden = model.embedding(ids)
    for layer in model.layers:
        hidden = checkpoint(layer, hidden, use_reentrant=False)
    return model.head(hidden)


def train(model: Any, optimizer: Any, setting: Setting, micro_batches: int, recompute: bool) -> None:
    for step in range(setting.steps):
        late = step >= 3
        sequences = setting.sequences * (2 if late and setting.grows == "sequences" else 1)
        length = setting.length * (2 if late and setting.grows == "length" else 1)
        ids = torch.randint(0, setting.vocabulary, (sequences, length))
        for part in ids.chunk(micro_batches):
            logits = forward(model, part, recompute)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), part.flatten())
            (loss / micro_batches).backward()  # type: ignore[no-untyped-call]
            del logits, loss
        optimizer.step()
        optimizer.zero_grad()


def main(folder: str, case: str, limit_bytes: int, micro_batches: int, recompute: bool) -> int:
    setting = CASES[case]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = SmallModel(setting.num_layers, setting.hidden, setting.vocabulary).to(
        getattr(torch, setting.dtype)
    )
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    if setting.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False)
    warm_up = torch.nn.Linear(8, 8)
    warm_up(torch.ones(2, 8)).sum().backward()
    try:
        with watch(model, optimizer, run=Path(folder), every=100):
            room_kept(limit_bytes)
            train(model, optimizer, setting, micro_batches, recompute)
    except RuntimeError as error:
        if "allocate memory" in str(error):
            return OUT_OF_MEMORY
        raise
    return 0


def forked(words: list[str]) -> int:
    """How a run in a process of its own ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        folder, case, limit_bytes, micro_batches, how = words
        os._exit(main(folder, case, int(limit_bytes), int(micro_batches), how == "recompute"))
    except BaseException:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    for line in sys.stdin:
        print(forked(line.rstrip("\n").split("\t")), flush=True)
