"""Runs as they are written, without a training: for what reads them."""

from pathlib import Path
from typing import Any

from oomless.monitor.entries import (
    SCHEMA,
    Entry,
    Leak,
    RunEnd,
    RunQuestion,
    RunStart,
    SampledStep,
    WatchedStep,
    line_of,
)

MIB = 1 << 20


def start(rank: int = 0, world_size: int = 1, pid: int = 1) -> RunStart:
    return RunStart(
        SCHEMA,
        0.0,
        pid,
        rank,
        world_size,
        "train.py",
        "LlamaForCausalLM",
        1_000,
        1_000,
        4_000,
        "cuda:0",
        "NVIDIA H100",
        1_000 * MIB,
        "cuda",
        0,
        {"torch": "2.11"},
    )


def step(number: int, live_bytes: int = 400 * MIB, **more: Any) -> WatchedStep:
    return WatchedStep(
        number, 1, 0.0, 0.5, {"forward": 0.5}, live_bytes, live_bytes, live_bytes + 100 * MIB, MIB
    )._replace(**more)


def sample(number: int, peak_bytes: int = 600 * MIB) -> SampledStep:
    return SampledStep(
        number,
        0.0,
        peak_bytes,
        "backward",
        "mm train.py:3",
        {"weights": 100 * MIB, "activations": peak_bytes - 100 * MIB},
        {"forward": peak_bytes},
        (("train.py:3", "activations", peak_bytes - 100 * MIB, 7),),
        (("layers.0", peak_bytes),),
        100 * MIB,
        1_000,
        0.1,
    )


def leak(number: int, num_bytes: int = 2 * MIB) -> Leak:
    return Leak(number, "kept_outputs", "train.py", 12, num_bytes, "list `kept`", "", "empty it", 100)


def question(number: int = 1) -> RunQuestion:
    predicted = (
        ("weights.trained", "policy", 100 * MIB, 100 * MIB, 100 * MIB),
        ("activations.kept", "policy", 450 * MIB, 440 * MIB, 470 * MIB),
    )
    return RunQuestion(number, {"micro_batch": 1}, predicted)


def end(number: int) -> RunEnd:
    return RunEnd(number, 0.0, "done", 1.0, 0.0, 600 * MIB, 700 * MIB)


def write(folder: Path, *entries: Entry, name: str = "rank0.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("ab") as file:
        file.writelines(line_of(each) for each in entries)
    return path


def two_ranks(folder: Path) -> None:
    for rank in range(2):
        write(
            folder,
            start(rank, 2),
            question(),
            step(1),
            sample(2, (600 + rank) * MIB),
            leak(3),
            step(4),
            name=f"rank{rank}.jsonl",
        )
