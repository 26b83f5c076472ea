"""The user's own defaults for `infer`: a config file and OOMLESS_* variables. Flags come first, then
variables, then the file."""

import os
from collections.abc import Mapping
from typing import Any

from ..errors import OomlessError, UsageError, did_you_mean
from ..facts.options import Option
from ..files import config_folder, read_whole
from ..limits import SETTINGS, parse_toml
from ..records import Record
from .option_values import read, value_of
from .options import by_flag, engines_of, options_of

COMMAND = "infer"
"""Whose options may have defaults; speed takes what it shares with it."""
PREFIX = "OOMLESS_"
OTHERS = (
    "OOMLESS_CONFIG",
    "OOMLESS_CACHE",
    "OOMLESS_LANG",
    "OOMLESS_FUZZ",
    "OOMLESS_PARSERS",
    "OOMLESS_UPDATE_SURFACE",
    "OOMLESS_UPDATE_DOCS",
)
"""Variables of ours that set no flag."""


class Setting(Record):
    """One default, and who says it."""

    field: str
    value: Any
    source: str

    @property
    def flag(self) -> str:
        """Return the flag that it stands for."""
        return next(option.flag for option in options_of(COMMAND) if option.field == self.field)


def config_path(environ: Mapping[str, str]) -> str:
    """Return $OOMLESS_CONFIG, or oomless/config.toml in the folder of the user's configuration."""
    return environ.get("OOMLESS_CONFIG") or os.path.join(config_folder(environ), "config.toml")


def read_settings(environ: Mapping[str, str]) -> tuple[Setting, ...]:
    """Return every default that is set, one a field: the variable's if the file has one too.

    >>> read_settings({"OOMLESS_ENGINE": "sglang", "OOMLESS_CONFIG": os.devnull})
    (Setting(field='engine', value='sglang', source='OOMLESS_ENGINE'),)
    """
    found = {each.field: each for each in from_file(config_path(environ), "OOMLESS_CONFIG" in environ)}
    found |= {each.field: each for each in from_variables(environ)}
    return tuple(found.values())


def from_variables(environ: Mapping[str, str]) -> list[Setting]:
    """Return what variables say: OOMLESS_KV_CACHE_DTYPE=fp8 is --kv-cache-dtype fp8; a name that is no flag
    is refused, since it was meant to do something."""
    named = [name for name in environ if name.startswith(PREFIX) and name not in OTHERS and environ[name]]
    if not named:
        return []
    known = {PREFIX + name[2:].replace("-", "_").upper(): option for name, option in spellings().items()}
    found = []
    for name in named:
        if name not in known:
            wanted = name.removeprefix(PREFIX).lower().replace("_", "-")
            names = [long.lstrip("-") for long in spellings()]
            raise UsageError(f"{name} sets no option", did_you_mean(wanted, names, "oomless infer --help"))
        found.append(Setting(known[name].field, read(known[name], environ[name], name), name))
    return [each for each in found if each.value is not None]


def from_file(path: str, must_exist: bool) -> list[Setting]:
    """Return what the table [infer] of a TOML file says, whose keys are the flags' long names."""
    if not os.path.lexists(path):
        if must_exist:
            raise OomlessError(f"{path}: no such config file", "OOMLESS_CONFIG names it")
        return []
    content = read_whole(path, SETTINGS.num_bytes, "it is the config file, and holds defaults of flags alone")
    document = parse_toml(content, path, SETTINGS)
    if faults := [key for key in document if key != COMMAND] or (
        [] if isinstance(document.get(COMMAND, {}), dict) else [COMMAND]
    ):
        raise OomlessError(
            f"{path}: {faults[0]!r} is no table of flags", "write flags below [infer]: engine = 'sglang'"
        )
    known, found = spellings(), []
    for key, value in document.get(COMMAND, {}).items():
        option = known.get("--" + key.replace("_", "-"))
        if option is None:
            names = [name.lstrip("-") for name in known]
            raise OomlessError(
                f"{path}: {key!r} is no option of infer", did_you_mean(key, names, "oomless infer --help")
            )
        try:
            found.append(Setting(option.field, value_of(option, value, f"{path}: {key}"), path))
        except UsageError as error:  # a bad file, not a bad command line
            raise OomlessError(error.message, error.hint, error.field) from None
    return [each for each in found if each.value is not None]


def spellings() -> dict[str, Option]:
    """Return every long name of an option that may have a default."""
    return {
        name: option
        for name, option in by_flag(COMMAND).items()
        if name.startswith("--") and option.own_default
    }


def with_settings(
    options: dict[str, Any], settings: tuple[Setting, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return options with the defaults that they leave open and that their engine knows, and a note on
    each."""
    if not settings:
        return options, ()
    by_field = {each.field: each for each in settings}
    table = {option.field: option for option in options_of(COMMAND)}
    default = by_field.get("engine")
    engine = options.get("engine") or (default.value if default else table["engine"].default)
    used = [
        each
        for each in settings
        if each.field not in options and engine in (engines_of(table[each.field]) or (engine,))
    ]
    notes = tuple(
        f"{each.source} says {each.flag} {shown_value(each.value)}"
        for each in used
        if each.field not in QUIET
    )
    return {**{each.field: each.value for each in used}, **options}, notes


QUIET = ("json", "explain", "strict", "offline")


def shown_value(value: Any) -> str:
    """Return a default as a note shows it."""
    return value.method if hasattr(value, "method") else str(value)
