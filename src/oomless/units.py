"""Bytes <-> text. The only file that knows 1024 or 1e9."""

from .errors import UsageError

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
KB, MB, GB, TB = 10**3, 10**6, 10**9, 10**12
_BINARY = {"KIB": KIB, "MIB": MIB, "GIB": GIB, "TIB": TIB}
_DECIMAL = {"B": 1, "KB": KB, "MB": MB, "GB": GB, "TB": TB}
_UNITS = _BINARY | _DECIMAL
MOST_DIGITS = 100
"""Of a size: Python itself reads no more than 4,300."""


def parse_bytes(text: str) -> int:
    """Bytes of a size with its unit; GiB is 2**30, GB is 10**9. A bare number is refused: nobody knows its
    unit.

    >>> parse_bytes("80GiB"), parse_bytes("80 GB"), parse_bytes("1.5MiB")
    (85899345920, 80000000000, 1572864)
    """
    stripped = text.strip()
    number = stripped.rstrip("BbIiKkMmGgTt ")
    unit = stripped[len(number) :].strip().upper()
    try:
        value = float(number)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a size", "write a number and a unit: 80GiB (2**30) or 80GB (10**9)"
        ) from None
    if len(number) > MOST_DIGITS:
        raise UsageError(f"{text[:20]!r}... has more than {MOST_DIGITS} digits", "sizes go from 0 to 8 EiB")
    if not unit:
        raise UsageError(
            f"{text!r} has no unit", f"write {number}GiB (2**30 bytes) or {number}GB (10**9 bytes)"
        )
    if unit not in _UNITS:
        raise UsageError(f"{text!r}: unknown unit {unit}", f"use one of {', '.join(_UNITS)}")
    if not 0 <= value < 2**63 / _UNITS[unit]:
        raise UsageError(f"{text!r} is out of range", "sizes go from 0 to 8 EiB")
    scaled = int(number) * _UNITS[unit] if number.isdecimal() else round(value * _UNITS[unit])
    return scaled


def gib(num_bytes: float) -> float:
    """GiB as a float, for display alone.

    >>> gib(688_574_839_360).__round__(3)
    641.285
    """
    return num_bytes / GIB


def gb(num_bytes: float) -> float:
    """Decimal gigabytes as a float, for display alone.

    >>> gb(688_574_839_360).__round__(1)
    688.6
    """
    return num_bytes / GB


def mb(num_bytes: float) -> float:
    """Decimal megabytes as a float, for display alone.

    >>> mb(41_724_032).__round__(1)
    41.7
    """
    return num_bytes / MB


def format_bytes(num_bytes: int, digits: int = 2) -> str:
    """A size for people: the unit is always binary and always spelled.

    >>> format_bytes(70_272), format_bytes(688_574_839_360), format_bytes(-3 * 2**30)
    ('68.62 KiB', '641.29 GiB', '-3.00 GiB')
    """
    size = abs(num_bytes)
    if size < KIB:
        return f"{num_bytes} B"
    unit, name = max((unit, name) for name, unit in _BINARY.items() if unit <= size and unit <= GIB)
    return f"{num_bytes / unit:,.{digits}f} {name.title().replace('ib', 'iB')}"


def format_exact(num_bytes: int) -> str:
    """A size without loss, so that parse_bytes gives it back: in the unit that says it with the fewest
    digits, a binary one first.

    >>> format_exact(85899345920), format_exact(512 * GB), format_exact(70272)
    ('80GiB', '512GB', '70272B')
    """
    names = {
        **{name.title().replace("ib", "iB"): unit for name, unit in _BINARY.items()},
        **{"GB": GB, "MB": MB, "KB": KB},
        "B": 1,
    }
    name, unit = min(
        ((n, u) for n, u in names.items() if num_bytes % u == 0),
        key=lambda each: len(str(num_bytes // each[1])),
    )
    return f"{num_bytes // unit}{name}"


def billions(count: int) -> float:
    """Return a count, of parameters, in billions.

    >>> f"{billions(671_026_419_200):.1f}B"
    '671.0B'
    """
    return count / 1e9
