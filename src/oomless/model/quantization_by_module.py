"""Methods whose sections give modules formats of their own: compressed-tensors, ModelOpt, Quark."""

from ..errors import UnsupportedError
from .config import Config
from .quantization_scheme import Scheme, StorageRule, grouped, kept, names_of, whole
from .storage import (
    FP4_E8M0,
    FP8_BLOCK,
    FP8_CHANNEL,
    FP8_ROW32_E8M0,
    FP8_TENSOR,
    INT8_CHANNEL,
    NVFP4,
    Format,
)


def read_compressed_tensors(section: Config, config: Config) -> Scheme:
    """The schemes of config_groups: `Linear` means every linear layer, other targets name modules."""
    groups = section.section("config_groups")
    default: Format | None = None
    rules: list[StorageRule] = []
    for name in groups.values:
        group = groups.section(name)
        form = _weights(group.section("weights")) if group.values.get("weights") else None
        targets = names_of(group, "targets") if group.values.get("targets") else ("Linear",)
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


def read_modelopt(section: Config, config: Config) -> Scheme:
    """ModelOpt: one algorithm for all, or under MIXED_PRECISION one for each module that it lists; what none
    lists stays as it is."""
    algorithm = section.word("quant_algo", "")
    if algorithm != "MIXED_PRECISION":
        return whole(_algorithm(algorithm, section), section)
    if section.values.get("quantized_layers"):
        return Scheme(None, None, by_module(section))
    members: dict[Format, list[str]] = {}
    groups = section.section("config_groups")
    for name in groups.values:
        group = groups.section(name)
        form = {4: NVFP4, 8: FP8_TENSOR}.get(group.section("weights").size("num_bits", least=1, most=64))
        targets = names_of(group, "targets")
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


def by_module(section: Config) -> tuple[StorageRule, ...]:
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


def read_quark(section: Config, config: Config) -> Scheme:
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
