"""Which line of code holds how many bytes of an allocator: of a stack's frames, the one that a person looks
for."""

from collections.abc import Iterable
from itertools import compress
from operator import itemgetter
from typing import Any, NamedTuple

LIBRARY = ("/torch/", "site-packages/", "dist-packages/", "/usr/lib/", "<frozen", "??", "/csrc/", "/ATen/")
"""What a frame's file contains that is nobody's own code."""
UNKNOWN = "(unknown)"


class HeldPlace(NamedTuple):
    """Bytes of one line of code."""

    place: str
    """FILE:LINE (function)."""
    num_bytes: int
    num_blocks: int


class OwnFiles(dict[Any, bool]):
    """Whether a frame's file is somebody's own code. There are few files and many frames: each file is looked
    at once."""

    def __missing__(self, name: Any) -> bool:
        """Look at a file, and remember."""
        found = self[name] = bool(name) and not any(part in str(name) for part in LIBRARY)
        return found


FILENAME = itemgetter("filename")


def place_in(frames: Any, own: OwnFiles) -> str:
    """Return the innermost line of a stack that is not a library's; the innermost of all if all are. All of
    it runs in C: a snapshot holds millions of frames.

    >>> library = {"filename": "/x/torch/nn.py", "line": 3, "name": "f"}
    >>> place_in([library, {"filename": "/a/run.py", "line": 7, "name": "g"}], OwnFiles())
    '/a/run.py:7 (g)'
    """
    if not isinstance(frames, list):
        return UNKNOWN
    try:
        first = next(compress(frames, map(own.__getitem__, map(FILENAME, frames))), None)
    except (TypeError, KeyError, IndexError):
        known = [each for each in frames if text_of(each) and isinstance(each["filename"], str)]
        first = next((each for each in known if own[each["filename"]]), None)
    return text_of(first) or next(filter(None, map(text_of, frames)), UNKNOWN)


def text_of(frame: Any) -> str:
    """Return FILE:LINE (function) of a frame, at most 300 characters; nothing where it names no file."""
    if not isinstance(frame, dict) or not frame.get("filename"):
        return ""
    return f"{frame['filename']}:{whole(frame.get('line'))} ({frame.get('name', '')})"[:300]


class Stacks:
    """The places of the stacks of a snapshot: one that several blocks share is read once."""

    def __init__(self) -> None:
        self.own = OwnFiles()
        self.places: dict[int, str] = {}
        self.texts: dict[int, str] = {}
        """Of frames, which stacks share even where they are no list of their own."""

    def placed(self, blocks: Iterable[dict[str, Any]]) -> list[tuple[int, str]]:
        """Return (bytes, place) of blocks whose stacks live as long as this does."""
        found, places = [], self.places
        known = places.get
        for each in blocks:
            frames, size = each.get("frames"), each.get("size")
            place = known(id(frames))
            if place is None:
                place = places[id(frames)] = self._place(frames)
            found.append((size if type(size) is int else whole(size), place))
        return found

    def _place(self, frames: Any) -> str:
        """Return the place of a stack; its innermost own frame is told once for all that have it."""
        try:
            first = next(compress(frames, map(self.own.__getitem__, map(FILENAME, frames))))
        except (TypeError, KeyError, IndexError, StopIteration):
            return place_in(frames, self.own)
        text = self.texts.get(id(first))
        if text is None:
            text = self.texts[id(first)] = place_in(frames, self.own)
        return text


def by_place(blocks: list[tuple[int, str]]) -> tuple[HeldPlace, ...]:
    """Return the bytes of each line of code, the largest first.

    >>> by_place([(512, "a.py:1 (f)"), (1024, "b.py:2 (g)"), (512, "a.py:1 (f)")])[0]
    HeldPlace(place='a.py:1 (f)', num_bytes=1024, num_blocks=2)
    """
    sums: dict[str, tuple[int, int]] = {}
    for size, place in blocks:
        held, count = sums.get(place, (0, 0))
        sums[place] = (held + size, count + 1)
    found = [HeldPlace(place, held, count) for place, (held, count) in sums.items()]
    return tuple(sorted(found, key=lambda each: (-each.num_bytes, each.place)))


def whole(value: Any) -> int:
    """Return a whole number of a file, and 0 for whatever else stands there.

    >>> whole(7), whole(True), whole("7")
    (7, 0, 0)
    """
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
