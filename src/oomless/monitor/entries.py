"""What a watched run writes down, one entry a line of its journal: the start, steps, sampled steps, leaks, an
end without memory, faults of the monitor itself, the end."""

import json
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin

SCHEMA = "oomless/run/1"


class RunStart(NamedTuple):
    """The first line: what is watched, and on what."""

    schema: str
    time: float
    """Seconds since 1970, for people; durations come from a clock that nobody sets."""
    pid: int
    rank: int
    world_size: int
    script: str
    """Name of the script without its folder: a path is nobody's business."""
    model: str
    """Class of the model."""
    num_parameters: int
    num_trained: int
    weights_bytes: int
    device: str
    device_name: str
    capacity_bytes: int | None
    """What the process may have of its device, or of the host where the device is the CPU."""
    counter: str
    """Where live bytes come from: cuda, xpu, mps, malloc, resident."""
    every: int
    versions: dict[str, str]
    blocks: tuple[str, ...] = ()
    compiled: bool = False
    vocabulary: int = 0
    allocator: str = ""
    """The allocator's settings, as PYTORCH_CUDA_ALLOC_CONF has them."""
    predicted: tuple[tuple[str, str, int, int, int], ...] = ()
    """(key, owner, bytes, low, high) of each line that was predicted."""


class RunQuestion(NamedTuple):
    """What the run would have asked `oomless train`, once its first batch is known."""

    step: int
    question: dict[str, Any]
    predicted: tuple[tuple[str, str, int, int, int], ...] = ()


class WatchedStep(NamedTuple):
    """One step, or several that stand in one line since a long run has no room for a line each."""

    step: int
    """The last of them."""
    num: int
    time: float
    seconds: float
    phases: dict[str, float]
    """Seconds of each phase."""
    live_bytes: int
    """At the end of the last step, by the run's counter."""
    lowest_bytes: int
    """The least at the end of any of these steps."""
    highest_bytes: int
    """The most of the moments that were looked at."""
    kept_bytes: int
    """By how much a forward raised what is alive, at most: what backward needs."""
    reserved_bytes: int = 0
    resident_bytes: int = 0
    retries: int = 0
    """How often the allocator gave back its caches since the run began."""
    tokens: int = 0
    """Elements of the model's first input, at most."""


class SampledStep(NamedTuple):
    """One step whose every storage was seen."""

    step: int
    time: float
    peak_bytes: int
    phase: str
    """In which the peak lies."""
    event: str
    """What made it: operator, module and line."""
    by_category: dict[str, int]
    phases: dict[str, int]
    """The most bytes alive within each phase."""
    lines: tuple[tuple[str, str, int, int], ...]
    """(line, category, bytes, tensors) alive at the peak, largest first."""
    modules: tuple[tuple[str, int], ...]
    steady_bytes: int
    """Alive at the end of the step and known: weights, states, gradients."""
    num_events: int
    cost_s: float
    """What looking cost."""
    tokens: int = 0


class Leak(NamedTuple):
    """Bytes that grow, by the line that makes them."""

    step: int
    leak: str
    """Which kind of leak: the names of `blame.ADVICE`."""
    file: str
    line: int
    bytes_per_step: int
    held_by: str
    """Who holds them, as far as Python shows."""
    held_at: str
    """FILE:LINE that keeps them; empty if nothing says so."""
    advice: str
    steps_left: int | None = None
    """After how many steps it will not fit any more."""
    num_samples: int = 0


class Healed(NamedTuple):
    """A leak that was told is none any more: what it held was freed."""

    step: int
    file: str
    line: int


class MemoryDeath(NamedTuple):
    """The run met a limit."""

    step: int
    time: float
    phase: str
    block: str
    """The block that ran, as far as hooks saw."""
    asked_bytes: int
    message: str
    live_bytes: int
    reserved_bytes: int
    limit_bytes: int
    """What model, batch and optimizer could have at most: what they had then, and what was still free."""
    tokens: int
    batch: tuple[int, ...] = ()
    """Shape of the model's first input."""
    optimizer: str = ""


class MonitorFault(NamedTuple):
    """Something in the monitor failed: it is off from here on, the run is not."""

    step: int
    time: float
    where: str
    message: str


class FirstLook(NamedTuple):
    """The peak of the first steps beside what was predicted for it."""

    step: int
    measured_bytes: int
    predicted_bytes: int
    low_bytes: int
    high_bytes: int


class RunEnd(NamedTuple):
    """The last line of a run that ended by itself."""

    step: int
    time: float
    how: str
    """done, or the name of the exception."""
    seconds: float
    watching_s: float
    """Of which the sampled steps' looking took."""
    highest_bytes: int
    resident_peak_bytes: int


Entry = (
    RunStart
    | RunQuestion
    | WatchedStep
    | SampledStep
    | Leak
    | Healed
    | MemoryDeath
    | MonitorFault
    | FirstLook
    | RunEnd
)
KINDS: dict[str, type[Any]] = {
    "start": RunStart,
    "asked": RunQuestion,
    "step": WatchedStep,
    "sample": SampledStep,
    "leak": Leak,
    "healed": Healed,
    "oom": MemoryDeath,
    "fault": MonitorFault,
    "beside": FirstLook,
    "end": RunEnd,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def line_of(entry: Entry) -> bytes:
    """Return the line of an entry, its end included.

    >>> line_of(Healed(7, "train.py", 12))
    b'{"kind":"healed","step":7,"file":"train.py","line":12}\\n'
    """
    document = {"kind": NAMES[type(entry)], **entry._asdict()}
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def entry_of(line: bytes) -> Entry | None:
    """Return the entry of a line; None if it is none that this version knows.

    >>> entry_of(b'{"kind":"healed","step":7,"file":"train.py","line":12}')
    Healed(step=7, file='train.py', line=12)
    >>> entry_of(b'{"kind":"healed","step":"7","file":"train.py","line":12}') is None
    True
    >>> entry_of(b'{"kind":"healed","step":7') is None
    True
    >>> entry_of(b'{"kind":"start","time":1' + b"0" * 400 + b"}") is None  # no float is so large
    True
    """
    try:
        document = json.loads(line, parse_constant=refused)
        kind = KINDS[document["kind"]]
        given = {name: document[name] for name in kind._fields if name in document}
        entry: Entry = kind(
            **{name: shaped(value, kind.__annotations__[name]) for name, value in given.items()}
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return entry


def refused(word: str) -> float:
    """Raise: NaN and Infinity are no numbers of a run."""
    raise ValueError(f"{word} is no number of a run")


def shaped(value: Any, annotation: Any) -> Any:
    """Return a value of a file as a field has it, lists as tuples; raises ValueError where it is of another
    type.

    >>> shaped([[1, "a"]], tuple[tuple[int, str], ...]), shaped(2, float), shaped(None, int | None)
    (((1, 'a'),), 2.0, None)
    """
    outer, inner = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if outer is UnionType:
        if value is None and NoneType in inner:
            return None
        return shaped(value, next(each for each in inner if each is not NoneType))
    if outer is tuple and isinstance(value, list):
        kinds = (inner[0],) * len(value) if len(inner) == 2 and inner[1] is Ellipsis else inner
        return tuple(shaped(each, kind) for each, kind in zip(value, kinds, strict=True))
    if outer is dict and isinstance(value, dict):
        return {str(key): shaped(each, inner[1]) for key, each in value.items()}
    if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if annotation in (int, str, bool) and type(value) is annotation:
        return value
    raise ValueError(f"{value!r} is no {annotation}")
