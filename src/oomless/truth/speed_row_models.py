"""The model that a row of measured speed is about: of the catalogue, by its shape, or by its size alone."""

import re

from ..files import shown
from ..model.catalogue_names import catalogue_name
from ..model.families import build
from ..model.load import load
from ..model.model import Model
from ..speed.network import Network, network, unnamed
from ..units import GB
from .tables import Incomplete

MODELS = {
    "deepseek-r1-671b": "deepseek-r1",
    "deepseek-v3/r1": "deepseek-v3",
    "deepseek-r1-distill-14b": "deepseek-r1-distill-qwen-14b",
    "deepseek-r1-distill-70b": "deepseek-r1-distill-llama-70b",
    "llama-70b": "llama-2-70b",
    "llama-7b": "llama-2-7b",
    "phi-3-3.8b": "phi-3-mini-4k",
}

QUANTS: dict[str, str | None] = {
    "BF16": None,
    "F16": None,
    "FP16": None,
    "FP4": "nvfp4",
    "NVFP4": "nvfp4",
    "W4A16/NVFP4": "nvfp4",
    "FP8": "fp8",
    "INT4 GPTQ": "gptq",
    "INT8": "w8a8",
    "W8A8": "w8a8",
    "MXFP4": "mxfp4",
}
"""Words that are no GGUF types -> --quantization of a model published in 16 bit."""


def network_of(row: dict[str, str]) -> tuple[Network, bool]:
    """The model's sums, and whether its config is known; else a model of that size."""
    model = model_of(row)
    quant = row["quant"].split(" (")[0]
    given = float(row["weight_bytes_gb"]) * GB if row["weight_bytes_gb"] else None
    params = float(row["params_b"] or 0) * GB  # billions
    if model is None:
        if not params:
            raise Incomplete(f"the config of {shown(row['model'])} is not known, and params_b is not given")
        active = float(row["active_params_b"] or 0) * GB or params
        return unnamed(row["model"], params, active, bits_of(quant, given, params)), False
    net = network(model, _quantization(quant, model, "llama" in row["engine"].lower()))
    ratio = mean_bits(quant) * params / 8 / _total_bytes(net)
    return (_scaled(net, ratio) if ratio and abs(ratio - 1) > NOMINAL else net), True


def model_of(row: dict[str, str]) -> Model | None:
    """Return the model of a row: of the catalogue, or by its shape; None: its config is not known.

    >>> model_of({"model": "MPT-7B"}).num_parameters
    6649286656
    """
    word = row["model"].strip().lower()
    if word in SHAPES:
        return build(SHAPES[word], row["model"], "its published config")
    name = catalogue_name(MODELS.get(word, word))
    return load(name) if name is not None else None


def mean_bits(quant: str) -> float:
    """Bits a value that the words of a file's type name; 0: they name none.

    >>> mean_bits("Q2_K 2.71bpw"), mean_bits("1.2.3bpw"), mean_bits("Q8_0")
    (2.71, 0.0, 0.0)
    """
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)bpw", quant)
    return float(found[1]) if found else 0.0


SHAPES: dict[str, dict[str, object]] = {
    "gpt-j-6b": {
        "model_type": "gpt_neox",
        "architectures": ["GPTNeoXForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "vocab_size": 50400,
        "max_position_embeddings": 2048,
        "rotary_pct": 0.25,
        "torch_dtype": "float16",
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
    }
}

MPT = {
    "mpt-125m": (768, 12, 12),
    "mpt-350m": (1024, 16, 24),
    "mpt-760m": (1536, 12, 24),
    "mpt-1b": (2048, 16, 24),
    "mpt-3b": (2560, 20, 32),
    "mpt-7b": (4096, 32, 32),
    "mpt-13b": (5120, 40, 40),
    "mpt-30b": (7168, 64, 48),
    "mpt-70b": (8192, 64, 80),
}
"""Width, heads and layers of MPT (mosaicml/llm-foundry, scripts/train/yamls/pretrain)."""

SHAPES |= {
    name: {
        "model_type": "mpt",
        "architectures": ["MPTForCausalLM"],
        "d_model": width,
        "n_heads": heads,
        "n_layers": layers,
        "expansion_ratio": 4,
        "max_seq_len": 65536,
        "vocab_size": 50432,
        "no_bias": True,
        "attn_config": {"alibi": True},
        "torch_dtype": "bfloat16",
    }
    for name, (width, heads, layers) in MPT.items()
}
"""Models of the tables that the catalogue lacks: GPT-J has the matrices of a GPT-NeoX of its size."""

NOMINAL = 0.1
"""A file's mean bits within this of what its type gives are that type's own; further off, the mix was chosen
by hand."""


def _total_bytes(net: Network) -> float:
    routed = sum(each.num_layers * each.num_experts * each.bytes_each for each in net.experts)
    return sum(each.bytes for each in (*net.cut, *net.whole, net.head)) + net.embedding_bytes + routed


def _scaled(net: Network, ratio: float) -> Network:
    """A network whose file is smaller or larger than its type says; mixes chosen by hand spare or spend on
    routed experts first."""
    if not net.experts:
        return net._replace(cut=tuple(each._replace(bytes=each.bytes * ratio) for each in net.cut))
    routed = sum(each.num_layers * each.num_experts * each.bytes_each for each in net.experts)
    share = max(1 + (ratio - 1) * _total_bytes(net) / routed, 0.1)
    return net._replace(
        experts=tuple(each._replace(bytes_each=each.bytes_each * share) for each in net.experts)
    )


def _quantization(quant: str, model: Model, gguf: bool = False) -> str | None:
    if gguf and quant in GGUF_WORDS:
        return GGUF_WORDS[quant]
    if quant in QUANTS:
        found = QUANTS[quant]
        return found if not model.quantization or found in ("nvfp4", "mxfp4") else None
    found = quant.split(" ")[0]
    return {"Q4": "Q4_K_M"}.get(found, found)


GGUF_WORDS = {"MXFP4": "MXFP4_MOE", "BF16": "BF16", "F16": "F16"}
"""Words that mean another mix under llama.cpp: what is not an expert is Q8_0 beside MXFP4."""

BITS = {
    "BF16": 16,
    "F16": 16,
    "FP16": 16,
    "FP8": 8,
    "INT8": 8,
    "W8A8": 8,
    "FP4": 4.5,
    "NVFP4": 4.5,
    "INT4": 4.25,
    "MXFP4": 4.25,
}

BITS |= {"Q8_0": 8.5, "Q4_K": 4.85, "Q4_0": 4.5, "Q4": 4.85}
"""Bits a value with its scales; K-quant files mix types: 4.85 is the mean of Q4_K_M files of 7 to 70 billion
values."""


def bits_of(quant: str, given: float | None, params: float) -> float:
    """Bits a value of a model without config: of the file's size, or of the format's name."""
    if given:
        return given * 8 / params
    if named := mean_bits(quant):
        return named
    for word, bits in BITS.items():
        if word in quant:
            return bits
    raise Incomplete(f"how many bits {quant} takes is not given")
