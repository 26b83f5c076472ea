"""A real command line of an engine -> what it asks: flags that touch memory are read, the others are listed.

facts/engine_flags.csv knows each flag: the field that it sets, or none if it cannot change memory. A flag that is not in the
table is not guessed at: it is named, since it might.
"""

import re
import shlex
from typing import Any, NamedTuple

from .. import facts
from ..errors import UsageError

STARTS: tuple[tuple[str, str], ...] = (
    (r"vllm serve", "vllm"),
    (r"\S*python\S* -m vllm\.entrypoints\.\S+", "vllm"),
)
"""How a command begins, and the engine that it starts."""

THOUSANDS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
"""Suffixes of whole numbers as vLLM reads them: 32k is 32,000 and 32K is 32,768."""


class Command(NamedTuple):
    """What a command line asks for."""

    engine: str
    model: str | None
    flags: dict[str, Any]
    ignored: tuple[str, ...]
    """Flags that cannot change memory."""
    unknown: tuple[str, ...]
    """Flags that nothing is known about."""


def read_command(text: str) -> Command:
    """The question that a command line puts.

    >>> found = read_command("VLLM_USE_V1=1 vllm serve deepseek-ai/DeepSeek-R1 -tp 8 --max-model-len 32k --port 8000")
    >>> found.model, found.flags, found.ignored
    ('deepseek-ai/DeepSeek-R1', {'tp': 8, 'max_model_len': 32000}, ('--port 8000',))
    """
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError as error:
        raise UsageError(f"--command: {error}", "quote the command as the shell takes it") from None
    while words and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", words[0]):
        words.pop(0)  # variables of the environment come before the program
    line = " ".join(words)
    for pattern, engine in STARTS:
        if found := re.match(pattern + r"(?:\s|$)", line):
            return _read(engine, words[len(found.group().split()) :])
    known = "write it as `vllm serve MODEL ...` or `python -m vllm.entrypoints.openai.api_server --model MODEL ...`"
    raise UsageError(f"--command: {line[:60]!r} starts no engine that is known here", known)


def _read(engine: str, words: list[str]) -> Command:
    rows = {row["flag"]: row for row in facts.table("engine_flags") if row["engine"] == engine}
    flags: dict[str, Any] = {}
    ignored: list[str] = []
    unknown: list[str] = []
    model: str | None = None
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-"):
            if model is None:
                model = word
            else:
                unknown.append(word)
            continue
        name, has_value, value = word.partition("=")
        row = rows.get(name if name in rows else name.replace("_", "-"))
        takes_next = not has_value and position < len(words) and not words[position].startswith("-")
        if row is None:
            if takes_next and model is not None:
                word += f" {words[position]}"
                position += 1
            unknown.append(word)
            continue
        if row["takes"] == "switch":
            if row["field"]:
                flags[row["field"]] = True
            else:
                ignored.append(word)
            continue
        if not has_value:
            if position == len(words):
                raise UsageError(f"--command: {name} has no value", "the command is cut off")
            value = words[position]
            position += 1
        if not row["field"]:
            ignored.append(f"{name} {value}")
        elif row["field"] == "model":
            model = value
        else:
            flags[row["field"]] = _value(name, value, row["takes"])
    return Command(engine, model, flags, tuple(ignored), tuple(unknown))


def _value(name: str, text: str, takes: str) -> Any:
    if takes == "value":
        return text
    try:
        if takes == "share":
            return float(text)
        if text[-1:] in THOUSANDS:
            return int(float(text[:-1]) * THOUSANDS[text[-1]])
        return int(text)
    except (ValueError, OverflowError):
        raise UsageError(f"--command: {name} {text!r} is no number", "write it as the engine takes it") from None
