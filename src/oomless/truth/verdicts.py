"""Verdict tables: cases that ran or ran out of memory, each beside the verdict on the same question."""

import shlex
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from .. import limits
from ..errors import OomlessError
from ..files import read_whole_text, shown
from ..frameworks import framework, names
from ..frameworks.releases import on_day
from ..frameworks.training_command import megatron_script
from ..run.training import TrainingAsked

VERDICT_COLUMNS = ("id", "kind", "outcome", "args")
"""What a case cannot lack; source, oom_when, confidence, verbatim and note are for readers. Of a case of
training that names no release, the date says which ones there were."""
KINDS = {"serve": "infer", "train": "train"}
"""Each kind of case, and the command that its arguments ask."""
OUTCOMES = ("ran", "oom")
NOT_ASKED = ("--plot", "--explain", "--compare", "--from", "--strict")
"""Options that write a file, read another answer or ask several questions: a case is one question."""

Status = Literal["scored", "unsupported", "incomplete", "unreadable"]


class VerdictCase(NamedTuple):
    """Somebody's setting, and whether it ran."""

    id: str
    kind: str
    outcome: str
    arguments: tuple[str, ...]
    """The command and its options, as on the command line."""
    confidence: str = ""
    fault: str = ""
    """Why the row cannot be read; "" if it can. A bad row is a row: it never loses its table."""


class JudgedCase(NamedTuple):
    """A case beside our verdict; bytes are those of the answer, None where there is none."""

    id: str
    outcome: str
    verdict: str | None
    status: Status
    reason: str
    headroom_bytes: int | None = None
    low_bytes: int | None = None
    high_bytes: int | None = None
    capacity_bytes: int | None = None


class VerdictSummary(NamedTuple):
    """The cases of one kind. Firm is "fits" or "does not fit"; the width is (high - low) / capacity."""

    num_rows: int
    num_firm: int
    num_right: int
    wrong_fits: tuple[str, ...]
    wrong_does_not_fit: tuple[str, ...]
    num_tight: int
    num_none: int
    median_width: float | None


Ask = Callable[[list[str]], dict[str, Any]]
"""The command line: from arguments to the JSON of the answer. What it refuses, it raises."""


def is_verdict_table(path: Path) -> bool:
    """Return whether a file has the columns of cases, by its first line."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        columns, _ = limits.read_table(file.readline(limits.TABLE.cell), str(path), limits.TABLE)
    return {*VERDICT_COLUMNS} <= {*columns}


def read_cases(path: Path) -> list[VerdictCase]:
    """Return the cases of a CSV table."""
    text = read_whole_text(path, limits.TABLE.num_bytes, "give a table of cases as CSV; split a larger one")
    _, rows = limits.read_table(text, str(path), limits.TABLE)
    return [_case(row) for row in rows]


def _case(row: limits.TableRow) -> VerdictCase:
    cells = row.cells
    kind, outcome, fault = cells.get("kind", ""), cells.get("outcome", ""), row.fault
    arguments: tuple[str, ...] = ()
    try:
        arguments = tuple(shlex.split(cells.get("args", "")))
    except ValueError as error:
        fault = fault or f"has args that are no command line ({error})"
    options = {word.partition("=")[0] for word in arguments}
    if not fault and kind not in KINDS:
        fault = f"has kind {shown(kind)}, not {' or '.join(KINDS)}"
    if not fault and outcome not in OUTCOMES:
        fault = f"has outcome {shown(outcome)}, not {' or '.join(OUTCOMES)}"
    if not fault and arguments[:1] != (KINDS[kind],):
        fault = f"has args that do not begin with {KINDS[kind]}"
    if not fault and (named := sorted(options & {*NOT_ASKED})):
        fault = f"has {', '.join(named)}, which is no part of a question"
    if not fault and kind == "train":
        arguments = of_its_day(arguments, cells.get("date", ""))
    return VerdictCase(
        cells.get("id") or f"line {row.line}",
        kind if kind in KINDS else "serve",
        outcome,
        arguments,
        cells.get("confidence", ""),
        fault and f"line {row.line} {fault}",
    )


def of_its_day(arguments: tuple[str, ...], day: str) -> tuple[str, ...]:
    """Return a question about training with the releases of its day where it names none: what somebody met
    is no question about releases that came later.

    >>> of_its_day(("train", "qwen3-8b", "--framework", "peft"), "2024-12-05")[-1].split(", ")[:3]
    ['transformers 4.47', 'deepspeed 0.16.0', 'torch 2.5']
    >>> of_its_day(("train", "qwen3-8b", "--framework", "torchtune"), "2024-12-05")
    ('train', 'qwen3-8b', '--framework', 'torchtune')
    >>> of_its_day(("train", "--command", "torchrun pretrain_gpt.py --num-layers 2"), "2024-12-05")
    ('train', '--command', 'torchrun pretrain_gpt.py --num-layers 2')
    """
    name = value_of("--framework", arguments) or TrainingAsked().framework
    if name not in names() or is_of_megatron(arguments):
        return arguments
    said = value_of("--framework-version", arguments)
    read = names() if "--command" in arguments else (name,)  # a command names its framework itself
    packages = tuple(dict.fromkeys(package for each in read for package in framework(each).packages))
    version = on_day(name, packages, said or "", day)
    if not version or version == said:
        return arguments
    at = len(arguments) if said is None else arguments.index("--framework-version")
    return (*arguments[:at], *arguments[at + 2 :], "--framework-version", version)


def is_of_megatron(arguments: tuple[str, ...]) -> bool:
    """Return whether Megatron-LM's own arguments say all that is asked.

    >>> asked = ("train", "--command", "trl sft 'unfinished"), ("train", "--megatron-args", "file")
    >>> [is_of_megatron(each) for each in asked]
    [False, True]
    """
    try:
        return "--megatron-args" in arguments or bool(megatron_script(value_of("--command", arguments) or ""))
    except OomlessError:  # what cannot be read is said by the question
        return False


def value_of(flag: str, arguments: tuple[str, ...]) -> str | None:
    """Return what follows a flag."""
    return next((value for word, value in pairwise(arguments) if word == flag), None)


def judge(case: VerdictCase, ask: Ask) -> JudgedCase:
    """Return a case with the verdict on its arguments; the outcome is put beside it afterwards. What cannot
    be read or answered is said; no case loses its table."""
    if case.fault:
        return _without(case, "unreadable", case.fault)
    try:
        return judged(case, ask(list(case.arguments)))
    except OomlessError as error:
        status: Status = "unsupported" if error.code == UNSUPPORTED else "incomplete"
        return _without(case, status, error.message)
    except Exception as error:  # a defect of ours, but the other cases are still worth their answer
        return _without(case, "unreadable", f"internal error: {type(error).__name__}: {error}")


UNSUPPORTED = 4
"""The exit code of what an engine, a card or this project cannot run."""


def judged(case: VerdictCase, answer: dict[str, Any]) -> JudgedCase:
    """Return a case beside an answer: the verdict, and the bytes of the worst rank."""
    worst = answer["ranks"][answer["worst_rank"]]
    width = worst["low_bytes"], worst["high_bytes"], worst["capacity_bytes"]
    return JudgedCase(
        case.id, case.outcome, answer["verdict"], "scored", "", answer["headroom_bytes"], *width
    )


def _without(case: VerdictCase, status: Status, reason: str) -> JudgedCase:
    return JudgedCase(case.id, case.outcome, None, status, shown(reason, 300))


def judge_table(path: Path, ask: Ask, confidence: str | None = None) -> Iterator[tuple[str, JudgedCase]]:
    """Give (kind, judged case) of each case of a table, or of those of one confidence."""
    for case in read_cases(path):
        if confidence is None or case.confidence == confidence:
            yield case.kind, judge(case, ask)


def summarize_verdicts(cases: list[tuple[str, JudgedCase]]) -> dict[str, VerdictSummary]:
    """Return how the cases of each kind fared.

    >>> oom = JudgedCase("v-1", "oom", "fits", "scored", "", 2, 7, 9, 10)
    >>> summarize_verdicts([("serve", oom)])["serve"].wrong_fits
    ('v-1',)
    """
    found = {}
    for kind in dict.fromkeys(kind for kind, _ in cases):
        mine = [case for each, case in cases if each == kind]
        firm = [case for case in mine if case.verdict in ("fits", "does_not_fit")]
        right = [case for case in firm if (case.verdict == "fits") == (case.outcome == "ran")]
        wrong = [case for case in firm if case not in right]
        found[kind] = VerdictSummary(
            len(mine),
            len(firm),
            len(right),
            tuple(case.id for case in wrong if case.verdict == "fits"),
            tuple(case.id for case in wrong if case.verdict != "fits"),
            sum(case.verdict == "tight" for case in mine),
            sum(case.verdict is None for case in mine),
            median(widths) if (widths := [*map(_width, filter(_has_width, mine))]) else None,
        )
    return found


def _has_width(case: JudgedCase) -> bool:
    return bool(case.capacity_bytes)


def _width(case: JudgedCase) -> float:
    return ((case.high_bytes or 0) - (case.low_bytes or 0)) / (case.capacity_bytes or 1)


def verdicts_json(cases: list[tuple[str, JudgedCase]]) -> dict[str, Any]:
    """Return the document of `validate --json` on a table of cases."""
    return {
        "schema": "oomless/verdicts/1",
        "rows": [case._asdict() for _, case in cases],
        "summary": {kind: numbers._asdict() for kind, numbers in summarize_verdicts(cases).items()},
    }
