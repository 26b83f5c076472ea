"""One file an engine: how it lays memory out. Here: the shapes in which an engine says so, and the list of engines."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError, did_you_mean
from ..ledger import Line

if TYPE_CHECKING:
    from .protocol import Engine  # a protocol costs start-up and says nothing at run time

ENGINES = {"vllm": "vllm"}
"""Engine name -> module."""

Version = tuple[int, ...]


def engine(name: str) -> "Engine":
    """The module of an engine."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}", did_you_mean(name, list(ENGINES), "oomless engines"))
    module: Any = import_module(f".{ENGINES[name]}", __name__)
    rules: Engine = module
    return rules


def parse_version(text: str) -> Version:
    """A version as numbers that compare. What may follow them is a pre- or post-release, or a remark in brackets.

    >>> parse_version("0.19.0"), parse_version("0.7.2 (V0)") < parse_version("0.11"), parse_version("v0.6.5dev")
    ((0, 19, 0), True, (0, 6, 5))
    """
    if all(part.isdecimal() for part in text.split(".")) and len(text) < 40:
        return tuple(int(part) for part in text.split("."))
    import re  # only versions that are not plain numbers need it

    found = re.fullmatch(r"v?(\d{1,6}(?:\.\d{1,6})*)[.-]?(?:(?:dev|rc|a|b|post)[\d.]*)?(?:\+[\w.]+)?\s*(?:\(.*\))?", text.strip())
    if not found:
        raise UsageError(f"{text!r} is no version", "write it as 0.19.0; `oomless engines` lists what is known")
    return tuple(int(part) for part in found[1].split("."))


class Stage(NamedTuple):
    """A pipeline stage: layers start..stop-1, the embedding on the first, norm and head on the last."""

    position: int
    num_stages: int
    start: int
    stop: int

    @property
    def first(self) -> bool:
        return self.position == 0

    @property
    def last(self) -> bool:
        return self.position == self.num_stages - 1

    @property
    def name(self) -> str:
        return "every rank" if self.num_stages == 1 else f"pipeline stage {self.position}"


class Placed(NamedTuple):
    """Equal tensors that one rank really creates: `per_layer` of `num_bytes` in each of `layers`, or once if there are none."""

    part: str
    """What a reader calls it: attention, routed experts, embedding ..."""
    name: str
    num_bytes: int
    per_layer: int
    layers: tuple[int, ...]
    note: str = ""

    @property
    def total_bytes(self) -> int:
        return self.num_bytes * self.per_layer * (len(self.layers) or 1)


class CacheGroup(NamedTuple):
    """Layers that share block tables: one block of `block_size` tokens takes `page_bytes` over all of them."""

    what: str
    num_layers: int
    block_size: int
    page_bytes: int
    window: int = 0
    """Tokens behind the current one that stay; 0: all of them."""
    fixed_blocks: int = 0
    """Blocks of a sequence of any length, where that is a constant."""

    def blocks(self, length: int, in_flight: int) -> int:
        """Blocks that one sequence of `length` tokens needs, with `in_flight` tokens of it in one step."""
        if self.fixed_blocks:
            return self.fixed_blocks
        if not self.window:
            return -(-length // self.block_size)
        return -(-min(self.window - 1 + in_flight, length) // self.block_size) + 1


class CacheLayout(NamedTuple):
    """How a rank's cache pool is cut into blocks."""

    groups: tuple[CacheGroup, ...]
    block_bytes: int
    """Bytes of the pool that one block id takes."""
    token_bytes: float
    """Growth of one sequence a token, all layers of the rank, before page rounding."""
    fixed_bytes: int
    """What one sequence holds whatever its length: windows, states."""
    need_block_bytes: int
    """Bytes that the engine's own admission check counts for a block."""
    formula: str
    dtype: str


class Budget(NamedTuple):
    """Lines that an engine subtracts from its budget, and lines that are on the card beside it."""

    charged: tuple[Line, ...]
    beside: tuple[Line, ...]
