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
from .gguf_builds import SMALL_Q2_K_SINCE, USUAL, VALUES_SINCE
from .storage import BF16, F16, F32, I64, Format, Shape


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


def _types(table: str) -> dict[str, GGMLType]:
    rows = [row.split() for row in table.split(",")]
    return {name: GGMLType(int(number), name, *map(int, sizes)) for number, name, *sizes in rows}


TYPES = _types(_MAINLINE) | _types(_IK)
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
            f"{word}: a dynamic mix is chosen by hand for each model", "give the file: its header says"
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


class Facts(NamedTuple):
    """What a mix looks at beside the tensor itself."""

    num_layers: int
    n_gqa: int
    """Query heads a key-value head, of the first layer."""
    num_experts: int = 0
    tied: bool = False
    is_70b: bool = False
    """llama.cpp's LLM_TYPE_70B: 80 layers, llama with grouped queries or qwen2."""
    falcon: bool = False
    imatrix: bool = False
    num_attn_v: int = 0
    """Tensors that count as attention values: attn_v, attn_qkv and attn_kv_b."""
    build: str = USUAL
    """The month of llama-quantize."""


def mix_type(mix: str, name: str, shape: Shape, facts: Facts, nth: int = 0, layer: int = 0) -> str:
    """The type that llama-quantize gives to a tensor.

    `nth` counts the attn_v or ffn_down tensors before it, `layer` is its own. Ignored: overrides by
    --tensor-type.

    >>> qwen = Facts(num_layers=28, n_gqa=7, num_attn_v=28)  # DeepSeek-R1-Distill-Qwen-7B
    >>> [mix_type("Q4_K_M", f"blk.{i}.ffn_down.weight", (3584, 18944), qwen, i, i) for i in (0, 3, 5)]
    ['Q6_K', 'Q4_K', 'Q6_K']
    >>> mix_type(
    ...     "Q4_K_M", "blk.1.ffn_down_exps.weight", (64, 2048, 1408), Facts(27, 1, 64), 1, 1
    ... )  # 1408 is no multiple of 256
    'Q8_0'
    """
    if name == "per_layer_model_proj.weight":
        return "BF16"  # kept as the converter wrote it
    if not quantized(name, shape):
        return "F32"
    base = LARGE_ENDS.get(mix, mix)
    default = default_type(base)
    if default in PLAIN:
        return default
    is_end = name == "output.weight" or name in TABLES
    chosen = _choose(base, default, name, shape, facts, nth, layer)
    if is_end and mix in LARGE_ENDS:
        chosen = "F16" if base == "Q8_0" else "Q8_0"
    if shape[-1] % TYPES[chosen].block:
        chosen = FALLBACKS.get(chosen, "F16")
    return chosen if shape[-1] % TYPES[chosen].block == 0 else "F16"


TABLES = ("token_embd.weight", "per_layer_token_embd.weight")
"""Embeddings; of Gemma's E models one for each layer too, which llama-quantize treats alike."""


KEPT = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "ffn_gate_tid2eid.weight"),
    *(
        "ssm_conv1d.weight",
        "shortconv.conv.weight",
        "position_embd.weight",
        "indexer.q_proj.weight",
        "indexer.k_proj.weight",
    ),
)


def quantized(name: str, shape: Shape) -> bool:
    """Whether a tensor is quantised at all: matrices named weight, but norms, routers and the tables of token
    ids."""
    return name.endswith("weight") and not name.endswith(KEPT) and sum(size > 1 for size in shape) > 1


VALUES = ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight")


def values_in(name: str, build: str) -> bool:
    """Whether a tensor is treated as attention values, by the rule of a build."""
    return VALUES[0] in name or (build >= VALUES_SINCE and name.endswith(VALUES))


def _more(index: int, count: int) -> bool:
    """Which layers get more bits: the first and last eighth and every third between them."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def _choose(mix: str, default: str, name: str, shape: Shape, facts: Facts, nth: int, layer: int) -> str:
    if name == "output.weight" or (facts.tied and name in TABLES):
        if mix == "MXFP4_MOE" or facts.falcon or shape[-1] % TYPES[default].block or default == "Q8_0":
            return "Q8_0"
        return "Q5_K" if mix in {*LOWEST, "IQ3_XXS"} else "Q6_K"
    if mix == "MXFP4_MOE":  # experts, and MLA's split k_b and v_b, which have three dimensions too
        return "MXFP4" if len(shape) > 2 and shape[0] > 1 else "Q8_0"
    if name in TABLES:
        small = dict.fromkeys(["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"], "Q2_K") | dict.fromkeys(
            ["IQ2_S", "IQ2_M", "IQ3_XXS"], "IQ3_S"
        )
        return {**small, "TQ1_0": "Q4_K", "TQ2_0": "Q4_K", "Q2_0": "Q4_K"}.get(mix, default)
    if mix in LOWEST:
        return _lowest(mix, default, name, facts, nth)
    if values_in(name, facts.build):
        return _attention_values(mix, default, facts, nth)
    if "attn_k.weight" in name and facts.num_experts == 8:
        return "Q8_0"
    if "attn_k.weight" in name or "attn_q.weight" in name:
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix, default)
    if "ffn_down" in name:
        return _down(mix, default, facts, layer if facts.num_experts > 1 else nth)
    if "attn_output.weight" in name:
        return _attention_output(mix, default, facts)
    if "attn_qkv.weight" in name:
        return {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}.get(
            mix, default
        )
    if (
        ("ffn_gate.weight" in name or "ffn_up.weight" in name)
        and mix == "Q2_K"
        and facts.build < SMALL_Q2_K_SINCE
    ):
        return "Q3_K"
    if ("ffn_gate" in name or "ffn_up" in name) and mix == "IQ3_XS":
        return "IQ3_XXS" if facts.num_layers // 8 <= layer < 7 * facts.num_layers // 8 else default
    return default


def _lowest(mix: str, default: str, name: str, facts: Facts, nth: int) -> str:
    """The mixes of one and two bits. They count tensors, not layers: a layer with routed and shared experts
    counts twice."""
    better = "IQ3_S" if mix in ("IQ2_S", "IQ2_M") else "Q2_K"
    if values_in(name, facts.build):
        return "Q4_K" if facts.n_gqa >= 4 or facts.num_experts >= 4 else better
    if "attn_k.weight" in name and facts.num_experts == 8:
        return "Q4_K"
    if "ffn_down" in name:
        return better if nth < facts.num_layers // 8 else default
    if "attn_output.weight" in name:
        output = {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}
        return "Q5_K" if facts.num_experts == 8 else output.get(mix, default)
    return default


def _attention_values(mix: str, default: str, facts: Facts, nth: int) -> str:
    wide, chosen = facts.n_gqa >= 4, default
    match mix:
        case "Q2_K":
            chosen = "Q4_K" if wide else "Q3_K"
        case "IQ3_XXS":
            chosen = "Q4_K" if wide else "IQ3_XXS" if facts.imatrix else "IQ3_S"
        case "Q2_K_S" | "IQ3_XS" | "IQ3_S" if wide:
            chosen = "Q4_K"
        case "IQ4_NL" | "IQ4_XS" if wide:
            chosen = "Q5_K"
        case "IQ3_M":
            chosen = "Q4_K"
        case "Q3_K_M":
            chosen = "Q5_K" if nth < 2 else "Q4_K"
        case "Q3_K_L":
            chosen = "Q5_K"
        case "Q4_K_M" | "Q5_K_M" if _more(nth, facts.num_attn_v):
            chosen = "Q6_K"
        case "Q4_K_S" if nth < 4:
            chosen = "Q5_K"
    if facts.num_experts == 8:
        return "Q8_0"
    return "Q5_K" if facts.is_70b and chosen in ("Q3_K", "Q4_K") else chosen


def _down(mix: str, default: str, facts: Facts, layer: int) -> str:
    count = facts.num_layers
    first, more = layer < count // 8, _more(layer, count)
    match mix:
        case "Q2_K":
            return "Q3_K"
        case "Q2_K_S" if first:
            return "Q4_K"
        case "IQ3_XXS" if not facts.imatrix:
            return "Q4_K" if first else "Q3_K"
        case "Q3_K_M":
            return "Q5_K" if layer < count // 16 else "Q4_K" if more or not facts.falcon else "Q3_K"
        case "IQ3_M" if first or (facts.num_experts == 8 and more):
            return "Q4_K"
        case "Q3_K_L":
            return "Q4_K" if facts.falcon else "Q5_K"
        case "Q4_K_M" if facts.falcon:
            return "Q6_K" if layer < count // 16 else "Q5_K" if more else "Q4_K"
        case "Q4_K_M" | "Q5_K_M" if more:
            return "Q6_K"
        case "IQ4_NL" | "IQ4_XS" if first and not facts.imatrix:
            return "Q5_K"
        case "Q4_K_S" if first and not facts.falcon:
            return "Q5_K"
        case "Q4_0" | "Q5_0" if first and facts.imatrix:
            return "Q4_1" if mix == "Q4_0" else "Q5_1"
    return default


def _attention_output(mix: str, default: str, facts: Facts) -> str:
    if facts.falcon:
        return "Q4_K" if mix == "Q3_K_L" else default
    if facts.num_experts == 8:
        raised = "Q2_K IQ3_XS IQ3_XXS Q3_K_S Q3_K_M IQ4_NL Q4_K_S Q4_K_M IQ3_S IQ3_M IQ4_XS"
        return "Q5_K" if mix in raised.split() else default
    return {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}.get(
        mix, default
    )
