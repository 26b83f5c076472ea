"""The cards of hardware.csv, and the numbers in its cells."""

from functools import cache

from .tables import rows_with, table


@cache
def cards_by_short_name() -> dict[str, dict[str, str]]:
    """Return the row of each card under the name that `--gpu` takes."""
    return {row["short_name"]: row for row in table("hardware")}


def card_row(short_name: str) -> dict[str, str] | None:
    """Return the row of one card; None if it has none.

    >>> card_row("h200-141gb-sxm")["name"], card_row("h201")
    ('H200 141GB SXM', None)
    """
    rows = rows_with("hardware", short_name)
    return next((row for row in rows if row["short_name"] == short_name), None)


def alias_row(name: str) -> dict[str, str] | None:
    """Return the row of another name of a card; None if it is none."""
    return next((row for row in rows_with("gpu_aliases", name) if row["alias"] == name), None)


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


def watts(short: str) -> float:
    """Return the power of a card at its limit; 0 where it is not known. Of a range, the higher end.

    >>> watts("h100-80gb-sxm5"), watts("ascend-910b")
    (700.0, 400.0)
    """
    text = cards_by_short_name().get(short, {}).get("tdp_w", "")
    numbers = [float(part) for part in text.replace("-", " ").split() if part.replace(".", "").isdecimal()]
    return max(numbers, default=0.0)
