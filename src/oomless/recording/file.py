"""A recording in a file, so that it can be replayed under other settings without tracing again: gzip of one
JSON object, versioned."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import OomlessError
from ..files import need_regular, printable, shown
from ..ledger import CATEGORIES
from ..limits import TRACE, parse_json
from .recording import Phase, Recording, Tensors

SCHEMA = "oomless/trace-file/"
VERSION = 1
MAX_PIECE_BYTES = 1 << 20
COLUMNS = ("sizes", "kinds", "modules", "operators", "lines")
WORDS = ("module_names", "operator_names", "line_texts")


def packed(recording: Recording) -> bytes:
    """The content of a trace file."""
    document = {
        "schema": f"{SCHEMA}{VERSION}",
        "categories": list(CATEGORIES),
        "tensors": recording.tensors._asdict(),
        "events": recording.events,
        "phases": [list(phase) for phase in recording.phases],
        "request": recording.request,
        "warnings": recording.warnings,
    }
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), 6, mtime=0)


def read_trace(path: Path) -> Recording:
    """The recording of a trace file; anything that is none is an error that says how."""
    need_regular(path, "give what `oomless trace --save` wrote")
    try:
        with gzip.open(path) as file:
            content = b"".join(_pieces(file, path))
    except (EOFError, zlib.error):
        raise OomlessError(
            f"{path}: ends too early, or is damaged", "trace again, or copy the file again"
        ) from None
    except gzip.BadGzipFile:
        raise OomlessError(f"{path}: no trace file", "give what `oomless trace --save` wrote") from None
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    if len(content) > TRACE.num_bytes:
        raise OomlessError(f"{path}: unpacks to more than {TRACE.num_bytes:,} bytes", "is it a trace?")
    document: Any = parse_json(content, str(path), TRACE) if content else None
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or not schema.startswith(SCHEMA):
        raise OomlessError(f"{path}: no trace file", "give what `oomless trace --save` wrote")
    version = schema.removeprefix(SCHEMA)
    if version != str(VERSION):
        raise OomlessError(
            f"{path}: a trace of version {shown(version, 20)}, this is version {VERSION}",
            "use the oomless that wrote it",
        )
    try:
        return checked(document)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise OomlessError(
            f"{path}: a damaged trace ({type(error).__name__}: {shown(str(error))})", "trace again"
        ) from None


def _pieces(file: gzip.GzipFile, path: Path) -> Iterator[bytes]:
    """The content piece by piece, at most a byte more than a trace may have: a buffer of the whole bound
    would be its own bomb.

    What does not begin as a trace is refused at its first piece, however much it would unpack to.
    """
    left = TRACE.num_bytes + 1
    while left > 0 and (piece := file.read(min(left, MAX_PIECE_BYTES))):
        if left > TRACE.num_bytes and SCHEMA.encode() not in piece[:200]:
            raise OomlessError(f"{path}: no trace file", "give what `oomless trace --save` wrote")
        left -= len(piece)
        yield piece


def checked(document: dict[str, Any]) -> Recording:
    """The recording of a document whose numbers belong together; raises ValueError and its like if they do
    not."""
    tensors = document["tensors"]
    columns = [[_count(value) for value in tensors[name]] for name in COLUMNS]
    words = [[_text(value) for value in tensors[name]] for name in WORDS]
    num = len(columns[0])
    limits = (None, len(CATEGORIES), len(words[0]), len(words[1]), len(words[2]))
    for name, column, limit in zip(COLUMNS, columns, limits, strict=True):
        if len(column) != num or (limit is not None and any(value >= limit for value in column)):
            raise ValueError(f"column {name}")
    if document["categories"] != list(CATEGORIES):
        raise ValueError("categories")
    alive: set[int] = set()
    made: set[int] = set()
    for event in document["events"]:
        if type(event) is not int:
            raise TypeError(f"event {event!r}")
        number = event if event >= 0 else ~event
        if number >= num or (event in made if event >= 0 else number not in alive):
            raise ValueError(f"event {event}")
        if event >= 0:
            alive.add(number)
            made.add(number)
        else:
            alive.remove(number)
    phases = [
        Phase(_text(name), _count(step), _count(first), _count(end))
        for name, step, first, end in document["phases"]
    ]
    if any(
        phase.first_event > phase.end_event or phase.end_event > len(document["events"]) for phase in phases
    ):
        raise ValueError("phases")
    return Recording(
        Tensors(*columns, *words),  # type: ignore[arg-type]  # columns of numbers, then lists of words
        document["events"],
        phases,
        _request(document["request"]),
        [_text(each) for each in document["warnings"]],
    )


COUNTS = ("world_size", "rank", "micro_batch", "seq_len", "context", "concurrency", "step", "tokens")
TEXTS = ("model", "for", "attention")
FOR = {
    "train": ("micro_batch", "seq_len", "world_size", "rank"),
    "infer": ("context", "concurrency"),
    "watch": ("step", "tokens"),
}
"""What a request holds that is traced for this."""


def _request(request: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked: counts are counts, all other values are shown as they are."""
    if missing := [name for name in (*TEXTS, *FOR[request["for"]]) if name not in request]:
        raise ValueError(f"request without {missing[0]}")
    for name, value in request.items():
        if name in COUNTS:
            _count(value)
        elif name in TEXTS:
            _text(value)
    return {
        _text(name): printable(value) if isinstance(value, str) else value for name, value in request.items()
    }


MOST_BYTES = 10**15
"""Of one tensor, and the largest count of anything: the allocator adds them up."""


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_BYTES:
        raise ValueError(f"{shown(value)} is no count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} is no text")
    return printable(value)
