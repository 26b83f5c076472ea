"""One file an engine: how it lays memory out. Here: the shapes in which an engine says so, and the list of
engines."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import UnsupportedError, UsageError, did_you_mean
from ..ledger import Key, Line
from ..run.hardware import Hardware
from ..run.serving import Layout

if TYPE_CHECKING:
    from .protocol import Engine  # a protocol costs start-up and says nothing at run time

ENGINES = {
    "vllm": "vllm",
    "vllm-ascend": "vllm_ascend",
    "vllm-hpu": "vllm_hpu",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "ik-llamacpp": "llamacpp",
    "ollama": "llamacpp",
    "trtllm": "trtllm",
    "transformers": "transformers",
}
"""Engine name -> module."""

VLLM = ("vllm", "vllm-ascend", "vllm-hpu")
LLAMA = ("llamacpp", "ik-llamacpp", "ollama")
Version = tuple[int, ...]
Count = Literal["allocated", "reserved", "plain"]
"""What an engine's "weights" are: bytes that torch counts as allocated, memory of the card in whole segments,
or file bytes."""


def tensor_parallel_layouts(hardware: Hardware, expert_parallel: bool) -> list[Layout]:
    """Tensor-parallel sizes 1, 2, 4, 8 within a node, then pipeline stages over the nodes.

    >>> from ..run.hardware import parse_gpu
    >>> [(each.tp, each.pp) for each in tensor_parallel_layouts(parse_gpu("h100:8x2"), False)]
    [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2)]
    """
    within = min(hardware.per_node, hardware.num_gpus)
    sizes = [tp for tp in (1, 2, 4, 8) if tp <= within]
    found = [Layout(tp=tp, enable_expert_parallel=expert_parallel) for tp in sizes]
    for nodes in range(2, hardware.num_nodes + 1):
        if hardware.num_nodes % nodes == 0:
            stages = nodes * (within // sizes[-1] or 1)
            found.append(Layout(tp=sizes[-1], pp=stages, enable_expert_parallel=expert_parallel))
    return found


def engine(name: str) -> "Engine":
    """The module of an engine."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}", did_you_mean(name, list(ENGINES), "oomless engines"))
    module: Any = import_module(f".{ENGINES[name]}", __name__)
    rules: Engine = module
    return rules


def check_card(name: str, vendor: str) -> None:
    """Refuse a card that the engine has no kernels for. A card that is only a size ("") is taken for one that
    it has.

    >>> check_card("vllm", "Apple")
    Traceback (most recent call last):
    oomless.errors.UnsupportedError: vllm does not run on cards of Apple
      use --engine llamacpp
    """
    only, never = ONLY_ON.get(name), NEVER_ON.get(name, {})
    if vendor and only and vendor not in only:
        raise UnsupportedError(f"{name} does not run on cards of {vendor}", f"it is for {' and '.join(only)}")
    if vendor in never:
        where = "is not known on a plain CPU" if vendor == "generic" else f"does not run on cards of {vendor}"
        raise UnsupportedError(f"{name} {where}", f"use --engine {never[vendor]}")


ONLY_ON = {"vllm-ascend": ("Huawei",), "vllm-hpu": ("Intel",), "trtllm": ("NVIDIA",)}
NEVER_ON = {
    "vllm": {
        "generic": "llamacpp",
        "Apple": "llamacpp",
        "Raspberry Pi": "llamacpp",
        "Huawei": "vllm-ascend",
        "Intel": "vllm-hpu",
    },
    "sglang": {"generic": "llamacpp", "Apple": "llamacpp", "Raspberry Pi": "llamacpp"},
}
"""Engine -> makers of cards, and the engine that does run there."""


def parse_version(text: str) -> Version:
    """A version as numbers that compare. What may follow them is a pre- or post-release, or a remark in
    brackets.

    >>> (
    ...     parse_version("0.19.0"),
    ...     parse_version("0.7.2 (V0)") < parse_version("0.11"),
    ...     parse_version("v0.6.5dev"),
    ... )
    ((0, 19, 0), True, (0, 6, 5))
    """
    if all(part.isdecimal() for part in text.split(".")) and len(text) < 40:
        return tuple(int(part) for part in text.split("."))
    import re  # only versions that are not plain numbers need it

    found = re.fullmatch(
        r"v?(\d{1,6}(?:\.\d{1,6})*)[.-]?(?:(?:dev|rc|a|b|post)[\d.]*)?(?:\+[\w.]+)?\s*(?:\(.*\))?",
        text.strip(),
    )
    if not found:
        raise UsageError(
            f"{text!r} is no version", "write it as 0.19.0; `oomless engines` lists what is known"
        )
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
    """Equal tensors that one rank really creates: `per_layer` of `num_bytes` in each of `layers`, or once if
    there are none."""

    key: Key
    """The line that it belongs to: weights.attention, weights.routed_experts, weights.embedding ..."""
    name: str
    num_bytes: int
    per_layer: int
    layers: tuple[int, ...]
    note: str = ""

    @property
    def total_bytes(self) -> int:
        return self.num_bytes * self.per_layer * (len(self.layers) or 1)


class CacheGroup(NamedTuple):
    """Layers that share block tables: one block of `block_size` tokens takes `page_bytes` over all of
    them."""

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
    set_aside_bytes: int = 0
    """Part of the pool that grows with no sequence: windows and states made for all that may run."""


class Budget(NamedTuple):
    """Lines that an engine subtracts from its budget, and lines that are on the card beside it."""

    charged: tuple[Line, ...]
    beside: tuple[Line, ...]
