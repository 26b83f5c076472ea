"""Sentences about an answer that the page and its pictures share: the verdict, what was asked, what a group
and a part of memory are called."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...api.screen import waiting_of
from ...ledger import Ledger
from ...units import billions, format_bytes, gib
from ..chart.bars import BarPart
from ..language import Phrases

if TYPE_CHECKING:
    from ...api.serving import ServingAnswer
    from ...api.training_answer import TrainingAnswer


def verdict_sentence(ledger: Ledger, words: Phrases, first: str = "") -> str:
    """Return the verdict: by how much, on which ranks."""
    headroom = ledger.headroom_bytes
    spread = max(ledger.high_bytes - ledger.total_bytes, ledger.total_bytes - ledger.low_bytes)
    key = {"fits": "verdict.fits", "does_not_fit": "verdict.no"}.get(ledger.verdict) or (
        "verdict.tight" if headroom >= 0 else "verdict.tight_over"
    )
    said = words(
        key, amount=format_bytes(abs(headroom)), group=words.group(ledger.group), spread=format_bytes(spread)
    )
    return f"{first}{words('clause')}{said}" if first else said


def waiting(answer: "ServingAnswer", words: Phrases) -> str:
    """Return how much of the load runs at once, where the engine starts and the rest waits."""
    if not waiting_of(answer):
        return ""
    if not answer.at_once:
        return words("waiting.none")
    return words("waiting.some", at_once=f"{answer.at_once:,}", all=f"{answer.request.concurrency:,}")


def serving_question(answer: "ServingAnswer", words: Phrases) -> str:
    """Return what was asked, in one line."""
    request, layout, hardware = answer.request, answer.request.worked, answer.hardware
    how = axes_said(layout.axes.items(), words)
    where = hardware.what if hardware.mixed else times(layout.num_ranks, hardware.card.name)
    replicas = words("replicas", count=answer.replicas) if answer.replicas > 1 else ""
    return words(
        "question.infer",
        model=answer.model.name,
        billions=f"{billions(answer.model.num_parameters):.1f}",
        stored=request.quantization or answer.model.quantization or request.dtype,
        engine=f"{request.engine} {request.engine_version}",
        load=times(request.concurrency, f"{request.context:,}"),
        where=f"{where}{how}{replicas}",
    )


def training_question(answer: "TrainingAnswer", words: Phrases) -> str:
    """Return what was asked, in one line."""
    mesh = answer.mesh
    sizes = zip(("DP", "TP", "PP", "CP", "EP"), (mesh.dp, mesh.tp, mesh.pp, mesh.cp, mesh.ep), strict=True)
    request = answer.request
    return words(
        "question.train",
        model=answer.model.name,
        billions=f"{billions(answer.model.num_parameters):.1f}",
        method=request.method,
        precision=request.precision,
        optimizer=request.optimizer,
        framework=request.framework,
        load=times(request.micro_batch, f"{request.seq_len:,}"),
        where=f"{times(mesh.num_ranks, answer.hardware.card.name)}{axes_said(sizes, words)}",
    )


def times(count: int, what: str) -> str:
    """Return so many of something, in one piece where a line is folded.

    >>> times(1024, "H20")
    '1,024\\xa0×\\xa0H20'
    """
    return f"{count:,}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{what}"


def axes_said(sizes: Iterable[tuple[str, int]], words: Phrases) -> str:
    """Return the axes of a layout that divide anything, to stand behind the cards.

    >>> axes_said((("TP", 8), ("PP", 1)), Phrases("zh"))
    '，TP\\xa08'
    """
    return "".join(f"{words('comma')}{axis}\N{NO-BREAK SPACE}{size}" for axis, size in sizes if size > 1)


def group_title(ledger: Ledger, total_bytes: int, words: Phrases) -> str:
    """Return what of its card a group of equal ranks fills."""
    return words(
        "group.title",
        group=words.group(ledger.group),
        count=f"{ledger.num_ranks:,}",
        total=f"{gib(total_bytes):.1f}",
        capacity=f"{gib(ledger.capacity_bytes):.1f}",
    )


def part_of(name: str, num_bytes: int, words: Phrases) -> BarPart:
    """Return a category as a part of a bar, in its colour."""
    return BarPart(f"c-{name}", gib(num_bytes), f"{category_word(name, words)}: {gib(num_bytes):.2f} GiB")


def category_word(name: str, words: Phrases) -> str:
    """Return what a category is called."""
    return words.known(f"category.{name}", name)
