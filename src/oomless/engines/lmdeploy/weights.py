"""The tensors that a rank of LMDeploy holds after loading."""

from math import prod

from ...model.model import EMBEDDING, Model, Tensor
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..layers_dealt import layers_on
from ..parameters import key_of
from ..rank import Placed, Stage
from ..runtime_formats import check_quantization, runtime_format
from ..shards import divide, experts_per_rank
from .release import RELEASES, on_turbomind

ZERO_BITS = 16
"""TurboMind keeps zero points of groups as wide as their scales."""


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """A rank's share of every tensor. TurboMind has a head of its own also where the embedding serves
    (deploy/module.py), and zero points in 16 bit; a tower runs in PyTorch, in 16 bit, on the ranks together
    or on the first (vl/engine.py), whose rank is the one that is shown.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> asked = Resolved(engine="lmdeploy", engine_version="0.6.2", dtype="bfloat16", layout=Layout())
    >>> whole = placed_weights(load("qwen2.5-7b"), asked, parse_gpu("a100-80gb"), Stage(0, 1, 0, 28))
    >>> sum(each.total_bytes for each in whole)
    15231233024
    """
    check_quantization(model, asked)
    placed = []
    turbomind, layout = on_turbomind(model, asked), asked.layout
    for tensor in model.tensors:
        kept = tensor.part in ("main", "vision") and not tensor.copy_of
        layers = layers_on(tensor, stage, model.tied) if kept else None
        if layers is None:
            continue
        if tensor.part == "vision":
            placed.append(of_tower(tensor, layers, asked))
            continue
        ranks, repeat = layout.tp, tensor.repeat
        if tensor.role == "expert":
            ranks = layout.tp // layout.expert_ranks
            repeat = experts_per_rank(repeat, layout.expert_ranks, 0)
        shape, form = divide(tensor, ranks, f"--tp {layout.tp}"), runtime_format(tensor, model, asked)
        size, stacked = form.num_bytes(shape), repeat if tensor.role == "expert" else 1
        if turbomind and form.zero_bits:
            size += form.num_scales(shape) * (ZERO_BITS - form.zero_bits) // 8
        key, each = key_of(tensor.name), repeat // stacked
        placed.append(Placed(key, tensor.name, size * stacked, each, layers))
        if turbomind and model.tied and tensor.name == EMBEDDING:
            placed.append(
                Placed("weights.output_head", "lm_head.weight", size, 1, (), "beside the embedding")
            )
    return placed


def of_tower(tensor: Tensor, layers: tuple[int, ...], asked: Resolved) -> Placed:
    """A tensor of the tower, a part of it where the tower is dealt out."""
    shared = asked.layout.tp if RELEASES.at(asked.engine_version).balances_tower else 1
    size = prod(tensor.shape) * 2 // shared
    return Placed(key_of(tensor.name), tensor.name, size, tensor.repeat, layers)
