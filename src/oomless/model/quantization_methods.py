"""One entry a quantisation method: its section of a config -> formats and rules. By packing, not by name."""

from collections.abc import Callable
from importlib import import_module

from ..errors import UnsupportedError
from .config import Config
from .quantization_scheme import Scheme, kept, whole
from .storage import (
    FP4_E8M0,
    FP8_32X32_E8M0,
    FP8_BLOCK,
    FP8_BLOCK_E8M0,
    FP8_CHANNEL,
    FP8_ROW32_E8M0,
    FP8_TENSOR,
    INT8_BNB,
    INT8_EETQ,
    INT8_TORCHAO,
    NF4,
    NF4_PLAIN,
    NVFP4,
    TERNARY,
    Format,
)

SPELLED = {
    "auto_round": "auto-round",
    "autoround": "auto-round",
    "intel/auto-round": "auto-round",
    "inc": "auto-round",
    "modelopt_fp4": "modelopt",
    "modelopt_mxfp8": "modelopt",
    "modelopt_mixed": "modelopt",
    "gptq_marlin": "gptq",
    "auto_gptq": "gptq",
    "awq_marlin": "awq",
    "auto_awq": "awq",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "compressed_tensors": "compressed-tensors",
}


def method_of(section: Config) -> str:
    """The method by quant_method; ModelOpt's first configs name their algorithm alone."""
    if section.values.get("quant_method") is None and isinstance(section.values.get("quant_algo"), str):
        return "modelopt"
    if section.values.get("quant_method") is None and {"bits", "group_size"} <= section.values.keys():
        return "mlx-packed"
    method = section.word("quant_method").lower()
    return SPELLED.get(method, method)


def read_fp8(section: Config, config: Config) -> Scheme:
    """FP8 by blocks (DeepSeek-V3, Qwen3-FP8), or a scale a tensor. V4's NVFP4 variant names its experts apart
    (deepseek_v4.py)."""
    block = section.values.get("weight_block_size")
    v4 = config.values.get("model_type") == "deepseek_v4"
    if v4 and section.values.get("moe_quant_algo"):
        from .quantization_by_module import by_module  # one release

        return Scheme(
            FP8_BLOCK_E8M0, FP8_BLOCK_E8M0, by_module(section)
        )  # the list left out is of what is not NVFP4
    if block is None:
        return whole(FP8_TENSOR, section)
    # only V4 stores E8M0 scales by 128; V3.1 and V3.2 name the format but keep F32 (repository sizes,
    # models.md 1)
    forms = {
        (128, 128): FP8_BLOCK_E8M0 if v4 else FP8_BLOCK,
        (32, 32): FP8_32X32_E8M0,
        (1, 32): FP8_ROW32_E8M0,
    }
    key = tuple(block) if isinstance(block, list) and all(type(size) is int for size in block) else ()
    if key not in forms:
        raise UnsupportedError(
            f"{section.where}: fp8 blocks {str(block)[:40]} are not known",
            f"known are {', '.join(map(str, forms))}",
        )
    return whole(forms[key], section)


def read_bitsandbytes(section: Config, config: Config) -> Scheme:
    """bitsandbytes: 4 bits with a scale for 64 values, itself stored in 8 bits under double quantisation; or
    8 bits a row."""
    if section.flag("load_in_8bit", False):
        return whole(INT8_BNB, section)
    if not section.flag("load_in_4bit", True):
        section.fault("neither load_in_4bit nor load_in_8bit is on")
    return whole(NF4 if section.flag("bnb_4bit_use_double_quant", False) else NF4_PLAIN, section)


def read_torchao(section: Config, config: Config) -> Scheme:
    """torchao: the type of its config says the packing (knowledge: compression page 1)."""
    kind = section.values.get("quant_type")
    numbers = section.values.get("quant_type_kwargs")
    if isinstance(kind, dict):
        kind = kind.get("default")
        numbers = kind.get("_data") if isinstance(kind, dict) else None
        kind = kind.get("_type") if isinstance(kind, dict) else None
    word = str(kind).lower().removesuffix("config").replace("_", "")
    given = Config(numbers if isinstance(numbers, dict) else {}, f"{section.where}: quant_type")
    given.faults = section.faults
    match word:
        case "int8weightonly" | "int8dynamicactivationint8weight":
            return whole(INT8_TORCHAO, section)
        case "float8weightonly" | "float8dynamicactivationfloat8weight":
            return whole(FP8_CHANNEL, section)
        case "int4weightonly":
            group = given.size("group_size", 128)
            return whole(Format(f"int4 by {group} (torchao)", 4, (1, group), 16, 16), section)
        case "nvfp4weightonly" | "nvfp4inference" | "nvfp4dynamicactivationnvfp4weight":
            return whole(NVFP4, section)
    raise UnsupportedError(
        f"{section.where}: torchao's {str(kind)[:60]} is not known",
        "known are int8, float8, int4 and NVFP4 weights",
    )


def read_quanto(section: Config, config: Config) -> Scheme:
    """optimum-quanto: 8 bits a row, or 4 and 2 bits by 128 with a shift."""
    word = section.word("weights")
    forms = {
        "int8": INT8_EETQ,
        "float8": FP8_CHANNEL,
        "int4": Format("int4 by 128 (quanto)", 4, (1, 128), 16, 16),
        "int2": Format("int2 by 128 (quanto)", 2, (1, 128), 16, 16),
    }
    section.check()
    if word not in forms:
        raise UnsupportedError(
            f"{section.where}: quanto's weights {word[:20]!r} are not known", f"known are {', '.join(forms)}"
        )
    return whole(forms[word], section)


def read_fp_quant(section: Config, config: Config) -> Scheme:
    word = section.word("forward_dtype", "nvfp4")
    if word not in ("mxfp4", "nvfp4"):
        raise UnsupportedError(
            f"{section.where}: forward_dtype {word[:20]!r} is not known", "known are mxfp4 and nvfp4"
        )
    return whole(NVFP4 if word == "nvfp4" else FP4_E8M0, section)


def read_mxfp4(section: Config, config: Config) -> Scheme:
    """gpt-oss: experts alone (vllm: Mxfp4Config leaves linear layers as they are)."""
    return Scheme(None, FP4_E8M0, kept(section))


WHOLE: dict[str, Format] = {
    "mxfp8": FP8_ROW32_E8M0,
    "nvfp4": NVFP4,
    "fbgemm_fp8": FP8_CHANNEL,
    "eetq": INT8_EETQ,
    "bitnet": TERNARY,
}
"""Methods of one format for all linear layers and experts."""
HERE: dict[str, Callable[[Config, Config], Scheme]] = {
    "fp8": read_fp8,
    "bitsandbytes": read_bitsandbytes,
    "mxfp4": read_mxfp4,
    "fp_quant": read_fp_quant,
    "torchao": read_torchao,
    "quanto": read_quanto,
}
ELSEWHERE = {
    "gptq": "quantization_by_group",
    "awq": "quantization_by_group",
    "auto-round": "quantization_by_group",
    "hqq": "quantization_by_group",
    "compressed-tensors": "quantization_by_module",
    "modelopt": "quantization_by_module",
    "quark": "quantization_by_module",
    "mlx-packed": "mlx_forms",
}
"""The file of a method that most models have not: it is read when one is met."""
METHODS = (*HERE, *ELSEWHERE, *WHOLE)


def read_method(method: str, section: Config, config: Config) -> Scheme:
    """Return what a method of `METHODS` makes of a model, by its section of the config."""
    if method in WHOLE:
        return whole(WHOLE[method], section)
    if method in HERE:
        return HERE[method](section, config)
    reader = f"read_{method.replace('-', '_')}"
    scheme: Scheme = getattr(import_module(f".{ELSEWHERE[method]}", __package__), reader)(section, config)
    return scheme
