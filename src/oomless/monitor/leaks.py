"""Leaks: what outlives steps is followed by line; what grows otherwise is looked for among all tensors that
Python knows. Each is told once, with the line that makes it, who holds it, and when it will not fit any more.
"""

import gc
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import need
from .blame import ADVICE, LeakKind, is_like, kept_at, kind_of_leak
from .census import UNEXPLAINED, Census, Growth
from .counters import Counted
from .entries import Entry, Healed, Leak
from .guard import say
from .holders import Holder, all_tensors, classes_around, holder_of, young_tensors
from .leak_signs import Signs, newest_hook
from .sample import Survivor
from .source_files import split_place
from .suspects import LEAST_BYTES, MOST_WITNESSES, LineKey, Outliving, Suspect, by_line, ends_of

MISSES = 3
"""Samples without a line after which it is forgotten."""
MOST_SCANS = 12
"""Looks at all of Python's objects in one run: each costs a tenth of a second or more."""
MOST_ASKED = 4
"""Tensors of a line whose holder is looked for."""
SOON_STEPS = 1_000_000
ONCE: tuple[LeakKind, ...] = ("hooks", "dropped_parameters")
"""Kinds that are told once a run."""


class Surroundings(NamedTuple):
    """What leaks are looked for in."""

    write: Callable[[Entry], None]
    room: Callable[[], int | None]
    """Bytes that are left of the device now."""
    model: Callable[[], Any]
    optimizers: Callable[[], list[Any]]
    batch: Callable[[], tuple[int, ...]]
    """Shape of the model's first input."""


class Found(NamedTuple):
    """What is known of a leak when it is told."""

    kind: LeakKind
    place: str
    bytes_per_step: int
    held_by: str
    held_at: str = ""


class Accused(NamedTuple):
    """Who holds a tensor, and what tensor it is."""

    holder: Holder
    like_input: bool
    is_pinned: bool


class Leaks:
    """The leaks of one run."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.torch = need("torch", "trace")
        self.suspects: dict[LineKey, Suspect] = {}
        self.signs = Signs()
        self.census = Census()
        self.pinned_bytes = 0
        self.num_scans = 0
        self.told: dict[str, Leak] = {}
        self.causes: dict[str, Suspect] = {}

    def stepped(self, counted: Counted, is_plain: bool) -> None:
        """Note what is alive at the end of a step; not of one in which the profiler's own buffers are
        alive."""
        if is_plain:
            self.census.stepped(counted.live_bytes)
        self.pinned_bytes = counted.pinned_bytes

    def outlived(self, survivors: tuple[Survivor, ...], step: int) -> None:
        """A sampled step and the one after it are over."""
        grouped = by_line(survivors)
        shown = self._shown(grouped)
        self._follow(grouped, shown, step)
        self.signs.look(self.around.model(), self.around.optimizers(), step, self.pinned_bytes)
        self._tell_hooks(step)
        self._tell_dropped(step)
        self._tell_lines(step, grouped, shown)
        self.census.close(step)
        if self.census.unexplained(self._explained()) and self._may_scan():
            growth = self.census.scan(step)
            if growth is not None:
                self._tell_growth(step, growth)
        self._heal(step)

    # what is followed

    def _follow(self, grouped: dict[LineKey, list[Survivor]], shown: dict[int, Any], step: int) -> None:
        for key, found in grouped.items():
            tensors = [shown[each.pointer] for each in found if each.pointer in shown]
            suspect = self.suspects.setdefault(key, Suspect(key))
            suspect.seen(
                Outliving(
                    step,
                    sum(each.bytes for each in found),
                    frozenset(each.pointer for each in found),
                    tuple(ends_of(dict(enumerate(tensors[:MOST_WITNESSES])), self.torch).values()),
                    any(each.grad_fn is not None for each in tensors),
                )
            )
        for key, suspect in list(self.suspects.items()):
            if key not in grouped and suspect.missing() >= MISSES and not suspect.told:
                del self.suspects[key]

    def _shown(self, grouped: dict[LineKey, list[Survivor]]) -> dict[int, Any]:
        """The survivors that Python shows, by address: among young objects; if a line comes again without
        showing any, among all."""
        pointers = {each.pointer for found in grouped.values() for each in found}
        if not pointers:
            return {}
        shown = young_tensors(pointers)
        hidden = [
            key
            for key, found in grouped.items()
            if key in self.suspects
            and not self.suspects[key].told
            and sum(each.bytes for each in found) >= LEAST_BYTES
            and not any(each.pointer in shown for each in found)
        ]
        if hidden and self._may_scan():
            shown |= {pointer: tensor for pointer, tensor in all_tensors() if pointer in pointers}
        return shown

    def _may_scan(self) -> bool:
        self.num_scans += 1
        return self.num_scans <= MOST_SCANS

    def _explained(self) -> int:
        """Bytes a step that lines account for."""
        lines = [each for each in self.suspects.values() if each.grows and not each.told]
        return sum(each.bytes_per_step for each in lines) + sum(
            leak.bytes_per_step for leak in self.told.values()
        )

    # what is told

    def _growing(self) -> list[Suspect]:
        return [each for each in self.suspects.values() if each.grows and not each.told]

    def _tell_hooks(self, step: int) -> None:
        """Hooks that became more at each look, with the bytes that their functions hold."""
        rate = self.signs.hooks.per_step()
        if rate <= 0 or "hooks" in self.told:
            return
        held = [each for each in self._growing() if each.phase != "optimizer"]
        num_bytes = sum(each.bytes_per_step for each in held)
        newest = newest_hook(self.around.model())
        for each in held:
            each.told = True
        text = f"{rate:.3g} more hooks a step, the last is {newest.name}"
        place = newest.place or (held[0].own_line if held else "")
        self._tell(step, Found("hooks", place, num_bytes, text, newest.place))

    def _tell_dropped(self, step: int) -> None:
        """States and parameters that optimizers keep of what the model has no more."""
        num_bytes = int(self.signs.dropped.per_step())
        if not self._matters(num_bytes) or "dropped_parameters" in self.told:
            return
        pointers = self.signs.dropped_pointers
        held = [each for each in self._growing() if each.samples[-1].pointers & pointers]
        for each in held:
            each.told = True
        place = held[0].own_line if held else ""
        self._tell(step, Found("dropped_parameters", place, num_bytes, "groups and states of an optimizer"))

    def _tell_lines(self, step: int, grouped: dict[LineKey, list[Survivor]], shown: dict[int, Any]) -> None:
        """Lines whose bytes something keeps: a circle that only Python's collector frees, something with a
        name, or the graph of a tensor that something with a name holds."""
        growing = [each for each in self._growing() if each.key in grouped]
        if not self._matters(sum(each.bytes_per_step for each in growing)):
            return
        around = {each.key: classes_around(shown, grouped[each.key]) for each in growing}
        shown.clear()  # a tensor that is held here is no garbage
        gc.collect()
        circles = [each for each in growing if each.is_free_but_for(step)]
        for suspect in circles:
            self._tell_circle(step, suspect, around[suspect.key])
        named: list[tuple[Suspect, Accused]] = []
        nameless: list[Suspect] = []
        pointers = {each.pointer for suspect in growing for each in grouped[suspect.key]}
        tensors: dict[int, list[Any]] = {}
        for pointer, tensor in all_tensors():
            if pointer in pointers:
                tensors.setdefault(pointer, []).append(tensor)
        for suspect in growing:
            if suspect not in circles:
                accused = self._accuse(tensors, grouped[suspect.key])
                if accused is None:
                    nameless.append(suspect)
                else:
                    named.append((suspect, accused))
        roots = [suspect for suspect, _ in named if suspect.has_graph]
        for suspect, accused in named:
            self._tell_line(step, suspect, accused, nameless if roots and suspect is roots[-1] else [])
        if nameless and not roots:
            self._tell_nameless(step, nameless)

    def _accuse(self, tensors: dict[int, list[Any]], found: list[Survivor]) -> "Accused | None":
        """Who holds tensors of a line; None if no name leads to them. Tensors that share a storage are asked
        one by one: what is kept may be a detached one beside the own one of a step."""
        for pointer in [each.pointer for each in found if each.pointer in tensors][:MOST_ASKED]:
            for tensor in tensors[pointer][:MOST_ASKED]:
                holder = holder_of(tensor, tuple(tensors.values()))
                if holder is not None:
                    return Accused(holder, is_like(tensor, self.around.batch()), bool(tensor.is_pinned()))
        return None

    def _tell_circle(self, step: int, suspect: Suspect, classes: str) -> None:
        suspect.told = True
        if self._matters(suspect.bytes_per_step):
            place = suspect.own_line or suspect.line
            self._tell(step, Found("reference_cycle", place, suspect.bytes_per_step, classes))

    def _tell_line(self, step: int, suspect: Suspect, accused: "Accused", graph: list[Suspect]) -> None:
        num_bytes = suspect.bytes_per_step + sum(each.bytes_per_step for each in graph)
        holder, place = accused.holder, suspect.own_line or suspect.line
        if not self._matters(num_bytes) or (
            holder.bound is not None and not self._fills(holder.bound * num_bytes)
        ):
            return
        kind = kind_of_leak(holder, suspect.phase, bool(graph), accused.like_input, accused.is_pinned)
        for each in (suspect, *graph):
            each.told = True
        self._tell(step, Found(kind, place, num_bytes, holder.text(), kept_at(holder, place)), suspect)

    def _tell_nameless(self, step: int, graph: list[Suspect]) -> None:
        """What outlives steps, and the counter says so too, but Python shows nobody who holds it."""
        num_bytes = sum(each.bytes_per_step for each in graph)
        if self.census.per_step() < UNEXPLAINED * num_bytes or not self._matters(num_bytes):
            return
        largest = max(graph, key=lambda each: each.bytes_per_step)
        for each in graph:
            each.told = True
        place = largest.own_line or largest.line
        self._tell(step, Found("unknown", place, num_bytes, "nothing that Python shows"))

    def _tell_growth(self, step: int, growth: Growth) -> None:
        """What became more among all tensors, by no line that was sampled."""
        if not self._matters(growth.bytes_per_step):
            return
        holder = holder_of(growth.tensor)
        if holder is None:
            kind: LeakKind = "pinned_memory" if self.signs.pinned.per_step() > 0 else "unknown"
            self._tell(step, Found(kind, "", growth.bytes_per_step, "nothing that Python shows"))
            return
        like_input = is_like(growth.tensor, self.around.batch())
        kind = kind_of_leak(holder, "", False, like_input, bool(growth.tensor.is_pinned()))
        place = kept_at(holder, "")
        self._tell(step, Found(kind, place, growth.bytes_per_step, holder.text(), place))

    def _tell(self, step: int, found: Found, cause: Suspect | None = None) -> None:
        name = found.kind if found.kind in ONCE else f"{found.kind} {found.place}"
        if name in self.told:
            return
        room = self.around.room()
        left = room // found.bytes_per_step if room is not None and found.bytes_per_step > 0 else None
        file, line = split_place(found.place)
        leak = Leak(
            step,
            found.kind,
            file,
            line,
            found.bytes_per_step,
            found.held_by,
            found.held_at,
            ADVICE[found.kind],
            left,
        )
        self.told[name] = leak
        if cause is not None:
            self.causes[name] = cause
        self.around.write(leak)
        say(leak_text(leak))

    def _heal(self, step: int) -> None:
        """Take back what was told of a line whose tensors are free by now."""
        for name, cause in list(self.causes.items()):
            if cause.turned_over():
                leak = self.told.pop(name)
                del self.causes[name]
                cause.rest()
                self.around.write(Healed(step, leak.file, leak.line))

    def _matters(self, bytes_per_step: int) -> bool:
        """Whether a growth is worth a word: large, or enough to fill the device in not too many steps."""
        return bytes_per_step >= LEAST_BYTES or self._fills(bytes_per_step * SOON_STEPS)

    def _fills(self, num_bytes: int) -> bool:
        room = self.around.room()
        return room is not None and num_bytes > room


def leak_text(leak: Leak) -> str:
    """Return the line that tells a leak."""
    from ..units import format_bytes

    where = f"{leak.file}:{leak.line}" if leak.file else "a line that is not known"
    kept = f", kept at {leak.held_at}" if leak.held_at and leak.held_at != where else ""
    left = f"; full in {leak.steps_left:,} steps" if leak.steps_left is not None else ""
    return (
        f"{leak.leak.replace('_', ' ')}: {format_bytes(leak.bytes_per_step)} a step from {where}, held by "
        f"{leak.held_by}{kept}{left}; {leak.advice}"
    )
