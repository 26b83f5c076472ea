"""A traced run as Chrome trace JSON, which Perfetto and chrome://tracing open: phases and modules as slices,
bytes alive as counters.

A microsecond is an event: a trace knows the order of things, not their duration.
"""

import json
from typing import Any

from ..ledger import CATEGORIES
from ..recording.timeline import timeline
from ..recording.traced import Traced

MAX_COUNTERS = 20_000


def chrome_trace(traced: Traced) -> str:
    """The file's text."""
    recording = traced.recording
    tensors = recording.tensors
    entries: list[dict[str, Any]] = [
        {
            "name": "process_name",
            "ph": "M",
            "pid": 1,
            "args": {"name": f"oomless trace {recording.request.get('model', '')}"},
        },
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "phases"}},
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": 2, "args": {"name": "modules"}},
    ]
    for phase in recording.phases:
        entries.append(_slice(f"{phase.name} {phase.step + 1}", 1, phase.first_event, phase.end_event))
    start, module = 0, -1
    for at, event in enumerate(recording.events):
        if event >= 0 and tensors.modules[event] != module:
            if module > 0:
                entries.append(_slice(tensors.module_names[module], 2, start, at))
            start, module = at, tensors.modules[event]
    for column in timeline(recording, 0, MAX_COUNTERS).columns:
        values = {CATEGORIES[kind]: num_bytes for kind, num_bytes in column.by_kind.items() if num_bytes}
        entries.append({"name": "bytes alive", "ph": "C", "pid": 1, "ts": column.event, "args": values})
    entries.append(
        {
            "name": "peak",
            "ph": "i",
            "pid": 1,
            "tid": 1,
            "ts": traced.peak.event,
            "s": "g",
            "args": {"bytes": traced.peak.bytes},
        }
    )
    return json.dumps({"traceEvents": entries, "displayTimeUnit": "ns"}, separators=(",", ":"))


def _slice(name: str, thread: int, start: int, end: int) -> dict[str, Any]:
    return {"name": name, "ph": "X", "pid": 1, "tid": thread, "ts": start, "dur": end - start}
