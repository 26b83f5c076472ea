"""The first line of a journal: what is watched, and on what."""

import os
import time
from typing import Any

from ..errors import need
from ..ledger import Line
from .counters import capacity_of
from .entries import SCHEMA, RunStart
from .expected import as_entries
from .model_parts import Parts
from .place import Place, script_name

ALLOCATOR_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


def start_line(
    model: Any,
    parts: Parts,
    device: Any,
    place: Place,
    counter: str,
    every: int,
    vocabulary: int,
    predicted: tuple[Line, ...],
) -> RunStart:
    """Return the first line of a run."""
    name, capacity = capacity_of(device)
    parameters = list(model.parameters())
    return RunStart(
        SCHEMA,
        time.time(),
        os.getpid(),
        place.rank,
        place.world_size,
        script_name(),
        type(model).__name__,
        sum(each.numel() for each in parameters),
        sum(each.numel() for each in parameters if each.requires_grad),
        sum(each.numel() * each.element_size() for each in parameters),
        str(device),
        name,
        capacity,
        counter,
        every,
        {"torch": need("torch", "trace").__version__},
        tuple(name for name, _ in parts.blocks),
        parts.compiled,
        vocabulary,
        next((os.environ[each] for each in ALLOCATOR_VARIABLES if each in os.environ), ""),
        as_entries(predicted),
    )
