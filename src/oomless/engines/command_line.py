"""An engine's own command line, both ways: a pasted one -> what it asks, and a question -> how it is started.

The table of options (facts/options) knows each flag that touches memory, engine_flags.csv those that do not.
A flag that is in neither is not guessed at: it is named, since it might.
"""

import re
import shlex
from typing import Any, NamedTuple

from .. import facts
from ..errors import UnsupportedError, UsageError
from ..facts.options import Option
from ..facts.options.command_lines import COMMAND_LINES, CommandLine
from ..run.option_values import ENGINE_CHOOSES, parsed, text_of
from ..run.options import asked_of, by_keyword, engines_of
from ..run.serving import Asked
from .json_flags import with_keys, with_rope
from .llamacpp.command_line import as_asked, as_started
from .llamacpp.ollama_command import tagged, variables
from .sglang.command_line import as_sglang
from .vllm.command_line import as_vllm

MOST_START_WORDS = 3
SECRET = re.compile(r"key|token|password", re.IGNORECASE)
JSON_KINDS = ("json", "images", "speculation")
"""Options that take JSON, or its keys one by one."""


class Command(NamedTuple):
    """What a command line asks for."""

    engine: str
    model: str | None
    flags: dict[str, Any]
    """By field, with values of its kind."""
    ignored: tuple[str, ...]
    """Flags that cannot change memory."""
    unknown: tuple[str, ...]
    """Flags that nothing is known about."""
    left_open: tuple[str, ...] = ()
    """Flags that leave a length to the engine, which then takes what fits."""
    visible: int | None = None
    """Cards that a variable before the program leaves visible; None: all."""


def line_of(engine: str) -> CommandLine | None:
    """Return the command line of an engine; None for what is no program, as transformers.

    >>> line_of("vllm-hpu").program, line_of("transformers")
    ('vllm serve', None)
    """
    return next((line for line in COMMAND_LINES if engine in line.engines.split()), None)


def read_command(text: str) -> Command:
    """Return the question that a command line puts.

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
        raise UsageError(
            f"--command: {error}", "quote the command as the shell takes it", "command"
        ) from None
    for first in range(len(words)):  # variables, numactl, docker run and the like come before the program
        begin = " ".join(words[first : first + MOST_START_WORDS])
        for line in COMMAND_LINES:
            for pattern in line.begins:
                if found := re.match(pattern + r"(?:\s|$)", begin):
                    start = first + len(found.group().split())
                    command = Reading(line, words[:start]).command(words[start:])
                    return with_version(command._replace(visible=visible(words[:start])), words[:start])
    known = (
        "`vllm serve MODEL ...`, `python -m sglang.launch_server ...`, `llama-server "
        "...` or `trtllm-serve MODEL ...`"
    )
    raise UsageError(
        f"--command: {text.strip()[:60]!r} starts no engine that is known here",
        f"write it as {known}",
        "command",
    )


VISIBLE = re.compile(r"(?:CUDA|HIP|ROCR|ASCEND_RT)_VISIBLE_DEVICES=(.+)")


def visible(before: list[str]) -> int | None:
    """Return how many cards a variable before the program leaves visible.

    >>> visible(["CUDA_VISIBLE_DEVICES=0,1,2,3", "VLLM_USE_V1=1"]), visible([])
    (4, None)
    """
    found = next((match[1] for word in before if (match := VISIBLE.fullmatch(word))), None)
    return None if found is None else len([each for each in found.split(",") if each.strip()])


def with_version(command: Command, before: list[str]) -> Command:
    """Return the command with the release that its container image names, if it names one."""
    images = "|".join(line.image for line in COMMAND_LINES if line.image)
    pattern = re.compile(rf"(?:\S*/)?(?:{images}):v?(\d+(?:\.\d+)+)")
    found = next((match[1] for word in before if (match := pattern.match(word))), None)
    return command._replace(flags={"engine_version": found, **command.flags}) if found else command


def spellings(line: CommandLine) -> dict[str, tuple[Option, str]]:
    """Return the options that a command line knows by each of its own spellings, with the value that a switch
    of that name means.

    >>> option, means = spellings(line_of("llamacpp"))["-no-fa"]
    >>> option.field, means
    ('flash_attn', 'off')
    """
    found: dict[str, tuple[Option, str]] = {}
    for option in asked_of("infer"):
        for names, flags in (option.known or {}).items():
            if set(names.split()) & set(line.engines.split()):
                for flag in flags.split():
                    name, _, value = flag.partition("=")
                    found[name] = option, value
    return found


def harmless(line: CommandLine) -> dict[str, str]:
    """Return the flags that touch no memory, each with what stands behind it."""
    return {row["flag"]: row["takes"] for row in facts.table("engine_flags") if row["engine"] == line.table}


class Reading:
    """The words of one command, read from left to right."""

    def __init__(self, line: CommandLine, before: list[str]) -> None:
        self.line, self.before = line, before
        self.known, self.harmless = spellings(line), harmless(line)
        self.model: str | None = None
        self.flags: dict[str, Any] = {}
        self.keys: dict[str, list[tuple[str, str]]] = {}
        self.ignored: list[str] = []
        self.unknown: list[str] = []
        self.left_open: list[str] = []

    def command(self, words: list[str]) -> Command:
        """Return what the words behind the program ask for."""
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word.startswith("-"):
                position = self.flag(word, words, position)
            elif self.model is None:
                self.model = word
            else:
                (self.ignored if self.line.prompts else self.unknown).append(word)
        return self.whole()

    def flag(self, word: str, words: list[str], position: int) -> int:
        """Read one flag and what is its own of the words behind it; return where the next one stands."""
        name, has_value, value = self.positive(*word.partition("="))
        base, _, key = name.partition(".")
        base = base if base in self.known else base.replace("_", "-")
        if key and base in self.known and self.known[base][0].kind in JSON_KINDS:
            value = value if has_value else "".join(words[position : position + 1])
            self.keys.setdefault(base, []).append((key, value))
            return position + (not has_value)
        spelled = next((each for each in (name, name.replace("_", "-")) if each in self.known), "")
        plain = next((each for each in (name, name.replace("_", "-")) if each in self.harmless), "")
        takes = taken(*self.known[spelled]) if spelled else self.harmless.get(plain, "unknown")
        last = position if has_value else self.behind(name, takes, words, position)
        value = value if has_value else " ".join(words[position:last])
        shown = " ".join((name, "..." if SECRET.search(name) else value)).strip() if value else word
        if spelled:
            self.take(spelled, value, shown)
        else:
            (self.ignored if plain else self.unknown).append(shown)
        return last

    def positive(self, name: str, has_value: str, value: str) -> tuple[str, str, str]:
        """Return a flag in three parts; -O0 is -O=0, and a switch that is off is its --no- form where the
        engine has one that touches memory."""
        if re.fullmatch(r"-O\d", name):
            return "-O", "=", name[2:]
        negative = f"--no-{name.lstrip('-').replace('_', '-')}"
        if has_value and value.lower() in OFF_WORDS and negative in self.known:
            return negative, "", ""
        return name, has_value, value

    def behind(self, name: str, takes: str, words: list[str], position: int) -> int:
        """Return where the words end that are a flag's own."""
        last = position
        follows = position < len(words) and not words[position].startswith("-")
        match takes:
            case "switch":
                return position
            case "several":
                while last < len(words) and not words[last].startswith("-"):
                    last += 1
                return last
            case "optional":
                return position + follows
            case "onoff":
                return position + (follows and words[position] in ON_OFF_WORDS)
            case "unknown":
                return position + (follows and self.model is not None)
        if position == len(words):
            raise UsageError(f"--command: {name} has no value", "the command is cut off", "command")
        return position + 1

    def take(self, spelled: str, value: str, shown: str) -> None:
        """Note what a flag of the table says."""
        option, means = self.known[spelled]
        if option.field == "model":
            self.model = value
        elif option.kind == "length" and value in ENGINE_CHOOSES:
            self.left_open.append(shown)
        elif option.kind == "switch":
            self.flags[option.field] = value.lower() not in OFF_WORDS
        elif option.kind == "words":
            self.flags[option.field] = tuple(value.replace(",", " ").split())
        elif option.kind in JSON_KINDS:
            self.flags[option.field] = value
        else:
            text = means or value or "on"
            self.flags[option.field] = parsed(option, text, f"--command: {spelled}", self.line.suffixes)

    def whole(self) -> Command:
        """Return all that was read, with JSON put together and the engine's own words in ours."""
        flags = self.flags
        for spelled, found in self.keys.items():
            field = self.known[spelled][0].field
            flags[field] = with_keys(flags.get(field), found)
        if self.line.table == "vllm":
            flags, unread = as_vllm(flags)
            self.unknown += unread
        if self.line.table == "sglang":
            flags = as_sglang(flags)
        if "rope_scaling" in flags:
            flags["hf_overrides"] = with_rope(flags.pop("rope_scaling"), flags.get("hf_overrides"))
        table = by_keyword("infer")
        if self.line.prompts:
            flags |= {
                field: parsed(table[field], value, "--command", {})
                for field, value in variables(self.before).items()
            }
        flags = {
            field: parsed(table[field], value, f"--command: {table[field].flag}", {})
            if table[field].kind in JSON_KINDS
            else value
            for field, value in flags.items()
        }
        engine, model = self.line.engines.split()[0], self.model
        if self.line.table == "llamacpp":
            engine, model, flags = as_asked(model, flags)
        if self.line.prompts and model is not None:
            model, kind = tagged(model)
            flags["quantization"] = kind
        return Command(
            engine,
            model,
            {name: value for name, value in flags.items() if value is not None},
            tuple(self.ignored),
            tuple(self.unknown),
            tuple(self.left_open),
        )


OFF_WORDS = ("false", "off", "0", "no")
ON_OFF_WORDS = ("on", "off", "auto", "1", "0", "true", "false", "enabled", "disabled")


def taken(option: Option, means: str) -> str:
    """Return what stands behind a flag of the table: nothing, on or off, or one value."""
    if option.kind == "words":
        return "several"
    return "switch" if option.kind == "switch" or means else "onoff" if option.kind == "onoff" else "value"


def is_path(model: str) -> bool:
    """Return whether a command's model is a place on its machine, which says nothing about what lies
    there."""
    return model.startswith((".", "/", "~")) or model.endswith(".gguf")


OF_THE_LOAD = ("context", "concurrency", "instances")
"""What the asked load is made of, and how often the engine is started: no engine is told."""
FIRST = (
    "tp",
    "pp",
    "dp",
    "enable_expert_parallel",
    "quantization",
    "kv_cache_dtype",
    "max_model_len",
    "max_num_seqs",
)
"""What a reader looks for first."""


def own_flags(engine: str) -> dict[str, str]:
    """Return each field that an engine's command line has, with the spelling that is written.

    >>> own_flags("sglang")["max_model_len"], own_flags("vllm")["dcp"], "context" in own_flags("vllm")
    ('--context-length', '--decode-context-parallel-size', False)
    """
    found: dict[str, str] = {}
    for option in asked_of("infer"):
        for names, flags in (option.known or {}).items():
            first = flags.partition(" ")[0]
            if engine in names.split() and first and "=" not in first:
                found[option.field] = first
    return found


def command_words(asked: Asked, without: tuple[str, ...] = ()) -> list[str]:
    """Return every field of a question that is no default as its engine's own flags, words as the engine sees
    them.

    >>> from ..run.serving import Layout
    >>> command_words(Asked(layout=Layout(tp=8, dcp=2), max_model_len=32768))
    ['--tensor-parallel-size', '8', '--max-model-len', '32768', '--decode-context-parallel-size', '2']
    """
    line = line_of(asked.engine)
    table, own = by_keyword("infer"), own_flags(asked.engine)
    wanted = {
        field: asked.value(field)
        for field in dict.fromkeys((*asked.changed(), "tp"))
        if field not in (*OF_THE_LOAD, *without)
    }
    words: list[str] = []
    if line is not None and line.table == "llamacpp":
        words, wanted = as_started(wanted, asked)
    for field in sorted(wanted, key=_order):
        value = wanted[field]
        if field == "tp" and value == 1 and (field not in own or engines_of(table[field]) == ()):
            continue
        if field not in own or line is None:
            raise UnsupportedError(
                f"{asked.engine} has no flag for {field.replace('_', '-')}", "start it another way", field
            )
        flag = "--" + own[field].lstrip("-").replace("-", "_") if line.underscores else own[field]
        text = spoken(table[field], value, line)
        text = line.own_words.get((field, str(text)), text)
        words += [flag] if text is None else [flag, text]
    return words


def spoken(option: Option, value: Any, line: CommandLine) -> str | None:
    """Return the word behind an engine's flag that means a value."""
    if option.kind == "speculation":
        method = line.drafts if value.own_draft else value.method
        if line.table != "vllm":
            return str(value.tokens) if not line.drafts else method
        value = value._replace(method=method, accepted_length=None)
    return text_of(option, value)


def _order(field: str) -> tuple[int, str]:
    return (FIRST.index(field) if field in FIRST else len(FIRST), field)
