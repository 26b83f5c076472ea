"""The words of one engine's own command -> what they ask: flags of the table of options, those of
engine_flags.csv that touch no memory, and those that nobody knows, which are named."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import facts
from ..errors import UsageError
from ..facts.options import Option
from ..facts.options.command_lines import CommandLine
from ..run.option_values import ENGINE_CHOOSES, parsed
from ..run.options import asked_of, by_keyword
from ..run.shell_words import VARIABLE
from . import mlx as of_mlx
from .command_words import CommandWords
from .config_words import config_words
from .ktransformers import command_line as of_ktransformers
from .llamacpp import command_line as of_llamacpp
from .llamacpp import ollama_command as of_ollama
from .llamacpp.ollama_command import variables
from .lmdeploy import command_line as of_lmdeploy
from .sglang import command_line as of_sglang
from .trtllm import command_line as of_trtllm
from .variables import flags_of, unread_variables
from .vllm import command_line as of_vllm
from .vllm.command_line import is_read

SECRET = re.compile(r"key|token(?!s|ize)|password", re.IGNORECASE)
JSON_KINDS = ("json", "images", "speculation")
"""Options that take JSON, or its keys one by one."""
IN_OUR_WORDS = {
    "vllm": of_vllm.in_our_words,
    "sglang": of_sglang.in_our_words,
    "llamacpp": of_llamacpp.in_our_words,
    "ollama": of_ollama.in_our_words,
    "trtllm": of_trtllm.in_our_words,
    "lmdeploy": of_lmdeploy.in_our_words,
    "mlx": of_mlx.in_our_words,
    "ktransformers": of_ktransformers.in_our_words,
}
"""By the table of a command line."""


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
    """Cards that a variable before the program, or its container, leaves visible; None: all."""
    nodes: int = 1
    """Machines of so many visible cards."""
    card: str = ""
    """The card that its container asks for."""
    part: str = ""
    """What the GPU of a Mac may take, where it is set beside the command."""
    beside: Mapping[str, str] = {}
    """Files that the engine loads beside the model, by what they are."""
    batch: int = 0
    """Tokens of a batch of llama-server, of which a micro-batch is a part; 0: not said."""
    remark: str = ""
    """What variables say of how its release runs, as it stands in brackets behind a release."""
    others: int = 0
    """Commands beside it that start an engine too."""
    spelled: Mapping[str, str] = {}
    """What it calls a field."""


def spellings(line: CommandLine) -> dict[str, tuple[Option, str]]:
    """Return the options that a command line knows by each of its own spellings, with the value that a switch
    of that name means.

    >>> from ..facts.options.command_lines import COMMAND_LINES
    >>> option, means = spellings(COMMAND_LINES[2])["-no-fa"]
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
    """Return the flags that touch no memory, each with what stands behind it; --flag=value with that value
    alone."""
    return {row["flag"]: row["takes"] for row in facts.table("engine_flags") if row["engine"] == line.table}


def without_value(variable: str) -> UsageError:
    return UsageError(
        f"--command: {variable} has no value in what was pasted",
        "write its value in its place, or put NAME=VALUE before the command",
        "command",
    )


class Reading:
    """The words of one command, read from left to right."""

    def __init__(self, line: CommandLine, before: list[str], files: Mapping[str, str] = {}) -> None:
        self.line, self.before, self.files = line, before, files
        self.known, self.harmless = spellings(line), harmless(line)
        self.model: str | None = None
        self.flags: dict[str, Any] = {}
        self.keys: dict[str, list[tuple[str, str]]] = {}
        self.ignored: list[str] = []
        self.unknown: list[str] = []
        self.left_open: list[str] = []
        self.beside: dict[str, str] = {}
        self.spelled: dict[str, str] = {}

    def command(self, words: list[str]) -> Command:
        """Return what the words behind the program ask for, and the file that they name."""
        words, of_file = config_words(self.line, words, self.files)
        words = [*flags_of(self.before, self.line.flag_variables), *words]
        named = list[str]()
        for each in (words, of_file) if self.line.config_wins else (of_file, words):
            self.model, self.mark = None, "--" if each is of_file else ""
            self.read(each)
            named += [self.model] if self.model else []
        self.model = named[-1] if named else None
        if self.model is not None and (open_ := VARIABLE.search(self.model)):
            raise without_value(open_[0])
        return self.whole()

    def read(self, words: list[str]) -> None:
        """Take each word for what it is: a flag, the model, or nothing that is known."""
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word.startswith("-"):
                position = self.flag(word, words, position)
            elif word in self.line.orders:
                continue
            elif self.model is None:
                self.model = word
            else:
                (self.ignored if self.line.prompts else self.unknown).append(word)

    def flag(self, word: str, words: list[str], position: int) -> int:
        """Read one flag and what is its own of the words behind it; return where the next one stands."""
        name, has_value, value = word.partition("=")
        if words[position : position + 1] in (["True"], ["False"]) and self.negative(name) in self.known:
            has_value, value, position = "=", words[position], position + 1
        name, has_value, value = self.positive(name, has_value, value)
        name = self.written_out(name)
        base, _, key = name.partition(".")
        base = base if base in self.known else base.replace("_", "-")
        if key and base in self.known and self.known[base][0].kind in JSON_KINDS:
            value = value if has_value else "".join(words[position : position + 1])
            self.keys.setdefault(base, []).append((key, value))
            return position + (not has_value)
        spelled = next((each for each in (name, name.replace("_", "-")) if each in self.known), "")
        off = name.replace("_", "-").replace("--no-", "--", 1)  # argparse.BooleanOptionalAction
        plain = next((each for each in (name, name.replace("_", "-"), off) if each in self.harmless), "")
        of_values = {flag for flag in self.harmless if flag.startswith(f"{name}=")}
        routed = bool(self.line.of_router) and name.startswith(self.line.of_router)
        unread = "several" if routed else "value" if of_values else "unknown"
        takes = taken(*self.known[spelled]) if spelled else self.harmless.get(plain, unread)
        last = position if has_value else self.behind(name, takes, words, position)
        value = value if has_value else " ".join(words[position:last])
        shown = " ".join((name, "..." if SECRET.search(name) else value)).strip() if value else word
        if name in self.line.beside:
            last = last if has_value or last > position else position + 1
            self.beside[self.line.beside[name]] = value or "".join(words[position:last])
        elif spelled:
            self.take(spelled, value, shown)
        elif plain or routed or f"{name}={value}" in of_values:
            self.ignored.append(shown)
        else:
            from difflib import get_close_matches  # imported late: few commands have a flag that nobody knows

            near = [] if is_read(shown) else get_close_matches(name, self.known, 1, LIKE_A_TYPO)
            self.unknown.append(f"{shown} (did you mean {near[0]}?)" if near else shown)
        return last

    def written_out(self, name: str) -> str:
        """Return the flag that a beginning of it stands for, where the engine's parser takes beginnings and
        one alone begins so."""
        begun = name.replace("_", "-")
        if not self.line.beginnings or not begun.startswith("--") or "." in begun:
            return name
        flags = {*self.known, *(flag.partition("=")[0] for flag in self.harmless)}
        longer = [flag for flag in flags if flag.startswith(begun)]
        return longer[0] if len(longer) == 1 and begun not in flags else name

    @staticmethod
    def negative(name: str) -> str:
        """Return the --no- form of a switch."""
        return f"--no-{name.lstrip('-').replace('_', '-')}"

    def positive(self, name: str, has_value: str, value: str) -> tuple[str, str, str]:
        """Return a flag in three parts; -O0 is -O=0, and a switch that is off is its --no- form where the
        engine has one that touches memory."""
        if re.fullmatch(r"-O\d", name):
            return "-O", "=", name[2:]
        negative = self.negative(name)
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
        known = {name, name.replace("_", "-")} & self.known.keys()
        if not known and words[position : position + 1] and words[position].startswith("--"):
            return position
        if position == len(words):
            raise UsageError(f"--command: {name} has no value", "the command is cut off", "command")
        return position + 1

    def take(self, spelled: str, value: str, shown: str) -> None:
        """Note what a flag of the table says."""
        option, means = self.known[spelled]
        self.spelled[option.field] = shown.split()[0].removeprefix(self.mark)
        if option.field != "model" and VARIABLE.fullmatch(value):
            raise without_value(value)
        if option.field == "model":
            self.model = value
        elif option.kind == "length" and value in ENGINE_CHOOSES:
            self.left_open.append(shown)
        elif value in ("-1", "0") and option.field in self.line.off:
            self.flags[self.line.off[option.field]] = True
        elif option.kind == "switch":
            self.flags[option.field] = value.lower() not in OFF_WORDS
        elif option.kind == "words":
            self.flags[option.field] = tuple(value.replace(",", " ").split())
        elif option.kind in JSON_KINDS:
            self.flags[option.field] = value
        else:
            text = means or value or "on"
            if option.joined and option.field in self.flags:
                text = f"{self.flags[option.field]},{text}"
            self.flags[option.field] = parsed(option, text, f"--command: {spelled}", self.line.suffixes)

    def whole(self) -> Command:
        """Return all that was read, with JSON put together and what is its engine's own in our words."""
        flags, table = self.flags, by_keyword("infer")
        self.unknown += unread_variables(self.before, self.line.table)
        for spelled, found in self.keys.items():
            field = self.known[spelled][0].field
            flags[field] = with_keys(flags.get(field), found)
            self.spelled.setdefault(field, spelled)
        if self.line.prompts:
            for field, (name, value) in variables(self.before).items():
                flags[field] = parsed(table[field], value, f"--command: {name}", {})
                self.spelled[field] = name
        batch = flags.get("batch_size") or 0
        said = IN_OUR_WORDS[self.line.table](
            CommandWords(
                self.line.engines.split()[0],
                self.model,
                flags,
                self.before,
                self.ignored,
                self.unknown,
                self.spelled,
                self.beside,
            )
        )
        flags = {
            field: parsed(table[field], value, f"--command: {self.spelled.get(field)}", {})
            if table[field].kind in JSON_KINDS and value is not None
            else value
            for field, value in said.flags.items()
        }
        return Command(
            said.engine,
            said.model,
            {name: value for name, value in flags.items() if value is not None},
            tuple(said.ignored),
            tuple(said.unknown),
            tuple(self.left_open),
            visible=said.visible,
            beside=said.beside,
            batch=batch,
            remark=said.remark,
            spelled=self.spelled,
        )


LIKE_A_TYPO = 0.9
"""Of likeness, 0 to 1: `--tensor-paralel-size` has 0.98."""
OFF_WORDS = ("false", "off", "0", "no")
ON_OFF_WORDS = ("on", "off", "auto", "1", "0", "true", "false", "enabled", "disabled")


def taken(option: Option, means: str) -> str:
    """Return what stands behind a flag of the table: nothing, on or off, or one value."""
    if option.kind == "words":
        return "several"
    return "switch" if option.kind == "switch" or means else "onoff" if option.kind == "onoff" else "value"


def with_keys(text: str | None, found: list[tuple[str, str]]) -> str:
    """Return the JSON of a flag that is given key by key, as --speculative-config.method (vLLM's
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
            f"--command: {found[0][0]} is no key of {text!r:.60}",
            "quote the command as the shell takes it",
            "command",
        ) from None


def _loaded(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
