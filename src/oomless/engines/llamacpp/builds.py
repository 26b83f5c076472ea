"""When a build was made: llama.cpp counts its builds, Ollama its releases, and rules here go by the day."""

import re
from datetime import date
from functools import cache

from ... import facts
from ...errors import UsageError

COUNTED = r"(?!20\d\d$)b?(\d{1,6})\b(?!\.).*"
NUMBERED = {
    "llamacpp": (COUNTED, "write its build or its month: b5200, 2025-04"),
    "ik-llamacpp": (COUNTED, "write its build or its month: 3860, 2025-08"),
    "ollama": (r"v?(\d{1,3}(?:\.\d{1,3}){1,2})\b.*", "write its release or its month: 0.6.2, 2025-03"),
}
"""How each program counts, and how a build of it is written; ik_llama.cpp counts its own commits, from those
that it began with on."""


@cache
def dated(engine: str, text: str) -> str:
    """Return the day or the month of the build that a question names.

    >>> dated("llamacpp", "2026-08"), dated("llamacpp", "b5200"), dated("ollama", "0.5.7")
    ('2026-08', '2025-04-22', '2025-01-16')
    """
    if re.fullmatch(r"20\d\d-\d\d(-\d\d)?", text):
        return text
    found = build_day(engine, text)
    if found is None:
        raise UsageError(
            f"--engine-version {text!r} is no build of {engine} that is known", NUMBERED[engine][1]
        )
    return found


def build_day(engine: str, text: str) -> str | None:
    """Return the day of a numbered build: of a release of Ollama that of the last one known up to it; of
    llama.cpp and ik_llama.cpp, which make some a day, the day between the known ones. None: it has no number,
    or is older than all that are known.

    >>> build_day("llamacpp", "8054 (01d8eaa28)"), build_day("llamacpp", "b8054-01d8eaa28")
    ('2026-02-15', '2026-02-15')
    >>> build_day("llamacpp", "0.19.0"), build_day("ollama", "0.0.0"), build_day("ollama", "v0.12.6-rocm")
    (None, None, '2025-10-16')
    >>> build_day("ik-llamacpp", "3860 (0cc32ff0)")
    '2025-08-26'
    """
    found = re.fullmatch(NUMBERED[engine][0], text) if engine in NUMBERED else None
    if found is None:
        return None
    number = _number(found[1])
    known = [
        (_number(row["build"]), date.fromisoformat(row["date"]))
        for row in facts.table("llamacpp_builds")
        if row["program"] == engine
    ]
    before = [each for each in known if each[0] <= number]
    if not before:
        return None
    (first, day), after = before[-1], known[len(before) :]
    if len(number) > 1 or not after:
        return day.isoformat()
    (last, until), *_ = after
    return (day + (until - day) * ((number[0] - first[0]) / (last[0] - first[0]))).isoformat()


def _number(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
