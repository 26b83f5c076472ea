"""The first line of a journal: what is watched, and on what."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from .. import facts
from ..ledger import Line
from .counters import capacity_of
from .entries import SCHEMA, RunStart
from .expected import as_entries
from .model_parts import Parts
from .place import Place, script_name

ALLOCATOR_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


def versions_of(modules: Mapping[str, Any]) -> dict[str, str]:
    """Return the release of each library that is loaded and whose releases have rules (facts/releases.csv).

    >>> from types import SimpleNamespace
    >>> versions_of({"torch": SimpleNamespace(__version__="2.13.0"), "transformers": None})
    {'torch': '2.13.0'}
    """
    names = sorted({row["package"] for row in facts.table("releases")})
    found = {name: getattr(modules.get(name), "__version__", None) for name in names}
    return {name: str(version) for name, version in found.items() if version}


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
        versions_of(sys.modules),
        tuple(name for name, _ in parts.blocks),
        parts.compiled,
        vocabulary,
        next((os.environ[each] for each in ALLOCATOR_VARIABLES if each in os.environ), ""),
        as_entries(predicted),
    )
