"""The table of options as click's: one reader for every command, help in groups."""

from collections.abc import Callable
from typing import Any

import click

from ..errors import UsageError
from ..facts.options import TITLES, Group, Option
from ..report.language import spoken
from ..run.choices import is_word, need_choice
from ..run.option_values import choices_of, read
from ..run.options import options_of

NAMES = {
    **dict.fromkeys(("whole", "tokens", "length", "layers"), "integer"),
    **dict.fromkeys(("number", "positive", "share", "gib"), "float"),
    "onoff": "on|off",
}
"""What a metavar says of a kind; the others are text."""


class TableValue(click.ParamType[Any]):
    """A value as the table reads it: its errors are ours, not click's."""

    def __init__(self, option: Option) -> None:
        self.option = option
        self.name = NAMES.get(option.kind, "text")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        found = read(self.option, value, param.opts[0] if param is not None and param.opts else "value")
        return value if found is None or self.option.several else found


class Word(click.Choice[str]):
    """One of several words; another one is refused with what was meant."""

    def __init__(self, option: Option) -> None:
        super().__init__(choices_of(option))
        self.option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = param.opts[0] if param is not None and param.opts else "value"
        command = ctx.command_path if ctx is not None else "oomless infer"
        return need_choice(self.option, str(value), name, command)


class Grouped(click.Option):
    """An option that knows under which title help lists it."""

    def __init__(self, option: Option, **words: Any) -> None:
        super().__init__([*option.names, option.field], default=None, help=option.help, **words)
        self.group: Group = option.group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return how it is written and what it means, in the user's language."""
        record = super().get_help_record(ctx)
        if record is None or self.name is None:
            return record
        words = spoken()
        ours = words.option(str(ctx.command.name), self.name, self.help or "")
        if ours == self.help:  # the same option of another command
            ours = words.option("train", self.name, words.help(ours))
        return record[0], record[1].replace(self.help or "", ours)


def click_option(option: Option) -> Grouped:
    """Return the click option of a row of the table."""
    if option.kind == "switch":
        return Grouped(option, is_flag=True)
    kind: click.ParamType[Any] = Word(option) if is_word(option) else TableValue(option)
    complete = complete_gpu if option.field == "gpu" else None
    words: dict[str, Any] = {"multiple": option.several, "shell_complete": complete}
    if option.joined:
        words |= {"multiple": True, "callback": lambda ctx, param, value: ",".join(value) or None}
    return Grouped(option, type=kind, **words)


class Asking(click.Command):
    """A command whose help lists options under titles."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse a second --gpu, since one question is about one kind of machine, and a second --explain."""
        named = [word.partition("=")[0] for word in args]
        if named.count("--explain") > 1:
            raise UsageError("--explain is given twice", "give it once", "explain")
        flags = [word for word in named if word == "--gpu"]
        several = any(
            param.multiple for param in self.params if isinstance(param, Grouped) and param.name == "gpu"
        )
        if len(flags) > 1 and any(param.name == "gpu" for param in self.params) and not several:
            raise UsageError(
                "--gpu is given twice",
                "one answer is about one kind of cards; oomless plan takes several",
                "gpu",
            )
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                title = TITLES[param.group] if isinstance(param, Grouped) else "Help"
                found.setdefault(title, []).append(record)
        groups = {title: group for group, title in TITLES.items()}
        for title in (*TITLES.values(), "Help"):
            if title in found:
                with formatter.section(titled(title, groups.get(title))):
                    formatter.write_dl(found[title])


def titled(title: str, group: Group | None) -> str:
    """Return the title of a group in the user's language."""
    words = spoken()
    return words.help(title) if words.language == "en" else words.known(f"titles.{group}", words.help(title))


def asking(
    name: str, callback: Callable[..., int], help: str, epilog: str, *, takes_model: bool = True
) -> click.Command:
    """Return a command that asks what its table says; `callback` gets MODEL and the fields that were
    given."""

    def call(model: str | None = None, **options: Any) -> int:
        given = {field: value for field, value in options.items() if value not in (None, ())}
        return callback(model, **given) if takes_model else callback(**given)

    argument = [click.Argument(["model"], required=False, shell_complete=complete_model)] * takes_model
    params = [click_option(option) for option in options_of(name) if option.names]
    return Asking(name, callback=call, params=[*argument, *params], help=help, epilog=epilog)


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the catalogue that begin so."""
    from .. import facts

    return [row["name"] for row in facts.table("catalogue") if row["name"].startswith(incomplete.lower())]


def complete_gpu(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of cards that begin so."""
    from ..run.card_names import aliases
    from ..run.cards import cards

    return [name for name in sorted({*cards(), *aliases()}) if name.startswith(incomplete.lower())]
