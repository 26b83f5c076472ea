"""Dynamic mixes (UD-Q2_K_XL, UD-IQ1_S ...): files whose publisher gave each layer its own types and published
no recipe. What is known is how large such files are beside the plain mix of the same name.

A row of facts/gguf_dynamic.csv has the sizes of a model's files, each in thousandths of its plain mix. A file
that is there has its size; for another the share follows from those of other models, and so does its spread.
"""

from functools import lru_cache
from math import log
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from .. import facts
from .gguf_types import LARGE_ENDS, TYPES, SizeSpread, default_type
from .model import Model, Tensor
from .storage import Shape

if TYPE_CHECKING:
    from .gguf_model import StoredTensor

PREFIX = "UD_"
PLAIN_MIX = {
    "Q2_K_XL": "Q2_K",
    "Q3_K_XL": "Q3_K_M",
    "Q4_K_XL": "Q4_K_M",
    "Q5_K_XL": "Q5_K_M",
    **dict.fromkeys(["Q6_K_S", "Q6_K_M", "Q6_K_XL"], "Q6_K"),
    **dict.fromkeys(["Q8_K_L", "Q8_K_XL"], "Q8_0"),
    "IQ4_NL_XL": "IQ4_NL",
    "TQ1_0": "IQ1_S",
}
"""The plain mix that a dynamic one is compared with, where it is not called the same."""
PUBLISHED_EXPERTS = "MXFP4"
"""What experts that are published in 4 bit with a scale for 32 stay: no file holds them in more."""
EXPERTS, FEED_FORWARD = "_exps", "ffn_"
KEPT, KEPT_FEED_FORWARD = "Q4_K", "Q6_K"
"""What publishers leave beside experts: attention in Q4_K, shared experts, dense layers and the head in Q6_K
(UD-Q2_K_XL of R1 by its loader's counts; their announcement says 4 to 6 bit of all of them)."""
BLOCK = 256
OTHER_MODEL = 0.02
"""What is added to the spread of other models' files: with each model left out in turn, nine of ten published
sizes then lie inside."""
ROUNDED = 0.005
"""A published size has three digits."""
UNEVEN = 0.02
"""A published size does not say which layers have it: cards that hold some of them get 2 % more or less."""
LADDER = tuple(
    sorted(
        "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S Q2_K IQ3_XXS Q3_K IQ3_S IQ4_XS Q4_K Q5_K Q6_K Q8_0 BF16".split(),
        key=lambda name: TYPES[name].block_bytes / TYPES[name].block,
    )
)
"""Types in the order of their size: a layer that gets more takes the next one."""


class Size(NamedTuple):
    """How large a dynamic file is beside its plain mix: share, and the lowest and highest that were seen."""

    plain: str
    share: float
    low: float
    high: float
    because: str
    """Where the share is from."""


Experts = Literal["none", "plain", "4 bit"]
"""Whether a model has routed experts, and whether they are published in 4 bit (gpt-oss, DeepSeek-V4)."""


class _Row(NamedTuple):
    model: str
    word: str
    current: bool
    experts: Experts
    plain: str
    share: float


@lru_cache
def _rows() -> tuple[_Row, ...]:
    return tuple(
        _Row(
            row["model"],
            _plain_word(word),
            row["generation"] == "2",
            cast(Experts, row["experts"]),
            _compared(_plain_word(word), cast(Experts, row["experts"])),
            int(share) / 1000,
        )
        for row in facts.table("gguf_dynamic")
        for word, share in row.items()
        if share and word.startswith("UD-")
    )


def _compared(name: str, experts: Experts) -> str:
    """The plain mix of a file's size: experts that were published in 4 bit are not held in more."""
    plain = PLAIN_MIX.get(name, name)
    return PUBLISHED_EXPERTS if experts == "4 bit" and _bits(plain) >= _bits("Q4_K") else plain


def _plain_word(word: str) -> str:
    return word.upper().replace("-", "_").removeprefix(PREFIX)


def full_word(word: str) -> str:
    """A mix's word with the UD that `-hf REPO:Q2_K_XL` may leave out where no plain mix is called so.

    >>> full_word("Q2_K_XL"), full_word("UD-Q2_K_XL"), full_word("Q3_K_XL"), full_word("TQ1_0")
    ('UD-Q2_K_XL', 'UD-Q2_K_XL', 'Q3_K_XL', 'TQ1_0')
    """
    name = word.upper()
    return f"UD-{name}" if name in PLAIN_MIX.keys() - LARGE_ENDS.keys() - TYPES.keys() else word


def is_dynamic(word: str) -> bool:
    """Whether a word names a dynamic mix.

    >>> is_dynamic("UD-Q2_K_XL"), is_dynamic("ud_iq1_s"), is_dynamic("Q4_K_M")
    (True, True, False)
    """
    return word.upper().replace("-", "_").startswith(PREFIX)


def plain_mix(word: str) -> str:
    """The plain mix that a dynamic one is compared with.

    >>> plain_mix("UD-Q2_K_XL"), plain_mix("UD-IQ2_M")
    ('Q2_K', 'IQ2_M')
    """
    name = _plain_word(word)
    return PLAIN_MIX.get(name, name)


def dynamic_size(model_name: str, word: str, experts: Experts) -> Size:
    """The size of a dynamic file as a share of its plain mix.

    >>> size = dynamic_size("deepseek-v3.1", "UD-Q2_K_XL", "plain")  # 238.1 GiB published, Q2_K has 227.4
    >>> size.plain, size.share
    ('Q2_K', 1.047)
    >>> size = dynamic_size("another", "UD-Q4_K_XL", "plain")  # by the files of other models
    >>> size.plain, round(size.low, 2), round(size.high, 2)
    ('Q4_K_M', 0.9, 1.08)
    >>> dynamic_size("another", "UD-IQ2_M", "4 bit").plain  # its layers are IQ2_S
    'IQ2_M'
    """
    name = _plain_word(word)
    plain = _compared(name, experts)
    own = next((row for row in _rows() if (row.model, row.word) == (model_name, name)), None)
    if own is not None:
        doubt = ROUNDED + UNEVEN
        because = f"as published, {own.share:.3g} times that of {own.plain}"
        return Size(own.plain, own.share, own.share * (1 - doubt), own.share * (1 + doubt), because)
    from statistics import median  # loads fractions and decimals; few files come here

    seen = _nearest(name, plain, experts)
    because = f"that of {plain} by the share of {len(seen)} published files"
    return Size(plain, median(seen), min(seen) * (1 - OTHER_MODEL), max(seen) * (1 + OTHER_MODEL), because)


def own_size(row: dict[str, str], plain: str) -> Size:
    """The size of a file whose publisher chooses types by a rule of his own, as a share of its plain mix.

    >>> own_size({"publisher": "bartowski", "share": "1010", "low": "950", "high": "1065"}, "IQ3_XXS")[1:3]
    (1.01, 0.93)
    """
    share, low, high = (int(row[each]) / 1000 for each in ("share", "low", "high"))
    because = f"that of {plain} by the share of {row['publisher']}'s other files"
    return Size(plain, share, round(low - OTHER_MODEL, 3), high + OTHER_MODEL, because)


def _nearest(name: str, plain: str, experts: Experts) -> list[float]:
    """The shares of other models' files of the same word, or of the word nearest in bits."""

    def distance(row: _Row) -> float:
        return abs(log(_bits(row.plain) / _bits(plain)))

    published = plain == PUBLISHED_EXPERTS
    rows = [
        row
        for row in _rows()
        if row.current
        and (row.experts == "none") == (experts == "none")
        and (row.plain == PUBLISHED_EXPERTS) == published
    ]
    least = min(map(distance, rows))
    near = [row for row in rows if row.word == name] or [row for row in rows if distance(row) == least]
    return [row.share for row in near]


def _bits(mix: str) -> float:
    kind = TYPES[default_type(mix)]
    return kind.block_bytes * 8 / kind.block


class Sized(NamedTuple):
    """A tensor of a file with its type."""

    name: str
    shape: Shape
    kind: str
    layer: int


def resized(tensors: list[Sized], target_bytes: float) -> list[str]:
    """The types of a plain mix's tensors in a dynamic file of `target_bytes`.

    Beside experts nothing has less than KEPT. Then experts (where there are none, or they stay as they were
    published: all matrices) of evenly spaced layers take the next larger or smaller type until the file has
    its size: what a publisher does, but for which layers.

    >>> layers = [Sized("ffn_up_exps", (256, 256), "IQ1_S", layer) for layer in range(4)]
    >>> resized(layers, 4 * 12800 + 2 * 1536)  # IQ1_M has 6 bytes more a block
    ['IQ1_S', 'IQ1_M', 'IQ1_S', 'IQ1_M']
    """
    experts = {each.kind for each in tensors if EXPERTS in each.name}
    moved = EXPERTS if experts & {*LADDER} else ""
    kinds = [_kept(each) if experts else each.kind for each in tensors]
    total = sum(TYPES[kind].num_bytes(each.shape) for each, kind in zip(tensors, kinds, strict=True))
    step = 1 if target_bytes > total else -1
    order = _spaced(
        [at for at, each in enumerate(tensors) if moved in each.name and _takes_any(each)], tensors
    )
    for _ in LADDER:
        for at in order:
            if (target_bytes - total) * step <= 0:
                return kinds
            rung = LADDER.index(kinds[at]) + step if kinds[at] in LADDER else -1
            if 0 <= rung < len(LADDER):
                shape = tensors[at].shape
                total += TYPES[LADDER[rung]].num_bytes(shape) - TYPES[kinds[at]].num_bytes(shape)
                kinds[at] = LADDER[rung]
    return kinds


def _kept(tensor: Sized) -> str:
    """The type of a tensor beside experts: at least KEPT."""
    if EXPERTS in tensor.name or tensor.kind not in LADDER or not _takes_any(tensor):
        return tensor.kind
    least = KEPT_FEED_FORWARD if FEED_FORWARD in tensor.name or tensor.layer < 0 else KEPT
    return max(tensor.kind, least, key=LADDER.index)


def _takes_any(tensor: Sized) -> bool:
    """Whether every type's blocks divide a row; others keep what the plain mix falls back to."""
    return tensor.shape[-1] % BLOCK == 0


def spread_of(file: Model, size: Size) -> SizeSpread:
    """How far a dynamic file may lie from what `resized` made of it: the whole has the spread of its size,
    what stands beside experts is at most in Q8_0."""
    whole = (size.low / size.share, size.high / size.share)
    if not any(tensor.role == "expert" for tensor in file.tensors):
        return SizeSpread(whole, whole)
    others = [tensor for tensor in file.tensors if tensor.role != "expert" and tensor.format.name in LADDER]
    widest = TYPES["Q8_0"].format(BLOCK)
    most = sum(tensor._replace(format=widest).num_bytes for tensor in others)
    held = max(sum(tensor.num_bytes for tensor in others), 1)
    of_experts = sum(tensor.num_bytes for tensor in file.tensors if tensor.role == "expert")
    rest = sum(tensor.num_bytes for tensor in file.tensors) - of_experts
    return SizeSpread(whole, (1.0, max(most / held, 1.0)), of_experts, rest)


def kept_spread(chosen: "list[tuple[StoredTensor, str]]") -> SizeSpread:
    """What a repacked NVFP4 checkpoint holds beside experts, as shares of Q8_0 beside feed-forward layers
    (llama.cpp#25446, --fp8-as-q8): its attention in NVFP4 too, or all of it in BF16, as the converter writes
    what is in 8 bit unless told.

    >>> from .gguf_model import as_gguf
    >>> from .load import load
    >>> spread = as_gguf(load("qwen3.8-27b"), "NVFP4").size_spread
    >>> spread.experts, [round(share, 2) for share in spread.others]
    ((1.0, 1.0), [0.82, 1.46])
    """
    others = [(piece, kind) for piece, kind in chosen if piece.group.role != "expert"]

    def held(block: str, end: str) -> int:
        kinds = {True: end, False: block}
        return sum(
            TYPES[kinds[piece.layer < 0] if kind == "Q8_0" else kind].num_bytes(piece.shape)
            for piece, kind in others
        )

    usual = held("Q8_0", "Q8_0")
    return SizeSpread((1.0, 1.0), (held("NVFP4", "Q8_0") / usual, held("BF16", "BF16") / usual))


def _spaced(chosen: list[int], tensors: list[Sized]) -> list[int]:
    """Places in an order in which every beginning lies evenly over the layers: by the digits of the layer's
    number in binary, the last one first."""
    return sorted(chosen, key=lambda at: (int(f"{tensors[at].layer + 1:012b}"[::-1], 2), at))


def experts_of(tensors: tuple[Tensor, ...]) -> Experts:
    """How a checkpoint's experts are published."""
    bits = [tensor.format.bits for tensor in tensors if tensor.role == "expert"]
    return "none" if not bits else "4 bit" if 4 in bits else "plain"
