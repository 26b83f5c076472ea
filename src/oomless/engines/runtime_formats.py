"""The types that weights have in an engine's memory, and which of them its kernels and the card can run."""

from ..errors import UnsupportedError, UsageError
from ..model.model import Model, Tensor
from ..model.quantization_scheme import EXPERTS_ALONE, OTHERS_IN, REQUANTISED, WIDENED, requantised
from ..model.storage import DTYPES, Format
from ..run.serving import Resolved


def runtime_format(tensor: Tensor, model: Model, asked: Resolved) -> Format:
    """The type that a weight has in memory: plain ones take --dtype, linear ones what --quantization makes of
    them."""
    stored = tensor.format
    wanted = asked.quantization
    touched = tensor.role != "plain" and (
        not model.quantization or stored != model.dtype
    )  # what is left in 16 bit stays
    touched = touched and (wanted not in EXPERTS_ALONE or tensor.role == "expert")
    if touched and wanted in REQUANTISED and wanted != model.quantization:
        return requantised(wanted, tensor.role)
    if stored == model.dtype:
        return DTYPES[asked.dtype]
    if (
        stored.column_bits and not stored.reorders
    ):  # Marlin keeps the column order only where it means something
        stored = stored._replace(column_bits=0)
    elif stored.reorders:
        stored = stored._replace(column_bits=64)  # the order and its inverse
    # zero points stay too, although a symmetric scheme needs none (5.38 GiB of Llama-3.1-8B w4a16, 0.19)
    return stored


def is_fp8(form: Format) -> bool:
    """Whether a weight is in FP8, of whatever scales.

    >>> from ..model.load import load
    >>> {is_fp8(tensor.format) for tensor in load("deepseek-v3").tensors if tensor.role == "linear"}
    {True}
    """
    return form.bits == 8 and form.name.startswith("fp8")


def check_quantization(model: Model, asked: Resolved) -> None:
    """Refuse a quantisation that the checkpoint cannot have, and say what could."""
    wanted = asked.quantization
    if wanted not in (None, model.quantization):
        if wanted not in REQUANTISED:
            wide = wanted in ("bf16", "bfloat16", "fp16", "float16")
            raise UnsupportedError(
                f"--quantization {wanted} on {model.name} is not known",
                f"weights in 16 bit: leave it out, of one published in fewer --hf-overrides '{WIDENED}'"
                if wide
                else f"known: what the checkpoint has, or {', '.join(REQUANTISED)} for one in 16 bit",
            )
        if wanted in (*EXPERTS_ALONE, *OTHERS_IN) and not model.kinds.has_experts:
            raise UsageError(f"--quantization {wanted}: {model.name} has no experts", "choose another form")
        if model.quantization and wanted.startswith("fp8"):
            raise UsageError(f"{model.name} is published as {model.quantization}", "leave out --quantization")
