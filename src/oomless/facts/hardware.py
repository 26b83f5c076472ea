"""The cards of hardware.csv, and the numbers in its cells."""

from functools import cache

from .tables import table


@cache
def cards_by_short_name() -> dict[str, dict[str, str]]:
    """Return the row of each card under the name that `--gpu` takes."""
    return {row["short_name"]: row for row in table("hardware")}


@cache
def cards_by_full_name() -> dict[str, dict[str, str]]:
    """Return the row of each card under its maker's name."""
    return {row["name"]: row for row in table("hardware")}


def first_number(text: str) -> float:
    """Return the first number in a cell; 0 if there is none.

    >>> first_number("14.56-14.74"), first_number("65536 / 32768 (npu-smi)"), first_number("none")
    (14.56, 65536.0, 0.0)
    """
    digits = ""
    for char in text:
        if char.isdecimal() or (char == "." and digits):
            digits += char
        elif digits:
            break
    return float(digits or 0)
