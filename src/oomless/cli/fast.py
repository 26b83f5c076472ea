"""The quick way of `infer ... --json`: scripts ask it thousands of times, and importing click takes three
times Python's own start.

It reads the same table of options as click. Whatever it is not sure of - an unknown option, a bad number,
`--help` - it leaves to click, which then says what is wrong; so there is one voice for errors and no second
set of rules.
"""

from typing import Any

from .flags import INFER

RARE = ("explain", "command", "from_file", "compare", "plot")
"""Options that ask for more than one plain answer."""
SPELLINGS = {name: flag for flag in INFER for name in flag.names}


def read(arguments: list[str]) -> tuple[str, dict[str, Any]] | None:
    """(MODEL, options) of a plain `infer MODEL ... --json`, or None if click should look at it.

    >>> read(["infer", "deepseek-v3", "--gpu", "h200:8", "--json", "--tp=8"])
    ('deepseek-v3', {'gpu': 'h200:8', 'json': True, 'tp': 8})
    >>> read(["infer", "deepseek-v3", "--gpu", "h200:8"]) is None
    True
    """
    if len(arguments) < 2 or arguments[0] != "infer" or "--json" not in arguments:
        return None
    model: str | None = None
    options: dict[str, Any] = {}
    rest = iter(arguments[1:])
    for word in rest:
        if not word.strip():
            return None
        if not word.startswith("-"):
            if model is not None:
                return None
            model = word
            continue
        name, has_value, text = word.partition("=")
        flag = SPELLINGS.get(name)
        if flag is None or flag.field in options:
            return None
        if flag.type == "switch":
            if has_value:
                return None
            options[flag.field] = True
            continue
        value = text if has_value else next(rest, None)
        if (
            value is None
            or not value.strip()
            or value.startswith("-")
            or (flag.choices and value not in flag.choices)
        ):
            return None
        try:
            options[flag.field] = (
                int(value) if flag.type == "whole" else float(value) if flag.type == "share" else value
            )
        except ValueError:
            return None
    if model is None or "gpu" not in options or not options.keys().isdisjoint(RARE):
        return None
    return model, options
