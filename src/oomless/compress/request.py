"""A request to compress a checkpoint: what the command line asks, as a function."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OomlessError, UsageError
from ..units import parse_bytes

if TYPE_CHECKING:
    from .checkpoint.stream import Progress
    from .compressed import Compressed
    from .weights import Planned


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
    calibrate: str = "",
    budget: str | int | None = None,
    quality: bool = False,
    text: str | None = None,
    progress: "Callable[[Progress], None] | None" = None,
) -> "Compressed":
    """Return what became of a checkpoint; without `out` nothing is written and the bytes are predicted.

    `measure` reads the result again and gives the error of each weight; `quality` runs both models on a text.
    `calibrate` and `budget` run the source on it: codes are chosen by what layers are fed with, formats by
    what suffers most.
    """
    from .checkpoint.run import Writing, silent
    from .compressed import Compressed
    from .weights import CompressRequest, digest, mixed, plan
    from .weights import compress as write

    request = CompressRequest(model, to, tuple(keep), tuple(skip), tuple(formats))
    mix = None
    words = text_of(text) if calibrate or budget is not None or quality else ""
    if calibrate or budget is not None:
        request = request._replace(calibrate=calibrate, text_digest=digest(words))
    if budget is not None:
        size = parse_bytes(budget) if isinstance(budget, str) else budget
        request, mix = mixed(request, size, words, progress or silent)
    planned = plan(request)
    if quality and planned.target.kind == "gguf":
        raise UsageError("--quality takes no GGUF type", "llama.cpp's llama-perplexity judges a GGUF file")
    if out is None:
        return Compressed(planned, None, {}, mix=mix)
    folder, piece = Path(out).expanduser(), parse_part(part)
    write(planned, folder, piece, Writing(threads, fsync, force, progress or silent), words)
    if piece.total > 1:
        return Compressed(planned, None, {}, mix=mix)
    answer = Compressed(planned, folder, {}, None, mix)
    if measure:
        answer = answer._replace(errors=errors_of(planned, folder, threads))
    if quality:
        from .checkpoint.source import read_source
        from .quality.language import compare_models

        answer = answer._replace(quality=compare_models(planned.source, read_source(str(folder)), words))
    return answer


def errors_of(planned: "Planned", folder: Path, threads: int | None) -> dict[str, float]:
    """Return each weight's relative squared error against what it was made from: the result is read again."""
    from .checkpoint.error import weight_errors
    from .checkpoint.run import num_workers

    found = weight_errors(
        planned.source, planned.target, folder, threads or num_workers(), lambda done, total: None
    )
    return {name: error.relative for name, error in found.items()}


def text_of(path: str | None) -> str:
    """Return the text of a file, or the sample that oomless brings."""
    from .calibration.sample import sample
    from .quality.language import read_text

    return read_text(path) if path is not None else sample()


def parse_part(text: str | None) -> Any:
    """Return the part that I/N means.

    >>> parse_part("3/16")
    Part(number=3, total=16)
    """
    from .checkpoint.journal import WHOLE, Part

    if text is None:
        return WHOLE
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second) <= 99_999):
        raise UsageError(f"--part {text[:40]}", "write I/N, such as 3/16: the third of sixteen parts")
    return Part(int(first), int(second))


def join(out: str, *, fsync: bool = True) -> "Compressed":
    """Return a folder whose parts are all there, finished: what was asked stands in their journals."""
    from .checkpoint.journal import journals, read_journal
    from .compressed import Compressed
    from .weights import CompressRequest, finish_parts, plan

    folder = Path(out).expanduser()
    found = [journal for path in journals(folder) if (journal := read_journal(path))]
    if not found:
        raise OomlessError(
            f"{out}: no part of a run lies here", "run the parts first: --part 1/N ... --part N/N"
        )
    first: dict[str, Any] = dict(found[0][0])
    try:
        asked = {**first["request"], "formats": tuple(map(tuple, first["request"]["formats"]))}
        request, num_parts = CompressRequest(**asked), int(first["parts"])
    except (KeyError, TypeError, ValueError):
        raise OomlessError(f"{out}: a journal that is not of this release", "run the parts again") from None
    planned = plan(request)
    finish_parts(planned, folder, num_parts, fsync)
    return Compressed(planned, folder, {})
