"""Layers that predict further tokens (MTP), where Megatron's own arguments do not describe the model: they
are layers behind the last one, each with a loss of its own (megatron/core/models/gpt/gpt_model.py,
multi_token_prediction.py)."""

from ...errors import UnsupportedError
from ...frameworks import framework
from ...model.attention import Linear
from ...model.feedforward import MoE
from ...model.model import Layer, Model
from .job import Job
from .rank_portions import PipelineStage


def with_prediction_layers(job: Job) -> Job:
    """Return the job of a model whose MTP layers are trained with it, or an error where they are not. Depths
    beyond those of the checkpoint run its last one again (mtp_use_repeated_layer of Nemotron 3 Super)."""
    depths, model = job.request.mtp_layers, job.model
    if not depths:
        return job
    if not framework(job.request.framework).megatron_core:
        raise UnsupportedError(
            f"--mtp-layers {depths} is not counted here",
            "Megatron-LM's own layers have it: --framework megatron-lm, full training",
        )
    if not any(tensor.part == "mtp" for tensor in model.tensors):
        raise UnsupportedError(
            f"--mtp-layers {depths} is not counted here", f"{model.name} has no such layers"
        )
    return job._replace(model=joined(model, depths))


def joined(model: Model, depths: int) -> Model:
    """Return the model with its MTP layers as ordinary ones at its end.

    >>> from ...model.load import load
    >>> qwen = load("qwen3.5-27b")
    >>> more = joined(qwen, 1)
    >>> len(more.layers), (more.parameters_of("main") - qwen.parameters_of("main")) // 1_000_000
    (65, 424)
    """
    experts = any(tensor.part == "mtp" and tensor.role == "expert" for tensor in model.tensors)
    like = next((layer for layer in reversed(model.layers) if fits(layer, experts)), model.layers[-1])
    end = len(model.layers) + depths
    tensors = tuple(
        tensor._replace(part="main", layers=tuple(each for each in tensor.layers if each < end))
        if tensor.part == "mtp"
        else tensor
        for tensor in model.tensors
    )
    return model._replace(layers=(*model.layers, *(like,) * depths), tensors=tensors)


def fits(layer: Layer, experts: bool) -> bool:
    """Whether an MTP layer is like this one: its attention is none of the linear kinds."""
    return not isinstance(layer.attention, Linear) and isinstance(layer.ffn, MoE) == experts


def behind(stage: PipelineStage, depths: int) -> PipelineStage:
    """Return the last stage with the MTP layers behind its own.

    >>> behind(PipelineStage(1, ((2, 3),), False, True), 1).layers
    (2, 3, 4)
    """
    if not depths or not stage.last:
        return stage
    *others, last = stage.chunks
    return stage._replace(chunks=(*others, (*last, *range(last[-1] + 1, last[-1] + 1 + depths))))
