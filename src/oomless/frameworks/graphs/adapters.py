"""Adapters of PEFT: how many values each trains, and what of a matrix product it makes autograd keep.

Three habits tell them apart in memory (facts/adapters.csv): whether the adapter's copy of what the matrix
reads is kept, how many copies of what it writes, and how many tensors of the matrix' own size the update is
made through. Each is F32 where PEFT keeps adapters in F32, so that an adapter with a hundred numbers may take
more than LoRA with ten million.
"""

from math import ceil
from typing import Literal, NamedTuple

from ... import facts
from ...errors import UsageError, did_you_mean

Where = Literal["matrix", "norm", "embedding", "tokens", "prefix"]

FREQUENCIES = {"fourierft": 1000, "waveft": 2592}
"""Coefficients a matrix: defaults of FourierFTConfig and WaveFTConfig."""
C3A_BLOCK, BOFT_BLOCK, TINY_VALUES = 64, 4, 64
"""Block sizes of C3A (method_comparison) and BOFT (default); values that TinyLoRA trains in all."""
LILY_STRIDE = 14
"""Layers that share an A; B are two for all layers (method_comparison)."""
VECTOR, BANK = 256, 256
"""VB-LoRA: length and number of the bank's vectors (defaults)."""


class AdapterKind(NamedTuple):
    """What a kind of adapter keeps beside a matrix."""

    name: str
    where: Where
    inputs: int
    outputs: int
    dense: int
    tokens: int
    """Virtual tokens, or trained ones."""
    source: str


def adapter(name: str) -> AdapterKind:
    """The row of facts/adapters.csv.

    >>> adapter("fourierft").dense, adapter("vera").inputs
    (1, 0)
    """
    rows = {row["adapter"]: row for row in facts.table("adapters")}
    if name not in rows:
        raise UsageError(f"unknown adapter {name!r}", did_you_mean(name, sorted(rows)))
    row = rows[name]
    where: Where = row["where"]  # type: ignore[assignment]
    return AdapterKind(
        name,
        where,
        int(row["inputs"]),
        int(row["outputs"]),
        int(row["dense"]),
        int(row["tokens"]),
        row["source"],
    )


def trained_values(name: str, rank: int, width_in: int, width_out: int, feeds: bool = False) -> int:
    """Values that an adapter trains beside one matrix (width_in -> width_out); `feeds`: a down projection,
    which IA3 scales before.

    DeepSeek-V3's kv_a_proj (7,168 -> 576): LoRA of rank 16 trains 123,904 values, VeRA 592, IA3 576.

    >>> [trained_values(name, 16, 7168, 576) for name in ("lora", "vera", "ia3", "fourierft")]
    [123904, 592, 576, 1000]
    """
    both = rank * (width_in + width_out)
    match name:
        case "dora":
            return both + width_out
        case "lora-fa" | "deft" | "miss":
            return rank * width_out
        case "adalora":
            return both + rank
        case "delora":
            return both + 1
        case "peanut":
            return 2 * rank * width_out
        case "vera":
            return width_out + rank
        case "pvera":
            return width_out + 2 * rank
        case "lily":
            return both // LILY_STRIDE
        case "ia3":
            return width_in if feeds else width_out
        case "road" | "glora":
            return 2 * width_out
        case "beft":
            return width_out
        case "fourierft" | "waveft":
            return FREQUENCIES[name]
        case "c3a":
            return width_in * width_out // C3A_BLOCK
        case "psoft":
            return rank * (rank - 1) // 2 + 2 * rank
        case "oft":
            return rank * (width_in // rank) * (width_in // rank - 1) // 2
        case "boft":
            return 2 * ceil(width_in / BOFT_BLOCK) * BOFT_BLOCK**2 + width_out
        case "loha":
            return 2 * both
        case "lokr":
            return 16 + rank * (ceil(width_in / 4) + ceil(width_out / 4))
        case "vblora":
            return rank * (width_in + width_out) // VECTOR * BANK
        case "randlora":
            bases = ceil(min(width_in, width_out) / rank)
            return rank * bases + bases * min(width_in, width_out)
        case "tinylora" | "unilora":
            return 1
        case "adamss":
            return max(1, both // 128)
        case "frod":
            return width_in * width_out // 100 + min(width_in, width_out)
        case "osf":
            return width_in * width_out // 16
        case _:
            return both
