"""A real rank of a training step: a process of its own, which talks to the others by gloo and prints what it
held at its peak."""

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from oomless.frameworks.defaults import resolved
from oomless.recording.held_tensors import local
from oomless.run.training import Mesh, TrainingAsked
from oomless.trace.build import ModelSource
from oomless.trace.check import NoRecorder, peaks
from oomless.trace.models import quiet
from oomless.trace.ranks.sharded import Rank
from oomless.trace.step import NUM_STEPS
from threads import known_frees, patient, settle


class Settled(NoRecorder):
    """Ends a phase when gloo's threads have let go of what they sent."""

    @contextmanager
    def during(self, name: str, step: int) -> Iterator[None]:
        with super().during(name, step):
            yield
            settle()


def storages(tensors: list[torch.Tensor]) -> int:
    """Bytes of the storages behind tensors, each once."""
    held = {local(t).untyped_storage()._cdata: local(t).untyped_storage().nbytes() for t in tensors}
    return sum(held.values())


def step(question: dict[str, Any], rank: int) -> dict[str, int]:
    """Two steps of one case: the peak of the second, and what stays."""
    gc.collect()  # what an earlier case left must not be freed while this one is watched
    torch.manual_seed(0)
    asked = resolved(
        TrainingAsked(micro_batch=1, seq_len=128, precision="fp32", optimizer="adamw", **question["flags"])
    )
    made = Rank(
        ModelSource(question["name"], question["config"]),
        asked,
        Mesh(**question["mesh"]),
        rank,
        None,
        meta=False,
    )
    held = storages([*made.module.parameters(), *made.module.buffers()])
    batch = made.batch()
    inputs = storages([each for each in batch.values() if isinstance(each, torch.Tensor)])
    settle()
    with (
        patient(),
        torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profiler,
    ):
        made.replicate(alone=False)
        optimizer = made.steps(Settled(), batch, on_cpu=True)  # type: ignore[arg-type]
    found = peaks(profiler, held + inputs, known_frees)
    states = [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]
    peak = max(num_bytes for (number, _), num_bytes in found.items() if number == NUM_STEPS - 1)
    return {"peak": peak, "weights": held, "optimizer": storages(states)}


def main(folder: Path, rank: int) -> None:
    questions = json.loads((folder / "questions.json").read_text())
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    with quiet():
        found = {case: step(question, rank) for case, question in questions.items()}
    print(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
