"""The types that weights have in an engine's memory, and which of them its kernels and the card can run."""

from ..errors import UnsupportedError, UsageError
from ..model.model import Model, Tensor
from ..model.quantization import REQUANTISED
from ..model.storage import DTYPES, Format
from ..run.cards import Hardware
from ..run.serving import Resolved


def runtime_format(tensor: Tensor, model: Model, asked: Resolved) -> Format:
    """The type that a weight has in memory: plain ones take --dtype, linear ones what --quantization makes of
    them."""
    stored = tensor.format
    wanted = asked.quantization
    touched = tensor.role != "plain" and (
        not model.quantization or stored != model.dtype
    )  # what is left in 16 bit stays
    if touched and wanted in REQUANTISED and wanted != model.quantization:
        return REQUANTISED[wanted]
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


def check_quantization(model: Model, asked: Resolved, hardware: Hardware) -> None:
    """Refuse a quantisation that the checkpoint or the card cannot have, and say what could."""
    wanted, card = asked.quantization, hardware.card
    if wanted not in (None, "none", model.quantization):
        if wanted not in REQUANTISED:
            raise UnsupportedError(
                f"--quantization {wanted} on {model.name} is not known",
                f"known: what the checkpoint has, or {', '.join(REQUANTISED)} for one in 16 bit",
            )
        if model.quantization and wanted.startswith("fp8"):
            raise UsageError(
                f"{model.name} is published as {model.quantization}", f"leave out --quantization {wanted}"
            )
    method = wanted or model.quantization
    if method in NOT_RUN:
        raise UnsupportedError(
            f"vLLM has no {method} weights, which {model.name} is published in", "use --engine transformers"
        )
    if (method or "").startswith("fp8") and card.native_fp8 == "no" and card.vendor != "NVIDIA":
        raise UnsupportedError(
            f"{card.name} has no FP8: {method} weights of {model.name} do not run there",
            "use a checkpoint in 16 bit or W8A8",
        )
    least = LEAST_CAPABILITY.get(method or "", 0)
    if 0 < card.capability < least:
        raise UnsupportedError(
            f"{method} weights of {model.name} need compute capability {least} in vLLM; "
            f"{card.name} has {card.capability}",
            "use a newer card, or a checkpoint in 16 bit, AWQ or GPTQ",
        )


NOT_RUN = ("hqq", "eetq", "quanto", "bitnet")
"""Methods that transformers alone runs (vllm 0.32: QUANTIZATION_METHODS; HQQ was there in earlier releases
for some cards)."""


LEAST_CAPABILITY = {
    "fp8": 8.0,
    "fp8-dynamic": 8.0,
    "compressed-tensors": 7.5,
    "w8a8": 7.5,
    "w4a16": 7.5,
    "gptq": 7.0,
    "auto-round": 7.0,
    "awq": 7.5,
    "bitsandbytes": 7.0,
    "mxfp4": 8.0,
    "nvfp4": 8.0,
    "modelopt": 8.0,
}
"""get_min_capability of each method; FP8 runs natively from 8.9 and by Marlin, weights alone, from 8.0."""
