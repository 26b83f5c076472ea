"""Adapters of PEFT: how many values each trains, and what of a matrix product it makes autograd keep.

Three habits tell them apart in memory (facts/adapters.csv): whether the adapter's copy of what the matrix
reads is kept, how many copies of what it writes, and how many tensors of the matrix' own size the update is
made through. Each is F32 where PEFT keeps adapters in F32, so that an adapter with a hundred numbers may take
more than LoRA with ten million.
"""

from collections.abc import Callable
from math import ceil
from typing import Literal, NamedTuple

from ... import facts
from ...errors import UsageError, did_you_mean

Where = Literal["matrix", "norm", "embedding", "tokens", "prefix"]

FREQUENCIES = {"fourierft": 1000, "waveft": 2592}
"""Coefficients a matrix: defaults of FourierFTConfig and WaveFTConfig."""
C3A_BLOCK, BOFT_BLOCK = 64, 4
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
    )


class AdaptedMatrix(NamedTuple):
    """A matrix that an adapter stands beside."""

    rank: int
    width_in: int
    width_out: int
    feeds: bool = False
    """A down projection, which IA3 scales before."""

    @property
    def both(self) -> int:
        """Values of LoRA's two matrices."""
        return self.rank * (self.width_in + self.width_out)

    @property
    def shorter(self) -> int:
        return min(self.width_in, self.width_out)


def _oft(m: AdaptedMatrix) -> int:
    return m.rank * (m.width_in // m.rank) * (m.width_in // m.rank - 1) // 2


def _randlora(m: AdaptedMatrix) -> int:
    bases = ceil(m.shorter / m.rank)
    return m.rank * bases + bases * m.shorter


TRAINED: dict[str, Callable[[AdaptedMatrix], int]] = {
    "dora": lambda m: m.both + m.width_out,
    **dict.fromkeys(("lora-fa", "deft", "miss"), lambda m: m.rank * m.width_out),
    "adalora": lambda m: m.both + m.rank,
    "delora": lambda m: m.both + 1,
    "peanut": lambda m: 2 * m.rank * m.width_out,
    "vera": lambda m: m.width_out + m.rank,
    "pvera": lambda m: m.width_out + 2 * m.rank,
    "lily": lambda m: m.both // LILY_STRIDE,
    "ia3": lambda m: m.width_in if m.feeds else m.width_out,
    **dict.fromkeys(("road", "glora"), lambda m: 2 * m.width_out),
    "beft": lambda m: m.width_out,
    "fourierft": lambda m: FREQUENCIES["fourierft"],
    "waveft": lambda m: FREQUENCIES["waveft"],
    "c3a": lambda m: m.width_in * m.width_out // C3A_BLOCK,
    "psoft": lambda m: m.rank * (m.rank - 1) // 2 + 2 * m.rank,
    "oft": _oft,
    "boft": lambda m: 2 * ceil(m.width_in / BOFT_BLOCK) * BOFT_BLOCK**2 + m.width_out,
    "loha": lambda m: 2 * m.both,
    "lokr": lambda m: 16 + m.rank * (ceil(m.width_in / 4) + ceil(m.width_out / 4)),
    "vblora": lambda m: m.both // VECTOR * BANK,
    "randlora": _randlora,
    **dict.fromkeys(("tinylora", "unilora"), lambda m: 1),
    "adamss": lambda m: max(1, m.both // 128),
    "frod": lambda m: m.width_in * m.width_out // 100 + m.shorter,
    "osf": lambda m: m.width_in * m.width_out // 16,
}
"""Values that an adapter trains beside one matrix, where they are not LoRA's."""


def trained_values(name: str, matrix: AdaptedMatrix) -> int:
    """Return how many values an adapter trains beside one matrix.

    DeepSeek-V3's kv_a_proj (7,168 -> 576): LoRA of rank 16 trains 123,904 values, VeRA 592, IA3 576.

    >>> kv_a = AdaptedMatrix(16, 7168, 576)
    >>> [trained_values(name, kv_a) for name in ("lora", "vera", "ia3", "fourierft")]
    [123904, 592, 576, 1000]
    """
    return TRAINED[name](matrix) if name in TRAINED else matrix.both
