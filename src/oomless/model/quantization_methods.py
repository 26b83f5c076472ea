"""One entry a quantisation method: its section of a config -> formats and rules. By packing, not by name."""

from collections.abc import Callable

from ..errors import UnsupportedError
from .config import Config
from .quantization import Scheme, StorageRule, grouped
from .storage import (
    FP4_E8M0,
    FP8_32X32_E8M0,
    FP8_BLOCK,
    FP8_BLOCK_E8M0,
    FP8_CHANNEL,
    FP8_ROW32_E8M0,
    FP8_TENSOR,
    INT8_BNB,
    INT8_CHANNEL,
    INT8_EETQ,
    INT8_TORCHAO,
    NF4,
    NF4_PLAIN,
    NVFP4,
    TERNARY,
    Format,
)

LEFT_OUT = (
    "ignore",
    "modules_to_not_convert",
    "exclude_modules",
    "exclude",
    "ignored_layers",
    "llm_int8_skip_modules",
    "skip_modules",
)
"""What methods call the list of modules that they leave as they are."""
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
        raise UnsupportedError(
            f"{section.where}: packed by MLX, which no engine here loads",
            "give the model that it was made from",
        )
    method = section.word("quant_method").lower()
    return SPELLED.get(method, method)


def kept(section: Config) -> tuple[StorageRule, ...]:
    """The rule of the modules that are left out of quantisation."""
    names: list[str] = []
    for key in LEFT_OUT:
        listed = section.values.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            section.fault(f"{key} is no list of names")
            return ()
        names += listed
    return (StorageRule(tuple(names), None),) if names else ()


def whole(form: Format, section: Config, *rules: StorageRule) -> Scheme:
    """One format for all linear layers and experts that no rule names."""
    return Scheme(form, form, (*kept(section), *rules))


def _fp8(section: Config, config: Config) -> Scheme:
    """FP8 by blocks (DeepSeek-V3, Qwen3-FP8), or a scale a tensor. V4's NVFP4 variant names its experts apart
    (deepseek_v4.py)."""
    block = section.values.get("weight_block_size")
    v4 = config.values.get("model_type") == "deepseek_v4"
    if v4 and section.values.get("moe_quant_algo"):
        return Scheme(
            FP8_BLOCK_E8M0, FP8_BLOCK_E8M0, _by_module(section)
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


def _compressed_tensors(section: Config, config: Config) -> Scheme:
    """The schemes of config_groups: `Linear` means every linear layer, other targets name modules."""
    groups = section.section("config_groups")
    default: Format | None = None
    rules: list[StorageRule] = []
    for name in groups.values:
        group = groups.section(name)
        form = _weights(group.section("weights")) if group.values.get("weights") else None
        targets = _names(group, "targets") if group.values.get("targets") else ("Linear",)
        section.check()
        if "Linear" in targets:
            if default not in (None, form):
                raise UnsupportedError(
                    f"{section.where}: two schemes for every linear layer", "one group may target Linear"
                )
            default = form
        elif form:
            rules.append(StorageRule(targets, form))
    if not groups.values:
        raise UnsupportedError(f"{section.where}: config_groups is missing", "it says how weights are stored")
    return Scheme(default, default, (*kept(section), *rules))


def _weights(scheme: Config) -> Format:
    """8 bits a channel, tensor or block, or packed bits by groups."""
    kind, bits = scheme.word("type", "int"), scheme.size("num_bits", least=1, most=64)
    strategy, group = scheme.word("strategy", "tensor"), scheme.size("group_size", 0, least=-1)
    zeros = not scheme.flag("symmetric", True)
    scheme.check()
    match kind, bits, strategy:
        case "float", 8, "channel":
            return FP8_CHANNEL
        case "float", 8, "tensor":
            return FP8_TENSOR
        case "float", 8, "block":
            return FP8_BLOCK
        case "float", 8, "group" if group == 32:
            return FP8_ROW32_E8M0
        case "int", 8, "channel" | "tensor":
            return INT8_CHANNEL
        case "int", 2 | 3 | 4 | 8, "group":
            return grouped(bits, max(group, 0), zeros=zeros, scale_bits=16)
        case "int", 2 | 3 | 4 | 8, "channel":
            return grouped(bits, 0, zeros=zeros, scale_bits=16)
        case "float", 4, "tensor_group" | "group" if group == 16:
            return NVFP4
        case "float", 4, "group" if group == 32:
            return FP4_E8M0
    raise UnsupportedError(f"{scheme.where}: weights of {bits} bits, {kind}, by {strategy} are not known")


def _names(section: Config, key: str) -> tuple[str, ...]:
    """A list of texts."""
    listed = section.values.get(key)
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        section.fault(f"{key} is no list of names")
        return ()
    return tuple(listed)


def _gptq(section: Config, config: Config) -> Scheme:
    """GPTQ: packed integers, an F16 scale and a packed zero a group, and an int32 index for each input
    column."""
    bits, group = section.size("bits", least=2, most=8), section.size("group_size", least=-1)
    section.flag("sym", True)
    if section.values.get("modules_in_block_to_quantize"):
        raise UnsupportedError(
            f"{section.where}: modules_in_block_to_quantize is not known", "give the folder with its weights"
        )
    reorders = section.flag("desc_act", False)

    def form(bits: int, group: int) -> Format:
        plain = grouped(bits, max(group, 0), zeros=True, scale_bits=16)
        return plain._replace(name=f"gptq int{bits}", column_bits=32, reorders=reorders)

    rules: list[StorageRule] = []
    dynamic = section.section("dynamic")
    for pattern in dynamic.values:  # GPTQModel: -: leaves modules out, +: gives them other numbers
        expression = pattern[2:] if pattern[:2] in ("-:", "+:") else pattern
        if pattern.startswith("-:"):
            rules.append(StorageRule((f"re:{expression}",), None))
            continue
        other = dynamic.section(pattern)
        rules.append(
            StorageRule(
                (f"re:{expression}",),
                form(other.size("bits", bits, least=2, most=8), other.size("group_size", group, least=-1)),
            )
        )
    return whole(form(bits, group), section, *rules)


def _awq(section: Config, config: Config) -> Scheme:
    """AWQ: packed integers, an F16 scale and a packed zero a group."""
    bits = section.size("bits", section.size("w_bit", 0, least=0) or None, least=2, most=8)
    zeros = section.flag("zero_point", True)
    group = section.size("group_size", section.size("q_group_size", 0, least=-1) or None, least=-1)
    return whole(
        grouped(bits, max(group, 0), zeros=zeros, scale_bits=16)._replace(name=f"awq int{bits}"), section
    )


def _auto_round(section: Config, config: Config) -> Scheme:
    """AutoRound packs as GPTQ or AWQ does; its name for the packing says which. extra_config gives modules
    other bits."""
    bits, group = section.size("bits", least=2, most=8), max(section.size("group_size", least=-1), 0)
    section.flag("sym", True)
    kind = section.word("data_type", "int")
    if kind.startswith("nv_fp"):
        return whole(NVFP4, section)
    if kind.startswith("mx_fp"):
        return whole(FP8_ROW32_E8M0 if bits == 8 else FP4_E8M0, section)
    packing = section.word("packing_format", "auto_round:auto_gptq")
    if "gptq" not in packing and "awq" not in packing:
        raise UnsupportedError(
            f"{section.where}: packing_format {packing!r} is not known", "known are those of GPTQ and AWQ"
        )

    def form(bits: int, group: int) -> Format:
        return grouped(bits, group, zeros=True, scale_bits=16)._replace(name=f"auto-round int{bits}")

    extra = section.section("extra_config")
    rules: list[StorageRule] = []
    for pattern in extra.values:
        other = extra.section(pattern)
        other_bits = other.size("bits", bits, least=1, most=32)
        other_form = (
            form(other_bits, max(other.size("group_size", group, least=-1), 0)) if other_bits < 16 else None
        )
        rules.append(
            StorageRule((f"re:{pattern}" if "\\" in pattern or ".*" in pattern else pattern,), other_form)
        )
    return whole(form(bits, group), section, *rules)


def _bitsandbytes(section: Config, config: Config) -> Scheme:
    """bitsandbytes: 4 bits with a scale for 64 values, itself stored in 8 bits under double quantisation; or
    8 bits a row."""
    if section.flag("load_in_8bit", False):
        return whole(INT8_BNB, section)
    if not section.flag("load_in_4bit", True):
        section.fault("neither load_in_4bit nor load_in_8bit is on")
    return whole(NF4 if section.flag("bnb_4bit_use_double_quant", False) else NF4_PLAIN, section)


MODELOPT: dict[str, Format] = {
    "FP8": FP8_TENSOR,
    "FP8_PER_CHANNEL_PER_TOKEN": FP8_CHANNEL,
    "FP8_PB_WO": FP8_BLOCK,
    "FP8_BLOCK_SCALES": FP8_BLOCK,
    "NVFP4": NVFP4,
    "W4A16_NVFP4": NVFP4,
    "MXFP8": FP8_ROW32_E8M0,
    "W4A16_AWQ": grouped(4, 128, zeros=False, scale_bits=16),
    "W4A8_AWQ": grouped(4, 128, zeros=False, scale_bits=16),
}
"""NVIDIA ModelOpt's algorithms (vllm: quantization/modelopt.py, LINEAR_ALGOS)."""


def _modelopt(section: Config, config: Config) -> Scheme:
    """ModelOpt: one algorithm for all, or under MIXED_PRECISION one for each module that it lists; what none
    lists stays as it is."""
    algorithm = section.word("quant_algo", "")
    if algorithm != "MIXED_PRECISION":
        return whole(_algorithm(algorithm, section), section)
    if section.values.get("quantized_layers"):
        return Scheme(None, None, _by_module(section))
    members: dict[Format, list[str]] = {}
    groups = section.section("config_groups")
    for name in groups.values:
        group = groups.section(name)
        form = {4: NVFP4, 8: FP8_TENSOR}.get(group.section("weights").size("num_bits", least=1, most=64))
        targets = _names(group, "targets")
        section.check()
        if form is None:
            raise UnsupportedError(f"{group.where}: not 4 or 8 bits", "known are NVFP4 and FP8")
        members.setdefault(form, []).extend(targets)
    if not members:
        raise UnsupportedError(
            f"{section.where}: MIXED_PRECISION without quantized_layers or config_groups",
            "they say which module has which",
        )
    return Scheme(None, None, tuple(StorageRule(tuple(names), form) for form, names in members.items()))


def _by_module(section: Config) -> tuple[StorageRule, ...]:
    """quantized_layers: an algorithm for each module."""
    members: dict[Format, list[str]] = {}
    layers = section.section("quantized_layers")
    for name in layers.values:
        members.setdefault(_algorithm(layers.section(name).word("quant_algo", ""), layers), []).append(name)
    return tuple(StorageRule(tuple(names), form) for form, names in members.items())


def _algorithm(name: str, section: Config) -> Format:
    if name.upper() not in MODELOPT:
        raise UnsupportedError(
            f"{section.where}: quant_algo {name[:40]!r} is not known",
            f"known are {', '.join(MODELOPT)}, MIXED_PRECISION",
        )
    return MODELOPT[name.upper()]


def _quark(section: Config, config: Config) -> Scheme:
    """AMD Quark: one scheme for all, and others for modules by pattern."""
    first = section.section("global_quant_config")
    default = _quark_weight(first)
    rules: list[StorageRule] = []
    layers = section.section("layer_quant_config")
    for pattern in layers.values:
        rules.append(StorageRule((pattern,), _quark_weight(layers.section(pattern))))
    return Scheme(default, default, (*kept(section), *rules))


def _quark_weight(group: Config) -> Format | None:
    weight = group.values.get("weight")
    if not weight:
        return None
    if isinstance(weight, list):  # FP8 and then int4: the last is what is stored
        weight = weight[-1] if isinstance(weight[-1], dict) else {}
    scheme = Config(weight if isinstance(weight, dict) else {}, f"{group.where}: weight")
    scheme.faults = group.faults
    kind, by, group_size = (
        scheme.word("dtype"),
        scheme.word("qscheme", "per_tensor"),
        scheme.size("group_size", 0, least=-1),
    )
    group.check()
    match kind, by:
        case "fp8_e4m3", "per_tensor":
            return FP8_TENSOR
        case "fp8_e4m3", "per_channel":
            return FP8_CHANNEL
        case "fp8_e4m3", "per_block":
            return FP8_BLOCK
        case "int8", "per_tensor" | "per_channel":
            return INT8_CHANNEL
        case "fp4" | "fp4_e2m1" | "mx_fp4", "per_group":
            return FP4_E8M0
        case "int4" | "uint4", "per_group":
            return grouped(4, max(group_size, 0), zeros=kind == "uint4", scale_bits=16)
        case "int4" | "uint4", "per_channel":
            return grouped(4, 0, zeros=kind == "uint4", scale_bits=16)
    raise UnsupportedError(
        f"{group.where}: weights of {kind[:20]} {by[:20]} are not known",
        "known are fp8, int8, int4 and mxfp4",
    )


def _hqq(section: Config, config: Config) -> Scheme:
    """HQQ: packed integers with a scale and a zero in F16 a group."""
    numbers = section.section("quant_config").section("weight_quant_params")
    if not numbers.values:
        raise UnsupportedError(
            f"{section.where}: HQQ without weight_quant_params for all layers is not known",
            "give the folder with its weights",
        )
    bits, group = numbers.size("nbits", least=1, most=8), numbers.size("group_size", 64, least=1)
    section.check()
    if bits not in (1, 2, 4, 8):
        raise UnsupportedError(f"{section.where}: HQQ of {bits} bits is not known", "known are 1, 2, 4 and 8")
    zero = 8 if numbers.values.get("quant_zero") is True else 16
    return whole(Format(f"hqq int{bits} by {group}", bits, (1, group), 16, zero), section)


def _torchao(section: Config, config: Config) -> Scheme:
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


def _quanto(section: Config, config: Config) -> Scheme:
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


def _fp_quant(section: Config, config: Config) -> Scheme:
    word = section.word("forward_dtype", "nvfp4")
    if word not in ("mxfp4", "nvfp4"):
        raise UnsupportedError(
            f"{section.where}: forward_dtype {word[:20]!r} is not known", "known are mxfp4 and nvfp4"
        )
    return whole(NVFP4 if word == "nvfp4" else FP4_E8M0, section)


def _mxfp4(section: Config, config: Config) -> Scheme:
    """gpt-oss: experts alone (vllm: Mxfp4Config leaves linear layers as they are)."""
    return Scheme(None, FP4_E8M0, kept(section))


METHODS: dict[str, Callable[[Config, Config], Scheme]] = {
    "fp8": _fp8,
    "compressed-tensors": _compressed_tensors,
    "gptq": _gptq,
    "awq": _awq,
    "auto-round": _auto_round,
    "bitsandbytes": _bitsandbytes,
    "modelopt": _modelopt,
    "mxfp4": _mxfp4,
    "mxfp8": lambda section, _: whole(FP8_ROW32_E8M0, section),
    "nvfp4": lambda section, _: whole(NVFP4, section),
    "fp_quant": _fp_quant,
    "fbgemm_fp8": lambda section, _: whole(FP8_CHANNEL, section),
    "quark": _quark,
    "torchao": _torchao,
    "hqq": _hqq,
    "quanto": _quanto,
    "eetq": lambda section, _: whole(INT8_EETQ, section),
    "bitnet": lambda section, _: whole(TERNARY, section),
}
