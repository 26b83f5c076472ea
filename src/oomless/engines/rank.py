"""What an engine says of one rank: its stage, its tensors, how its cache is paged, what else its card has."""

from collections.abc import Callable
from typing import Literal

from ..ledger import Key, Line
from ..model.model import Kinds, Model
from ..records import Record

Count = Literal["allocated", "reserved", "plain"]
"""What an engine's "weights" are: bytes that torch counts as allocated, memory of the card in whole segments,
or file bytes."""

PACKED_ROW_BYTES = 656
"""A token of a layer in FP8 (fp8_ds_mla): 512 fp8, four F32 scales, 64 BF16 of rope (FlashMLA; SGLang's
memory_pool.py, DSATokenToKVPool)."""
INDEX_ROW_BYTES = 132
"""Key of the indexer: 128 fp8 values and an F32 scale (DeepGEMM)."""
INDEX_ROW_BYTES_FP4 = 68
"""64 B of fp4 and a scale byte for 32 values."""


class Stage(Record):
    """A pipeline stage: layers start..stop-1, the embedding on the first, norm and head on the last. Or a
    card with a part of each of its layers."""

    position: int
    num_stages: int
    start: int
    stop: int
    of_each: bool = False
    """It has a part of each layer, and the others have the rest."""

    @property
    def first(self) -> bool:
        return self.position == 0

    @property
    def last(self) -> bool:
        return self.position == self.num_stages - 1

    def kinds(self, model: Model) -> Kinds:
        """The kinds of its layers."""
        return model.kinds_within(self.start, self.stop)

    @property
    def name(self) -> str:
        if self.num_stages == 1:
            return "every rank"
        return f"card {self.position}" if self.of_each else f"pipeline stage {self.position}"


class Placed(Record):
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


class CacheGroup(Record):
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


def rows_in_layers(num_bytes: float, num_layers: int) -> str:
    """Return what a token takes in words: one row in each layer, or rows of several sizes.

    >>> rows_in_layers(57344, 28), rows_in_layers(49152.0, 24), rows_in_layers(100, 3)
    ('28 layers x 2048 B', '24 layers x 2048 B', 'in 3 layers')
    """
    each = num_bytes / num_layers if num_layers else 0.0
    return f"{num_layers} layers x {each:.0f} B" if each and each.is_integer() else f"in {num_layers} layers"


class CacheLayout(Record):
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
    states_share: float = 0.0
    """Share of the rest that holds states, whatever the load."""
    drafts_share: float = 0.0
    """What of the states' share is for drafts of the requests that may run."""
    drafts_most_bytes: int = 0
    """Bytes that drafts of all of them take; what their share has more goes to tokens."""

    def blocks_in(self, pool_bytes: int) -> int:
        """Return the whole blocks that a pool of so many bytes holds beside what is set aside and states.

        A pipeline stage may have only layers that keep nothing a token (the first two of V4-Flash): no number
        of tokens fills it, another stage decides.
        """
        left = pool_bytes - self.set_aside_bytes
        if not self.block_bytes:
            return UNBOUNDED_BLOCKS if left >= 0 else 0
        return (max(left, 0) - self.states_bytes(pool_bytes)) // self.block_bytes

    def states_bytes(self, pool_bytes: int) -> int:
        """Return what states take of a pool of so many bytes, where they have a share of it: whole slots,
        and what is left of the last is for tokens.

        >>> layout = CacheLayout(
        ...     (), 1, 1, 0, 1, "", "", states_share=0.5, drafts_share=0.4, drafts_most_bytes=10
        ... )
        >>> layout.states_bytes(40), layout.states_bytes(100)
        (20, 40)
        """
        whole = int(max(pool_bytes - self.set_aside_bytes, 0) * self.states_share)
        whole -= sum(whole % each.page_bytes for each in self.groups if each.fixed_blocks)
        return whole - max(int(whole * self.drafts_share) - self.drafts_most_bytes, 0)


UNBOUNDED_BLOCKS = 1_000_000_000_000


class Budget(Record):
    """Lines that an engine subtracts from its budget, and lines that are on the card beside it."""

    charged: tuple[Line, ...]
    beside: tuple[Line, ...]
    unused: tuple[int, int, int] = (0, 0, 0)
    """What the asked load never takes of what is charged, least, middle and most: the pool does not get it,
    and what lies beside the pool may."""
    passing: tuple[Line, ...] = ()
    """Lines that lie beside the weights once, and are gone before the pool is cut."""
    wanted: int = 0
    """What the engine wants to be free of the card once its process is there, before anything is loaded; 0:
    it does not look."""
    retried: Callable[[bool], tuple[Line, ...]] | None = None
    """What the engine charges instead where a card lacks room for a buffer; whether it lacks it for a draft's
    alone."""
