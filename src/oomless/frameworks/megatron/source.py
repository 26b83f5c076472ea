"""Megatron arguments as people have them: a shell line or script, the JSON of a run, YAML of key: value."""

import re
from collections.abc import Iterator
from typing import Any

from ...errors import OomlessError
from ...limits import ARGUMENTS, RUN_FILE, need_bytes, parse_json, parse_yaml
from .argument_reader import Value, scalar
from .shell import read_shell


def read_text(text: str, where: str) -> dict[str, Value]:
    """The arguments in a text of any of the three kinds, under their names without dashes.

    >>> read_text("--num-layers 12 --bf16", "a line")
    {'num-layers': 12, 'bf16': True}
    >>> read_text('{"--num-layers": 12}', "JSON"), read_text("num_layers: 12\\nbf16: true", "YAML")
    ({'num-layers': 12}, {'num-layers': 12, 'bf16': True})
    """
    need_bytes(text, where, ARGUMENTS, "give the file with the arguments alone")
    if text.lstrip().startswith("{"):
        return _json(text, where)
    if re.search(r"(^|\s)--[A-Za-z]", text) and not re.search(r"^\s*-{0,2}[\w-]+:(\s|$)", text, re.MULTILINE):
        return read_shell(text, where)
    return _yaml(text, where)


def environment(given: dict[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Arguments, and the environment variables that stand among them.

    >>> environment({"num-layers": 12, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"})
    ({'num-layers': 12}, {'CUBLAS_WORKSPACE_CONFIG': ':4096:8'})
    """
    names = {name for name in given if re.fullmatch(r"[A-Z][A-Z0-9_]*", name)}
    return {k: v for k, v in given.items() if k not in names}, {k: v for k, v in given.items() if k in names}


def named(raw: dict[str, Any], where: str) -> dict[str, Value]:
    """The same arguments with names as Megatron's help writes them: dashes inside, none before."""
    found: dict[str, Value] = {}
    for key, value in raw.items():
        if value is None:
            continue
        if isinstance(value, dict):
            raise OomlessError(
                f"{where}: {key} is a mapping", "an argument has a value, a list of values, or true"
            )
        found[key if str(key).isupper() else str(key).lstrip("-").replace("_", "-")] = value
    return found


def _json(text: str, where: str) -> dict[str, Value]:
    record = parse_json(text, where, ARGUMENTS)
    inner = record.get("args", record) if isinstance(record, dict) else None
    if not isinstance(inner, dict):
        raise OomlessError(f"{where}: no arguments found", 'give an object such as {"--num-layers": 12}')
    env = record.get("env")
    found = {**(env if isinstance(env, dict) else {}), **named(inner, where)}
    for name in ("padded_vocab_size",):
        if inner is not record and isinstance(record.get(name), int):
            found.setdefault(name.replace("_", "-"), record[name])
    return found


def _yaml(text: str, where: str) -> dict[str, Value]:
    """Arguments of a YAML file: `key: value` at any depth, and lists. Texts of several lines (scripts) are
    passed over; where a file has a section MODEL_ARGS, that and ENV_VARS are all that is read."""
    document = parse_yaml(text.encode(), where, RUN_FILE, texts=True)
    if not isinstance(document, dict):
        raise OomlessError(f"{where}: no arguments found", "give a shell line, JSON, or YAML of key: value")
    sections = [document[name] for name in ("ENV_VARS", "MODEL_ARGS") if isinstance(document.get(name), dict)]
    found: dict[str, Value] = {}
    for section in sections if "MODEL_ARGS" in document else [document]:
        for key, value in _pairs(section):
            read = [scalar(str(each)) for each in value] if isinstance(value, list) else scalar(value)
            if read not in ([], "", "null", "~"):
                name = key.lstrip("-")
                found[name if name.isupper() else name.replace("_", "-")] = read
    if not found:
        raise OomlessError(f"{where}: no arguments found", "give a shell line, JSON, or YAML of key: value")
    return found


def _pairs(section: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield keys and values of a mapping and of those inside of it, but for texts of several lines."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _pairs(value)
        elif isinstance(value, list) or "\n" not in str(value):
            yield str(key), value if isinstance(value, list) else str(value)
