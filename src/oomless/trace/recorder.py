"""Watches storages come and go below autograd: sizes, kinds, modules and lines of every tensor of a run on
fake tensors.

A storage is seen when an operator returns a tensor on it, and it is gone when its weak reference dies;
`UntypedStorage.resize_`, by which FSDP frees and refills parameters, is followed too. What a kernel allocates
inside of itself is not seen: workspaces.csv has it.
"""

import contextlib
import sys
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import need
from ..ledger import Category
from ..recording.code_owner import is_of_model
from ..recording.recording import (
    ACTIVATION,
    COMMUNICATION,
    KIND,
    LOGITS,
    TEMPORARY,
    Phase,
    Recording,
    Tensors,
    Words,
)
from .workspaces import Workspaces

HOST = -1
"""Kind of a tensor that lies in host memory on a real device; it leaves no event."""


class Recorder:
    """The columns of a recording while it grows."""

    def __init__(self, on_device: bool = True) -> None:
        self.on_device = on_device
        """Whether a card is followed; else the CPU itself, where nothing is on another host."""
        self.workspaces: Workspaces | None = None
        self.torch = need("torch", "trace")
        self.sizes: list[int] = []
        self.kinds: list[int] = []
        self.modules: list[int] = []
        self.operators: list[int] = []
        self.lines: list[int] = []
        self.events: list[int] = []
        self.module_words, self.operator_words, self.line_words = Words(), Words(), Words()
        self.module_words.number("")
        self.line_words.number("")
        self.phases: list[Phase] = []
        self.step, self.phase = 0, "setup"
        self.storages: dict[int, int] = {}
        """Tensor of each storage that is alive, by the storage's address."""
        self.references: dict[int, Any] = {}
        self.stack: list[int] = [0]
        """Modules whose forward runs now, outermost first."""
        self.pending: list[int] = []
        """Tensors of the running forward; those that outlive it are activations."""
        self.seen: list[tuple[int, int, int]] = []
        """(number of the autograd node, module, line) of forward operators, ascending: where backward nodes
        come from."""
        self.marks: list[int] = []
        self.nodes: dict[int, int] = {}
        """Number of the autograd node that made a tensor of the running backward."""
        self.last_mark = (0, 0)
        self.widths: frozenset[int] = frozenset()
        """Last dimensions of logits."""
        self.warnings: dict[str, None] = {}
        self.ours: dict[Any, bool] = {}
        self.names: dict[int, int] = {}
        """Number of each module's path, by the module's identity."""
        self.node: int | None = None
        """The node that runs now."""
        self.asked = ""
        """The last line that read a number from a tensor, which a trace does not have."""
        self.counted = 0
        """Operators so far: what progress shows."""
        self.ended = False
        """The run is over: what Python clears away from now on is no event."""
        self.in_attention = False
        """torch's attention runs."""
        self.paused = False
        """Nothing is recorded: operators run that no rank would run."""

    # events

    def own(self, tensor: Any, category: Category, module: str = "", operator: str = "") -> int:
        """A tensor that stands from now on, with a kind that is known; -1 if its storage is known already."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.storages:
            return -1
        number = self._new(
            storage.nbytes(),
            KIND[category],
            self.module_words.number(module),
            self.operator_words.number(operator),
            0,
        )
        self._watch(storage, key, number)
        return number

    def kind_of(self, tensor: Any, category: Category, module: str | None = None) -> None:
        """A tensor that was seen before turns out to be of this kind."""
        number = self.storages.get(tensor.untyped_storage()._cdata)
        if number is not None:
            self.kinds[number] = KIND[category]
            if module is not None:
                self.modules[number] = self.module_words.number(module)

    def on_host(self, tensor: Any) -> None:
        """A tensor that a device run keeps in host memory."""
        number = self.storages.get(tensor.untyped_storage()._cdata)
        if number is not None:
            self.kinds[number] = HOST

    def name_modules(self, model: Any, prefix: str = "") -> None:
        """Know the modules of a model by their paths."""
        for path, module in model.named_modules():
            self.names[id(module)] = self.module_words.number(f"{prefix}{path}")

    def extra(self, num_bytes: int, operator: str, stays: bool = False) -> int:
        """Bytes that an operator takes beside its outputs; `drop` ends them, unless they stay for the whole
        run."""
        module, line, _ = self._where()
        if stays:
            module = line = 0
        return self._new(num_bytes, TEMPORARY, module, self.operator_words.number(operator), line)

    def drop(self, number: int) -> None:
        self.events.append(~number)

    def _new(self, num_bytes: int, kind: int, module: int, operator: int, line: int) -> int:
        number = len(self.sizes)
        self.sizes.append(num_bytes)
        self.kinds.append(kind)
        self.modules.append(module)
        self.operators.append(operator)
        self.lines.append(line)
        self.events.append(number)
        return number

    def _watch(self, storage: Any, key: int, number: int) -> None:
        self.storages[key] = number

        def gone(_: Any) -> None:
            self.references.pop(key, None)
            held = self.storages.pop(key, None)
            if held is not None and held >= 0 and not self.ended:
                self.events.append(~held)

        self.references[key] = weakref.ref(storage, gone)

    def made(self, tensor: Any, operator: Any) -> None:
        """An operator returned a tensor: if its storage is new, bytes were allocated."""
        if self.paused:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.storages:
            return
        num_bytes = storage.nbytes()
        if not num_bytes:
            return
        module, line, forward = self._where()
        shape = tensor.shape
        kind = TEMPORARY
        if len(shape) > 1 and shape[-1] in self.widths:
            kind = LOGITS
        elif operator.namespace.endswith("c10d_functional") or operator.namespace == "c10d":
            kind = COMMUNICATION
        number = self._new(num_bytes, kind, module, self.operator_words.number(operator.__name__), line)
        if self.node is not None:
            self.nodes[number] = self.node
        if forward and kind == TEMPORARY:
            self.pending.append(number)
        self._watch(storage, key, number)

    def moved(self, old: Any, new: Any) -> None:
        """A new tensor stands where a real run writes into the old one: no bytes come or go."""
        number = self.storages.pop(old.untyped_storage()._cdata, None)
        if number is not None:
            storage = new.untyped_storage()
            self._watch(storage, storage._cdata, number)

    def resized(self, storage: Any, num_bytes: int) -> None:
        """A storage got another size: its bytes are freed, and the new ones allocated."""
        key = storage._cdata
        number = self.storages.get(key)
        if number is None:
            if num_bytes:
                module, line, _ = self._where()
                fresh = self._new(
                    num_bytes, COMMUNICATION, module, self.operator_words.number("resize_"), line
                )
                self._watch(storage, key, fresh)
            return
        old = ~number if number < 0 else number
        if number >= 0:
            self.events.append(~number)
        if num_bytes:
            fresh = self._new(
                num_bytes, COMMUNICATION, self.modules[old], self.operators[old], self.lines[old]
            )
            self.storages[key] = fresh
        else:
            self.storages[key] = ~old  # nothing is held, but it is known what was

    # where an operator stands

    def _where(self) -> tuple[int, int, bool]:
        """(module, line, whether a forward runs) of the operator that runs now."""
        node = self.torch._C._current_autograd_node()
        self.node = None
        if node is not None:
            self.node = node._sequence_nr()
            module, line = self._origin(node)
            if not self.torch.is_grad_enabled():
                return module, line, False
            module, line = (
                self.stack[-1] if len(self.stack) > 1 else module,
                self._line(),
            )  # a layer is computed again
        else:
            module, line = self.stack[-1], self._line()
            if self.phase not in (
                "forward",
                "prefill",
                "decode",
                "backward",
            ):  # a pipeline's backward has forwards in it
                return module, line, False
        self._mark(module, line)
        return module, line, True

    def _mark(self, module: int, line: int) -> None:
        if self.last_mark != (module, line):
            self.marks.append(self.torch.autograd._get_sequence_nr())
            self.seen.append((self.marks[-1], module, line))
            self.last_mark = (module, line)

    def _origin(self, node: Any) -> tuple[int, int]:
        """Module and line of the forward operator whose backward runs."""
        at = bisect_right(self.marks, node._sequence_nr()) - 1
        return self.seen[at][1:] if 0 <= at < len(self.marks) else (self.stack[-1], 0)

    def _line(self) -> int:
        """The innermost line outside of torch and of this package: the user's, or that of a model's
        library."""
        frame: Any = sys._getframe(2)
        ours = self.ours
        while frame is not None:
            code = frame.f_code
            skip = ours.get(code)
            if skip is None:
                path = code.co_filename
                skip = ours[code] = not is_of_model(path) or path == contextlib.__file__
            if not skip:
                path = code.co_filename.rpartition("site-packages/")[
                    2
                ]  # a library's file is the same everywhere
                return self.line_words.number(f"{path}:{frame.f_lineno}")
            frame = frame.f_back
        return 0

    # steps

    @contextmanager
    def during(self, name: str, step: int) -> Iterator[None]:
        """A phase of a step. At the end of a forward, what is alive of it is what the backward will need."""
        self.phase, self.step, start = name, step, len(self.events)
        try:
            yield
        finally:
            self.settle()
            self.nodes.clear()
            self.phases.append(Phase(name, step, start, len(self.events)))
            self.phase = "between"

    def settle(self) -> None:
        """The forward that ran is over: what it left is kept for the backward."""
        alive = set(self.storages.values())
        for number in self.pending:
            if number in alive:
                self.kinds[number] = ACTIVATION if self.kinds[number] == TEMPORARY else self.kinds[number]
        self.pending.clear()

    def entered(self, name: int) -> None:
        self.stack.append(name)

    def left(self) -> None:
        if len(self.stack) > 1:
            self.stack.pop()
        if len(self.stack) == 1 and self.phase == "backward":
            self.settle()  # a layer was computed again within the backward

    def recording(self, request: dict[str, Any]) -> Recording:
        """What was recorded, without tensors of the host, the numbers closed up."""
        kept = [number for number, kind in enumerate(self.kinds) if kind != HOST]
        renamed = {number: at for at, number in enumerate(kept)}
        before: list[int] = [0]
        events = []
        for event in self.events:
            number = event if event >= 0 else ~event
            if number in renamed:
                events.append(renamed[number] if event >= 0 else ~renamed[number])
            before.append(len(events))
        phases = [
            p._replace(first_event=before[p.first_event], end_event=before[p.end_event]) for p in self.phases
        ]

        def kept_of(column: list[int]) -> list[int]:
            return [column[number] for number in kept]

        numbers = (self.sizes, self.kinds, self.modules, self.operators, self.lines)
        sizes, kinds, modules, operators, lines = (kept_of(column) for column in numbers)
        words = (self.module_words.texts(), self.operator_words.texts(), self.line_words.texts())
        return Recording(
            Tensors(sizes, kinds, modules, operators, lines, *words),
            events,
            phases,
            request,
            list(self.warnings),
        )
