"""A real command line of an engine -> what it asks: flags that touch memory are read, the others are listed.

facts/engine_flags.csv knows each flag: the field that it sets, or none if it cannot change memory. A flag
that is not in the table is not guessed at: it is named, since it might.
"""

import json
import re
import shlex
from typing import Any, NamedTuple

from .. import facts
from ..errors import UsageError
from ..units import GB, GIB, KB, KIB, MB, MIB

STARTS: tuple[tuple[str, str], ...] = (
    (r"(\S*/)?vllm serve", "vllm"),
    (r"\S*python\S* -m vllm\.entrypoints\.\S+", "vllm"),
    (r"(\S*/)?vllm/vllm-openai(:\S+)?", "vllm"),
    (r"(\S*/)?sglang serve", "sglang"),
    (r"\S*python\S* -m sglang\.launch_server", "sglang"),
    (r"(\S*/)?llama-(server|cli)(\.exe)?", "llamacpp"),
    (r"(\S*/)?trtllm-serve( serve)?", "trtllm"),
)
"""How a command begins, and the engine that it starts; a container image that starts one counts as its
command."""

SUFFIXES = {
    "vllm": {"k": KB, "m": MB, "g": GB, "K": KIB, "M": MIB, "G": GIB},
    "sglang": {"k": KB, "K": KB, "M": MB, "G": GB, "Ki": KIB, "Mi": MIB, "Gi": GIB},
}
"""Suffixes of whole numbers as engines read them: 32K is 32,768 for vLLM and 32,000 for SGLang."""
SECRET = re.compile(r"key|token|password", re.IGNORECASE)


class Command(NamedTuple):
    """What a command line asks for."""

    engine: str
    model: str | None
    flags: dict[str, Any]
    ignored: tuple[str, ...]
    """Flags that cannot change memory."""
    unknown: tuple[str, ...]
    """Flags that nothing is known about."""
    left_open: tuple[str, ...] = ()
    """Flags that leave a length to the engine, which then takes what fits."""


def read_command(text: str) -> Command:
    """The question that a command line puts.

    >>> found = read_command(
    ...     "VLLM_USE_V1=1 vllm serve deepseek-ai/DeepSeek-R1 -tp 8 --max-model-len 32k --port 8000"
    ... )
    >>> found.model, found.flags, found.ignored
    ('deepseek-ai/DeepSeek-R1', {'tp': 8, 'max_model_len': 32000}, ('--port 8000',))
    >>> read_command("llama-server -hf ggml-org/gpt-oss-20b-GGUF -c 32768 -np 2 --api-key mine").flags
    {'max_num_seqs': 2, 'max_model_len': 16384, 'context': 16384, 'concurrency': 2, 'quantization': 'Q4_K_M'}
    """
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError as error:
        raise UsageError(f"--command: {error}", "quote the command as the shell takes it") from None
    for first in range(len(words)):  # variables, numactl, docker run and the like come before the program
        line = " ".join(words[first : first + MOST_START_WORDS])
        for pattern, engine in STARTS:
            if found := re.match(pattern + r"(?:\s|$)", line):
                start = first + len(found.group().split())
                return with_version(_read(engine, words[start:]), words[:start])
    known = (
        "`vllm serve MODEL ...`, `python -m sglang.launch_server ...`, `llama-server "
        "...` or `trtllm-serve MODEL ...`"
    )
    raise UsageError(
        f"--command: {text.strip()[:60]!r} starts no engine that is known here", f"write it as {known}"
    )


MOST_START_WORDS = 3
IMAGE = re.compile(r"(?:\S*/)?(?:vllm/vllm-openai|lmsysorg/sglang|tensorrt-llm/release):v?(\d+(?:\.\d+)+)")


def with_version(command: Command, before: list[str]) -> Command:
    """The command with the release that its container image names, if it names one."""
    found = next((match[1] for word in before if (match := IMAGE.match(word))), None)
    return command._replace(flags={"engine_version": found, **command.flags}) if found else command


def _read(engine: str, words: list[str]) -> Command:
    rows = {row["flag"]: row for row in facts.table("engine_flags") if row["engine"] == engine}
    flags: dict[str, Any] = {}
    ignored: list[str] = []
    unknown: list[str] = []
    left_open: list[str] = []
    model: str | None = None
    keys: dict[str, list[tuple[str, str]]] = {}
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
        base, _, key = name.partition(".")
        if key and engine == "vllm" and rows.get(base, {}).get("field") in JSON_FIELDS:
            value = value if has_value else "".join(words[position : position + 1])
            position += not has_value
            keys.setdefault(rows[base]["field"], []).append((key, value))
            continue
        row = next((rows[each] for each in (name, name.replace("_", "-")) if each in rows), None)
        takes = row["takes"] if row else "unknown"
        last = position  # the words behind it that are its own
        if takes == "several":
            while last < len(words) and not words[last].startswith("-"):
                last += 1
        elif takes in ("optional", "onoff") or (takes == "unknown" and model is not None):
            last += position < len(words) and not has_value and not words[position].startswith("-")
            if takes == "onoff" and words[position:last] not in ([], *([each] for each in ON_OFF)):
                last = position
        elif takes not in ("switch", "unknown") and not has_value:
            if position == len(words):
                raise UsageError(f"--command: {name} has no value", "the command is cut off")
            last += 1
        value = value if has_value else " ".join(words[position:last])
        shown = " ".join((name, "..." if SECRET.search(name) else value)).strip() if value else word
        position = last
        if row is None:
            unknown.append(shown)
        elif not row["field"]:
            ignored.append(shown)
        elif row["field"] == "model":
            model = value
        elif takes == "length" and value in FITTED:
            left_open.append(shown)
        elif takes == "switch":
            field, _, constant = row["field"].partition("=")
            flags[field] = constant or True
        else:
            flags[row["field"]] = _value(engine, name, value, takes)
    flags |= {field: with_keys(flags.get(field), found) for field, found in keys.items()}
    if "rope_scaling" in flags:
        flags["hf_overrides"] = with_rope(flags.pop("rope_scaling"), flags.get("hf_overrides"))
    if engine == "llamacpp":
        engine, model, flags = _llama(model, flags)
    return Command(
        engine,
        model,
        {name: value for name, value in flags.items() if value is not None},
        tuple(ignored),
        tuple(unknown),
        tuple(left_open),
    )


FITTED = ("auto", "-1")
"""vLLM's --max-model-len: the longest that the cache holds, at most the model's own
(v1/core/kv_cache_utils.py)."""
ON_OFF = {
    "on": "on",
    "1": "on",
    "auto": "on",
    "off": "off",
    "0": "off",
    "true": "on",
    "false": "off",
    "enabled": "on",
    "disabled": "off",
}


def _value(engine: str, name: str, text: str, takes: str) -> Any:
    """The value of a flag in the type that its row says; None where the engine is left its own choice."""
    if takes == "onoff":
        return ON_OFF.get(text, "on")
    if takes in ("value", "optional", "several"):
        return text
    if takes == "layers" and text in ("auto", "all", "-1"):
        return None
    try:
        if takes == "share":
            return float(text)
        suffix = text.lstrip("-.0123456789")
        if suffix in SUFFIXES.get(engine, {}):
            return int(float(text.removesuffix(suffix)) * SUFFIXES[engine][suffix])
        return int(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--command: {name} {text!r} is no number", "write it as the engine takes it"
        ) from None


def _llama(model: str | None, flags: dict[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """llama-server's words in ours: its context is that of all slots, a repository may name a file type, a
    batch bounds a micro-batch.

    >>> _llama("unsloth/DeepSeek-R1-GGUF:Q4_K_M", {"mla_attn": 2, "batch_size": 256})
    ('ik-llamacpp', 'unsloth/DeepSeek-R1-GGUF', {'mla_attn': 2, 'ubatch_size': 256, 'quantization': 'Q4_K_M'})
    """
    slots, length, batch = flags.pop("slots", 0), flags.pop("max_model_len", 0), flags.pop("batch_size", 0)
    if slots > 0:
        flags["max_num_seqs"] = slots
    apart = slots if slots > 1 and not flags.get("kv_unified") else 1
    if length > 0:
        flags |= {"max_model_len": length // apart, "context": length // apart, "concurrency": apart}
    if 0 < batch < flags.get("ubatch_size", DEFAULT_UBATCH):
        flags["ubatch_size"] = batch
    if (
        model and model.count("/") == 1 and not is_path(model)
    ):  # a repository: one file of it, of the type behind the colon
        model, _, kind = model.partition(":")
        flags["quantization"] = kind or "Q4_K_M"
    engine = "ik-llamacpp" if "mla_attn" in flags or "attn_max_batch" in flags else "llamacpp"
    return engine, model, flags


DEFAULT_UBATCH = 512
JSON_FIELDS = ("speculative_config", "limit_mm_per_prompt", "hf_overrides")
"""Flags that take JSON, or its keys one by one."""


def with_keys(text: str | None, found: list[tuple[str, str]]) -> str:
    """The JSON of a flag that is given key by key, as --speculative-config.method (vLLM's
    FlexibleArgumentParser).

    >>> with_keys(None, [("method", "mtp"), ("draft.size", "3")])
    '{"method": "mtp", "draft": {"size": 3}}'
    """
    try:
        whole = json.loads(text or "{}")
        for path, value in found:
            *outer, last = path.split(".")
            inner = whole
            for key in outer:
                inner = inner.setdefault(key, {})
            inner[last] = _loaded(value)
        return json.dumps(whole)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"--command: {found[0][0]} is no key of {text!r:.60}", "quote the command as the shell takes it"
        ) from None


def _loaded(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def with_rope(scaling: str, overrides: str | None) -> str:
    """vLLM's --rope-scaling as the --hf-overrides that it was made into (config.py of 0.8 to 0.11).

    >>> with_rope('{"rope_type": "yarn", "factor": 4.0}', None)
    '{"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}'
    """
    try:
        return json.dumps({**json.loads(overrides or "{}"), "rope_scaling": json.loads(scaling)})
    except (ValueError, TypeError, RecursionError):
        raise UsageError(
            f"--command: --rope-scaling {scaling[:60]!r} is not valid JSON",
            "quote the command as the shell takes it",
        ) from None


def is_path(model: str) -> bool:
    """Whether a command's model is a place on its machine, which says nothing about what lies there."""
    return model.startswith((".", "/", "~")) or model.endswith(".gguf")
