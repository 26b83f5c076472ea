"""A run that met a limit, from what it left behind: what was alive, and what would have fitted."""

from fractions import Fraction
from typing import Any, NamedTuple

from .. import facts
from ..errors import OomlessError
from ..recording.file import read_trace
from ..recording.recording import Recording
from ..run.allocator import AllocatorSettings, parse_settings
from ..run.training import optimizer as optimizer_record
from .advice import Case, Course, Fitting, advise
from .completed_steps import Missing, completed
from .entries import MemoryDeath, RunStart, SampledStep, WatchedStep
from .journal import RankRun
from .kept import recording_path
from .recorded_step import recorded_step

F32 = 4


class PostMortem(NamedTuple):
    """What is known of an end without memory."""

    death: MemoryDeath
    last: SampledStep | None
    """The sample that lies nearest before it."""
    changes: tuple[Fitting, ...]
    reason: str
    """Why there are no changes, where there are none."""


def post_mortem(run: RankRun) -> PostMortem | None:
    """Return what is known of the last time that memory ran out; None if it never did."""
    deaths = run.of(MemoryDeath)
    if not deaths:
        return None
    samples = run.of(SampledStep)
    last = samples[-1] if samples else None
    path = recording_path(run.path)
    if not path.is_file():
        return PostMortem(deaths[-1], last, (), "no step was recorded before the end")
    try:
        return autopsy(run, deaths[-1], last, read_trace(path))
    except OomlessError as error:
        return PostMortem(deaths[-1], last, (), error.message)


def autopsy(run: RankRun, death: MemoryDeath, last: SampledStep | None, recording: Recording) -> PostMortem:
    """Return the changes that would have fitted, by the recording of the run."""
    step = recorded_step(recording, run.start.blocks)
    if not recording.request.get("whole", True):
        whole = completed(step, missing_of(run.start, death))
        if whole is None:
            return PostMortem(
                death, last, (), "the step ended before its second block: nothing says how it goes on"
            )
        step = whole
    if death.limit_bytes <= 0:
        return PostMortem(death, last, (), "nothing says how much there was")
    tokens = recording.request.get("tokens", 0)
    growth = (
        Fraction(death.tokens, tokens)
        if death.tokens and isinstance(tokens, int) and tokens > 0
        else Fraction(1)
    )
    sequences = death.batch[0] if len(death.batch) > 1 else 1
    on_card = run.start.device.partition(":")[0] != "cpu"
    case = Case(
        step,
        growth,
        sequences,
        death.limit_bytes,
        on_card,
        settings_of(run.start),
        course_of_steps(run.of(WatchedStep)),
        is_completed=not recording.request.get("whole", True),
    )
    return PostMortem(death, last, advise(case), "")


def settings_of(start: RunStart) -> AllocatorSettings:
    """Return the settings that the run's allocator had; torch's own if they cannot be read."""
    try:
        return parse_settings(start.allocator)
    except OomlessError:
        return AllocatorSettings()


def missing_of(start: RunStart, death: MemoryDeath) -> Missing:
    """Return what a step that died does not show of itself."""
    trained = start.num_trained / start.num_parameters if start.num_parameters else 0.0
    width = start.weights_bytes / start.num_parameters if start.num_parameters else F32
    return Missing(death.tokens * start.vocabulary * F32, trained, states_per_weight(death.optimizer, width))


def states_per_weight(name: str, width: float) -> float:
    """Return the bytes that an optimizer keeps for each byte of a trained weight, whose numbers have `width`
    bytes.

    >>> states_per_weight("adamw", 4), states_per_weight("sgd-plain", 4), states_per_weight("adamw-8bit", 2)
    (2.0, 0.0, 1.0)
    """
    if not name:
        return 2.0
    record = optimizer_record(name)
    return record.moments * (record.moment_bits / 8 / width if record.moment_bits else 1.0)


def optimizer_name(optimizer: Any) -> str:
    """Return the name that facts/optimizers.csv has for an optimizer object; empty if it is not known
    there."""
    known = {row["class"]: row["optimizer"] for row in facts.table("optimizer_classes")}
    found = next((known[kind.__name__] for kind in type(optimizer).__mro__ if kind.__name__ in known), "")
    if found == "sgd" and type(optimizer).__name__ == "SGD" and not optimizer.defaults.get("momentum"):
        return "sgd-plain"
    return found


def course_of_steps(steps: list[WatchedStep]) -> Course:
    """Return how long steps and their forwards took, without the first, which warms up."""
    found = steps[1:] or steps
    num = sum(each.num for each in found)
    if not num:
        return Course(0.0, 0.0)
    seconds = sum(each.seconds for each in found)
    return Course(seconds / num, sum(each.phases.get("forward", 0.0) for each in found) / num)
