"""My log as a part of the page: what happened, predicted beside measured, and what would have fitted."""

import shlex
from collections.abc import Mapping
from urllib.parse import urlencode

from ...ledger import Compared
from ...truth.reconcile.explain import Explanation
from ...truth.reconcile.reconciled import Reconciled, ReconciledRun
from ...units import format_bytes
from ..language import Phrases
from .estimate import pairs_of
from .html import Html, el, fold, join, number, table
from .sentences import category_word

CLASSES = {"started": "fits", "oom": "no", "failed": "no", "cut_off": "tight"}


def reconciled_part(found: Reconciled, words: Phrases) -> Html:
    """Return every run, one under the other, and the row that others may use."""
    runs = [run_part(each, words) for each in found.runs]
    snapshots = [
        el("p", f"{each.name}: {format_bytes(each.snapshot.reserved_bytes)} {words('log.reserved')}")
        for each in found.snapshots
    ]
    return join((runs, snapshots, row_part(found, words)))


def run_part(each: ReconciledRun, words: Phrases) -> Html:
    """Return one run."""
    facts = each.facts
    engine = " ".join(str(facts[word]) for word in ("engine", "engine_version") if word in facts)
    model = words("log.with", model=facts["model"]) if "model" in facts else ""
    far = [abs(row.error) for row in each.rows if row.error is not None and row.key != "runtime.cuda_graphs"]
    apart = words("log.apart", share=f"{100 * max(far):.1f}") if far else ""
    state = words(f"log.{each.state}")
    return el(
        "section",
        el("p", f"{engine}{model}{words('colon')}{state}{apart}", class_=f"verdict {CLASSES[each.state]}"),
        compared(each.rows, words) if each.rows else None,
        explanation(each.explanation, words) if each.explanation else None,
        missing(each, words),
        facts_part(facts, words),
    )


def compared(rows: tuple[Compared, ...], words: Phrases) -> Html:
    """Return predicted beside measured."""
    names = ["line", "predicted", "interval", "measured", "difference", "reason"]
    width = len(names) if any(row.reason for row in rows) else len(names) - 1
    heads = [words(f"log.{name}") for name in names[:width]]
    return table(heads, [_cells(row, words)[:width] for row in rows], words("log.table"))


QUANTITIES = {
    "kv_cache.pool": "kv_bytes_per_gpu",
    "kv_tokens": "kv_tokens",
    "runtime.cuda_graphs": "cuda_graph",
    "runtime.non_torch": "non_torch",
    "activations.profile_run": "activation_peak",
}
"""Lines that a log has too -> what the tables of measured rows call them."""


def line_word(row: Compared, words: Phrases) -> str:
    """Return what a line of a comparison is called: a part of memory, or the whole of a category."""
    if row.key in QUANTITIES:
        return words(f"quantity.{QUANTITIES[row.key]}")
    return words.line(row.key, category_word(row.key, words))


def _cells(row: Compared, words: Phrases) -> list[object]:
    both = row.predicted is not None and row.measured is not None
    interval = (
        "" if row.low is None or row.high is None else f"{_size(row.low, row)} – {_size(row.high, row)}"
    )
    return [
        line_word(row, words),
        number("–" if row.predicted is None else _size(row.predicted, row)),
        number(interval),
        number("–" if row.measured is None else _size(row.measured, row)),
        number(_size(row.difference, row) if both else ""),
        el("td", words.said(row.reason), class_="wrap"),
    ]


def _size(value: float, row: Compared) -> str:
    return f"{value:,.0f}" if row.unit != "B" else format_bytes(round(value))


def explanation(found: Explanation, words: Phrases) -> Html:
    """Return why it died, and what would have fitted."""
    said = []
    oom = found.oom
    if oom is not None and oom.tried_bytes is not None:
        said.append(words("log.asked", bytes=format_bytes(oom.tried_bytes), where=oom.source))
    if found.needed_bytes is not None and found.pool_bytes is not None:
        needed, there = format_bytes(found.needed_bytes), format_bytes(found.pool_bytes)
        said.append(words("log.needed", needed=needed, there=there))
    held = ", ".join(f"{name} {format_bytes(size)}" for name, size in found.held)
    said += [words("log.held", held=held)] if held else []
    said += [words("log.fragmentation")] if found.fragmentation else []
    advice = [
        el(
            "li",
            el("code", each.flags),
            " ",
            words("change.logged")
            if each.headroom_bytes is None
            else words("change.leaves", amount=format_bytes(each.headroom_bytes)),
        )
        for each in found.advice
    ]
    would = (el("h3", words("changes")), el("ul", advice)) if advice else ()
    return join((el("ul", [el("li", each) for each in said]), would))


ASKED = {"gpu": "card", "model": "model"}
"""What a log may not state -> the label of its field."""


def missing(each: ReconciledRun, words: Phrases) -> Html | None:
    """Return what keeps a run from being predicted, or the same question for the page."""
    if each.command:
        first, *rest = each.command[1:] if each.command[0] == "infer" else each.command
        pairs = [("model", first), *(pairs_of("infer", shlex.join(rest)) or ())]
        return el("p", el("a", words("plan.open"), href=f"#infer?{urlencode(pairs)}"))
    lacks = [words(ASKED[name]) if name in ASKED else name for name in each.asked.missing]
    said = [words("log.missing", what=", ".join(lacks))] if lacks else []
    said += [words.said(each.comparison.problem)] if each.comparison.problem else []
    return join(el("p", text, class_="key") for text in said)


def facts_part(facts: Mapping[str, object], words: Phrases) -> Html:
    """Return every fact that the log states."""
    rows = [
        (el("code", name), f"{value:,}" if type(value) is int else str(value))
        for name, value in facts.items()
    ]
    return fold(words("log.facts", count=len(rows)), table((words("log.word"), words("speed.value")), rows))


def row_part(found: Reconciled, words: Phrases) -> Html | None:
    """Return the measured rows without users, hosts and paths, to be saved and sent."""
    import csv
    from io import StringIO

    rows = found.measured_rows()
    if not rows:
        return None
    out = StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    name = "measured.csv"
    return fold(
        words("log.row"),
        el("pre", out.getvalue(), data_name=name, tabindex="0"),
        el("button", words("save"), type="button", class_="save", data_name=name),
    )
