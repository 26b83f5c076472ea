"""What cards and host hold with KTransformers: linear layers in 4 bits, what is absorbed in 16, routed
experts and the embedding on the host (optimize/optimize_rules, operators/linear.py, operators/experts.py)."""

from math import prod

from ...kept import Kept
from ...model.gguf_model import as_gguf
from ...model.model import EMBEDDING, HEAD, Model, Tensor
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..layers_dealt import layers_on
from ..llamacpp.gguf_file import published_as
from ..parameters import KV_B, key_of
from ..rank import Placed, Stage
from .release import rules_of
from .rules_file import EXPERTS_ON_CARDS, rules_file

GROUP = 64
"""Weights that share a scale (KLinearMarlin)."""


def packed_bytes(params: int, wide: bool) -> int:
    """Return what weights in 4 bits take with their scales, which are F32 or 16 bit.

    >>> packed_bytes(7168 * 2048, True)
    8257536
    """
    return params // 2 + params // GROUP * (4 if wide else 2)


def quantises_head(asked: Resolved) -> bool:
    """Whether the output head is in 4 bits: FP8's rules leave it as it is, but those of balance_serve."""
    file = rules_file(asked.optimize_config_path)
    return rules_of(asked.engine_version).quantises_head and (not file.fp8 or file.serves)


def size_of(tensor: Tensor, asked: Resolved) -> int:
    """Return the bytes of one weight on a card."""
    params, wide = prod(tensor.shape), rules_of(asked.engine_version).widens_on_loading
    if tensor.name == HEAD and quantises_head(asked):
        return packed_bytes(params, wide)
    if tensor.role == "plain" or tensor.name.endswith(KV_B):
        return params * (4 if wide and key_of(tensor.name) == "weights.routers" else 2)
    if tensor.role == "linear" and rules_file(asked.optimize_config_path).fp8:
        return tensor.format.num_bytes(tensor.shape)
    return packed_bytes(params, wide)


def experts_here(tensor: Tensor, asked: Resolved) -> tuple[int, ...]:
    """Return the layers whose experts are on cards."""
    some = rules_file(asked.optimize_config_path).some_experts
    return tuple(layer for layer in tensor.layers if layer in EXPERTS_ON_CARDS) if some else ()


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """Return what a card holds of the layers that the rules file gives it.

    DeepSeek-R1 on one card, 0.2.3:

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(engine="ktransformers", engine_version="0.2.3")
    >>> found = placed_weights(load("deepseek-r1"), asked, parse_gpu("rtx-4090"), Stage(0, 1, 0, 61))
    >>> round(sum(each.total_bytes for each in found) / 2**30, 1)
    9.6
    """
    placed = []
    for tensor in model.tensors:
        if tensor.part != "main" or tensor.copy_of or tensor.name == EMBEDDING:
            continue
        if tensor.role == "expert":
            tensor = tensor._replace(layers=experts_here(tensor, asked))
            if not tensor.layers:
                continue
        layers = layers_on(tensor, stage, tied=False)
        if tensor.name == HEAD and rules_file(asked.optimize_config_path).some_experts:
            layers = () if stage.first else None  # cuda:0, where the file has its last words
        if layers is not None:
            placed.append(
                Placed(key_of(tensor.name), tensor.name, size_of(tensor, asked), tensor.repeat, layers)
            )
    return placed


def stored(model: Model, asked: Resolved) -> Model:
    """Return the model as its GGUF file has it: of --quantization, or the checkpoint's own 16 bits."""
    if model.quantization.startswith("gguf"):
        return model
    word = asked.quantization or published_as(model)
    return _FILES.of(model, word, lambda: as_gguf(model, word, "whole"))


_FILES = Kept[Model](most=16)


def host_bytes(model: Model, asked: Resolved, hardware: Hardware) -> int:
    """Return what the host holds: the embedding in 16 bit, and the experts that no card has, as the file has
    them or as AMX reads them; a copy of these for each NUMA node of a build with USE_NUMA=1.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(engine="ktransformers", engine_version="0.2.3", quantization="Q4_K_M")
    >>> round(host_bytes(load("deepseek-r1"), asked, parse_gpu("rtx-4090")) / 2**30)  # logs say 375 to 380
    369
    """
    width, found = rules_file(asked.optimize_config_path).expert_bytes, 0
    for tensor in stored(model, asked).tensors:
        if tensor.part == "main" and tensor.role == "expert":
            there = [layer for layer in tensor.layers if layer not in experts_here(tensor, asked)]
            each = prod(tensor.shape) * width or tensor.format.num_bytes(tensor.shape)
            found += each * tensor.repeat * len(there)
    table = sum(2 * prod(each.shape) for each in model.tensors if each.name == EMBEDDING)
    return found * asked.numa_copies + table
