"""An engine's own command line, both ways: a pasted one -> what it asks, and a question -> how it is started.

The table of options (facts/options) knows each flag that touches memory, engine_flags.csv those that do not.
A flag that is in neither is not guessed at: it is named, since it might.
"""

import os
import re
from typing import Any

from ..errors import UnsupportedError, UsageError
from ..facts.options import Option
from ..facts.options.command_lines import COMMAND_LINES, CommandLine
from ..files import shown
from ..run.choices import OTHER_WORDS
from ..run.option_values import text_of
from ..run.options import asked_of, by_keyword, engines_of
from ..run.pasted_text import pasted_text
from ..run.serving import Asked
from ..run.shell_words import ASSIGNED, ShellCommand, commands_in, valued, without_files
from . import mlx as of_mlx
from .command_reading import Command, Reading
from .config_words import without_config, written
from .llamacpp import command_line as of_llamacpp
from .llamacpp.command_line import in_its_words
from .llamacpp.ollama_command import of_modelfile
from .manifests import containers_in, is_manifest
from .python_call import of_python
from .sglang import command_line as of_sglang
from .vllm import command_line as of_vllm

AS_STARTED = {
    "llamacpp": of_llamacpp.as_started,
    "sglang": of_sglang.as_started,
    "mlx": of_mlx.as_started,
    "vllm": of_vllm.as_started,
}
"""Engines that are told more than field by field."""
MOST_START_WORDS = 64
IMAGE = re.compile(r"[\w.-]+(?:/[\w.-]+)+(?::[\w.-]+)?(?:@sha256:\w+)?")
HINT = (
    "write it as `vllm serve MODEL ...`, `python -m sglang.launch_server ...`, `llama-server ...`, "
    "`trtllm-serve MODEL ...` or `ollama run NAME:TAG`, or paste a Compose file or a Kubernetes object; "
    "@FILE reads it from a file"
)
OF_IMAGES = "an engine is known by its image or its program: write `image: vllm/vllm-openai`, or `command:`"


def line_of(engine: str) -> CommandLine | None:
    """Return the command line of an engine; None for what is no program, as transformers.

    >>> line_of("vllm-hpu").program, line_of("transformers")
    ('vllm serve', None)
    """
    return next((line for line in COMMAND_LINES if engine in line.engines.split()), None)


OTHER_PROGRAMS = (
    (r"\bkt run\b|\bkt-kernel\b", "kt-kernel"),
    (r"\btext-generation-(?:launcher|inference)\b", "text-generation-inference"),
    (r"\bexllama(?:v[23])?\b|\btabbyapi\b", "exllamav3"),
    (r"\blms (?:load|server)\b", "lm-studio"),
    (r"\bmindie\w*\b", "mindie"),
)
"""What other engines' commands and images say, and their names among OTHER_WORDS."""


def read_command(text: str) -> Command:
    """Return the question that a command line puts.

    >>> found = read_command(
    ...     "VLLM_USE_V1=1 vllm serve deepseek-ai/DeepSeek-R1 -tp 8 --max-model-len 32k --port 8000"
    ... )
    >>> found.model, found.flags, found.ignored
    ('deepseek-ai/DeepSeek-R1', {'tp': 8, 'max_model_len': 32000}, ('--port 8000',))
    >>> read_command("llama-server -hf ggml-org/gpt-oss-20b-GGUF -c 32768 -np 2 --api-key mine").flags
    {'max_num_seqs': 2, 'max_model_len': 16384, 'context': 16384, 'concurrency': 2, 'quantization': 'MXFP4'}
    """
    text = as_pasted(text)
    starts, files = starts_in(text)
    if not starts:
        other = next((name for pattern, name in OTHER_PROGRAMS if re.search(pattern, text)), "")
        if other:
            raise UsageError(f"--command starts {other}", OTHER_WORDS[other], "command")
        raise UsageError(
            f"--command: {shown(' '.join(text[:999].split()), 60)!r} starts no engine that is known here",
            OF_IMAGES if is_manifest(text) else HINT,
            "command",
        )
    line, asked, others = chosen(starts)
    before = list(asked.before)
    values = {match[1]: match[2] for word in before if (match := ASSIGNED.fullmatch(word))}
    files = {valued(name, values): valued(content, values) for name, content in files.items()}
    command = Reading(line, before, files).command(list(asked.words))
    seen = command.visible or (visible(before) if asked.cards is None else asked.cards)
    limit = re.search(r"\biogpu\.wired_limit_mb=(\d{1,7})\b", text)
    part = f"{limit[1]}MiB" if limit and int(limit[1]) else ""
    command = command._replace(visible=seen, nodes=asked.nodes, card=asked.card, part=part, others=others)
    return with_version(command, before)


def starts_engine(text: str) -> bool:
    """Return whether a command line starts an engine that is known.

    >>> (
    ...     starts_engine("llama-server -m model.gguf"),
    ...     starts_engine("trl sft --model_name_or_path Qwen/Qwen3-8B"),
    ... )
    (True, False)
    """
    return bool(starts_in(as_pasted(text))[0])


def as_pasted(text: str) -> str:
    """Return the shell's words of a command, of a script in Python or of a Modelfile; @FILE is read."""
    text = of_modelfile(pasted_text(text, "give a script, a Compose file or Kubernetes objects"))
    return of_mlx.in_its_words(in_its_words(of_python(text)))


def chosen(
    starts: list[tuple[CommandLine, ShellCommand]],
) -> tuple[CommandLine, ShellCommand, int]:
    """Return the command that is read, and how many there are beside it: the first one; where a server is
    started apart from what it serves, that with what stands before either.

    >>> starts, _ = starts_in("OLLAMA_NUM_PARALLEL=2 ollama serve & ollama run qwq:32b")
    >>> line, asked, others = chosen(starts)
    >>> asked.before[0], asked.words, others
    ('OLLAMA_NUM_PARALLEL=2', ('qwq:32b',), 0)
    """
    line, first = starts[0]
    same = [each for its_line, each in starts if its_line is line] if line.prompts else [first]
    served = next((each for each in same if each.words), first)
    before = tuple(word for each in same[: same.index(served) + 1] for word in each.before)
    cards = next((each.cards for each in same if each.cards is not None), None)
    return line, served._replace(before=before, cards=cards), len(starts) - len(same)


def starts_in(text: str) -> tuple[list[tuple[CommandLine, ShellCommand]], dict[str, str]]:
    """Return (what starts an engine in a text, the files that the text writes)."""
    files: dict[str, str] = {}
    if not (manifest := is_manifest(text)):
        text, files = without_files(text)
    for every in (False, True):  # what only an untaken branch starts is meant all the same
        found = containers_in(text, every) if manifest else commands_in(text, every)
        if starts := [start for each in found if (start := start_of(each)) is not None]:
            return starts, files
    return [], files


def files_of(text: str) -> tuple[str, ...]:
    """Return the files of this machine that reading a command would open; of @FILE, that file alone.

    >>> files_of("@serve.sh"), files_of("vllm serve --config serve.yaml"), files_of("vllm serve m")
    (('serve.sh',), ('serve.yaml',), ())
    """
    if text.startswith("@"):
        return (text[1:],)
    starts, files = starts_in(text)
    named = [name for line, words in starts[:1] for name in without_config(line, words.words)[1]]
    return tuple(name for name in named if written(name, files) is None)


def start_of(found: ShellCommand) -> tuple[CommandLine, ShellCommand] | None:
    """Return (its command line, the words behind the program) of what starts an engine; variables, numactl,
    docker run and the like come before the program, and count.

    >>> line, words = start_of(ShellCommand((), ("numactl", "-N", "0", "vllm", "serve", "m", "-tp", "2")))
    >>> line.program, words.words
    ('vllm serve', ('m', '-tp', '2'))
    """
    found = with_entry(found)
    words = found.words
    for first in range(len(words)):
        begin = " ".join(words[first : first + MOST_START_WORDS])
        for line in COMMAND_LINES:
            for pattern in line.begins:
                if match := re.match(pattern + r"(?:\s|$)", begin):
                    start = first + len(match.group().split())
                    return line, found._replace(before=(*found.before, *words[:start]), words=words[start:])
    return None


def with_entry(found: ShellCommand) -> ShellCommand:
    """Return the words of `docker run --entrypoint PROGRAM IMAGE ...` from the program on.

    >>> with_entry(ShellCommand((), ("docker", "run", "--entrypoint", "vllm", "a/b:v1", "serve", "m")))[:2]
    (('docker', 'run', 'a/b:v1'), ('vllm', 'serve', 'm'))
    >>> with_entry(
    ...     ShellCommand((), ("docker", "run", "--entrypoint=", "vllm/vllm-openai:v1", "vllm", "serve", "m"))
    ... )[1]
    ('docker', 'run', '--entrypoint=', 'vllm', 'serve', 'm')
    """
    words = found.words
    at = next((at for at, word in enumerate(words) if word.split("=")[0] == "--entrypoint"), None)
    if at is None:
        return found
    apart = "=" not in words[at]
    program = words[at].partition("=")[2] if not apart else "".join(words[at + 1 : at + 2])
    if not program:  # the image's own is not run: its name begins no command
        images = tuple(
            word for word in words if any(line.image and line.image in word for line in COMMAND_LINES)
        )
        kept = tuple(word for word in words if word not in images)
        return found._replace(before=(*found.before, *images), words=kept)
    for behind, word in enumerate(words[at + 1 + apart :], at + 2 + apart):
        if IMAGE.fullmatch(word):
            return found._replace(before=(*found.before, *words[:at], word), words=(program, *words[behind:]))
    return found


VISIBLE = re.compile(r"(?:CUDA|HIP|ROCR|ASCEND_RT)_VISIBLE_DEVICES=(.+)")


def visible(before: list[str]) -> int | None:
    """Return how many cards a variable before the program leaves visible.

    >>> visible(["CUDA_VISIBLE_DEVICES=0,1,2,3", "VLLM_USE_V1=1"]), visible([])
    (4, None)
    """
    found = next((match[1] for word in before if (match := VISIBLE.fullmatch(word))), None)
    return None if found is None else len([each for each in found.split(",") if each.strip()])


ROCM = re.compile(r"(?:\S*/)?rocm/vllm(?:-dev)?:\S*vllm_v?(\d+(?:\.\d+)+)")
"""AMD's image, whose tag begins with ROCm's release."""


def with_version(command: Command, before: list[str]) -> Command:
    """Return the command with the release that its container image names, if it names one."""
    images = [rf"(?:\S*/)?{line.image}:{line.release}" for line in COMMAND_LINES if line.image]
    patterns = (*map(re.compile, images), ROCM)
    named = (pattern.match(word) for word in before for pattern in patterns)
    found = next((match[1] for match in named if match), None)
    return command._replace(flags={"engine_version": found, **command.flags}) if found else command


def is_path(model: str) -> bool:
    """Return whether a command's model is a place on its machine, which says nothing about what lies
    there."""
    return model.startswith((".", "/", "~")) or model.endswith((".gguf", "/")) or model.count("/") > 1


def drafting_name(place: str) -> str:
    """Return the name of what drafts beside a command's model: of a path of another machine, its last part.

    >>> drafting_name("/cache/gemma-4-31b-it-assistant"), drafting_name("org/head")
    ('gemma-4-31b-it-assistant', 'org/head')
    """
    gone = is_path(place) and not os.path.exists(os.path.expanduser(place))
    return place.rstrip("/").rpartition("/")[2] if gone else place


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
    """Return each field that an engine's command line has, with the spelling that is written; a key of a
    file is none.

    >>> own_flags("sglang")["max_model_len"], own_flags("vllm")["dcp"], "context" in own_flags("vllm")
    ('--context-length', '--decode-context-parallel-size', False)
    """
    found: dict[str, str] = {}
    for option in asked_of("infer"):
        for names, flags in (option.known or {}).items():
            first = flags.partition(" ")[0]
            if engine in names.split() and first and not {"=", "."} & set(first):
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
    if line is not None and line.table in AS_STARTED:
        words, wanted = AS_STARTED[line.table](wanted, asked)
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
        beside = value.head or ("draft_model" if value.drafter else value.method)
        method = line.drafts if value.own_draft else beside
        if not line.drafts_in_json:
            return str(value.tokens) if not line.drafts else method
        value = value._replace(method=method, accepted_length=None)
    return text_of(option, value)


def _order(field: str) -> tuple[int, str]:
    return (FIRST.index(field) if field in FIRST else len(FIRST), field)
