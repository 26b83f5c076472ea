"""A value of an argument, and the text that it is written as."""

import math
import re
from typing import Any

Value = str | int | float | bool | list[Any]


def scalar(text: str) -> Value:
    """Return what a word of an argument list means: a number, true or false, a list in brackets, or a text.

    >>> scalar("4"), scalar("1e-5"), scalar("true"), scalar("[mlp, moe_act]"), scalar("([0]*3+[1]*12)")
    (4, 1e-05, True, ['mlp', 'moe_act'], '([0]*3+[1]*12)')
    """
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        return bare[1:-1]
    if bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    if bare.startswith("[") and bare.endswith("]") and "*" not in bare:
        return [scalar(part) for part in re.split(r"[,\s]+", bare[1:-1]) if part]
    if re.fullmatch(r"[+-]?\d{1,30}", bare):
        return int(bare)
    if re.fullmatch(r"[+-]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,4})?", bare) and math.isfinite(
        float(bare)
    ):
        return float(bare)
    return bare
