"""A traced run as the JSON object of the contract: bytes as integers."""

from typing import TYPE_CHECKING, Any

from .replay import Failure

if TYPE_CHECKING:
    from .traced import Traced

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
