"""quantization_config -> how each class of weight is stored. One entry a method: by packing, not by name."""

from collections.abc import Callable

from ..errors import UnsupportedError
from .config import Config
from .storage import FP8_BLOCK, FP8_BLOCK_E8M0, FP8_CHANNEL, FP8_TENSOR, INT8_CHANNEL, Format
from .weights import Storage

SAMPLES = {
    "attention": ("model.layers.1.self_attn.o_proj", "model.layers.1.self_attn.q_proj"),
    "dense": ("model.layers.0.mlp.down_proj",),
    "shared": ("model.layers.1.mlp.shared_experts.down_proj",),
    "experts": ("model.layers.1.mlp.experts.0.down_proj",),
}
"""Modules by which a list of excluded ones is understood: a class is quantised, or left out, as a whole."""


def read_storage(config: Config, plain: Format) -> tuple[Storage, str]:
    """How the checkpoint stores its weights, and the method that its config names ("" = none)."""
    section = config.section("quantization_config")
    if not section.values:
        return Storage(plain, plain, plain), ""
    method = section.word("quant_method")
    config.check()
    if method not in METHODS:
        raise UnsupportedError(f"{config.where}: quant_method {method!r} is not known", f"known are {', '.join(METHODS)}")
    quantized = METHODS[method](section, config)
    excluded = section.values.get("ignore") or section.values.get("modules_to_not_convert") or []
    linear, expert = _left_out(excluded, section)
    section.check()
    return Storage(plain, plain if linear else quantized, plain if expert else quantized), method


def _left_out(excluded: object, section: Config) -> tuple[bool, bool]:
    """Whether linear layers and routed experts are left out of quantisation."""
    if not isinstance(excluded, list) or not all(isinstance(name, str) for name in excluded):
        section.fault("the list of modules left out is no list of names")
        return False, False
    hit = {kind: any(_matches(pattern, name) for pattern in excluded for name in names) for kind, names in SAMPLES.items()}
    linear = [hit["attention"], hit["dense"], hit["shared"]]
    if any(linear) and not all(linear):
        raise UnsupportedError(f"{section.where}: only some of attention, dense and shared layers are quantised", "not known yet")
    return all(linear), hit["experts"]


def _matches(pattern: str, name: str) -> bool:
    """compressed-tensors' rule: `re:` begins an expression, anything else is a name or the beginning of one."""
    if pattern.startswith("re:"):
        import re

        try:
            return re.match(pattern[3:], name) is not None
        except re.error:
            return False
    return name == pattern or name.startswith(pattern + ".")


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


def grouped(bits: int, group: int, zeros: bool, scale_bits: int) -> Format:
    """Integers of `bits`, one scale (and zero) for `group` columns of a row; 0 = the whole row."""
    return Format(f"int{bits} by {group or 'row'}", bits, (1, group), scale_bits, bits if zeros else 0)


METHODS: dict[str, Callable[[Config, Config], Format]] = {
    "fp8": _fp8,
    "compressed-tensors": _compressed_tensors,
    "gptq": _gptq,
    "awq": _awq,
}
