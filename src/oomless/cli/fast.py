"""The quick way of `infer ... --json`: scripts ask it thousands of times, and importing click takes three
times Python's own start.

It reads the same table of options as click. Whatever it is not sure of - an unknown option, a bad number,
`--help` - it leaves to click, which then says what is wrong; so there is one voice for errors and no second
set of rules.
"""

from typing import Any

from ..errors import UsageError
from ..run.option_values import read
from ..run.options import answered_of, by_flag

PLAIN = ("json", "strict")
"""Options of the answer that a plain one has."""


def read_words(arguments: list[str]) -> tuple[str, dict[str, Any]] | None:
    """Return (MODEL, options) of a plain `infer MODEL ... --json`, or None if click should look at it.

    >>> read_words(["infer", "deepseek-v3", "--gpu", "h200:8", "--json", "--tp=8"])
    ('deepseek-v3', {'gpu': 'h200:8', 'json': True, 'tp': 8})
    >>> read_words(["infer", "deepseek-v3", "--gpu", "h200:8"]) is None
    True
    """
    if len(arguments) < 2 or arguments[0] != "infer" or "--json" not in arguments:
        return None
    model: str | None = None
    options: dict[str, Any] = {}
    known, rest = by_flag("infer"), iter(arguments[1:])
    for word in rest:
        if not word.strip():
            return None
        if not word.startswith("-"):
            if model is not None:
                return None
            model = word
            continue
        name, has_value, text = word.partition("=")
        option = known.get(name)
        if option is None or option.field in options:
            return None
        if option.kind == "switch":
            if has_value:
                return None
            options[option.field] = True
            continue
        value = text if has_value else next(rest, None)
        if value is None or not value.strip() or value.startswith("-"):
            return None
        try:
            found = read(option, value, name)
        except UsageError:
            return None
        options[option.field] = value if found is None else found
    rare = {option.field for option in answered_of("infer")} - {*PLAIN}
    if model is None or "gpu" not in options or not options.keys().isdisjoint(rare):
        return None
    return model, options
