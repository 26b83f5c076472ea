"""The table of options (facts/options): which belong to a command, who knows them, and how they are given.

Whatever asks - flags, keywords, the user's own defaults, a saved answer, a command of an engine - passes
here, so one question means the same wherever it comes from.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from ..errors import UsageError, did_you_mean
from ..facts.options import Option
from .option_values import choices_of, text_of, value_of

TABLES = {
    "infer": "serving",
    "speed": "simulating",
    "train": "training",
    "trace": "tracing",
    "plan": "planning",
    "tune": "tuning",
    "guide": "guiding",
    "cost": "money",
}
"""Command -> the file of its table; a start reads one."""


@cache
def asked_of(command: str) -> tuple[Option, ...]:
    """Return what a command can be asked, in the order of its help; how it answers is apart."""
    from importlib import import_module

    found: tuple[Option, ...] = import_module(f"..facts.options.{TABLES[command]}", __package__).ASKED
    return found


@cache
def answered_of(command: str) -> tuple[Option, ...]:
    """Return the options that say how a command answers, or that stand in place of its question."""
    from importlib import import_module

    found: tuple[Option, ...] = import_module(f"..facts.options.{TABLES[command]}", __package__).ANSWER
    return found


def options_of(command: str) -> tuple[Option, ...]:
    """Return every option of a command.

    >>> [option.field for option in options_of("infer") if "--tp" in option.names]
    ['tp']
    """
    return (*asked_of(command), *answered_of(command))


@cache
def by_flag(command: str) -> dict[str, Option]:
    """Return the options of a command by each of their spellings."""
    return {name: option for option in options_of(command) for name in option.names}


@cache
def by_keyword(command: str) -> dict[str, Option]:
    """Return what a command can be asked by each keyword: the field, and every long flag as Python writes it.

    >>> by_keyword("infer")["decode_context_parallel_size"].field, by_keyword("infer")["dcp"].field
    ('dcp', 'dcp')
    """
    found = {
        name[2:].replace("-", "_"): option
        for option in asked_of(command)
        for name in option.names
        if name.startswith("--")
    }
    return found | {option.field: option for option in asked_of(command)}


def given(command: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords as fields and values of the table; None means not given.

    >>> given("infer", {"tp_size": 8, "max_model_len": "32K", "context": None})
    {'tp': 8, 'max_model_len': 32768}
    """
    known, found = by_keyword(command), dict[str, Any]()
    for name, value in flags.items():
        if name not in known or not known[name].flags:
            raise UsageError(
                f"unknown option {name!r}",
                did_you_mean(name, list(known), f"oomless {command} --help"),
                name,
            )
        option = known[name]
        if value is None:
            continue
        if option.field in found:
            raise UsageError(
                f"{name} is another name of what is given already", "give one of them", option.field
            )
        meant = value_of(option, value, option.flag or name)
        if meant is not None:
            found[option.field] = meant
    return found


def engines_of(option: Option) -> tuple[str, ...]:
    """Return the engines that know an option; () where no engine is told.

    >>> engines_of(by_keyword("infer")["mem_fraction_static"]), engines_of(by_keyword("infer")["context"])
    (('sglang',), ())
    """
    return tuple(name for names in option.known or () for name in names.split())


def need_known(command: str, engine: str, fields: Iterable[str]) -> None:
    """Refuse the first field that an engine does not have, with the name of its own that comes nearest."""
    table = by_keyword(command)
    for field in fields:
        known = engines_of(table[field])
        if known and engine not in known and engine in choices_of(table["engine"]):
            own = share_of_card(engine) if table[field].kind == "share" else None
            hint = f"{' and '.join(known)} {'know' if len(known) > 1 else 'knows'} it; leave it out"
            raise UsageError(
                f"{engine} has no {table[field].flag}", f"its own is {own.flag}" if own else hint, field
            )


@cache
def share_of_card(engine: str) -> Option | None:
    """Return the option by which an engine that takes its pool whole is told how much of a card it may take.

    No engine means the same share as another, so none stands in for another.

    >>> share_of_card("sglang").flag, share_of_card("llamacpp")
    ('--mem-fraction-static', None)
    """
    shares = (each for each in asked_of("infer") if (each.kind, each.group) == ("share", "memory"))
    return next((each for each in shares if engine in engines_of(each)), None)


def arguments(command: str, values: Iterable[tuple[str, Any]]) -> list[str]:
    """Return fields and values as the words of our command line.

    >>> arguments("infer", [("tp", 8), ("dcp", 2), ("enforce_eager", True)])
    ['--tp', '8', '--decode-context-parallel-size', '2', '--enforce-eager']
    """
    known, words = by_keyword(command), list[str]()
    for field, value in values:
        text = text_of(known[field], value)
        words += [known[field].flag] if text is None else [known[field].flag, text]
    return words
