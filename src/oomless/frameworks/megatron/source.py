"""Megatron arguments as people have them: a shell line or script, the JSON of a run, YAML of key: value."""

import json
import re
import shlex
from typing import Any

from ...errors import OomlessError

Value = str | int | float | bool | list[Any]
MAX_TEXT = 1 << 20
ENVIRONMENT = ("CUDA_", "CUBLAS_", "NVTE_", "NCCL_", "PYTORCH_", "TORCH_")
"""How the names of variables begin that a script sets for the run."""


def read_text(text: str, where: str) -> dict[str, Value]:
    """The arguments in a text of any of the three kinds, under their names without dashes.

    >>> read_text("--num-layers 12 --bf16", "a line")
    {'num-layers': 12, 'bf16': True}
    >>> read_text('{"--num-layers": 12}', "JSON"), read_text("num_layers: 12\\nbf16: true", "YAML")
    ({'num-layers': 12}, {'num-layers': 12, 'bf16': True})
    """
    if len(text) > MAX_TEXT:
        raise OomlessError(
            f"{where}: too long for an argument list", "give the file with the arguments alone"
        )
    if text.lstrip().startswith("{"):
        return _json(text, where)
    if re.search(r"(^|\s)--[A-Za-z]", text) and not re.search(r"^\s*-{0,2}[\w-]+:(\s|$)", text, re.MULTILINE):
        return _shell(text, where)
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
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OomlessError(f"{where}: no JSON object ({error})", "give one object of arguments") from None
    inner = record.get("args", record) if isinstance(record, dict) else None
    if not isinstance(inner, dict):
        raise OomlessError(f"{where}: no arguments found", 'give an object such as {"--num-layers": 12}')
    env = record.get("env")
    found = {**(env if isinstance(env, dict) else {}), **named(inner, where)}
    for name in ("padded_vocab_size",):
        if inner is not record and isinstance(record.get(name), int):
            found.setdefault(name.replace("_", "-"), record[name])
    return found


def _shell(text: str, where: str) -> dict[str, Value]:
    joined = re.sub(r"\\\r?\n", " ", text)
    variables: dict[str, str] = {}
    for line in joined.splitlines():
        match = re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(\S+)\s*$", line)
        if match:
            variables[match[1]] = DEFAULTED.sub(lambda m: variables.get(m[1], m[2]), match[2]).strip("\"'")
    joined = DEFAULTED.sub(lambda m: variables.get(m[1], m[2]), joined)
    joined = re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda m: variables.get(m[1], m[0]), joined)
    try:
        words = shlex.split(joined, comments=True)
    except ValueError as error:
        raise OomlessError(f"{where}: cannot be split into words ({error})", "check the quotes") from None
    words = [each for word in words for each in _inside(word)]
    found: dict[str, Value] = {}
    name = ""
    for word in words:
        if (setting := re.fullmatch(r"([A-Z][A-Z0-9_]+)=([^\s()]+)", word)) is not None and setting[
            1
        ].startswith(ENVIRONMENT):
            found[setting[1]] = setting[2]
            continue
        if re.fullmatch(r"\$\{?\w+(\[[@*]\])?\}?", word):
            continue
        if word.endswith(".py"):
            name = ""
            script = re.search(r"pretrain_(gpt|bert|t5|hybrid|mamba)\.py$", word)
            if script:
                found["model-family"] = script[1].replace("mamba", "hybrid")
        elif word.startswith("--"):
            name, _, value = word[2:].partition("=")
            name = name.replace("_", "-")
            found[name] = _scalar(value) if value else True
        elif name and word not in ("(", ")", ";", "&&"):
            old = found[name]
            new = _scalar(word.rstrip(")") if word.endswith(")") and "(" not in word else word)
            found[name] = new if old is True else [*old, new] if isinstance(old, list) else [old, new]
        else:
            name = ""
    return found


DEFAULTED = re.compile(r"\$\{([A-Za-z_]\w*):?[-=]([^${}]*)\}")
"""${TP:-4}: a variable, and what it is where nobody sets it."""


def _inside(word: str) -> list[str]:
    """The arguments of a quoted list that a script gives a name: GPT_ARGS="--num-layers 24 --bf16"."""
    match = re.fullmatch(r"[A-Za-z_]\w*\+?=(\s*--.*)", word, re.DOTALL)
    return [*match[1].split(), ";"] if match else [word]


def _yaml(text: str, where: str) -> dict[str, Value]:
    """The subset of YAML that argument files use: `key: value` at any depth, lists in brackets or behind
    dashes; block texts are passed over.

    Where a file has a section MODEL_ARGS, that and ENV_VARS are all that is read.
    """
    found: dict[str, Value] = {}
    sections = "MODEL_ARGS:" in text
    section, key, skip = "", "", -1
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"(^|\s)#.*", "", line).rstrip()
        indent = len(bare) - len(bare.lstrip())
        if not bare.strip() or bare.strip() == "---" or 0 <= skip < indent:
            continue
        skip = -1
        if re.match(r"-\s", bare.lstrip()):
            old = found.get(key)
            if key and isinstance(old, list):
                old.append(_scalar(bare.lstrip()[1:].strip()))
            continue
        if key and found.get(key) == [] and re.fullmatch(r"[\w.]+", bare.strip()):
            found[key] = _scalar(bare.strip())
            continue
        name, colon, value = bare.strip().partition(":")
        if not colon or (value and not value[0].isspace()):
            raise OomlessError(
                f"{where}: line {number} is no `key: value`", "give a shell line, JSON, or YAML of key: value"
            )
        section = name if not indent else section
        value = value.strip()
        if value[:1] in ("|", ">"):
            skip = indent
        elif not sections or (indent and section in ("MODEL_ARGS", "ENV_VARS")):
            key = name.strip().strip("\"'").lstrip("-")
            key = key if key.isupper() else key.replace("_", "-")
            read = _scalar(value) if value else []
            if read not in ("null", "~"):
                found[key] = read
        else:
            key = ""
    found = {name: value for name, value in found.items() if value != []}
    if not found:
        raise OomlessError(f"{where}: no arguments found", "give a shell line, JSON, or YAML of key: value")
    return found


def _scalar(text: str) -> Value:
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        return bare[1:-1]
    if bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    if bare.startswith("[") and bare.endswith("]") and "*" not in bare:
        return [_scalar(part) for part in re.split(r"[,\s]+", bare[1:-1]) if part]
    for kind in (int, float):
        try:
            return kind(bare)
        except ValueError:
            continue
    return bare
