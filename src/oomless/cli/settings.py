"""The user's own defaults for `infer`: a config file and OOMLESS_* variables. Flags come first, then
variables, then the file."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import OomlessError, UsageError, did_you_mean
from ..files import read_whole
from ..limits import SETTINGS, parse_toml
from .flags import INFER, Flag

NEVER = ("command", "from_file", "compare", "plot", "revision")
"""Options that make one question, and no habit."""
PREFIX = "OOMLESS_"
OTHERS = (
    "OOMLESS_CONFIG",
    "OOMLESS_CACHE",
    "OOMLESS_FUZZ",
    "OOMLESS_PARSERS",
    "OOMLESS_UPDATE_SURFACE",
    "OOMLESS_UPDATE_DOCS",
)
"""Variables of ours that set no flag."""
SWITCHES = {
    "1": True,
    "true": True,
    "on": True,
    "yes": True,
    "0": False,
    "false": False,
    "off": False,
    "no": False,
}


class Setting(NamedTuple):
    """One default, and who says it."""

    field: str
    value: Any
    source: str


def config_path(environ: Mapping[str, str]) -> str:
    """$OOMLESS_CONFIG, or oomless/config.toml in the folder of the user's configuration."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return environ.get("OOMLESS_CONFIG") or os.path.join(base, "oomless", "config.toml")


def read_settings(environ: Mapping[str, str]) -> tuple[Setting, ...]:
    """Every default that is set, one a field: the variable's if the file has one too.

    >>> read_settings({"OOMLESS_ENGINE": "sglang", "OOMLESS_CONFIG": os.devnull})
    (Setting(field='engine', value='sglang', source='OOMLESS_ENGINE'),)
    """
    found = {each.field: each for each in from_file(config_path(environ), "OOMLESS_CONFIG" in environ)}
    found |= {each.field: each for each in from_variables(environ)}
    return tuple(found.values())


def from_variables(environ: Mapping[str, str]) -> list[Setting]:
    """OOMLESS_KV_CACHE_DTYPE=fp8 is --kv-cache-dtype fp8; a name that is no flag is refused, since it was
    meant to do something."""
    flags = {PREFIX + name.lstrip("-").replace("-", "_").upper(): flag for name, flag in spellings().items()}
    found = []
    for name in environ:
        if not name.startswith(PREFIX) or name in OTHERS or not environ[name]:
            continue
        if name not in flags:
            wanted, names = (
                name.removeprefix(PREFIX).lower().replace("_", "-"),
                [long.lstrip("-") for long in spellings()],
            )
            raise UsageError(f"{name} sets no option", did_you_mean(wanted, names, "oomless infer --help"))
        found.append(Setting(flags[name].field, from_text(flags[name], environ[name], name), name))
    return found


def from_file(path: str, must_exist: bool) -> list[Setting]:
    """The table [infer] of a TOML file, whose keys are the flags' long names."""
    if not os.path.lexists(path):
        if must_exist:
            raise OomlessError(f"{path}: no such config file", "OOMLESS_CONFIG names it")
        return []
    content = read_whole(path, SETTINGS.num_bytes, "it is the config file, and holds defaults of flags alone")
    document = parse_toml(content, path, SETTINGS)
    if faults := [key for key in document if key != "infer"] or (
        [] if isinstance(document.get("infer", {}), dict) else ["infer"]
    ):
        raise OomlessError(
            f"{path}: {faults[0]!r} is no table of flags", "write flags below [infer]: engine = 'sglang'"
        )
    known = spellings()
    found = []
    for key, value in document.get("infer", {}).items():
        flag = known.get("--" + key.replace("_", "-"))
        if flag is None:
            names = [name.lstrip("-") for name in known]
            raise OomlessError(
                f"{path}: {key!r} is no option of infer", did_you_mean(key, names, "oomless infer --help")
            )
        try:
            found.append(Setting(flag.field, from_toml(flag, value, f"{path}: {key}"), path))
        except UsageError as error:
            raise OomlessError(error.message, error.hint) from None  # a bad file, not a bad command line
    return found


def spellings() -> dict[str, Flag]:
    """Every long name of an option that may have a default."""
    return {
        name: flag
        for flag in INFER
        if flag.field not in NEVER
        for name in flag.names
        if name.startswith("--")
    }


def from_text(flag: Flag, text: str, where: str) -> Any:
    """A variable's text in the type of its flag."""
    try:
        match flag.type:
            case "whole":
                return int(text)
            case "share":
                return float(text)
            case "switch":
                return SWITCHES[text.lower()]
            case "text":
                return from_toml(flag, text, where)
    except (ValueError, KeyError):
        raise UsageError(f"{where} is {text!r}", f"{flag.names[0]} takes {WANTED[flag.type]}") from None


WANTED = {"whole": "a whole number", "share": "a number", "switch": "true or false", "text": "a text"}


def from_toml(flag: Flag, value: object, where: str) -> Any:
    """A value of TOML, if it is of the type of its flag."""
    kinds: dict[str, tuple[type, ...]] = {
        "whole": (int,),
        "share": (float, int),
        "switch": (bool,),
        "text": (str,),
    }
    if not isinstance(value, kinds[flag.type]) or (isinstance(value, bool) and flag.type != "switch"):
        raise UsageError(f"{where} is {str(value)[:60]!r}", f"{flag.names[0]} takes {WANTED[flag.type]}")
    if flag.choices and value not in flag.choices:
        raise UsageError(f"{where} is {value!r}", f"it is {' or '.join(flag.choices)}")
    return value


def with_settings(
    options: dict[str, Any], settings: tuple[Setting, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Options with the defaults that they leave open and that their engine knows, and a note on each."""
    from ..engines import KNOWN_BY

    by_field = {each.field: each for each in settings}
    default = by_field.get("engine")
    engine = options.get("engine") or (default.value if default else "vllm")
    used = [
        each
        for each in settings
        if each.field not in options
        and engine in KNOWN_BY.get(DEPENDS.get(each.field, each.field), (engine,))
    ]
    notes = tuple(
        f"{each.source} says {flag_name(each.field)} {each.value}" for each in used if each.field not in QUIET
    )
    return {**{each.field: each.value for each in used}, **options}, notes


DEPENDS = {
    "speculative_config": "speculative",
    "limit_mm_per_prompt": "images_per_prompt",
    "decode_context_parallel_size": "dcp",
}
"""Flags whose field has another name in the question."""
QUIET = ("json", "explain", "strict", "offline")


def flag_name(field: str) -> str:
    return next(flag.names[0] for flag in INFER if flag.field == field)
