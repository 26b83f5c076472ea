"""--compare FLAG=A,B: the flag, its field and its values, in the flag's type."""

from collections.abc import Sequence
from typing import Any

from ..errors import UsageError, did_you_mean
from .flags import OUTPUT_FIELDS, Flag


def variants(text: str, flags: Sequence[Flag], example: str) -> tuple[str, str, list[str]]:
    """(flag as written, its field, the values).

    >>> from .flags import INFER
    >>> variants("kv-cache-dtype=auto,fp8", INFER, "")
    ('kv-cache-dtype', 'kv_cache_dtype', ['auto', 'fp8'])
    """
    asked = [flag for flag in flags if flag.field not in (*OUTPUT_FIELDS, "from_file", "command")]
    fields = {"model": "model", **{name.lstrip("-"): flag.field for flag in asked for name in flag.names}}
    name, has_value, values = text.partition("=")
    field, found = (
        fields.get(name.strip().lstrip("-")),
        [value.strip() for value in values.split(",") if value.strip()],
    )
    if has_value and field is None:
        raise UsageError(
            f"--compare {text!r}: {name.strip()!r} is no flag that changes the question",
            did_you_mean(name, list(fields), "--help"),
        )
    if field is None or len(found) < 2:
        raise UsageError(
            f"--compare {text!r} is no flag with two values or more",
            f"write --compare gpu=h100:8,h200:8 or --compare {example} or --compare "
            "model=deepseek-v3,deepseek-v3.2",
        )
    return name, field, found


def typed(flags: Sequence[Flag], field: str, text: str) -> Any:
    """A value of --compare in the type of its flag."""
    kinds = {flag.field: flag.type for flag in flags}
    try:
        match kinds[field]:
            case "whole":
                return int(text)
            case "share":
                return float(text)
            case "switch":
                return {"true": True, "on": True, "false": False, "off": False}[text.lower()]
            case "text":
                return text
    except (ValueError, KeyError):
        raise UsageError(
            f"--compare: {text!r} is no value of {field}", "`--help` lists the options"
        ) from None
