"""Fits? and Train? as parts of the page: the verdict, a bar for each group of ranks, the capacity in words,
what would fit, and every line with formula and source."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ...api.screen import rate_of, seconds
from ...ledger import CATEGORIES, Ledger, Line, Verdict
from ...run.options import by_flag
from ...units import format_bytes, gib
from ..chart.bars import stacked_bar
from ..language import Phrases
from .html import Html, coded, el, fold, join, notes, number, table
from .nearest import nearest_part
from .sentences import (
    category_word,
    group_title,
    part_of,
    serving_question,
    training_question,
    verdict_sentence,
    waiting,
)

if TYPE_CHECKING:
    from ...api.serving import ServingAnswer
    from ...api.training_answer import TrainingAnswer

CLASSES: dict[Verdict, str] = {"fits": "fits", "tight": "tight", "does_not_fit": "no"}


def serving_part(answer: "ServingAnswer", words: Phrases) -> Html:
    """Return the whole answer of `infer`."""
    return join(
        (
            verdict_part(answer.ledger, words, waiting(answer, words)),
            el("p", serving_question(answer, words), class_="question"),
            groups_part(answer.ledgers, answer.worst_rank, words),
            cache_part(answer, words),
            place_of_changes(answer.ledger, words),
            nearest_part(answer, words),
            notes(words("notes"), map(words.said, answer.warnings)),
        )
    )


def verdict_part(ledger: Ledger, words: Phrases, first: str = "") -> Html:
    """Return the verdict's sentence in its colour."""
    sentence = verdict_sentence(ledger, words, first)
    return el("p", sentence, class_=f"verdict {CLASSES[ledger.verdict]}", data_verdict=ledger.verdict)


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
    title = group_title(ledger, ledger.total_bytes, words)
    sums = [(name, _sums(ledger.lines, name)) for name in CATEGORIES]
    shown = [(name, each) for name, each in sums if each is not None]
    parts = [part_of(name, each[0], words) for name, each in shown]
    limit = words("limit", capacity=f"{gib(ledger.capacity_bytes):.2f}")
    interval = gib(ledger.low_bytes), gib(ledger.high_bytes)
    bar = stacked_bar(parts, gib(ledger.capacity_bytes), interval, title, limit)
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
    swatch = join((el("i", class_=f"swatch b-{name}", aria_hidden="true"), category_word(name, words)))
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


def cache_part(answer: "ServingAnswer", words: Phrases) -> Html:
    """Return what the cache holds, in words."""
    cache, request = answer.kv_cache, answer.request
    lines = [
        words("cache.pool", pool=format_bytes(cache.pool_bytes), needed=format_bytes(cache.needed_bytes)),
        words("cache.tokens", tokens=f"{cache.max_tokens:,}", longest=f"{cache.longest_sequence:,}"),
        words("cache.sequences", count=f"{cache.max_concurrency:,.2f}", length=f"{request.context:,}"),
        words("cache.token", bytes=f"{cache.bytes_per_token:,.10g}", formula=words.said(cache.formula)),
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


def place_of_changes(ledger: Ledger, words: Phrases) -> Html | None:
    """Return where what would fit will stand: it takes a search, and the answer does not wait for it."""
    if ledger.verdict == "fits":
        return None
    return el("div", el("p", words("changes.searched"), class_="key"), data_later=True, aria_busy="true")


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


def training_part(answer: "TrainingAnswer", words: Phrases) -> Html:
    """Return the whole answer of `train`."""
    return join(
        (
            verdict_part(answer.ledger, words),
            el("p", training_question(answer, words), class_="question"),
            groups_part(answer.ledgers, answer.worst_rank, words),
            moments_part(answer, words),
            place_of_changes(answer.ledger, words),
            notes(words("notes"), map(words.said, answer.warnings)),
        )
    )


def moments_part(answer: "TrainingAnswer", words: Phrases) -> Html:
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
