"""What a quantisation makes of a model: formats of linear layers and experts, rules for modules by name."""

from ..records import Record
from .config import Config
from .storage import FP4_E8M0, FP8_CHANNEL, FP8_ROW32_E8M0, FP8_TENSOR, INT8_CHANNEL, NF4, NVFP4, Format


class StorageRule(Record):
    """Modules whose names match a pattern are stored in `form`; None: as they were."""

    patterns: tuple[str, ...]
    form: Format | None


class Scheme(Record):
    """What a method makes of linear layers and of routed experts, and the rules that come before: the first
    that matches counts."""

    linear: Format | None
    expert: Format | None
    rules: tuple[StorageRule, ...] = ()


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


def names_of(section: Config, key: str) -> tuple[str, ...]:
    """A list of texts."""
    listed = section.values.get(key)
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        section.fault(f"{key} is no list of names")
        return ()
    return tuple(listed)


def grouped(bits: int, group: int, zeros: bool, scale_bits: int) -> Format:
    """Integers of `bits`, one scale (and zero) for `group` columns of a row; 0 = the whole row."""
    return Format(f"int{bits} by {group or 'row'}", bits, (1, group), scale_bits, bits if zeros else 0)


REQUANTISED: dict[str, Format] = {
    "fp8": FP8_TENSOR,
    "fp8-dynamic": FP8_CHANNEL,
    "w8a8": INT8_CHANNEL,
    "awq": grouped(4, 128, zeros=True, scale_bits=16),
    "gptq": grouped(4, 128, zeros=True, scale_bits=16),
    "w4a16": grouped(4, 128, zeros=False, scale_bits=16),
    "bitsandbytes": NF4,
    "mxfp4": FP4_E8M0,
    "mxfp8": FP8_ROW32_E8M0,
    "nvfp4": NVFP4,
    "experts_int8": INT8_CHANNEL,
    "tpu_int8": INT8_CHANNEL,
    "w4afp8": grouped(4, 128, zeros=False, scale_bits=16),
    "w4a8": grouped(4, 0, zeros=False, scale_bits=128),
    "w8a16": grouped(8, 128, zeros=True, scale_bits=16),
    "auto-round": grouped(4, 128, zeros=False, scale_bits=16),
}
"""What a model that is published in 16 bit becomes under each name: embeddings, head, norms and routers stay
as they are."""
WIDENED = '{"quantization_config": null}'
"""The override that makes a checkpoint published in fewer bits one of 16, as somebody's of V3 and R1."""
EXPERTS_ALONE = ("w4afp8", "experts_int8")
"""Forms of routed experts alone: of a model in FP8 all else stays so (sglang
srt/layers/quantization/w4afp8.py: 4 bits, a scale for 128 columns, in BF16 once loaded); rows of 8 bits, made
on loading (vLLM 0.5 to 0.33, layers/quantization/experts_int8.py)."""
OTHERS_IN = {"w4a8": INT8_CHANNEL}
"""Forms of routed experts beside which the other matrices have one of their own: ModelSlim's for Ascend
(vllm_ascend quantization/methods/w4a8.py: a row of an expert has a scale in I64, offset and bias in F32)."""


def requantised(wanted: str, role: str) -> Format:
    """Return the form that a matrix has in a checkpoint of a name of `REQUANTISED`.

    >>> requantised("w4a8", "expert").bits, requantised("w4a8", "linear").bits
    (4, 8)
    """
    return REQUANTISED[wanted] if role == "expert" else OTHERS_IN.get(wanted, REQUANTISED[wanted])


def is_of_files_alone(word: object) -> bool:
    """Return whether a form of weights is a type that only GGUF files have.

    >>> words = ("q4_k_m", "UD-IQ1_S", "TQ1_0", "fp8", "nvfp4", "q17", None)
    >>> [is_of_files_alone(word) for word in words]
    [True, True, True, False, False, False, False]
    """
    bare = str(word or "").lower().removeprefix("ud-").removeprefix("i1-")
    family, _, rest = bare.partition("q")
    return family in ("", "i", "t") and rest[:1].isdecimal() and rest[1:2] == "_"
