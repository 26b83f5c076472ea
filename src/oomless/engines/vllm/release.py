"""Which releases of vLLM are known, and which of its two engines runs."""

from functools import cache
from typing import NamedTuple

from ...errors import UnsupportedError
from .. import Version, parse_version

VERSIONS = (
    "0.5.5",
    "0.6.6",
    "0.7.2",
    "0.8.5",
    "0.11.0",
    "0.16.0",
    "0.17.0",
    "0.18.0",
    "0.19.0",
    "0.21.0",
    "0.25.0",
    "0.33.0",
)
FIRST, LATEST = (0, 5), "0.33.0"


class Release(NamedTuple):
    """A version, and whether its first engine (V0) runs: the default before 0.8, an option up to 0.10."""

    numbers: Version
    v0: bool

    def since(self, *numbers: int) -> bool:
        return self.numbers >= numbers


@cache
def release(text: str) -> Release:
    """The release that a version text names; it may say which engine runs: `0.8.5 (V0)`.

    >>> release("0.6.6").v0, release("0.8.5 (V0)").v0, release("0.19.0").since(0, 17)
    (True, True, True)
    """
    numbers = parse_version(text)
    if numbers < FIRST:
        raise UnsupportedError(
            f"vllm {text} is older than the rules here", "0.5 and later are known: `oomless engines`"
        )
    return Release(numbers, numbers < (0, 8) or ("V0" in text and numbers < (0, 11)))
