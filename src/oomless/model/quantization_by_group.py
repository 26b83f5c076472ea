"""Methods that pack integers by groups of columns: GPTQ, AWQ, AutoRound, HQQ."""

from ..errors import UnsupportedError
from .config import Config
from .quantization_scheme import Scheme, StorageRule, grouped, whole
from .storage import FP4_E8M0, FP8_ROW32_E8M0, NVFP4, Format


def read_gptq(section: Config, config: Config) -> Scheme:
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


def read_awq(section: Config, config: Config) -> Scheme:
    """AWQ: packed integers, an F16 scale and a packed zero a group."""
    bits = section.size("bits", section.size("w_bit", 0, least=0) or None, least=2, most=8)
    zeros = section.flag("zero_point", True)
    group = section.size("group_size", section.size("q_group_size", 0, least=-1) or None, least=-1)
    return whole(
        grouped(bits, max(group, 0), zeros=zeros, scale_bits=16)._replace(name=f"awq int{bits}"), section
    )


def read_auto_round(section: Config, config: Config) -> Scheme:
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


def read_hqq(section: Config, config: Config) -> Scheme:
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
