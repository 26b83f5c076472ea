"""Which GGUF type llama-quantize gives to a tensor of a file type such as Q4_K_M, and which it leaves in F32.

Source: llama_tensor_get_type of src/llama-quant.cpp and prepare_tensors of convert_hf_to_gguf.py, checked
against published files (tests).
"""

from typing import NamedTuple

from .gguf_builds import EXPERTS_SINCE, SMALL_Q2_K_SINCE, USUAL, VALUES_SINCE
from .gguf_types import FALLBACKS, LARGE_ENDS, LOWEST, PLAIN, TYPES, default_type
from .storage import Shape


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
    if not quantized(name, shape) or name.endswith("ct_coef.weight"):
        return "F32"
    if "altup" in name or "laurel" in name:
        return "BF16"  # kept too (llama-quant.cpp, tensor_allows_quantization)
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
"""Embeddings; of Gemma's E models one for each layer too, which llama-quantize treats alike, where the output
is tied since VALUES_SINCE (a Q4_K_M of Gemma 3n E4B has 3.94 GiB; llama-quant.cpp)."""


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
    if mix == "NVFP4":  # a checkpoint's own blocks, which the converter keeps (llama.cpp#19769)
        return "NVFP4" if ".ffn_" in name else "Q8_0"
    if name == "output.weight" or (facts.tied and name in TABLES[: 1 + (facts.build >= VALUES_SINCE)]):
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
        apart = facts.num_experts > 1 and facts.build < EXPERTS_SINCE
        return default if apart else _down(mix, default, facts, layer if facts.num_experts > 1 else nth)
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
    if facts.num_experts == 8 and facts.build >= EXPERTS_SINCE:
        raised = "Q2_K IQ3_XS IQ3_XXS Q3_K_S Q3_K_M IQ4_NL Q4_K_S Q4_K_M IQ3_S IQ3_M IQ4_XS"
        return "Q5_K" if mix in raised.split() else default
    return {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}.get(
        mix, default
    )
