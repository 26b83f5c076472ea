"""GGUF's storage types, and which of them llama.cpp gives to each tensor of a file type such as Q4_K_M.

Sources, by name and line of thought, not of code: block sizes are ggml/src/ggml-common.h and the type traits
of ggml.c (those of ik_llama.cpp for numbers from 133 on); mixes are llama_tensor_get_type of
src/llama-quant.cpp; what stays F32 is prepare_tensors of convert_hf_to_gguf.py; tensor names are gguf-py's
constants.py. Checked against the gguf package and published files (tests).
"""

import re
from math import prod
from typing import NamedTuple

from ..errors import UnsupportedError, UsageError
from .storage import BF16, F16, F32, I64, Format, Shape


class SizeSpread(NamedTuple):
    """Lowest and highest bytes of a file's tensors, as shares of those that are predicted for it."""

    experts: tuple[float, float]
    others: tuple[float, float]
    bytes_of_experts: int = 0
    """Of the whole file, where its size is known: what others have more, these have less; 0: it is not."""
    bytes_of_others: int = 0

    def on_card(self, experts: int, others: int) -> "SizeSpread":
        """Return the spread of a card's part of the file, so many bytes of both: a card of all experts takes
        none of what other tensors may have more.

        >>> SizeSpread((0.98, 1.02), (1.0, 1.5), 8000, 1000).on_card(8000, 1000).others
        (1.0, 1.0)
        >>> SizeSpread((0.98, 1.02), (1.0, 1.5), 8000, 1000).on_card(2000, 1000)[:2]
        ((0.98, 1.02), (1.0, 1.375))
        >>> SizeSpread((0.98, 1.02), (1.0, 1.5), 8000, 1000).on_card(8000, 500)[:2]
        ((0.94875, 1.02), (1.0, 1.0))
        """
        if not self.bytes_of_experts or not others:
            return self
        share = experts / self.bytes_of_experts
        more = (self.others[1] - 1) * self.bytes_of_others * (others / self.bytes_of_others - share)
        low, high = self.experts
        return self._replace(
            experts=(low + min(more, 0) / max(experts, 1), high),
            others=(self.others[0], 1 + max(more, 0) / others),
        )


class GGMLType(NamedTuple):
    """A storage type: `block` values along a row lie in `block_bytes`; ik_llama.cpp's KS and KT types add
    bytes to each row."""

    number: int
    name: str
    block: int
    block_bytes: int
    row_bytes: int = 0

    def num_bytes(self, shape: Shape) -> int:
        """Bytes of a tensor; `shape` ends with the length of a row, which is a multiple of the block.

        >>> TYPES["Q4_K"].num_bytes((152064, 3584)), TYPES["IQ4_KS"].num_bytes((2, 512))
        (306561024, 552)
        """
        if shape and shape[-1] % self.block:
            raise ValueError(
                f"a row of {shape[-1]:,} values is no multiple of {self.name}'s block of {self.block}"
            )
        rows, row = (prod(shape[:-1]), shape[-1]) if shape else (1, 1)
        return rows * (row // self.block * self.block_bytes + self.row_bytes)

    def format(self, columns: int) -> Format:
        """This type as a Format; the bits of a value are those that its name says, the rest of the block
        counts as scale.

        >>> TYPES["Q6_K"].format(4096)
        Format(name='Q6_K', bits=6, block=(1, 256), scale_bits=144, zero_bits=0, column_bits=0,
         reorders=False, tensor_bytes=0)
        """
        if self.name in PLAIN:
            return PLAIN[self.name]
        found = re.search(r"\d+", self.name)
        bits = int(found[0]) if found else 0
        if self.row_bytes:  # the extra bytes are one scale for the whole row
            return Format(self.name, bits, (1, 0), self.num_bytes((columns,)) * 8 - columns * bits)
        return Format(
            self.name,
            bits,
            (1, self.block) if self.block > 1 else None,
            self.block_bytes * 8 - self.block * bits,
        )


PLAIN = {"F32": F32, "F16": F16, "BF16": BF16, "I64": I64}

_MAINLINE = """
0 F32 1 4, 1 F16 1 2, 2 Q4_0 32 18, 3 Q4_1 32 20, 6 Q5_0 32 22, 7 Q5_1 32 24, 8 Q8_0 32 34, 9 Q8_1 32 40, 10
Q2_K 256 84, 11 Q3_K 256 110, 12 Q4_K 256 144, 13 Q5_K 256 176, 14 Q6_K 256 210, 15 Q8_K 256 292, 16 IQ2_XXS
256 66, 17 IQ2_XS 256 74, 18 IQ3_XXS 256 98, 19 IQ1_S 256 50, 20 IQ4_NL 32 18, 21 IQ3_S 256 110, 22 IQ2_S
256 82, 23 IQ4_XS 256 136, 24 I8 1 1, 25 I16 1 2, 26 I32 1 4, 27 I64 1 8, 28 F64 1 8, 29 IQ1_M 256 56, 30
BF16 1 2, 31 Q4_0_4_4 32 18, 32 Q4_0_4_8 32 18, 33 Q4_0_8_8 32 18, 34 TQ1_0 256 54, 35 TQ2_0 256 66, 39
MXFP4 32 17, 40 NVFP4 64 36, 41 Q1_0 128 18, 42 Q2_0 64 18"""
_IK = """
133 Q6_0 32 26, 134 IQ1_BN 64 13 2, 135 IQ2_BN 64 16 4, 137 IQ2_K 256 76, 138 IQ3_K 256 110, 139 IQ4_K 256
144, 140 IQ5_K 256 176, 141 IQ6_K 256 212, 144 IQ4_KS 256 136 4, 145 IQ2_KS 256 70 2, 146 IQ4_KSS 256 128 4,
151 Q8_KV 32 32 8, 152 IQ5_KS 256 168 4, 153 IQ2_KT 256 68 4, 154 IQ3_KT 256 100 4, 155 IQ4_KT 256 128 4,
156 IQ3_KS 256 102 2, 157 IQ2_KL 256 86 2, 158 IQ1_KT 256 56 4, 202 Q4_0_R8 32 18, 206 Q5_0_R4 32 22, 208
Q8_0_R8 32 34, 210 Q2_K_R4 256 84, 211 Q3_K_R4 256 110, 212 Q4_K_R4 256 144, 213 Q5_K_R4 256 176, 214
Q6_K_R4 256 210, 216 IQ2_XXS_R4 256 66, 217 IQ2_XS_R4 256 74, 218 IQ3_XXS_R4 256 98, 219 IQ1_S_R4 32 6 2,
220 IQ4_NL_R4 32 18, 221 IQ3_S_R4 256 110, 222 IQ2_S_R4 256 82, 223 IQ4_XS_R8 256 136, 229 IQ1_M_R4 32 7 2,
230 BF16_R16 1 2, 233 Q6_0_R4 32 26, 335 IQ2_BN_R4 64 16 4, 337 IQ2_K_R4 256 76, 338 IQ3_K_R4 256 110, 339
IQ4_K_R4 256 144, 340 IQ5_K_R4 256 176, 344 IQ4_KS_R4 256 136 4, 352 IQ5_KS_R4 256 168 4, 353 MXFP4_R8 32
17, 397 Q8_K_R16 256 258, 398 Q8_KV_R8 32 32 4, 399 Q8_K_R8 256 258"""
_TURBOQUANT = "-1 TURBO2 32 10, -2 TURBO3 32 14, -3 TURBO4 128 66"
"""Of a cache in forks with TurboQuant (TheTom/llama-cpp-turboquant, ggml-common.h), which no file has."""


def _types(table: str) -> dict[str, GGMLType]:
    rows = [row.split() for row in table.split(",")]
    return {name: GGMLType(int(number), name, *map(int, sizes)) for number, name, *sizes in rows}


TYPES = _types(_MAINLINE) | _types(_IK) | _types(_TURBOQUANT)
"""Every type by name. Numbers 4, 5 and 36 to 38 were removed upstream; ik's 36 (I2_S) has no fixed block."""
TYPE_NUMBERS = {each.number: each for each in TYPES.values()}


# ---- file types

FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
}
FILE_TYPES |= {
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
}
FILE_TYPES |= {
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
}
FILE_TYPES |= {
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
}
FILE_TYPES |= {40: "Q1_0", 41: "Q2_0"}
"""general.file_type -> its name (llama.h, enum llama_ftype)."""
DEFAULTS = {
    "Q2_K_S": "Q2_K",
    "IQ3_XS": "IQ3_S",
    "IQ2_S": "IQ2_XS",
    "IQ2_M": "IQ2_S",
    "IQ3_M": "IQ3_S",
    "MXFP4_MOE": "MXFP4",
}
"""The type of a file type's ordinary tensor, where it is not the name itself without its _S, _M or _L."""
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE", "FP16": "F16"}
LARGE_ENDS = {
    "Q2_K_L": "Q2_K",
    "Q3_K_XL": "Q3_K_L",
    "Q4_K_L": "Q4_K_M",
    "Q5_K_L": "Q5_K_M",
    "Q6_K_L": "Q6_K",
    "Q8_0_L": "Q8_0",
}
"""bartowski's variants: the embedding and the head are Q8_0 (--token-embedding-type, --output-tensor-type),
the rest as named; those of Q8_0_L are F16."""
REORDERED = ("Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8")
"""File types of 2024 whose blocks were Q4_0's in another order: as many bytes, but never Q4_1 for the first
ffn_down."""
FALLBACKS = dict.fromkeys(
    ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"], "IQ4_NL"
)
FALLBACKS |= dict.fromkeys(["Q2_K", "Q3_K", "TQ1_0", "TQ2_0", "Q2_0"], "Q4_0") | {
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
"""What a tensor gets whose row is no multiple of the block; F16 when not even 32 divides it."""
LOWEST = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")


def file_type(word: str) -> tuple[str, bool]:
    """(the file type, whether it is made with an importance matrix) of a published file's word.

    i-quants are published with one, other types without, unless the word begins with i1- (mradermacher).

    >>> file_type("q4_k"), file_type("IQ4_XS"), file_type("i1-Q4_0")
    (('Q4_K_M', False), ('IQ4_XS', True), ('Q4_0', True))
    """
    name = word.upper().removeprefix("I1-").replace("-", "_")
    name = ALIASES.get(name, name)
    if name in REORDERED:
        return "Q4_0", False
    known = [*FILE_TYPES.values(), *LARGE_ENDS]
    if name.startswith("UD_"):
        raise UnsupportedError(
            f"{word}: a dynamic mix is chosen by hand for each model", "its recipe is in no table"
        )
    if name not in known:
        raise UsageError(f"{word!r} is no GGUF file type", f"known are {', '.join(known)}")
    return name, name.startswith("IQ") or word.upper().startswith("I1-")


def default_type(name: str) -> str:
    """The type of an ordinary tensor.

    >>> default_type("Q4_K_M"), default_type("IQ2_M"), default_type("Q8_0")
    ('Q4_K', 'IQ2_S', 'Q8_0')
    """
    return DEFAULTS.get(name) or re.sub(r"(Q\d_K)_[SML]$", r"\1", name)
