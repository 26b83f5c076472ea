"""--slo: how late the first token and how slow the others may be."""

from typing import NamedTuple

from ...errors import UsageError, did_you_mean

UNITS = {"ms": 1e-3, "s": 1.0}
EXAMPLE = "write ttft=2s, tpot=50ms, or both with a comma between"


class Slo(NamedTuple):
    """What a request is promised; None: no promise."""

    ttft_s: float | None = None
    """Seconds from arrival to the first token."""
    tpot_s: float | None = None
    """Seconds between two tokens of a request, on the mean."""

    def excess(self, ttft_s: float, tpot_s: float) -> float:
        """Return by what factor times are beyond the promise; 1.0 where it is kept.

        >>> Slo(2.0, 0.05).excess(1.0, 0.04), Slo(2.0).excess(5.0, 9.9)
        (1.0, 2.5)
        """
        pairs = ((ttft_s, self.ttft_s), (tpot_s, self.tpot_s))
        return max([1.0, *(time / most for time, most in pairs if most is not None)])


NO_PROMISE = Slo()


def parse_slo(text: str) -> Slo:
    """Return the promise that a text makes; a number without a unit is refused.

    >>> parse_slo("ttft=2s,tpot=50ms"), parse_slo("tpot=0.03s")
    (Slo(ttft_s=2.0, tpot_s=0.05), Slo(ttft_s=None, tpot_s=0.03))
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, has_value, value = (each.strip().lower() for each in part.partition("="))
        field = f"{name}_s"
        if field not in Slo._fields or not has_value:
            names = [each.removesuffix("_s") for each in Slo._fields]
            raise UsageError(
                f"--slo {text[:60]!r}: {name!r} is no promise",
                f"{did_you_mean(name, names)}; {EXAMPLE}",
                "slo",
            )
        if field in found:
            raise UsageError(f"--slo {text[:60]!r} says {name} twice", EXAMPLE, "slo")
        found[field] = seconds_of(value, text)
    return Slo(**found)


def seconds_of(value: str, text: str) -> float:
    """Return a time with its unit in seconds."""
    unit = next((unit for unit in UNITS if value.endswith(unit)), "")
    try:
        found = float(value.removesuffix(unit)) * UNITS[unit]
    except (KeyError, ValueError):
        raise UsageError(f"--slo {text[:60]!r}: {value!r} is no time", EXAMPLE, "slo") from None
    if not 0 < found < MOST_S:
        raise UsageError(f"--slo {text[:60]!r}: {value!r} is out of range", EXAMPLE, "slo")
    return found


MOST_S = 1e6
