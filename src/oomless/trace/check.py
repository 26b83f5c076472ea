"""The same step for real on the CPU: what torch's profiler says was allocated and freed, beside what the
trace says."""

import gc
from collections.abc import Callable
from typing import Any

from ..errors import need
from ..ledger import Compared
from ..recording.recording import Recording, phase_peaks
from ..run.tracing import Prompt
from ..run.training import TrainingResolved
from .build import (
    ModelSource,
    build_inference,
    build_model,
    build_optimizer,
    prompt_batch,
    stepping,
    training_batch,
)
from .step import inference_steps, training_steps

MARK = "oomless step phase"


Event = tuple[int, int, int]
"""Time, bytes (less than 0: freed) and address."""


def sizes_of(events: list[Event]) -> list[tuple[int, int]]:
    return [(at, num_bytes) for at, num_bytes, _ in events]


class NoRecorder:
    """Stands where the recorder would: marks phases for the profiler, and follows nothing."""

    on_device = False

    def __init__(self) -> None:
        self.torch = need("torch", "trace")

    def during(self, name: str, step: int) -> Any:
        return self.torch.profiler.record_function(f"{MARK} {step} {name}")

    def kind_of(self, *_: Any) -> None:
        """Nothing: kinds are the trace's."""


def measured(
    source: ModelSource, asked: TrainingResolved, attention: str | None = None
) -> dict[tuple[int, str], int]:
    """Bytes alive at the peak of each phase of each step of a real run on this CPU."""
    torch = need("torch", "trace")
    torch.manual_seed(0)
    with watched() as profiler:
        model = build_model(source, asked, attention, meta=False)
        optimizer = build_optimizer(model, asked, on_cpu=True)
        batch = training_batch(model, asked, seed=0)
        training_steps(NoRecorder(), model, optimizer, batch, stepping(asked))  # type: ignore[arg-type]
    return peaks(profiler)


def measured_inference(
    source: ModelSource, prompt: Prompt, attention: str | None = None
) -> dict[tuple[int, str], int]:
    """Bytes alive at the peak of a real prefill and of the decode steps after it."""
    torch = need("torch", "trace")
    torch.manual_seed(0)
    with watched() as profiler:
        model = build_inference(source, prompt, attention, meta=False)
        inference_steps(NoRecorder(), model, prompt_batch(model, prompt), prompt.decode)  # type: ignore[arg-type]
    return peaks(profiler)


def watched() -> Any:
    """torch's profiler of allocations. It looks on from the building of a model: of older memory it sees no
    end.

    What an earlier run left is cleared away before, since that end it would see.
    """
    profiler = need("torch.profiler", "trace")
    gc.collect()
    return profiler.profile(activities=[profiler.ProfilerActivity.CPU], profile_memory=True)


def peaks(
    profiler: Any, base: int = 0, known: Callable[[list[Event]], list[tuple[int, int]]] = sizes_of
) -> dict[tuple[int, str], int]:
    """The most bytes alive within each marked phase, from the profiler's allocation events; `base` were there
    before it looked.

    `known` makes (time, bytes) of them: where several threads run, it may add frees that the profiler did not
    see.
    """
    events: list[Event] = []
    marks: dict[tuple[int, str], tuple[int, int]] = {}
    waiting = list(profiler.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        if event.name == "[memory]":
            events.append((event.start_time_ns, event.extra_fields.alloc_size, event.extra_fields.ptr))
        elif event.name.startswith(MARK):
            step, name = event.name.removeprefix(MARK).split()
            start, end = marks.get((int(step), name), (event.start_time_ns, event.end_time_ns))
            marks[int(step), name] = (min(start, event.start_time_ns), max(end, event.end_time_ns))
    events.sort(key=lambda event: event[0])
    moments = known(events)
    found = dict.fromkeys(marks, 0)
    alive, at = base, 0
    for key, (start, end) in sorted(marks.items(), key=lambda item: item[1]):
        while at < len(moments) and moments[at][0] < start:
            alive += moments[at][1]
            at += 1
        highest = alive
        while at < len(moments) and moments[at][0] <= end:
            alive += moments[at][1]
            highest = max(highest, alive)
            at += 1
        found[key] = highest
    return found


def compare(recording: Recording, real: dict[tuple[int, str], int]) -> list[Compared]:
    """Return the peaks of the last step's phases and the highest of them: predicted by the trace, measured by
    the profiler."""
    traced: dict[tuple[int, str], int] = {}
    for phase, num_bytes in phase_peaks(recording):
        key = (phase.step, phase.name)
        traced[key] = max(traced.get(key, 0), num_bytes)
    last = max(step for step, _ in real)
    names = ("forward", "backward", "optimizer", "prefill", "decode")
    pairs = {f"peak.{name}": (traced[last, name], real[last, name]) for name in names if (last, name) in real}
    pairs["peak"] = (max(ours for ours, _ in pairs.values()), max(theirs for _, theirs in pairs.values()))
    return [
        Compared(name, None, ours, ours, ours, theirs, source="torch.profiler, the same step on this CPU")
        for name, (ours, theirs) in pairs.items()
    ]
