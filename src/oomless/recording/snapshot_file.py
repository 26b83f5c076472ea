"""Reads a snapshot of torch's allocator: the pickle that torch writes, the one that `trace --snapshot`
writes, and the JSON that the memory viewer keeps.

A pickle is a program; this reader runs none: whatever names a class or a function is refused by its name.
What is left is plain data. It takes up to 8.5 times the file in memory (Python's objects), which is checked
before.
"""

import gc
import io
import json
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from ..errors import OomlessError, address_space_limit
from ..units import KIB, MIB, format_bytes
from .held_places import HeldPlace, Stacks, by_place, whole

TIMES_THE_FILE = 8.5
"""Memory that the objects of a snapshot take, in sizes of its file: 7.9 measured at 4 million events."""
ALWAYS_READ = 64 * MIB
"""A file below this is read without asking the system what is free."""


class AllocatorSnapshot(NamedTuple):
    """What an allocator held on one card, and at the peak of what it recorded."""

    device: int
    reserved_bytes: int
    active_bytes: int
    requested_bytes: int
    num_segments: int
    largest_free_bytes: int
    held: tuple[HeldPlace, ...]
    """At the moment of the snapshot, the largest first."""
    peak_bytes: int
    at_peak: tuple[HeldPlace, ...]
    num_events: int

    @property
    def fragmentation_bytes(self) -> int:
        """Memory that is reserved and in no block that is in use."""
        return self.reserved_bytes - self.active_bytes

    def to_json(self) -> dict[str, Any]:
        """Return all but the short lines."""
        return {
            "device": self.device,
            "reserved_bytes": self.reserved_bytes,
            "active_bytes": self.active_bytes,
            "requested_bytes": self.requested_bytes,
            "fragmentation_bytes": self.fragmentation_bytes,
            "largest_free_bytes": self.largest_free_bytes,
            "num_segments": self.num_segments,
            "num_events": self.num_events,
            "peak_bytes": self.peak_bytes,
            "held": [each._asdict() for each in self.held],
            "at_peak": [each._asdict() for each in self.at_peak],
        }


class PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, tuples, sets, texts, bytes and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse every class and function by its name."""
        raise pickle.UnpicklingError(f"it names {module}.{name}"[:200])

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse objects that lie outside of the file."""
        raise pickle.UnpicklingError(f"it names an object outside of the file: {pid!r}"[:200])


def is_snapshot(head: bytes) -> bool:
    """Return whether a file begins like a pickle, or like a snapshot's JSON.

    >>> is_snapshot(b"\\x80\\x04\\x95"), is_snapshot(b'{"segments": ['), is_snapshot(b"INFO 01-01")
    (True, True, False)
    """
    start = head.lstrip()[:512]
    return (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05") or (
        start.startswith(b"{") and (b'"segments"' in start or b'"device_traces"' in start)
    )


def read_snapshot(path: Path) -> tuple[AllocatorSnapshot, ...]:
    """Return a snapshot a card, of a pickle or JSON file."""
    size = path.stat().st_size
    check_room(size, path.name)
    with open(path, "rb") as file, _uncollected():
        return snapshots(_load(file, path.name), path.name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's collector off: it would walk the millions of dicts that are all kept, again and again
    while they are read, and later for the few objects that summing makes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check_room(size: int, name: str) -> None:
    """Refuse a file whose objects would not fit into this machine's memory, with the figure."""
    needed = int(size * TIMES_THE_FILE)
    room = free_memory()
    if size > ALWAYS_READ and room is not None and needed > room:
        raise OomlessError(
            f"{name} has {format_bytes(size)}; reading it takes up to {format_bytes(needed)}, and "
            f"{format_bytes(room)} are free",
            "read it on a larger machine, or record fewer events (max_entries)",
        )


def free_memory() -> int | None:
    """Return bytes that this process may still take; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = next(
                (int(line.split()[1]) * KIB for line in file if line.startswith("MemAvailable")), None
            )
    except (OSError, ValueError, IndexError):
        found = None
    limits = [each for each in (found, address_space_limit()) if each is not None]
    return min(limits) if limits else None


def _load(file: BinaryIO, name: str) -> Any:
    try:
        head = file.read(512)
        file.seek(0)
        if head.lstrip()[:1] not in (b"{", b"["):
            return PlainUnpickler(file).load()
        return json.load(io.TextIOWrapper(file, encoding="utf-8"))
    except pickle.UnpicklingError as error:
        raise OomlessError(f"{name} is no plain snapshot: {error}", "nothing of it was run") from None
    except (
        ValueError,
        EOFError,
        RecursionError,
        MemoryError,
        OverflowError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
        ImportError,
    ) as error:
        raise OomlessError(
            f"{name} cannot be read as a snapshot: {type(error).__name__}: {str(error)[:100]}",
            "torch.cuda.memory._dump_snapshot(FILE) writes one",
        ) from None


def snapshots(data: Any, name: str) -> tuple[AllocatorSnapshot, ...]:
    """Return a snapshot a card of what the file holds."""
    if not isinstance(data, dict) or not isinstance(data.get("segments"), list):
        raise OomlessError(f"{name} holds no segments", "torch.cuda.memory._dump_snapshot(FILE) writes them")
    traces = data.get("device_traces")
    traces = traces if isinstance(traces, list) else []
    segments = [each for each in data["segments"] if isinstance(each, dict) and _has_blocks(each)]
    devices = sorted(
        {whole(each.get("device")) for each in segments} | {i for i, t in enumerate(traces) if t}
    )
    return tuple(
        _of_device(
            device,
            [each for each in segments if whole(each.get("device")) == device],
            traces[device] if 0 <= device < len(traces) and isinstance(traces[device], list) else [],
        )
        for device in devices
    )


def _has_blocks(segment: dict[str, Any]) -> bool:
    return isinstance(segment.get("blocks", []), list | tuple)


def _of_device(device: int, segments: list[dict[str, Any]], trace: list[Any]) -> AllocatorSnapshot:
    blocks = [each for segment in segments for each in segment.get("blocks") or () if isinstance(each, dict)]
    used = [each for each in blocks if str(each.get("state", "")).startswith("active")]
    free = [whole(each.get("size")) for each in blocks if each.get("state") == "inactive"]
    active = sum(whole(each.get("size")) for each in used)
    stacks = Stacks()
    try:
        peak, alive = _peak(trace, used, active, stacks)
    except (TypeError, KeyError, AttributeError):
        used = [each for each in used if type(each.get("address")) is int]
        peak, alive = _peak([each for each in trace if _is_event(each)], used, active, stacks)
    return AllocatorSnapshot(
        device,
        sum(whole(each.get("total_size")) for each in segments),
        active,
        sum(whole(each.get("requested_size", each.get("size"))) for each in used),
        len(segments),
        max(free, default=0),
        by_place(stacks.placed(used)),
        peak,
        by_place(alive),
        len(trace),
    )


def _peak(
    events: list[Any], used: list[dict[str, Any]], active: int, stacks: Stacks
) -> tuple[int, list[tuple[int, str]]]:
    """(most bytes in use on the way to the blocks of the end, what they were)."""
    net, highest, moment = _highest(events)
    peak = max(0, active - net) + highest
    if not events:
        return peak, []
    placed = stacks.placed(_alive_at(events, moment, used))
    unknown = peak - sum(size for size, _ in placed)
    return peak, [*placed, (unknown, "(before the recording)")] if unknown > 0 else placed


SIGNS = {"alloc": 1, "free_completed": -1}
CHUNK = 1 << 18
"""Events that are summed at a time, so that sums take little memory beside the snapshot."""


def _is_event(event: Any) -> bool:
    try:
        return type(event["size"]) is int and type(event["action"]) is str and type(event["addr"]) is int
    except (TypeError, KeyError, IndexError):
        return False


def _highest(events: list[dict[str, Any]]) -> tuple[int, int, int]:
    """(net bytes of all events, the highest sum on the way, the number of events until then)."""
    now = highest = moment = 0
    sign = SIGNS.get
    for start in range(0, len(events), CHUNK):
        changes = [sign(event["action"], 0) * event["size"] for event in events[start : start + CHUNK]]
        sums = list(accumulate(changes, initial=now))
        if (top := max(sums)) > highest:
            highest, moment = top, start + sums.index(top)
        now = sums[-1]
    return now, highest, moment


def _alive_at(
    events: list[dict[str, Any]], moment: int, used: list[dict[str, Any]]
) -> Iterable[dict[str, Any]]:
    """What was alive after `moment` events: walked forward from the beginning, or backward from the blocks
    that are there at the end, whichever is shorter."""
    alive: dict[Any, dict[str, Any]] = {}
    if moment <= len(events) // 2:
        for event in events[:moment]:
            if event["action"] == "alloc":
                alive[event.get("addr")] = event
            elif event["action"] == "free_completed":
                alive.pop(event.get("addr"), None)
    else:
        alive = {each.get("address"): each for each in used}
        for event in reversed(events[moment:]):
            if event["action"] == "free_completed":
                alive[event.get("addr")] = event
            elif event["action"] == "alloc":
                alive.pop(event.get("addr"), None)
    return alive.values()


def growth(before: AllocatorSnapshot, behind: AllocatorSnapshot) -> tuple[HeldPlace, ...]:
    """Return how many bytes each line of code holds more in the second snapshot, the largest first."""
    old = {each.place: each for each in before.held}
    found = [
        HeldPlace(each.place, each.num_bytes - held.num_bytes, each.num_blocks - held.num_blocks)
        for each in behind.held
        for held in (old.get(each.place, HeldPlace(each.place, 0, 0)),)
    ]
    gone = {each.place for each in behind.held}
    found += [
        HeldPlace(each.place, -each.num_bytes, -each.num_blocks)
        for each in before.held
        if each.place not in gone
    ]
    changed = [each for each in found if each.num_bytes]
    return tuple(sorted(changed, key=lambda each: (-each.num_bytes, each.place)))
