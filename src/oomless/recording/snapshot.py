"""A run that never happened in the format of `torch.cuda.memory._snapshot`, so that torch's memory viewer
shows it."""

import pickle
from collections.abc import Iterator
from typing import Any

from ..ledger import CATEGORIES
from .block import Block
from .replay import served
from .traced import Traced

WITH_FRAMES = ("alloc", "free_requested", "free_completed")


def snapshot(traced: Traced) -> dict[str, Any]:
    """Segments with their blocks at the end of the run, and every event with its frames; a microsecond is an
    event."""
    recording = traced.recording
    allocator, held = served(
        recording.events, recording.tensors.sizes, traced.settings, traced.capacity_bytes
    )
    assert allocator.log is not None
    made = iter([event for event in recording.events if event >= 0])
    frames = [_frames(traced, number) for number in range(len(recording.tensors.sizes))]
    at: dict[int, int] = {}
    entries: list[dict[str, Any]] = []
    for time, (action, address, size, stream) in enumerate(allocator.log):
        if action == "alloc":
            at[address] = next(made)
        stack = frames[at[address]] if action in WITH_FRAMES else []
        entry = {
            "action": action,
            "size": size,
            "stream": stream,
            "time_us": time,
            "frames": stack,
            "user_metadata": "",
        }
        entries.append(
            {**entry, "device_free" if action == "oom" else "addr": address, "compile_context": "N/A"}
        )
    owner = {block.address: number for number, block in held.items()}
    allocator.live = list(held.values())
    return {
        "segments": [_segment(blocks, owner, frames) for blocks in segments(allocator.blocks())],
        "device_traces": [entries],
        "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": traced.settings.text()},
        "external_annotations": [],
    }


def packed_snapshot(traced: Traced) -> bytes:
    """The pickle that https://pytorch.org/memory_viz and `python -m torch.cuda._memory_viz` open."""
    return pickle.dumps(snapshot(traced), protocol=4)


def segments(blocks: list[Block]) -> Iterator[list[Block]]:
    """Blocks that lie in one mapped piece of a segment."""
    current: list[Block] = []
    for block in blocks:
        if current and current[-1].next is not block:
            yield current
            current = []
        current.append(block)
    if current:
        yield current


def _frames(traced: Traced, number: int) -> list[dict[str, Any]]:
    """Where a tensor comes from: its operator and module on the line of the user, and above it the category
    as a frame."""
    tensors = traced.recording.tensors
    place, _, line = tensors.line_texts[tensors.lines[number]].rpartition(":")
    module = tensors.module_names[tensors.modules[number]]
    operator = tensors.operator_names[tensors.operators[number]]
    category = CATEGORIES[tensors.kinds[number]]
    return [
        {"filename": place or "(model)", "line": int(line) if line.isdecimal() else 0, "name": operator},
        {"filename": module or "(outside of modules)", "line": 0, "name": category},
    ]


def _segment(
    blocks: list[Block], owner: dict[int, int], frames: list[list[dict[str, Any]]]
) -> dict[str, Any]:
    first = blocks[0]
    active = [block for block in blocks if not block.is_free]
    used = sum(block.size for block in active)
    return {
        "device": 0,
        "address": first.address,
        "total_size": sum(block.size for block in blocks),
        "allocated_size": used,
        "active_size": used,
        "requested_size": sum(block.requested for block in active),
        "stream": first.pool.stream,
        "segment_type": "small" if first.pool.is_small else "large",
        "segment_pool_id": (0, 0),
        "is_expandable": first.expandable is not None,
        "frames": [],
        "blocks": [
            {
                "address": block.address,
                "size": block.size,
                "requested_size": block.requested,
                "state": "inactive" if block.is_free else "active_allocated",
                "frames": frames[owner[block.address]] if block.address in owner else [],
            }
            for block in blocks
        ],
    }
