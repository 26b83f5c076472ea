"""--compare FLAG=A,B: the flag, its field and its values, in the flag's type."""

from typing import Any, NamedTuple

from ..errors import UsageError, did_you_mean
from ..run.option_values import read
from ..run.options import asked_of, by_flag


class Variants(NamedTuple):
    """What differs between answers that are laid side by side."""

    flag: str
    """As it was written."""
    field: str
    words: tuple[str, ...]
    values: tuple[Any, ...]
    """The words in the type of the field."""


def variants(command: str, text: str, example: str) -> Variants:
    """Return what a word of --compare means.

    >>> variants("infer", "max-num-seqs=64,256", "")
    Variants(flag='max-num-seqs', field='max_num_seqs', words=('64', '256'), values=(64, 256))
    """
    name, has_value, values = text.partition("=")
    asked = {option.field for option in asked_of(command)}
    known = {flag.lstrip("-"): option for flag, option in by_flag(command).items() if option.field in asked}
    key = name.strip().lstrip("-")
    words = tuple(value.strip() for value in values.split(",") if value.strip())
    if has_value and key != "model" and key not in known:
        raise UsageError(
            f"--compare {text!r}: {name.strip()!r} is no flag that changes the question",
            did_you_mean(name, ["model", *known], "--help"),
            "compare",
        )
    if not has_value or len(words) < 2:
        raise UsageError(
            f"--compare {text!r} is no flag with two values or more",
            f"write --compare gpu=h100:8,h200:8 or --compare {example} or --compare "
            "model=deepseek-v3,deepseek-v3.2",
            "compare",
        )
    if key == "model":
        return Variants(key, "model", words, words)
    option = known[key]
    return Variants(
        name, option.field, words, tuple(read(option, word, f"--compare: {name}") for word in words)
    )
