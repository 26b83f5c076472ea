"""Fits? and Train? as parts of the page: the verdict, a bar for each group of ranks, the capacity in words,
what would fit, and every line with formula and source."""

import re
from collections.abc import Iterable
from urllib.parse import urlencode

from ...api.screen import rate_of, seconds, waiting_of
from ...api.serving import ServingAnswer
from ...api.training_answer import TrainingAnswer
from ...ledger import CATEGORIES, Ledger, Line, Verdict
from ...run.options import by_flag
from ...units import billions, format_bytes, gib
from ..language import Phrases
from .chart import BarPart, stacked_bar
from .html import Html, coded, el, fold, join, notes, number, table
from .nearest import nearest_part

CLASSES: dict[Verdict, str] = {"fits": "fits", "tight": "tight", "does_not_fit": "no"}


def serving_part(answer: ServingAnswer, words: Phrases) -> Html:
    """Return the whole answer of `infer`."""
    return join(
        (
            verdict_part(answer.ledger, words, waiting(answer, words)),
            el("p", serving_question(answer, words), class_="question"),
            groups_part(answer.ledgers, answer.worst_rank, words),
            cache_part(answer, words),
            changes_part(
                "infer",
                answer.gpu_word,
                ((each.flags, each.headroom_bytes) for each in answer.changes),
                words,
            ),
            nearest_part(answer, words),
            notes(words("notes"), map(words.said, answer.warnings)),
        )
    )


def verdict_part(ledger: Ledger, words: Phrases, first: str = "") -> Html:
    """Return the verdict's sentence: by how much, on which ranks."""
    headroom = ledger.headroom_bytes
    spread = max(ledger.high_bytes - ledger.total_bytes, ledger.total_bytes - ledger.low_bytes)
    key = {"fits": "verdict.fits", "does_not_fit": "verdict.no"}.get(ledger.verdict) or (
        "verdict.tight" if headroom >= 0 else "verdict.tight_over"
    )
    said = words(
        key, amount=format_bytes(abs(headroom)), group=words.group(ledger.group), spread=format_bytes(spread)
    )
    sentence = f"{first}{words('clause')}{said}" if first else said
    return el("p", sentence, class_=f"verdict {CLASSES[ledger.verdict]}", data_verdict=ledger.verdict)


def waiting(answer: ServingAnswer, words: Phrases) -> str:
    """Return how much of the load runs at once, where the engine starts and the rest waits."""
    if not waiting_of(answer):
        return ""
    if not answer.at_once:
        return words("waiting.none")
    return words("waiting.some", at_once=f"{answer.at_once:,}", all=f"{answer.request.concurrency:,}")


def serving_question(answer: ServingAnswer, words: Phrases) -> str:
    """Return what was asked, in one line."""
    request, layout, hardware = answer.request, answer.request.layout, answer.hardware
    sizes = zip(("TP", "PP", "DP"), layout[:3], strict=True)
    how = "".join(f", {axis} {size}" for axis, size in sizes if size > 1)
    where = hardware.what if hardware.mixed else f"{layout.num_ranks} × {hardware.card.name}"
    replicas = words("replicas", count=answer.replicas) if answer.replicas > 1 else ""
    return words(
        "question.infer",
        model=answer.model.name,
        billions=f"{billions(answer.model.num_parameters):.1f}",
        stored=request.quantization or answer.model.quantization or request.dtype,
        engine=f"{request.engine} {request.engine_version}",
        load=f"{request.concurrency:,} × {request.context:,}",
        where=f"{where}{how}{replicas}",
    )


def groups_part(ledgers: tuple[Ledger, ...], worst: int, words: Phrases) -> Html:
    """Return a bar and its lines for each group of equal ranks, the worst one first and open."""
    order = sorted(range(len(ledgers)), key=lambda index: index != worst)
    parts = [group_part(ledgers[index], words) for index in order]
    if len(parts) == 1:
        return parts[0]
    others = fold(words("other_groups", count=len(parts) - 1), parts[1:], class_="groups")
    return join((parts[0], others))


def group_part(ledger: Ledger, words: Phrases) -> Html:
    """Return the bar of one group, and its categories, each of which opens."""
    title = words(
        "group.title",
        group=words.group(ledger.group),
        count=f"{ledger.num_ranks:,}",
        total=f"{gib(ledger.total_bytes):.1f}",
        capacity=f"{gib(ledger.capacity_bytes):.1f}",
    )
    sums = [(name, _sums(ledger.lines, name)) for name in CATEGORIES]
    shown = [(name, each) for name, each in sums if each is not None]
    parts = [
        BarPart(name, each[0], f"{_category(name, words)}: {gib(each[0]):.2f} GiB") for name, each in shown
    ]
    limit = words("limit", capacity=f"{gib(ledger.capacity_bytes):.2f}")
    bar = stacked_bar(parts, ledger.capacity_bytes, (ledger.low_bytes, ledger.high_bytes), title, limit)
    total = (ledger.total_bytes, ledger.low_bytes, ledger.high_bytes)
    rows = [category_row(name, each, ledger, words) for name, each in shown]
    head = _cells(words("category"), "GiB", words("interval"), words("share"), "head")
    return el(
        "section",
        el("h3", title),
        bar,
        el("p", words("bar_key"), class_="key"),
        el("div", head, rows, _cells(words("total"), *_figures(total, ledger), "total"), class_="ledger"),
        class_="group",
    )


def _category(name: str, words: Phrases) -> str:
    return words.known(f"category.{name}", name)


def _sums(lines: tuple[Line, ...], category: str) -> tuple[int, int, int] | None:
    found = [line for line in lines if line.category == category]
    if not found:
        return None
    return (
        sum(line.bytes for line in found),
        sum(line.low_bytes for line in found),
        sum(line.high_bytes for line in found),
    )


def _figures(sums: tuple[int, int, int], ledger: Ledger) -> tuple[str, str, str]:
    value, low, high = sums
    interval = "" if low == high else f"{gib(low):.2f} – {gib(high):.2f}"
    share = value / ledger.capacity_bytes if ledger.capacity_bytes else 0.0
    return f"{gib(value):.2f}", interval, f"{share:.1%}"


def _cells(name: object, value: str, interval: str, share: str, kind: str) -> Html:
    cells = [el("span", name), el("span", value, class_="num"), el("span", interval, class_="num wide")]
    return el("div", cells, el("span", share, class_="num"), class_=f"row {kind}")


def category_row(name: str, sums: tuple[int, int, int], ledger: Ledger, words: Phrases) -> Html:
    """Return a category, which opens to its lines."""
    lines = [line for line in ledger.lines if line.category == name]
    swatch = join((el("i", class_=f"swatch b-{name}", aria_hidden="true"), _category(name, words)))
    inner = [line_part(line, words) for line in sorted(lines, key=lambda each: -each.bytes)]
    return el(
        "details",
        el("summary", _cells(swatch, *_figures(sums, ledger), "cells")),
        el("ul", inner, class_="lines"),
        class_="category",
    )


def line_part(line: Line, words: Phrases) -> Html:
    """Return a line with its formula, the numbers put in, and its source."""
    spread = (
        ""
        if line.low_bytes == line.high_bytes
        else f" ({gib(line.low_bytes):.3f} – {gib(line.high_bytes):.3f})"
    )
    return el(
        "li",
        el("b", words.line(line.key, line.what)),
        el("span", f"{gib(line.bytes):.3f} GiB{spread}", class_="num"),
        el("span", words(f"kind.{line.kind}"), class_=f"kind k-{line.kind}"),
        el("code", f"= {line.formula}", class_="formula"),
        el("small", words("source", source=line.source), lang="en"),
    )


def cache_part(answer: ServingAnswer, words: Phrases) -> Html:
    """Return what the cache holds, in words."""
    cache, request = answer.kv_cache, answer.request
    lines = [
        words("cache.pool", pool=format_bytes(cache.pool_bytes), needed=format_bytes(cache.needed_bytes)),
        words("cache.tokens", tokens=f"{cache.max_tokens:,}", longest=f"{cache.longest_sequence:,}"),
        words("cache.sequences", count=f"{cache.max_concurrency:,.2f}", length=f"{request.context:,}"),
        words("cache.token", bytes=f"{cache.bytes_per_token:,.10g}", formula=cache.formula),
    ]
    if cache.fixed_bytes_per_sequence:
        lines.append(words("cache.fixed", bytes=format_bytes(cache.fixed_bytes_per_sequence)))
    if answer.ram_bytes:
        lines.append(words("host", bytes=format_bytes(answer.ram_bytes)))
    return el(
        "section",
        el("h3", words("cache.title")),
        el("ul", [el("li", coded(each)) for each in lines]),
        class_="cache",
    )


MORE_CARDS = re.compile(r" on (\d+) cards$")
"""What a change ends in that takes more of the same cards."""


def pairs_of(command: str, flags: str, gpu: str = "") -> list[tuple[str, str]] | None:
    """Return a change as what stands behind the question mark of an address, more of the cards of `gpu`
    included; None where not all of it is flags.

    >>> pairs_of("infer", "--tp 8 --enforce-eager", "h20:8"), pairs_of("infer", "a smaller batch", "h20:8")
    ([('tp', '8'), ('enforce-eager', '')], None)
    >>> pairs_of("infer", "--tp 16 on 16 cards", "h20:8")
    [('gpu', 'h20:16'), ('tp', '16')]
    """
    import shlex

    known, found = by_flag(command), list[tuple[str, str]]()
    if more := MORE_CARDS.search(flags):
        if "+" in gpu:  # several kinds of card in one machine
            return None
        found.append(("gpu", f"{gpu.partition(':')[0]}:{more[1]}"))
        flags = flags[: more.start()]
    words = iter(shlex.split(flags))
    for word in words:
        flag, has_value, text = word.partition("=")
        option = known.get(flag)
        if option is None:
            return None
        value = text if has_value else "" if option.kind == "switch" else next(words, "")
        found.append((option.flag.lstrip("-"), value))
    return found


def changes_part(command: str, gpu: str, changes: Iterable[tuple[str, int]], words: Phrases) -> Html | None:
    """Return what would fit, each applied by a click where flags and more of the same cards do it."""
    items = [
        el("li", change_part(flags, pairs_of(command, flags, gpu), words), " ", _leaves(headroom, words))
        for flags, headroom in changes
    ]
    return el("section", el("h3", words("changes")), el("ul", items), class_="changes") if items else None


def change_part(flags: str, pairs: list[tuple[str, str]] | None, words: Phrases) -> Html:
    """Return a change as a button, or as text."""
    if pairs is None:
        return el("code", words.said(flags))
    return el("button", el("code", words.said(flags)), type="button", data_apply=urlencode(pairs))


def _leaves(headroom: int, words: Phrases) -> str:
    return words("change.leaves", amount=format_bytes(headroom))


def training_part(answer: TrainingAnswer, words: Phrases) -> Html:
    """Return the whole answer of `train`."""
    mesh = answer.mesh
    sizes = zip(("DP", "TP", "PP", "CP", "EP"), (mesh.dp, mesh.tp, mesh.pp, mesh.cp, mesh.ep), strict=True)
    how = "".join(f", {axis} {size}" for axis, size in sizes if size > 1)
    request = answer.request
    question = words(
        "question.train",
        model=answer.model.name,
        billions=f"{billions(answer.model.num_parameters):.1f}",
        method=request.method,
        precision=request.precision,
        optimizer=request.optimizer,
        framework=request.framework,
        load=f"{request.micro_batch:,} × {request.seq_len:,}",
        where=f"{mesh.num_ranks} × {answer.hardware.card.name}{how}",
    )
    return join(
        (
            verdict_part(answer.ledger, words),
            el("p", question, class_="question"),
            groups_part(answer.ledgers, answer.worst_rank, words),
            moments_part(answer, words),
            changes_part(
                "train",
                answer.gpu_word,
                ((each.flags, each.headroom_bytes) for each in answer.changes),
                words,
            ),
            notes(words("notes"), map(words.said, answer.warnings)),
        )
    )


def moments_part(answer: TrainingAnswer, words: Phrases) -> Html:
    """Return the peaks of a step by phase, and how long a step takes."""
    peaks, group = answer.peaks, answer.groups[answer.worst_rank]
    rows = [
        (words(f"peak.{name}"), number(f"{gib(value):.2f}"))
        for name, value in (
            ("steady", group.steady_bytes),
            ("allocated", peaks.allocated_bytes),
            ("reserved", peaks.reserved_bytes),
            ("device", peaks.device_bytes),
        )
    ]
    said = [words("peak.when", phase=words.known(f"phase.{peaks.phase}", peaks.phase))]
    speed, _ = answer.speed
    if speed is not None:
        step, rate = speed.step_s, speed.tokens_per_s
        band = f"{seconds(step.low)} – {seconds(step.high)}"
        said.append(words("step", step=seconds(step.value), band=band, rate=rate_of(rate.value)))
    said.append(words("disk", bytes=format_bytes(answer.disk_bytes)))
    return el(
        "section",
        el("h3", words("peak.title")),
        table((words("peak.moment"), "GiB"), rows, words("peak.title")),
        el("ul", [el("li", each) for each in said]),
    )
