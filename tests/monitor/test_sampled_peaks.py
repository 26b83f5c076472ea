"""A sampled step of its peak, beside two that look otherwise: torch.profiler's own categories of such a step,
and the frame that stood on the stack as each tensor was made."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from bench.watched import CASES, VOCABULARY, built
from small_models import one_thread  # noqa: F401 - a fixture for all tests here
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from oomless.monitor import watch
from oomless.monitor.entries import SampledStep
from oomless.monitor.journal import read_run
from oomless.monitor.source_files import shown_path

pytestmark = pytest.mark.torch
NAMES = ("llama", "llama bf16", "llama recompute", "llama lora", "qwen3_moe", "gemma3")
QUICK = ("llama",)
TOP = 10
WITHIN, SMALL = 0.005, 1024
"""Share of a category, and bytes of rotary frequencies and counters, which torch.profiler takes for no
parameter's."""
TORCH = str(Path(torch.__file__).parent)
CATEGORIES = {"PARAMETER": "weights", "OPTIMIZER_STATE": "optimizer", "GRADIENT": "gradients"}
"""torch.profiler's names of what is held on purpose; it divides the rest otherwise."""
STEADY = frozenset(CATEGORIES.values())


def step_of(model: Any, optimizer: Any, ids: torch.Tensor) -> None:
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


class Frames(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes where each tensor is made: (moment, address, FILE:LINE of the innermost frame that is not
    torch's)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.notes: list[tuple[int, int, str]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        place, frame = "", sys._getframe(1)
        while frame is not None and not place:
            name = frame.f_code.co_filename
            if not name.startswith((TORCH, "<")):
                place = f"{shown_path(name)}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                self.notes.append((time.time_ns(), tensor.untyped_storage().data_ptr(), place))
        return output


def held(model: Any, optimizer: Any) -> dict[int, tuple[int, str]]:
    """Address -> (bytes, category) of what is there between steps."""
    states = [each for state in optimizer.state.values() for each in state.values()]
    tensors = [(each, "weights") for each in (*model.parameters(), *model.buffers())]
    tensors += [(each, "optimizer") for each in states if torch.is_tensor(each)]
    storages = [(each.untyped_storage(), category) for each, category in tensors]
    return {each.data_ptr(): (each.nbytes(), category) for each, category in storages}


def lines_at_peak(before: dict[int, tuple[int, str]], events: list[Any], frames: Frames) -> dict[str, int]:
    """Bytes alive at the highest moment of the allocator's events, by the line that the frames show."""
    notes: dict[int, list[tuple[int, str]]] = {}
    for moment, address, place in frames.notes:
        notes.setdefault(address, []).append((moment, place))
    alive = {address: (num_bytes, 0) for address, (num_bytes, _) in before.items()}
    now = highest = sum(num_bytes for num_bytes, _ in alive.values())
    peak = dict(alive)
    for event in events:
        address, num_bytes = event.extra_fields.ptr, event.extra_fields.alloc_size
        if num_bytes > 0:
            alive[address] = (num_bytes, event.start_time_ns)
        else:
            alive.pop(address, None)
        now += num_bytes
        if now > highest:
            highest, peak = now, dict(alive)
    found: dict[str, int] = {}
    for address, (num_bytes, made) in peak.items():
        after = [place for moment, place in notes.get(address, []) if moment >= made]
        line = "before the step" if not made else after[0] if after else "inside of an operator"
        found[line] = found.get(line, 0) + num_bytes
    return found


@contextmanager
def profiled() -> Iterator[Any]:
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True, with_stack=True
    ) as profiler:
        yield profiler


def memory_events(profiler: Any) -> list[Any]:
    """Every allocation and every free, in order of time."""
    found, waiting = [], list(profiler.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        if isinstance(event.extra_fields, torch._C._profiler._ExtraFields_Allocation):
            found.append(event)
    return sorted(found, key=lambda each: each.start_time_ns)


def categories_at_peak(profiler: Any) -> dict[str, int]:
    """Bytes at the highest moment by torch.profiler's own categories, in the monitor's words."""
    from torch.profiler._memory_profiler import _CATEGORY_TO_INDEX, MemoryProfileTimeline

    timeline: Any = MemoryProfileTimeline(profiler._memory_profile())
    _, sizes = timeline._coalesce_timeline("cpu")
    highest = max(sizes, key=sum)
    found: dict[str, int] = {}
    for category, at in _CATEGORY_TO_INDEX.items():
        name = CATEGORIES.get(category.name if category else "", "rest")
        found[name] = found.get(name, 0) + highest[at + 1]
    return found


def sampled(model: Any, optimizer: Any, ids: torch.Tensor, folder: Path) -> SampledStep:
    """The sampled step whose gradients, states and caches are those of a step in the middle of a run."""
    with watch(model, optimizer, run=folder, every=2):
        for _ in range(5):
            step_of(model, optimizer, ids)
    (run,) = read_run(folder)
    return run.of(SampledStep)[-1]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_categories_and_lines_are_those_that_others_see(name: str, tmp_path: Path) -> None:
    if "lora" in name:
        pytest.importorskip("peft")
    model, optimizer = built(CASES[name])
    ids = torch.randint(0, VOCABULARY, (2, 128))
    found = sampled(model, optimizer, ids, tmp_path)
    before = held(model, optimizer)

    with profiled() as profiler:
        step_of(model, optimizer, ids)
    told, seen = dict(found.by_category), categories_at_peak(profiler)
    rest = sum(num_bytes for category, num_bytes in told.items() if category not in STEADY)
    assert rest == pytest.approx(seen.pop("rest"), rel=WITHIN)
    for category, num_bytes in seen.items():
        assert told.get(category, 0) == pytest.approx(num_bytes, rel=WITHIN, abs=SMALL), category

    frames = Frames()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, frames:
        step_of(model, optimizer, ids)
    lines = lines_at_peak(before, memory_events(profiler), frames)
    assert found.peak_bytes == pytest.approx(sum(lines.values()), rel=WITHIN)
    assert top(lines) == top(lines_told(found))


def lines_told(found: SampledStep) -> dict[str, int]:
    """The sample's lines, whatever their category."""
    lines: dict[str, int] = {}
    for line, _, num_bytes, _ in found.lines:
        lines[line or "before the step"] = lines.get(line or "before the step", 0) + num_bytes
    return lines


def top(lines: dict[str, int]) -> dict[str, int]:
    """The ten largest lines, to the thousand bytes: scalars come and go."""
    largest = sorted(lines.items(), key=lambda each: (-each[1], each[0]))[:TOP]
    return {line: num_bytes // 1000 for line, num_bytes in largest if num_bytes >= 1000}
