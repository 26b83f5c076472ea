"""The Python interface of compression: what `oomless compress` does, and the context managers beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OomlessError, UsageError

if TYPE_CHECKING:
    from ..compress.checkpoint.stream import Progress
    from ..compress.compressed import Compressed


def compress(
    model: str,
    to: str,
    out: str | None = None,
    *,
    keep: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
    formats: tuple[tuple[str, str], ...] = (),
    part: str | None = None,
    threads: int | None = None,
    force: bool = False,
    fsync: bool = True,
    measure: bool = False,
    progress: "Callable[[Progress], None] | None" = None,
) -> "Compressed":
    """Return what became of a checkpoint; without `out` nothing is written and the bytes are predicted.

    `measure` reads the result again and gives the error of each weight.
    """
    from ..compress.checkpoint.error import weight_errors
    from ..compress.checkpoint.run import num_threads, silent
    from ..compress.compressed import Compressed
    from ..compress.weights import Request, plan
    from ..compress.weights import compress as write

    planned = plan(Request(model, to, tuple(keep), tuple(skip), tuple(formats)))
    if out is None:
        return Compressed(planned, None, {})
    folder, piece = Path(out).expanduser(), parse_part(part)
    write(
        planned,
        folder,
        piece,
        threads=threads,
        durable=fsync,
        force=force,
        progress=progress or silent,
    )
    if piece.total > 1:
        return Compressed(planned, None, {})
    errors = {}
    if measure:
        found = weight_errors(
            planned.source, planned.target, folder, threads or num_threads(), lambda done, total: None
        )
        errors = {name: error.relative for name, error in found.items()}
    return Compressed(planned, folder, errors)


def parse_part(text: str | None) -> Any:
    """Return the part that I/N means.

    >>> parse_part("3/16")
    Part(number=3, total=16)
    """
    from ..compress.checkpoint.journal import WHOLE, Part

    if text is None:
        return WHOLE
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second) <= 99_999):
        raise UsageError(f"--part {text[:40]}", "write I/N, such as 3/16: the third of sixteen parts")
    return Part(int(first), int(second))


def join(out: str, *, fsync: bool = True) -> "Compressed":
    """Return a folder whose parts are all there, finished: what was asked stands in their journals."""
    from ..compress.checkpoint.journal import journals, read_journal
    from ..compress.compressed import Compressed
    from ..compress.weights import Request, finish_parts, plan

    folder = Path(out).expanduser()
    found = [journal for path in journals(folder) if (journal := read_journal(path))]
    if not found:
        raise OomlessError(
            f"{out}: no part of a run lies here", "run the parts first: --part 1/N ... --part N/N"
        )
    first: dict[str, Any] = dict(found[0][0])
    try:
        asked = {**first["request"], "formats": tuple(map(tuple, first["request"]["formats"]))}
        request, num_parts = Request(**asked), int(first["parts"])
    except (KeyError, TypeError, ValueError):
        raise OomlessError(f"{out}: a journal that is not of this release", "run the parts again") from None
    planned = plan(request)
    finish_parts(planned, folder, num_parts, fsync)
    return Compressed(planned, folder, {})
