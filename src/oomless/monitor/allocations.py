"""The profiler's events as allocations: bytes, address, module, line and operator of each, in order of
time."""

from bisect import bisect_right
from operator import itemgetter
from typing import Any

from ..errors import need
from ..recording.recording import Words
from .operator_lines import lines_between
from .profiler import MARK
from .source_files import SourceFile, source_file

TIME, BYTES, POINTER, MODULE, LINE, OWN_LINE, OPERATOR, COMMUNICATES = range(8)
"""Columns of a row: an event of the allocator. What is freed has less than 0 bytes; places are numbers of
words; the own line is the innermost one of the user's files, not of a library."""
Row = list[int]


class Allocations:
    """The rows in order of time, the words that they name, and what was marked among them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.module_words, self.line_words, self.operator_words = Words(), Words(), Words()
        for words in (self.module_words, self.line_words, self.operator_words):
            words.number("")
        self.marks: list[tuple[int, str]] = []
        self.calls: list[tuple[int, int]] = []
        """Begin and end of the outermost calls of modules."""


class Frame:
    """A call of a function of the model or the user. Allocations between two calls inside of it wait for the
    second one's line."""

    __slots__ = ("is_own", "last", "place", "shown", "waiting")

    def __init__(self, file: SourceFile, name: str, line: int) -> None:
        self.shown = file.shown
        self.is_own = file.is_own
        self.place = file.path, name, line
        self.last = line
        self.waiting: list[Row] = []


Around = tuple[int, int, int, Any, Frame | None, bool, bool]
"""What stands around an event: its module, its line, its line of the user's own, the event whose name is the
operator's, the user's function that runs if no other Python code stands between, whether torch.distributed is
around it, and whether a module's call is. A plain tuple: there is one for each call of a step."""
NOTHING: Around = (0, 0, 0, None, None, False, False)


class EventReader:
    """Walks the tree of events once."""

    def __init__(
        self, names: dict[int, str], device: Any, blocks: list[tuple[int, str]], marks: list[str]
    ) -> None:
        """`names`: paths of modules by their identity; `blocks`: (number of the next node of autograd,
        module) as blocks began; `marks`: texts of the marks, in order."""
        internals = need("torch", "trace")._C._profiler
        self.allocation, self.operator = internals._ExtraFields_Allocation, internals._ExtraFields_TorchOp
        self.python_call, self.c_call = internals._ExtraFields_PyCall, internals._ExtraFields_PyCCall
        self.names = names
        self.device = None if device.type == "cpu" else device
        self.found = Allocations()
        self.sequence = [number for number, _ in blocks]
        self.blocks = [self.found.module_words.number(name) for _, name in blocks]
        self.marks = marks
        self.operators: dict[str, int] = {}
        self.lines: dict[tuple[str, int], int] = {}
        """Numbers of words that were given, by what they are made of."""

    def read(self, roots: list[Any]) -> Allocations:
        """Return what the events allocate and free. Half of all events are allocations and most of the others
        have nothing inside of them: these are done with at once."""
        allocation, python_call, c_call, operator = (
            self.allocation,
            self.python_call,
            self.c_call,
            self.operator,
        )
        waiting: list[tuple[Any, Around]] = [(event, NOTHING) for event in reversed(roots)]
        pop, extend, allocated = waiting.pop, waiting.extend, self._allocated
        while waiting:
            event, around = pop()
            frame = around[4]
            if event is None:
                assert frame is not None
                if frame.waiting:
                    self._place(frame, None)
                continue
            fields = event.extra_fields
            kind = type(fields)
            if kind is allocation:
                allocated(event, fields, around)
                continue
            children = event.children
            if frame is not None and (kind is c_call or kind is python_call):
                number = fields.caller.line_number
                if frame.waiting:
                    self._place(frame, number)
                frame.last = number
                if children:
                    around = self._from_line(number, around, event if kind is c_call else None)
            elif children and kind is c_call:
                around = (*around[:3], event, *around[4:])
            if kind is python_call:
                if children:
                    around = self._inside(event, fields, around)
                    if around[4] is not None:
                        waiting.append((None, around))
                elif fields.callsite.function_name == MARK:
                    self.found.marks.append((event.start_time_ns, ""))
            elif kind is operator and children:
                around = self._node(event, fields, around)
            if children:
                extend([(child, around) for child in reversed(children)])
        return self._in_order()

    def _allocated(self, event: Any, fields: Any, around: Around) -> None:
        if self.device is not None and fields.device != self.device:
            return
        num_bytes = fields.alloc_size
        if num_bytes <= 0:
            self.found.rows.append([event.start_time_ns, num_bytes, fields.ptr])
            return
        module, line, own_line, caller, frame, communicates, _ = around
        operator = 0 if caller is None else self._operator(caller.name)
        row = [event.start_time_ns, num_bytes, fields.ptr, module, line, own_line, operator, communicates]
        self.found.rows.append(row)
        if frame is not None:
            frame.waiting.append(row)

    def _operator(self, name: str) -> int:
        """The number of an operator by the profiler's name of it."""
        number = self.operators.get(name)
        if number is None:
            number = self.operators[name] = self.found.operator_words.number(operator_name(name))
        return number

    def _line(self, frame: Frame, number: int) -> int:
        """The number of a line of a frame's file."""
        at = frame.shown, number
        found = self.lines.get(at)
        if found is None:
            found = self.lines[at] = self.found.line_words.number(f"{frame.shown}:{number}")
        return found

    def _from_line(self, number: int, around: Around, caller: Any) -> Around:
        """What stands around the inside of a call that a user's function makes."""
        frame = around[4]
        assert frame is not None
        line = self._line(frame, number)
        return around[0], line, line if frame.is_own else around[2], caller, None, around[5], around[6]

    def _inside(self, event: Any, fields: Any, around: Around) -> Around:
        """What stands around the inside of a Python function."""
        module, line, own_line, _, _, communicates, in_call = around
        called = fields.module
        if called is not None:
            if not in_call:
                self.found.calls.append((event.start_time_ns, event.end_time_ns))
            in_call = True
            path = self.names.get(called.self_ptr)
            module = module if path is None else self.found.module_words.number(path)
        site = fields.callsite
        file = source_file(site.file_name)
        frame = Frame(file, site.function_name, site.line_number) if file.is_followed else None
        return module, line, own_line, None, frame, communicates or file.communicates, in_call

    def _node(self, event: Any, fields: Any, around: Around) -> Around:
        """What stands around the inside of a node of autograd."""
        at = bisect_right(self.sequence, fields.sequence_number) - 1
        module = self.blocks[at] if at >= 0 else around[0]
        return module, around[1], around[2], event, None, around[5], False

    def _place(self, frame: Frame, line: int | None) -> None:
        """Give the allocations that waited their lines: they lie before a call on this line, or before the
        end."""
        places = lines_between(*frame.place, frame.last, line, len(frame.waiting))
        for row, at in zip(frame.waiting, places, strict=True):
            row[LINE] = self._line(frame, at)
            if frame.is_own:
                row[OWN_LINE] = row[LINE]
        frame.waiting.clear()

    def _in_order(self) -> Allocations:
        self.found.rows.sort(key=itemgetter(TIME))
        times = sorted(time for time, _ in self.found.marks)
        self.found.marks = list(zip(times, self.marks, strict=True))
        self.found.calls.sort()
        return self.found


def touched(roots: list[Any]) -> set[int]:
    """Return the addresses that events free, or allocate anew: what lay there before is gone."""
    allocation = need("torch", "trace")._C._profiler._ExtraFields_Allocation
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        event = waiting.pop()
        fields = event.extra_fields
        if type(fields) is allocation:
            found.add(fields.ptr)
        else:
            waiting.extend(event.children)
    return found


def operator_name(name: str) -> str:
    """Return the short name of a C function or a node of autograd.

    >>> operator_name("<built-in method layer_norm of type object at 0x7f1104b5c360>")
    'layer_norm'
    >>> operator_name("<built-in function cross_entropy_loss>"), operator_name("AddmmBackward0")
    ('cross_entropy_loss', 'AddmmBackward0')
    """
    words = name.strip("<>").split()
    if len(words) > 2 and words[0] in ("built-in", "method", "function"):
        return words[2] if words[0] == "built-in" else words[1]
    return words[-1] if words else ""
