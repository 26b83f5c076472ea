"""The tensors that a rank of TensorRT-LLM holds after loading."""

from math import prod

from ...errors import UnsupportedError, UsageError
from ...ledger import Line
from ...model.model import Model, Tensor
from ...model.storage import FP4_E8M0
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..layers_dealt import layers_on
from ..parameters import KV_B, key_of
from ..rank import Placed, Stage
from ..runtime_formats import is_fp8, runtime_format
from ..shards import divide, experts_per_rank
from .release import RELEASES


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """A rank's share of every tensor of the main model, and MLA's k_b_proj_trans and v_b_proj beside
    kv_b_proj (same type).

    Vocabulary is padded to a multiple of the ranks alone.
    """
    check_published(model, asked)
    placed = []
    for tensor in model.tensors:
        layers = None if tensor.copy_of else layers_of(tensor, model, asked, stage)
        if layers is None:
            continue
        shape, repeat = shard(tensor, asked)
        form = runtime_format(tensor, model, asked)
        if tensor.role == "expert" and form == FP4_E8M0 and RELEASES.at(asked.engine_version).pads_mxfp4:
            shape = padded(shape)
        stacked = repeat if tensor.role == "expert" else 1
        placed.append(
            Placed(
                key_of(tensor.name), tensor.name, form.num_bytes(shape) * stacked, repeat // stacked, layers
            )
        )
    return placed + absorbed(model, asked, stage)


def layers_of(tensor: Tensor, model: Model, asked: Resolved, stage: Stage) -> tuple[int, ...] | None:
    """Return the layers of a stage that have a tensor; None: it is not there. The last stage drafts."""
    if tensor.part == "mtp":
        return tensor.layers if asked.speculative and stage.last else None
    return layers_on(tensor, stage, model.tied) if tensor.part in ("main", "vision") else None


def absorbed(model: Model, asked: Resolved, stage: Stage) -> list[Placed]:
    """MLA's k_b_proj_trans and v_b_proj, which lie beside kv_b_proj: in FP8 if it is, else in 16 bit."""
    found: dict[int, list[int]] = {}
    for tensor in model.tensors:
        layers = layers_of(tensor, model, asked, stage) if tensor.name.endswith(KV_B) else None
        if layers:
            shape, _ = shard(tensor, asked)
            width = 1 if is_fp8(runtime_format(tensor, model, asked)) else 2
            found.setdefault(prod(shape) * width, []).extend(layers)
    name, note = "k_b_proj_trans and v_b_proj", "beside kv_b_proj"
    return [Placed("weights.attention", name, size, 1, tuple(layers), note) for size, layers in found.items()]


def check_published(model: Model, asked: Resolved) -> None:
    """A requantised checkpoint must be one that ModelOpt or the engine's own converter writes; also of a
    model that is published in FP8 (nvidia/DeepSeek-R1-FP4, W4AFP8)."""
    wanted = asked.quantization
    if wanted not in (None, model.quantization, *CHECKPOINTS):
        raise UnsupportedError(
            f"a checkpoint in {wanted} is not TensorRT-LLM's", f"known are {', '.join(CHECKPOINTS)}"
        )
    if wanted in EIGHT_BIT and model.quantization and wanted != model.quantization:
        raise UsageError(f"{model.name} is published as {model.quantization}", "leave out --quantization")


EIGHT_BIT = ("fp8", "w8a8")
CHECKPOINTS = (*EIGHT_BIT, "awq", "gptq", "w4a16", "nvfp4")


def kept(model: Model, asked: Resolved, stage: Stage) -> list[Line]:
    """What another's checkpoint may keep in 16 bit."""
    if asked.quantization in (None, model.quantization):
        return []
    from ..requantised import kept_line  # few questions need it

    parts = []
    for tensor in model.tensors:
        layers = layers_on(tensor, stage, model.tied) if tensor.part == "main" else None
        if layers and not tensor.copy_of:
            shape, repeat = shard(tensor, asked)
            parts.append((tensor, shape, repeat * len(layers)))
    return kept_line(model, asked.quantization, parts)


def shard(tensor: Tensor, asked: Resolved) -> tuple[tuple[int, ...], int]:
    """(shape on one rank, tensors a layer); with attention of its own a rank has all but experts whole
    (_torch/models/modeling_deepseekv3.py, enable_attention_dp)."""
    layout = asked.layout
    ranks, repeat = layout.tp // layout.dp, tensor.repeat
    if tensor.role == "expert":
        ranks = layout.tp // layout.expert_ranks
        repeat = experts_per_rank(repeat, layout.expert_ranks, 0)
    return divide(tensor, ranks, f"--tp {layout.tp}"), repeat


def padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """An expert in MXFP4 as the PyTorch backend's kernels hold it: rows and columns in multiples of 128.

    gpt-oss-120b, 36 layers of 128 experts of three matrices each; 63.32 GiB are reported with all else, 60.8
    without:

    >>> padded((2880, 2880)), round(36 * 128 * 3 * (2944**2 - 2880**2) * 17 / 32 / 2**30, 2)
    ((2944, 2944), 2.55)
    """
    return tuple(-(-size // MXFP4_ALIGNMENT) * MXFP4_ALIGNMENT for size in shape)


MXFP4_ALIGNMENT = 128
"""weight_alignment of MXFP4 methods (_torch/modules/fused_moe/quantization.py)."""
