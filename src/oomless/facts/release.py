"""A release of any software here: numbers that compare, of a version (0.19.0) or of a date (2026-08)."""

from functools import lru_cache

from ..errors import UsageError

Release = tuple[int, ...]
"""The numbers of a version, or year, month and day of a build; () comes before every release."""


@lru_cache(maxsize=256)
def read_release(text: str) -> Release:
    """Return the release that a text names. A post-release has one number more; a pre-release, or a remark in
    brackets, does not count.

    >>> read_release("0.19.0"), read_release("0.7.2 (V0)") < read_release("0.11"), read_release("v0.6.5dev")
    ((0, 19, 0), True, (0, 6, 5))
    >>> read_release("0.4.9") < read_release("0.4.9.post6") < read_release("0.4.10")
    True
    >>> read_release("2025-12-31") < read_release("2026-02")
    True
    """
    if len(text) < MAX_LENGTH and all(part.isdecimal() for part in text.replace("-", ".").split(".")):
        return tuple(int(part) for part in text.replace("-", ".").split("."))
    import re  # only versions that are not plain numbers need it

    found = re.fullmatch(
        r"v?(\d{1,6}(?:\.\d{1,6})*)[.-]?(?:(?:dev|rc|a|b)[\d.]*|post(\d{1,6}))?(?:\+[\w.]+)?\s*(?:\(.*\))?",
        text.strip(),
    )
    if not found:
        raise UsageError(
            f"{text!r} is no version", "write it as 0.19.0; `oomless engines` lists what is known"
        )
    return tuple(int(part) for part in (*found[1].split("."), *filter(None, found.groups()[1:])))


MAX_LENGTH = 40
