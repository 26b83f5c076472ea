"""What is kept of a sample: a line in the journal, and the recording of the highest one beside it."""

import time
from pathlib import Path
from typing import NamedTuple

from ..files import write_whole
from ..ledger import CATEGORIES
from ..recording.file import packed
from ..recording.recording import Recording
from .entries import SampledStep
from .sample import STEADY
from .sampler import Taken

MOST_LINES, MOST_MODULES = 20, 20
RAISED = 1.01
"""A recording replaces the one before if its peak is higher by this."""


class KeptSamples:
    """Turns samples into lines, and keeps the recording of the highest."""

    def __init__(self, journal: Path, share_bytes: int) -> None:
        self.path = recording_path(journal)
        self.most_bytes = share_bytes // 10
        self.highest = 0

    def sampled(self, taken: Taken, step: int, tokens: int) -> SampledStep:
        """Return a sample's line; write its recording if it is the highest so far, or the run's last."""
        recording = taken.sample.recording
        course = course_of(recording)
        if course.peak_bytes > RAISED * self.highest or not taken.is_whole:
            self.highest = max(self.highest, course.peak_bytes)
            asked = {"for": "watch", "model": "", "attention": ""}
            request = {**asked, "step": step, "tokens": tokens, "whole": taken.is_whole}
            content = packed(recording._replace(request=request))
            if len(content) <= self.most_bytes:
                write_whole(self.path, content, "the recording of a step")
        return line_of_sample(recording, course, taken, step, tokens)


class StepCourse(NamedTuple):
    """How the bytes of a sampled step went."""

    peak_bytes: int
    event: int
    """Which made the peak."""
    phase: str
    phases: dict[str, int]
    """The most bytes alive within each phase."""
    alive: list[int]
    """Tensors at the peak."""
    steady_bytes: int
    """At the end, of weights, gradients and states."""


def course_of(recording: Recording) -> StepCourse:
    """Return the course of a step, in one pass."""
    sizes, events = recording.tensors.sizes, recording.events
    alive = highest = 0
    event_of_peak, phase_of_peak = 0, ""
    phases: dict[str, int] = {}
    for phase in recording.phases:
        within = alive
        for at in range(phase.first_event, phase.end_event):
            event = events[at]
            if event >= 0:
                alive += sizes[event]
                if alive > within:
                    within = alive
                    if alive > highest:
                        highest, event_of_peak, phase_of_peak = alive, at, phase.name
            else:
                alive -= sizes[~event]
        phases[phase.name] = max(phases.get(phase.name, 0), within)
    phases.pop("setup", None)
    steady = sum(sizes[number] for number in held_after(events) if recording.tensors.kinds[number] in STEADY)
    return StepCourse(
        highest, event_of_peak, phase_of_peak, phases, held_after(events[: event_of_peak + 1]), steady
    )


def held_after(events: list[int]) -> list[int]:
    """Return the tensors that are alive after some events."""
    alive: dict[int, None] = {}
    for event in events:
        if event >= 0:
            alive[event] = None
        else:
            del alive[~event]
    return list(alive)


def recording_path(journal: Path) -> Path:
    """Return where the recording beside a journal lies."""
    return journal.with_suffix(".trace")


def line_of_sample(
    recording: Recording, course: StepCourse, taken: Taken, step: int, tokens: int
) -> SampledStep:
    """Return the line of a sample: what was alive at its peak."""
    tensors = recording.tensors
    categories: dict[str, int] = {}
    lines: dict[tuple[str, str], list[int]] = {}
    modules: dict[str, int] = {}
    for number in course.alive:
        category, num_bytes = CATEGORIES[tensors.kinds[number]], tensors.sizes[number]
        categories[category] = categories.get(category, 0) + num_bytes
        entry = lines.setdefault((tensors.line_texts[tensors.lines[number]], category), [0, 0])
        entry[0] += num_bytes
        entry[1] += 1
        module = tensors.module_names[tensors.modules[number]]
        modules[module] = modules.get(module, 0) + num_bytes
    largest = sorted(
        ((line, category, sums, num) for (line, category), (sums, num) in lines.items()),
        key=lambda each: -each[2],
    )
    heaviest = sorted(modules.items(), key=lambda each: -each[1])
    return SampledStep(
        step,
        round(time.time(), 3),
        course.peak_bytes,
        course.phase,
        made_by(recording, course.event),
        {category: categories[category] for category in CATEGORIES if category in categories},
        course.phases,
        tuple(largest[:MOST_LINES]),
        tuple(heaviest[:MOST_MODULES]),
        course.steady_bytes,
        taken.num_events,
        round(taken.cost_s, 4),
        tokens=tokens,
    )


def made_by(recording: Recording, event: int) -> str:
    """Return what an event is of: the operator, its module and line."""
    if not recording.events:
        return ""
    number, tensors = max(recording.events[event], ~recording.events[event]), recording.tensors
    words = (
        tensors.operator_names[tensors.operators[number]],
        tensors.module_names[tensors.modules[number]],
        tensors.line_texts[tensors.lines[number]],
    )
    return " ".join(word for word in words if word)
