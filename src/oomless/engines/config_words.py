"""The YAML that an engine's `--config` names, as words of its command line.

vLLM (argparse_utils.py) and SGLang (server_args_config_parser.py) put what it says before the words that were
typed, which win; TensorRT-LLM (commands/serve.py: --config, --extra_llm_api_options) lets the file win, and
its keys have keys of their own (kv_cache_config: dtype:).
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import OomlessError, UsageError
from ..facts.options.command_lines import CommandLine
from ..files import read_whole_text, shown
from ..limits import RUN_FILE, parse_yaml
from ..run.text_files import flat

HINT = "paste its lines too, before the command: `cat > FILE <<EOF`, the lines, `EOF`"


def config_words(
    line: CommandLine, words: list[str], files: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return (words without --config, words that its file means); `files` are those that the text itself
    writes.

    >>> from ..facts.options.command_lines import COMMAND_LINES
    >>> config_words(COMMAND_LINES[0], ["m", "--config", "x.yaml"], {"x.yaml": "max-model-len: 4096"})
    (['m'], ['--max-model-len=4096'])
    """
    rest, named = without_config(line, words)
    if not named:
        return words, []
    if len(named) > 1 or not named[0]:
        raise UsageError(
            "--command: --config names " + ("several files" if named[0] else "no file"),
            "name one YAML file",
            "command",
        )
    return rest, _words(line, *_entries(named[0], files))


def without_config(line: CommandLine, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (words without --config, the files that it names)."""
    rest, named, position = list[str](), list[str](), 0
    while position < len(words):
        name, has_value, value = words[position].partition("=")
        position += 1
        if name.replace("_", "-") not in line.config_flags:
            rest.append(words[position - 1])
        elif has_value:
            named.append(value)
        else:
            named += words[position : position + 1] or [""]
            position += 1
    return rest, named


def written(name: str, files: Mapping[str, str]) -> str | None:
    """Return the content of a file that the pasted text writes itself; None: it does not.

    >>> written("/cfg/x.yml", {"x.yml": "a: 1"}), written("y.yml", {})
    ('a: 1', None)
    """
    return next((each for key, each in files.items() if Path(key).name == Path(name).name), None)


def _entries(name: str, files: Mapping[str, str]) -> tuple[dict[str, Any], Path]:
    """Return the entries of a YAML file, of the pasted text or of this machine."""
    text = written(name, files)
    if text is None:
        if not name.lower().endswith((".yaml", ".yml")):
            raise UsageError(f"--command: --config {shown(name)!r} is no YAML file", HINT, "command")
        if not os.path.exists(name):
            raise OomlessError(f"{shown(name)}: not on this machine", HINT, "command")
        text = read_whole_text(name, RUN_FILE.num_bytes, HINT)
    found = parse_yaml(text.encode(), shown(name), RUN_FILE)
    if found is None:
        return {}, Path(name)
    if not isinstance(found, dict):
        raise OomlessError(f"{shown(name)}: no mapping of flags to values", "check the file")
    return {str(key): each for key, each in found.items()}, Path(name)


def _words(line: CommandLine, entries: dict[str, Any], path: Path) -> list[str]:
    """Return entries as --flag=value; nothing is no flag, and a mapping is JSON unless its keys are flags."""
    if line.config_wins:
        entries = flat(entries, path)
    found: list[str] = []
    for name, value in entries.items():
        flag = f"--{name.lstrip('-')}"
        if isinstance(value, bool):
            found.append(f"{flag}={str(value).lower()}")
        elif isinstance(value, dict):
            found.append(f"{flag}={json.dumps(value, default=str)}")
        elif isinstance(value, list):
            items = [json.dumps(each, default=str) if isinstance(each, dict) else str(each) for each in value]
            found += [f"{flag}={' '.join(items)}"] if items else []
        elif value is not None or line.config_wins:
            found.append(f"{flag}={'null' if value is None else value}")
    return found
