"""What stays allocated beside the states: cuBLAS and Transformer Engine workspaces, the gather buffer,
gradients that fused products stand in for, and the last pipeline input. Sizes are rules of PyTorch,
Transformer Engine and Megatron-LM; facts/engines.csv has those that a card decides."""

from functools import lru_cache
from typing import NamedTuple

from ... import facts
from ...ledger import Key
from .environment import Device
from .operations import shape
from .placement import Chunk
from .run import Megatron
from .states import data_ranks
from .weights import rank_weights


class Buffer(NamedTuple):
    """One thing that stays, with its bytes and spread."""

    key: Key
    what: str
    value: int
    low: int
    high: int
    formula: str
    source: str


def constant(name: str, generation: int, *more: str) -> facts.Constant:
    """The row of facts/engines.csv for a card generation.

    >>> constant("te_workspace", 9).value / 2**20 > 32, constant("blas_workspace", 8).value / 1024
    (True, 8320.0)
    """
    word = (
        "ampere"
        if 0 < generation <= 8
        else "hopper"
        if generation == 9
        else "blackwell"
        if generation >= 10
        else ""
    )
    return facts.constant("megatron", name, (0,), *([word] if word else []), *more)


def buffers(run: Megatron, mine: tuple[Chunk, ...], device: Device) -> tuple[Buffer, ...]:
    """All of them on one rank."""
    found = [_blas(run, device)]
    engine = (
        not run.local or (run.experts is not None and run.experts.router_float32) or run.experts is not None
    )
    if engine:
        found.append(_engine(run, device))
    others = (
        _gathered(run, mine),
        _standins(run, mine, device),
        _quantised(run, mine, device),
        pipeline_inputs(run, mine),
    )
    found += [each for each in others if each.value]
    return tuple(found)


def _blas(run: Megatron, device: Device) -> Buffer:
    """PyTorch keeps a cuBLAS workspace for each handle and stream: the forward's thread has one, autograd's
    another.

    The overlapped expert exchange runs on a stream of its own.
    """
    count = 2 + run.moe_overlap
    if device.blas_workspace is not None:
        size = low = high = device.blas_workspace
        source = "CUBLAS_WORKSPACE_CONFIG"
    else:
        row = constant(
            "blas_workspace", device.generation, *(["deterministic"] if device.deterministic else [])
        )
        size, low, high, source = int(row.value), int(row.low), int(row.high), row.source
    return Buffer(
        "runtime.cublas",
        "cuBLAS workspaces",
        count * size,
        count * low,
        count * high,
        f"{count} handles x {size:,} B",
        source,
    )


def _engine(run: Megatron, device: Device) -> Buffer:
    """Transformer Engine keeps one cuBLASLt workspace, four more for grouped products, three times one for
    overlapped communication."""
    row = constant("te_workspace", device.generation)
    size, low, high, source = int(row.value), int(row.low), int(row.high), row.source
    count = (
        1
        + (4 if run.experts is not None and run.experts.grouped and not run.local else 0)
        + (3 if run.comm_overlap and run.tp > 1 else 0)
    )
    return Buffer(
        "runtime.transformer_engine",
        "Transformer Engine workspaces",
        count * size,
        count * low,
        count * high,
        f"{count} x {size:,} B",
        source,
    )


def _gathered(run: Megatron, mine: tuple[Chunk, ...]) -> Buffer:
    """The global memory buffer `mpu`: the largest tensor gathered into it, over sequence parallelism at
    the output layer, over expert ranks by the all-gather dispatcher; the local attention's scores are made
    in it too."""
    at = shape(run, run.seq_len)
    b, sizes = run.num_bytes, {"": 0}
    if run.sequence_parallel and (any(chunk.loss for chunk in mine) or run.local):
        sizes["output layer's input"] = at.tokens * run.hidden * b
    kind = run.experts
    if kind is not None and kind.dispatcher == "allgather" and run.ep * run.etp > 1:
        sizes["tokens of all expert ranks"] = at.residual * run.ep * run.etp * (kind.latent or run.hidden) * b
    if run.local:
        sizes["attention scores"] = at.tokens * (run.heads // run.tp) * at.keys * b
    what = max(sizes, key=lambda name: sizes[name])
    return Buffer(
        "communication.memory_buffer",
        "global memory buffer",
        sizes[what],
        0,
        sizes[what],
        what,
        "core/parallel_state.py get_global_memory_buffer",
    )


def _standins(run: Megatron, mine: tuple[Chunk, ...], device: Device) -> Buffer:
    """Fused weight gradients go straight into the gradient buffer; autograd is handed a stand-in, one kept
    for each shape (get_dummy_wgrad)."""
    if not run.fused_wgrad:
        return Buffer("runtime.stand_in_gradients", "stand-in gradients", 0, 0, 0, "", "")
    products, vocabulary = _shapes(run.without_step, mine)
    shapes = () if run.local and device.old_stack else products
    own = sum(shapes) * run.num_bytes
    head = vocabulary * run.num_bytes if any(chunk.loss for chunk in mine) and not device.old_stack else 0
    return Buffer(
        "runtime.stand_in_gradients",
        "stand-in gradients",
        own + head,
        own,
        own + vocabulary * run.num_bytes,
        f"{len(shapes)} shapes and the output layer's",
        "Transformer Engine module/base.py get_dummy_wgrad",
    )


@lru_cache(maxsize=128)
def _shapes(run: Megatron, mine: tuple[Chunk, ...]) -> tuple[tuple[int, ...], int]:
    """(Elements of one matrix of each shape that is multiplied with, of the vocabulary's matrix.)"""
    shapes: dict[tuple[int, int], int] = {}
    vocabulary = 0
    for weight in (w for chunk in mine for w in rank_weights(run, chunk)):
        if weight.name.startswith(("output_layer.weight", "embedding.word")):
            vocabulary = max(vocabulary, weight.num)
        elif weight.product:
            shapes[weight.rows, weight.num] = weight.num
    return tuple(shapes.values()), vocabulary


def _quantised(run: Megatron, mine: tuple[Chunk, ...], device: Device) -> Buffer:
    """FP8 copies of weights: one for the forward, and on Hopper, or by blocks, a transposed one for the
    backward; of stored FP8 weights the latter.

    Transformer Engine keeps them from one micro-batch to the next (module/base.py, _fp8_workspaces; Blackwell
    multiplies in any layout).
    """
    if not run.fp8 or run.local:
        return Buffer("runtime.fp8_copies", "FP8 copies of weights", 0, 0, 0, "", "")
    values = sum(w.num for chunk in mine for w in rank_weights(run, chunk) if w.product) // (
        data_ranks(run, False) if run.fsdp else 1
    )
    twice = device.generation < 10 or run.fp8_recipe in ("mxfp8", "blockwise")
    copies = (1 if twice else 0) + (0 if run.fp8_params else 1)
    return Buffer(
        "runtime.fp8_copies",
        "FP8 copies of weights",
        copies * values,
        0,
        (1 if run.fp8_params else 2) * values,
        f"{copies} x {values:,} values",
        "Transformer Engine module/base.py",
    )


def pipeline_inputs(run: Megatron, mine: tuple[Chunk, ...]) -> Buffer:
    """Each model chunk holds the last micro-batch's received input (decoder.input_tensor), and that its
    gradient."""
    count = sum(not chunk.embedding for chunk in mine) if run.pp > 1 else 0
    size = shape(run, run.seq_len).residual * run.hidden * run.num_bytes
    return Buffer(
        "communication.pipeline",
        "last pipeline inputs and their gradients",
        2 * count * size,
        0,
        2 * count * size,
        f"2 x {count} x {size:,} B",
        "core/transformer/transformer_block.py set_input_tensor; schedules.py retain_grad",
    )
