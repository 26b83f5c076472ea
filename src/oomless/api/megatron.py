"""The Python interface of Megatron-LM argument lists."""

from typing import Any

from ..errors import UsageError, faults_of
from ..estimate.training.megatron import device_of, estimate_megatron
from ..files import read_whole_text
from ..frameworks.megatron.args import read_arguments
from ..frameworks.megatron.environment import device_from
from ..frameworks.megatron.source import environment, read_text
from ..limits import ARGUMENTS
from ..run.cards import Hardware
from ..run.hardware import parse_gpu
from .training_answer import TrainingAnswer


def train_megatron(
    path: str,
    gpu: str | Hardware | None = None,
    *,
    script: str | None = None,
    world_size: int | None = None,
    expandable_segments: bool = False,
    reserve: str | None = None,
    **others: Any,
) -> TrainingAnswer:
    """Will the Megatron-LM run whose arguments are in a file train on `gpu`? Without cards: as many H100 as
    the run has ranks.

    The file has a shell line, the JSON of a run, or YAML of key: value. `script`: what it would hold, where
    it was pasted; `path` then names what says it.
    """
    if others:
        name, said = min(others), path if script else "--megatron-args"
        raise UsageError(
            f"--{name.replace('_', '-')} and {said} say the same thing", "write it into the arguments"
        )
    text = script or read_whole_text(path, ARGUMENTS.num_bytes, "give the file with the arguments alone")
    with faults_of(path):
        given, env = environment(read_text(text, path))
    hardware = parse_gpu(gpu) if isinstance(gpu, str) else gpu
    if world_size is not None and not 1 <= world_size <= MAX_RANKS:
        raise UsageError(f"--world-size is {world_size}", f"it is 1 to {MAX_RANKS}")
    ranks = world_size or (None if "world-size" in given or hardware is None else hardware.num_gpus)
    with faults_of(path):
        run = read_arguments(given, ranks)
    assumed = hardware is None
    hardware = hardware or parse_gpu(f"h100:{run.world_size}")
    device = device_from(device_of(hardware).generation, env)
    device = device._replace(expandable=device.expandable or expandable_segments)
    estimate = estimate_megatron(run, hardware, device, reserve)
    notes = ("no --gpu was given: H100 with 80 GB are taken",) if assumed else ()
    word = gpu if isinstance(gpu, str) else ""
    return TrainingAnswer(estimate, path, word, (*estimate.warnings, *notes))


MAX_RANKS = 1_000_000
