"""What tuning may set: the layouts of all cards and the flags of the engine's record, around the question as
it was asked."""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from ...engines import engine
from ...engines.record import Purpose, Tunable
from ...model.model import Model
from ...run.cards import Hardware
from ...run.options import by_keyword
from ...run.serving import Asked, Layout
from ..space import forms_of

CACHE, WEIGHTS = "cache", "weights"
ALLOWED = (CACHE, WEIGHTS)
"""What may change at some cost of quality, where --allow says so."""
SHORTEST_SHARE = 8
"""Batches down to an eighth of the load are tried: of a smaller one most of the load would wait."""


class Lever(NamedTuple):
    """A field, and what it may be; first as it was asked."""

    purpose: Purpose
    field: str
    values: tuple[Any, ...]
    counts_groups: bool = False


class TuneSpace(NamedTuple):
    """Everything that may be tried."""

    start: Asked
    """The question as it was asked, with the load."""
    layouts: tuple[Layout, ...]
    forms: tuple[dict[str, Any], ...]
    """Types of weights and cache: each as fields and values, those that were asked first."""
    levers: tuple[Lever, ...]
    offloads: tuple[Lever, ...]
    """What moves weights to the host, least first."""

    @property
    def size(self) -> int:
        """Return how many settings there are."""
        found = len(self.layouts) * len(self.forms)
        for lever in self.levers:
            found *= len(lever.values)
        return found

    def settings(self, layout: Layout, *purposes: Purpose) -> Iterator[dict[str, Any]]:
        """Yield what the levers of some purposes may be set to together, as they were asked first."""
        levers = [lever for lever in self.levers if lever.purpose in purposes]
        for values in product(*(meaningful(lever, self.start, layout) for lever in levers)):
            yield {lever.field: value for lever, value in zip(levers, values, strict=True)}

    def roomiest(self, layout: Layout, *purposes: Purpose) -> dict[str, Any]:
        """Return the values of some purposes that leave most to the cache."""
        found: dict[str, Any] = {}
        for lever in self.levers:
            if lever.purpose in purposes:
                values = [each for each in meaningful(lever, self.start, layout) if each is not None]
                numbers = lever.purpose in ("batch", "captures")
                found[lever.field] = min(values) if numbers and values else (values or [None])[-1]
        return found


def meaningful(lever: Lever, start: Asked, layout: Layout) -> tuple[Any, ...]:
    """Return the values of a lever that mean something for the load: a batch far above it is the same as one
    that holds it, one far below makes nearly all of it wait, and a batch without a graph is slow."""
    if lever.purpose not in ("batch", "captures"):
        return lever.values
    load = -(-(start.concurrency or 1) * groups_counted(lever, layout) // layout.dp)
    most = 1 << (load - 1).bit_length()
    least = max(most // SHORTEST_SHARE, 1) if lever.purpose == "batch" else most
    return (
        lever.values[0],
        *(each for each in lever.values[1:] if each is None or least <= each <= most),
    )


def groups_counted(lever: "Lever | Tunable", layout: Layout) -> int:
    """Return how many data-parallel groups a flag counts together: those of attention, or one."""
    return layout.dp if lever.counts_groups and layout.enable_dp_attention else 1


def tune_space(
    model: Model, hardware: Hardware, start: Asked, fixed: frozenset[str], allow: frozenset[str]
) -> TuneSpace:
    """Return what may be tried around a question; `fixed` fields stay as they are.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> space = tune_space(
    ...     load("deepseek-r1"), parse_gpu("h20:8"), Asked(context=32768), frozenset(), frozenset()
    ... )
    >>> [lever.field for lever in space.levers]
    ['gpu_memory_utilization', 'max_num_seqs', 'max_num_batched_tokens', 'enforce_eager', 'max_model_len']
    """
    rules = engine(start.engine).candidates
    levers = [
        Lever(
            tunable.purpose,
            tunable.field,
            (start.value(tunable.field), *others(tunable.values, start.value(tunable.field))),
            tunable.counts_groups,
        )
        for tunable in rules.tuned
        if tunable.field not in fixed and applies(tunable, start)
    ]
    if start.max_model_len is None and "max_model_len" not in fixed and start.context:
        levers.append(Lever("room", "max_model_len", (None, start.context)))
    return TuneSpace(
        start,
        layouts_of(model, hardware, start, fixed),
        forms(model, hardware, start, fixed, allow),
        tuple(levers),
        tuple(
            Lever(each.purpose, each.field, reached(each.values, len(model.layers) + 1))
            for each in rules.offloads
            if each.field not in fixed
        ),
    )


def applies(tunable: Tunable, asked: Asked) -> bool:
    """Return whether a flag does anything for a question: those of adapters do where there are slots for
    some."""
    return asked.enable_lora or by_keyword("infer")[tunable.field].group != "adapters"


def reached(values: tuple[Any, ...], num_layers: int) -> tuple[Any, ...]:
    """Return the values that count layers up to those that there are; sizes as they are.

    >>> reached((1, 2, 3, 4), 3), reached((4.0, 8.0), 3)
    ((1, 2, 3), (4.0, 8.0))
    """
    return tuple(each for each in values if isinstance(each, float) or each <= num_layers)


def others(values: tuple[Any, ...], asked: Any) -> tuple[Any, ...]:
    """Return the values beside the one that was asked; a switch that was asked for may be left out, and a
    number left to the engine.

    >>> others((True,), True), others((0.95, 0.97), 0.95), others((True,), False)
    ((False,), (0.97, None), (True,))
    """
    if values == (True,):
        return (not asked,)
    rest = tuple(each for each in values if each != asked)
    return rest if asked is None else (*rest, None)


def layouts_of(model: Model, hardware: Hardware, start: Asked, fixed: frozenset[str]) -> tuple[Layout, ...]:
    """Return the layouts to try, the asked one first, and those that infer takes where nobody says; of sizes
    that are fixed, those that have them."""
    rules = engine(start.engine).candidates
    found = [layout for layout, _ in rules.layouts(model, hardware)]
    found += [*rules.more_layouts(model, hardware), *engine(start.engine).layouts(hardware, Layout())]
    if start.layout is not None:
        found.insert(0, start.layout)
    pinned = [name for name in Layout._fields if name in fixed]
    kept = [
        each
        for each in dict.fromkeys(found)
        if all(getattr(each, name) == getattr(start.sizes, name) for name in pinned)
    ]
    return tuple(kept) or (start.sizes,)


def forms(
    model: Model, hardware: Hardware, start: Asked, fixed: frozenset[str], allow: frozenset[str]
) -> tuple[dict[str, Any], ...]:
    """Return types of weights and of the cache: as asked, and narrower ones where they are allowed."""
    rules = engine(start.engine)
    weights: list[dict[str, Any]] = [{}]
    cache: list[dict[str, Any]] = [{}]
    if WEIGHTS in allow and "quantization" not in fixed:
        words = [form.quantization for form in forms_of(model, start.engine, hardware.card, ())]
        weights += [{"quantization": word} for word in words if word not in (None, start.quantization)]
    narrow = dict(rules.candidates.narrow_cache)
    if CACHE in allow and narrow and not narrow.keys() & fixed:
        changed = {field: word for field, word in narrow.items() if start.value(field) != word}
        cache += [changed] if changed else []
    return tuple({**first, **second} for first in weights for second in cache)
