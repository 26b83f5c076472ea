"""quantization_config -> how each class of weight is stored. One entry a method: by packing, not by name."""

from collections.abc import Callable

from ..errors import UnsupportedError
from .config import Config
from .storage import (
    FP4_E8M0,
    FP8_BLOCK,
    FP8_BLOCK_E8M0,
    FP8_CHANNEL,
    FP8_TENSOR,
    INT8_BNB,
    INT8_CHANNEL,
    NF4,
    NF4_PLAIN,
    NVFP4,
    Format,
)
from .weights import Storage

SAMPLES = {
    "attention": ("self_attn.o_proj", "self_attn.q_proj"),
    "mixer": ("linear_attn.out_proj", "linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz", "mixer.in_proj", "mamba.in_proj"),
    "dense": ("mlp.down_proj",),
    "shared": (
        "mlp.shared_experts.down_proj",
        "mlp.shared_expert.down_proj",
        "feed_forward.shared_expert.down_proj",
        "mixer.shared_experts.down_proj",
    ),
    "experts": ("mlp.experts.0.down_proj", "mlp.experts", "feed_forward.experts.0.down_proj", "block_sparse_moe.experts.0.w2"),
}
"""Modules of a layer by which a list of excluded ones is understood: a class is quantised, or left out, as a whole."""
PREFIXES = (
    "model.layers.",
    "language_model.model.layers.",
    "model.language_model.layers.",
    "language_model.layers.",
    "backbone.layers.",
)
SAMPLE_LAYERS = (0, 1, 3)
"""The first layer of each kind: dense and linear ones come first, every fourth of the hybrids is full attention."""


def read_storage(config: Config, plain: Format) -> tuple[Storage, str]:
    """How the checkpoint stores its weights, and the method that its config names ("" = none)."""
    section = config.section("quantization_config")
    if not section.values:
        return Storage(plain, plain, plain), ""
    method = section.word("quant_method")
    config.check()
    if method == "modelopt" and section.values.get("quant_algo") == "MIXED_PRECISION":
        return _mixed(section, plain), method
    if method not in METHODS:
        raise UnsupportedError(f"{config.where}: quant_method {method!r} is not known", f"known are {', '.join(METHODS)}")
    quantized = METHODS[method](section, config)
    excluded = section.values.get("ignore") or section.values.get("modules_to_not_convert") or []
    out = _left_out(excluded, section)
    section.check()
    return _storage(plain, {kind: plain if kind in out else quantized for kind in SAMPLES}), method


def _storage(plain: Format, by_kind: dict[str, Format]) -> Storage:
    """Storage of the classes of SAMPLES; those that agree with the dense layers need no entry of their own."""
    linear = by_kind["dense"]

    def other(kind: str) -> Format | None:
        return None if by_kind[kind] == linear else by_kind[kind]

    attention, mixer = other("attention"), other("mixer")
    if attention and not mixer:
        mixer = linear
    return Storage(plain, linear, by_kind["experts"], attention, other("shared"), mixer)


def _left_out(excluded: object, section: Config) -> set[str]:
    """The classes that are left out of quantisation."""
    if not isinstance(excluded, list) or not all(isinstance(name, str) for name in excluded):
        section.fault("the list of modules left out is no list of names")
        return set()
    patterns = [str(pattern) for pattern in excluded]
    return {kind for kind, modules in SAMPLES.items() if any(_hits(pattern, modules) for pattern in patterns)}


def _hits(pattern: str, modules: tuple[str, ...]) -> bool:
    """Whether a pattern names one of these modules in one of the first layers."""
    return any(_matches(pattern, f"{prefix}{layer}.{module}") for prefix in PREFIXES for layer in SAMPLE_LAYERS for module in modules)


def _matches(pattern: str, name: str) -> bool:
    """compressed-tensors' rule: `re:` begins an expression, anything else is a name or the beginning of one; modelopt has stars."""
    if pattern.startswith("re:"):
        import re

        try:
            return re.match(pattern[3:], name) is not None
        except re.error:
            return False
    if "*" in pattern:
        from fnmatch import fnmatchcase

        return fnmatchcase(name, pattern)
    return name == pattern or name.startswith(pattern.rstrip(".") + ".")


def _fp8(section: Config, config: Config) -> Format:
    """FP8 by 128x128 blocks (DeepSeek-V3, Qwen3-FP8), or a scale a tensor."""
    block = section.values.get("weight_block_size")
    if block is None:
        return FP8_TENSOR
    if block != [128, 128]:
        raise UnsupportedError(f"{section.where}: fp8 blocks {block} are not known", "known are [128, 128]")
    # only V4 stores E8M0 scales; V3.1 and V3.2 name the format but keep F32 (repository sizes, models.md 1)
    return FP8_BLOCK_E8M0 if config.values.get("model_type") == "deepseek_v4" else FP8_BLOCK


def _compressed_tensors(section: Config, config: Config) -> Format:
    """The weight scheme of config_groups: 8 bits a channel or tensor, or packed 4 or 8 bits by groups."""
    groups = section.section("config_groups")
    schemes = {
        (
            scheme.word("type", "int"),
            scheme.size("num_bits", least=1, most=64),
            scheme.word("strategy", "tensor"),
            scheme.size("group_size", 0, least=-1),
            scheme.flag("symmetric", True),
        )
        for scheme in (groups.section(name).section("weights") for name in groups.values)
    }
    section.check()
    if len(schemes) != 1:
        raise UnsupportedError(f"{section.where}: {len(schemes)} schemes of weights side by side", "one is known")
    kind, bits, strategy, group, symmetric = schemes.pop()
    match kind, bits, strategy:
        case "float", 8, "channel":
            return FP8_CHANNEL
        case "float", 8, "tensor":
            return FP8_TENSOR
        case "int", 8, "channel" | "tensor":
            return INT8_CHANNEL
        case "int", 4 | 8, "group":
            return grouped(bits, group, zeros=not symmetric, scale_bits=16)
        case "int", 4 | 8, "channel":
            return grouped(bits, 0, zeros=not symmetric, scale_bits=16)
        case "float", 4, "tensor_group" | "group" if group == 16:
            return NVFP4
        case "float", 4, "group" if group == 32:
            return FP4_E8M0
        case "float", 8, "block":
            return FP8_BLOCK
    raise UnsupportedError(f"{section.where}: weights of {bits} bits, {kind}, by {strategy} are not known")


def _gptq(section: Config, config: Config) -> Format:
    """GPTQ: packed integers, an F16 scale and a packed zero a group, and an int32 index for each input column."""
    bits, group = section.size("bits", least=2, most=8), section.size("group_size", least=-1)
    section.flag("sym", True)
    return grouped(bits, max(group, 0), zeros=True, scale_bits=16)._replace(
        name=f"gptq int{bits}", column_bits=32, reorders=section.flag("desc_act", False)
    )


def _awq(section: Config, config: Config) -> Format:
    """AWQ: packed integers, an F16 scale and a packed zero a group."""
    bits = section.size("bits", least=2, most=8)
    zeros = section.flag("zero_point", True)
    return grouped(bits, max(section.size("group_size", least=-1), 0), zeros=zeros, scale_bits=16)._replace(name=f"awq int{bits}")


def _auto_round(section: Config, config: Config) -> Format:
    """AutoRound packs as GPTQ or AWQ does; its name for the packing says which."""
    bits, group = section.size("bits", least=2, most=8), max(section.size("group_size", least=-1), 0)
    section.flag("sym", True)
    packing = section.word("packing_format", "auto_round:auto_gptq")
    if "gptq" not in packing and "awq" not in packing:
        raise UnsupportedError(f"{section.where}: packing_format {packing!r} is not known", "known are those of GPTQ and AWQ")
    return grouped(bits, group, zeros=True, scale_bits=16)._replace(name=f"auto-round int{bits}")


def _bitsandbytes(section: Config, config: Config) -> Format:
    """bitsandbytes: 4 bits with a scale for 64 values, itself stored in 8 bits under double quantisation; or 8 bits a row."""
    if section.flag("load_in_8bit", False):
        return INT8_BNB
    if not section.flag("load_in_4bit", True):
        section.fault("neither load_in_4bit nor load_in_8bit is on")
    return NF4 if section.flag("bnb_4bit_use_double_quant", False) else NF4_PLAIN


def _modelopt(section: Config, config: Config) -> Format:
    """NVIDIA ModelOpt with one algorithm for all: FP8 a tensor, or NVFP4."""
    algorithm = section.word("quant_algo", "")
    known = {"FP8": FP8_TENSOR, "NVFP4": NVFP4}
    if algorithm not in known:
        raise UnsupportedError(f"{section.where}: quant_algo {algorithm!r} is not known", f"known are {', '.join(known)}")
    return known[algorithm]


def _mixed(section: Config, plain: Format) -> Storage:
    """ModelOpt's MIXED_PRECISION: groups of modules, each with a format of its own; what no group names stays as it is."""
    forms: dict[str, Format] = {}
    head: Format | None = None
    groups = section.section("config_groups")
    for name in groups.values:
        group = groups.section(name)
        weights = group.section("weights")
        form = {4: NVFP4, 8: FP8_TENSOR}.get(weights.size("num_bits", least=1, most=64))
        targets = group.values.get("targets")
        if form is None or not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
            raise UnsupportedError(f"{group.where}: not 4 or 8 bits for a list of modules", "known are NVFP4 and FP8")
        if "lm_head" in targets:
            head = form
        named = set(targets)
        for kind, modules in SAMPLES.items():
            wanted = (f"{prefix}{layer}.{module}" for prefix in PREFIXES for layer in SAMPLE_LAYERS for module in modules)
            if any(module in named for module in wanted):
                forms[kind] = form
    section.check()
    stored = _storage(plain, {kind: forms.get(kind, plain) for kind in SAMPLES})
    return stored._replace(head=head)


def grouped(bits: int, group: int, zeros: bool, scale_bits: int) -> Format:
    """Integers of `bits`, one scale (and zero) for `group` columns of a row; 0 = the whole row."""
    return Format(f"int{bits} by {group or 'row'}", bits, (1, group), scale_bits, bits if zeros else 0)


METHODS: dict[str, Callable[[Config, Config], Format]] = {
    "fp8": _fp8,
    "compressed-tensors": _compressed_tensors,
    "gptq": _gptq,
    "awq": _awq,
    "auto-round": _auto_round,
    "bitsandbytes": _bitsandbytes,
    "modelopt": _modelopt,
}

REQUANTISED: dict[str, Format] = {
    "fp8": FP8_TENSOR,
    "fp8-dynamic": FP8_CHANNEL,
    "w8a8": INT8_CHANNEL,
    "awq": grouped(4, 128, zeros=True, scale_bits=16),
    "gptq": grouped(4, 128, zeros=True, scale_bits=16),
    "w4a16": grouped(4, 128, zeros=False, scale_bits=16),
    "bitsandbytes": NF4,
    "mxfp4": FP4_E8M0,
    "nvfp4": NVFP4,
}
"""What a model that is published in 16 bit becomes under each name: embeddings, head, norms and routers stay as they are."""
