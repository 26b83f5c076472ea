"""The tensors that a rank of transformers holds after loading."""

from ...errors import UnsupportedError, UsageError
from ...model.model import Model, Tensor
from ...model.quantization_scheme import REQUANTISED
from ...model.storage import BF16, DTYPES, Format
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..layers_dealt import layers_on
from ..parameters import key_of, unexplained
from ..rank import Placed, Stage
from .release import RELEASES


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """The checkpoint's tensors on their card, none fused (5.x stacks the experts of a layer). Draft layers
    are not loaded."""
    rules = RELEASES.at(asked.engine_version)
    placed = []
    for tensor in model.tensors:
        if tensor.part not in ("main", "vision", "engram") or tensor.copy_of:
            continue
        layers = layers_on(tensor, stage, tied=False)
        if layers is None:
            continue
        form = runtime_format(tensor, model, asked, hardware)
        stacked = tensor.repeat if tensor.role == "expert" and rules.stacks_experts else 1
        count, part = tensor.repeat // stacked, key_of(tensor.name)
        placed.append(Placed(part, tensor.name, form.data_bytes(tensor.shape) * stacked, count, layers))
        if form.block:
            placed.append(
                Placed(part, f"{tensor.name} scales", form.scale_bytes(tensor.shape) * stacked, count, layers)
            )
    return placed + unexplained(model, "card")


def runtime_format(tensor: Tensor, model: Model, asked: Resolved, hardware: Hardware) -> Format:
    """The type that a weight has in memory: as stored, or what --quantization makes of matrices (bitsandbytes
    while loading)."""
    stored, wanted = tensor.format, asked.quantization
    if wanted in REQUANTISED and wanted != model.quantization and tensor.role != "plain":
        form = REQUANTISED[wanted]
        return (
            form._replace(scale_bits=32) if wanted == "bitsandbytes" else form
        )  # scales are quantised again only if asked for
    if stored == model.dtype:
        return DTYPES[asked.dtype]
    if model.quantization == "fp8" and stored.bits == 8 and hardware.card.lacks_fp8:
        return BF16  # quantizers/quantizer_finegrained_fp8.py
    return stored


def check_quantization(model: Model, asked: Resolved) -> None:
    """Refuse what transformers cannot quantise, or has quantised already."""
    wanted = asked.quantization
    if wanted in (None, model.quantization):
        return
    if wanted not in REQUANTISED:
        raise UnsupportedError(
            f"--quantization {wanted} in transformers is not known", f"known are {', '.join(REQUANTISED)}"
        )
    if model.quantization:
        raise UsageError(f"{model.name} is published as {model.quantization}", "leave out --quantization")
    if RELEASES.at(asked.engine_version).stacks_experts and model.kinds.has_experts:
        raise UnsupportedError(
            f"what transformers 5 quantises of the stacked experts of {model.name} is not known",
            "use --engine-version 4.57",
        )
