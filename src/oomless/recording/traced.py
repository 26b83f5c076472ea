"""A recording, replayed under settings of the allocator -> peaks, ledger lines of the worst moment, and
whether a card holds it; and that as the JSON object of the contract: bytes as integers."""

import re
from typing import Any, NamedTuple

from ..ledger import CATEGORIES, KEYS, Category, Key, Kind, Ledger, Line, Verdict, category_of, ranged
from ..run.allocator import AllocatorSettings
from ..units import format_bytes
from .recording import KIND, Peak, Phase, Recording, peak, phase_peaks
from .replay import Failure, Replayed, replay, smallest_capacity
from .workspaces import NAME as WORKSPACE
from .workspaces import table

TRACED: dict[Category, Key] = {category_of(key): key for key in KEYS if key.endswith(".traced")}
"""A traced tensor's key is its category's: its module is said in words."""
NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


class Traced(NamedTuple):
    """The answer to a traced question."""

    recording: Recording
    settings: AllocatorSettings
    peak: Peak
    phases: tuple[tuple[Phase, int], ...]
    """The most bytes alive within each phase, as requested."""
    replayed: Replayed
    """On a device without a limit."""
    smallest_capacity_bytes: int
    lines: tuple[Line, ...]
    """What is alive at the peak; their sum is the peak in requested bytes."""
    capacity_bytes: int | None
    limited: Replayed | None
    """On a device of the capacity, if one was given."""
    card: str = ""

    @property
    def ledger(self) -> Ledger:
        """The lines with what rounding and caches add, against the capacity."""
        more = self.replayed.reserved_at_peak - self.peak.bytes
        source = "recording/allocator.py: the caching allocator, simulated"
        held = ranged(
            "fragmentation.reserved",
            "policy",
            "held unused by PyTorch's allocator",
            (more, min(more, 0), more),
            "assumed",
            "reserved - requested",
            source,
        )
        return Ledger("this rank", 1, self.capacity_bytes or 0, (*self.lines, held))

    @property
    def verdict(self) -> Verdict | None:
        """fits, if the replay on the card ends well; None without a card."""
        if self.limited is None:
            return None
        return "fits" if self.limited.failure is None else "does_not_fit"

    def by_category(self) -> dict[str, int]:
        """Bytes alive at the peak, by category."""
        return Ledger("", 1, 0, self.lines).by_category()

    def __repr__(self) -> str:
        lines = [
            f"peak {format_bytes(self.peak.bytes)}, reserved {format_bytes(self.replayed.reserved_at_peak)}"
        ]
        lines += [f"  {name} {format_bytes(value)}" for name, value in self.by_category().items()]
        return "\n".join([*lines, *([f"{self.verdict}: {self.card}"] if self.verdict else [])])

    def to_json(self) -> dict[str, Any]:
        """The object that `trace --json` prints."""

        document: dict[str, Any] = trace_json(self)
        return document


def answer(
    recording: Recording,
    settings: AllocatorSettings | None = None,
    capacity: int | None = None,
    card: str = "",
) -> Traced:
    """Replay a recording without a limit, on the smallest device that runs it, and on the card."""
    settings = settings or AllocatorSettings()
    events, sizes = recording.events, recording.tensors.sizes
    free_run = replay(events, sizes, settings, since=recording.since)
    whole = replay(events, sizes, settings)
    found = peak(recording)
    limited = None if capacity is None else replay(events, sizes, settings, capacity, recording.since)
    return Traced(
        recording,
        settings,
        found,
        tuple(phase_peaks(recording)),
        free_run,
        smallest_capacity(events, sizes, settings, whole),
        lines_of(recording, found),
        capacity,
        limited,
        card,
    )


def pattern(module: str) -> str:
    """A module's path without the numbers of its layers.

    >>> pattern("model.layers.17.self_attn.q_proj")
    'model.layers.*.self_attn.q_proj'
    """
    return NUMBER.sub("*", module)


def lines_of(recording: Recording, at: Peak) -> tuple[Line, ...]:
    """A line for each category and kind of module, largest first within the category.

    Sizes follow from the model's own operators, so lines are exact; what kernels of a card take beside their
    outputs is assumed.
    """
    tensors = recording.tensors
    groups: dict[tuple[int, str, bool], list[int]] = {}
    patterns = [pattern(name) for name in tensors.module_names]
    beside = [name.startswith(WORKSPACE) for name in tensors.operator_names]
    for number in at.alive:
        key = (tensors.kinds[number], patterns[tensors.modules[number]], beside[tensors.operators[number]])
        groups.setdefault(key, []).append(number)
    found = []
    for (kind, where, assumed), members in groups.items():
        total = sum(tensors.sizes[number] for number in members)
        largest = max(members, key=lambda number: tensors.sizes[number])
        operator = tensors.operator_names[tensors.operators[largest]]
        line = short(tensors.line_texts[tensors.lines[largest]])
        formula = (
            f"{len(members):,} tensor{'s' if len(members) > 1 else ''}, largest "
            f"{tensors.sizes[largest]:,} B by {operator}"
        )
        source = f"trace{f', {line}' if line else ''}"
        if assumed:
            name = operator.removeprefix(f"{WORKSPACE} ").partition(".")[0]
            source = next((row.source for row in table() if row.operator == name), source)
        certainty: Kind = "assumed" if assumed else "exact"
        category: Category = CATEGORIES[kind]
        found.append(
            ranged(
                TRACED[category],
                "policy",
                where or "(outside of modules)",
                (total, total, total),
                certainty,
                formula,
                source,
            )
        )
    order = {category: index for index, category in enumerate(CATEGORIES)}
    return tuple(sorted(found, key=lambda line: (order[line.category], -line.bytes)))


def short(line: str) -> str:
    """The last two parts of a line's path.

    >>> short("/some/where/models/llama/modeling_llama.py:123")
    'llama/modeling_llama.py:123'
    """
    return "/".join(line.split("/")[-2:])


class ModuleNode(NamedTuple):
    """A module in the tree of what is alive at the peak; layers that hold as much stand together."""

    name: str
    num: int
    """How many modules it stands for."""
    bytes: int
    by_kind: dict[str, int]
    children: tuple["ModuleNode", ...]


def tree(recording: Recording, at: Peak) -> ModuleNode:
    """What is alive at the peak, by module and within each by category."""
    tensors = recording.tensors
    held: dict[str, dict[int, int]] = {}
    for number in at.alive:
        module = tensors.module_names[tensors.modules[number]]
        kinds = held.setdefault(module, {})
        kinds[tensors.kinds[number]] = kinds.get(tensors.kinds[number], 0) + tensors.sizes[number]
    root: dict[str, Any] = {}
    for module, kinds in held.items():
        node = root
        for part in filter(None, module.split(".")):
            node = node.setdefault(part, {})
        node[""] = kinds
    return _node("model", root)


def _node(name: str, content: dict[str, Any]) -> ModuleNode:
    kinds = dict(content.get("", {}))
    children = [_node(part, inner) for part, inner in content.items() if part]
    for child in children:
        for kind, num_bytes in child.by_kind.items():
            index = KIND[kind]  # type: ignore[index]
            kinds[index] = kinds.get(index, 0) + num_bytes
    named = {CATEGORIES[index]: kinds[index] for index in sorted(kinds)}
    return ModuleNode(name, 1, sum(kinds.values()), named, tuple(_together(children)))


def _together(children: list[ModuleNode]) -> list[ModuleNode]:
    """Neighbours whose names are numbers and that hold the same are one node."""
    found: list[ModuleNode] = []
    for child in children:
        last = found[-1] if found else None
        if (
            last is not None
            and child.name.isdigit()
            and last.name[:1].isdigit()
            and last.by_kind == child.by_kind
        ):
            found[-1] = last._replace(name=f"{last.name.partition('-')[0]}-{child.name}", num=last.num + 1)
        else:
            found.append(child)
    return found


SCHEMA = "oomless/trace/1"


def trace_json(traced: "Traced") -> dict[str, Any]:
    """What `trace --json` prints."""
    recording, replayed = traced.recording, traced.replayed
    return {
        "schema": SCHEMA,
        "request": {**recording.request, "allocator": traced.settings.text()},
        "phases": [
            {"name": phase.name, "step": phase.step, "peak_requested_bytes": num_bytes}
            for phase, num_bytes in traced.phases
        ],
        "peak": {
            "requested_bytes": traced.peak.bytes,
            "allocated_bytes": replayed.peak_allocated,
            "reserved_bytes": replayed.peak_reserved,
            "smallest_capacity_bytes": traced.smallest_capacity_bytes,
            "phase": traced.peak.phase.name,
            "by_category": traced.by_category(),
            "lines": [line._asdict() for line in traced.lines],
        },
        "capacity_bytes": traced.capacity_bytes,
        "verdict": traced.verdict,
        "runs_out": None if traced.limited is None else failure_json(traced, traced.limited.failure),
        "num_tensors": len(recording.tensors.sizes),
        "num_events": len(recording.events),
        "warnings": recording.warnings,
    }


def failure_json(traced: "Traced", failure: Failure | None) -> dict[str, Any] | None:
    """Where a run ends that the card does not hold."""
    if failure is None:
        return None
    tensors = traced.recording.tensors
    number = traced.recording.events[failure.event]
    return {
        "event": failure.event,
        "size_bytes": failure.size,
        "reserved_bytes": failure.reserved_bytes,
        "allocated_bytes": failure.allocated_bytes,
        "module": tensors.module_names[tensors.modules[number]],
        "operator": tensors.operator_names[tensors.operators[number]],
        "line": tensors.line_texts[tensors.lines[number]],
        "num_alive": len(failure.alive),
    }
