"""The matrices of a pass on the slowest rank: bytes that it reads, operations that it does with them, and the
seconds of both."""

from collections.abc import Callable
from math import exp, log, sqrt
from typing import NamedTuple

from ..engines.speed_classes import speed_class
from .load import Load, Split
from .machine import Machine
from .network import Network, RoutedExperts
from .steady import added, hidden, steady


class Read(NamedTuple):
    """Matrices of one storage type that a pass reads."""

    num_bytes: float
    values: float
    form: str


class MatrixProduct(NamedTuple):
    """Products with matrices of one storage type."""

    flops: float
    form: str
    inverse_columns: float
    """1 / columns of small matrices (experts), whose tiles are not full; 0: large ones."""


class Matrices(NamedTuple):
    """What one rank reads and multiplies in a pass."""

    reads: list[Read]
    products: list[MatrixProduct]


def matrices_of(
    net: Network, split: Split, load: Load, tile: Callable[[float, int], int] = lambda tokens, experts: 1
) -> Matrices:
    """Return the matrices that a rank reads: cut ones in part, whole ones, the head, and the experts that its
    tokens meet. `tile`: (tokens, experts) -> rows that an expert's product is filled up to."""
    tokens, everywhere = load.of_group(split), load.tokens
    reads: list[Read] = []
    products: list[MatrixProduct] = []
    for weights, ranks in (*((each, split.tp) for each in net.cut), *((each, 1) for each in net.whole)):
        reads.append(Read(weights.bytes / ranks, weights.params / ranks, weights.format))
        products.append(MatrixProduct(2 * weights.params / ranks * tokens, weights.format, 0.0))
    head = net.head
    reads.append(Read(head.bytes / split.tp, head.params / split.tp, head.format))
    products.append(MatrixProduct(2 * head.params / split.tp * load.rows_of_head(split), head.format, 0.0))
    for experts in net.experts:
        met = experts_of_rank(experts, split, everywhere)
        share = 1 if split.experts_whole else split.expert_ranks
        num_bytes = experts.num_layers * met * experts.bytes_each / share
        values = experts.num_layers * met * experts.params_each / share
        reads.append(Read(num_bytes, values, experts.format))
        rows = everywhere * experts.num_active / split.expert_ranks
        padded = tile(everywhere, experts.num_experts)
        if padded > 1 and everywhere >= MATRIX_TOKENS:
            rows = (
                max(rows, min(everywhere, padded) * met) if rows < padded * met else rows + padded / 2 * met
            )
        flops = 2 * experts.num_layers * experts.params_each * rows
        products.append(MatrixProduct(flops, experts.format, share / experts.width))
    return Matrices(reads, products)


def reading_s(matrices: Matrices, machine: Machine, engine: str, conditions: frozenset[str]) -> float:
    """Return the seconds that reading all matrices takes."""
    return added(
        read.num_bytes / reading_rate(machine, engine, conditions | {block_kind(read.form)})
        for read in matrices.reads
    )


def reading_rate(machine: Machine, engine: str, conditions: frozenset[str]) -> float:
    """Return the bytes of weights that are read a second: a share of the bandwidth.

    llama.cpp's kernels for one token have too few loads in flight for HBM, so that there the multiprocessors'
    clock is the limit (A100 and H100 PCIe have one bandwidth, and differ by their clocks).
    """
    rate = machine.bytes_per_s * machine.reached("weights", engine, conditions)
    rate *= machine.reached("unpacked", engine, conditions)
    if speed_class(engine).multiplies_vectors and machine.issue_hz:
        rate = min(rate, machine.issue_hz * machine.reached("issue", engine, conditions))
    return rate


MATRIX_TOKENS = 8
"""From this batch on llama.cpp multiplies matrices instead of vectors (ggml-cuda: MMVQ_MAX_BATCH_SIZE)."""


def beyond_reading_s(
    matrices: Matrices,
    machine: Machine,
    engine: str,
    conditions: frozenset[str],
    tokens: float,
    weights_s: float,
) -> float:
    """Return the seconds of products that reading the weights does not hide.

    Reading and multiplying hide behind each other in part: (reading^p + products^p)^(1/p); in llama.cpp's
    kernels wholly.
    """
    matrix_s = products_s(matrices, machine, engine, conditions)
    if speed_class(engine).multiplies_vectors:
        if tokens < MATRIX_TOKENS:
            matrix_s = unpacking_s(matrices, machine, engine, conditions)
        return max(matrix_s - weights_s, 0.0)
    both = machine.reached("overlap", engine, conditions)
    return hidden(weights_s, matrix_s, both) - weights_s


def products_s(matrices: Matrices, machine: Machine, engine: str, conditions: frozenset[str]) -> float:
    """Return the seconds of all products in matrix units, and of filling tiles of small matrices."""
    matrix_s = 0.0
    tile, integers = machine.reached("tile", engine, conditions), speed_class(engine).multiplies_integers
    for flops, form, inverse_columns in matrices.products:
        kind = matrix_kind(form, machine)
        peak = machine.peak(kind)
        reach = machine.reached("matrix", engine, conditions | {kind, storage_kind(form)})
        if integers and machine.device == "gddr" and storage_kind(form) == "quantised":
            rate = machine.issue_hz * machine.reached("integer", engine, conditions)
            if rate:
                matrix_s += flops / rate
                continue
        matrix_s += flops / peak * (1 / reach + tile * peak / machine.bytes_per_s * inverse_columns)
    return matrix_s


def unpacking_s(matrices: Matrices, machine: Machine, engine: str, conditions: frozenset[str]) -> float:
    """Return the seconds of a small batch in llama.cpp: vector units unpack quantised values and multiply, no
    matrix units."""
    per_value, vector = machine.reached("unpack", engine, conditions), machine.peak("fp32")
    if not per_value or not vector:
        return 0.0
    quantised = sum(read.values for read in matrices.reads if storage_kind(read.form) == "quantised")
    return quantised * per_value / vector


def touched(experts: float, active: float, tokens: float) -> float:
    """Return the expected number of distinct experts that `tokens` tokens visit, each `active` of `experts`
    at random.

    experts x (1 - (1 - active / experts) ^ tokens). Real routers are skewed, so fewer are met at small
    batches.

    >>> touched(256, 8, 1), round(touched(256, 8, 64), 1)
    (8.0, 222.4)
    """
    if tokens <= 0 or not experts:
        return 0.0
    if active >= experts:
        return float(experts)
    return steady(experts * -(exp(tokens * log(1 - active / experts)) - 1))


def experts_of_rank(experts: RoutedExperts, split: Split, tokens: float) -> float:
    """Return the experts of a layer that the busiest rank reads.

    Whole experts: a rank has 1 / ranks of them, and the busiest one of the few that are met more than its
    share.
    """
    if not split.experts_whole or split.expert_ranks == 1:
        return touched(experts.num_experts, experts.num_active, tokens)
    mine = experts.num_experts / split.expert_ranks
    met = touched(experts.num_experts, experts.num_active, tokens) / split.expert_ranks
    fullest: float = sqrt(2 * met * steady(log(split.expert_ranks))) * (1 - met / mine)  # of `ranks` bins
    return min(mine, met + fullest)


def resident_bytes(net: Network, split: Split) -> float:
    """Return the bytes of weights on a rank."""
    dense = added(each.bytes for each in net.cut) / split.tp + added(each.bytes for each in net.whole)
    routed = (
        added(each.num_layers * each.num_experts * each.bytes_each for each in net.experts)
        / split.expert_ranks
    )
    return (dense + routed + (net.head.bytes + net.embedding_bytes) / split.tp) / split.pp


def matrix_kind(form: str, machine: Machine) -> str:
    """Return the type in which a matrix of a storage type is multiplied on a card: FP8 and FP4 natively where
    it can, else 16 bit."""
    rates = dict(machine.flops_per_s)
    if form.startswith("fp8") and "fp8" in rates:
        return "fp8"
    if form.startswith("int8, one f32 scale a row") and "bitsandbytes" not in form and "int8" in rates:
        return "int8"
    if form.startswith("fp4 1x16") and "fp4" in rates:
        return "fp4"
    return "bf16" if "bf16" in rates else "fp32"


def block_kind(form: str) -> str:
    """Return kquant for GGUF types with scales within scales, which take more work to unpack; else plain, fp8
    or quantised."""
    return "kquant" if form.endswith("_k") or form.startswith("iq") else storage_kind(form)


def storage_kind(form: str) -> str:
    """Return plain, fp8 or quantised: what reading a matrix costs beside its bytes."""
    if form.startswith(("bfloat16", "float16", "float32", "bf16", "f16", "f32")):
        return "plain"
    return "fp8" if form.startswith("fp8") else "quantised"


def generation(machine: Machine) -> frozenset[str]:
    """Return the words for cards of one class: the architecture, or Apple's generation and two dies.

    lean: a card cut in matrix units that keeps its memory, caches and power, so that its units are hardly
    ever waiting (H20).
    """
    if machine.device == "apple":
        words = machine.name.lower().split(" ")
        return frozenset(["metal", *words[:1], *(word for word in words[1:] if word == "ultra")])
    lean = machine.device == "hbm" and machine.peak("bf16") < LEAN_FLOPS_PER_BYTE * machine.bytes_per_s
    return frozenset((machine.architecture.lower().split(" ")[0], *(("lean",) if lean else ())))


LEAN_FLOPS_PER_BYTE = 60
"""16-bit operations a byte of memory: 37 on the H20, 139 on a V100, 153 on an A100, 295 on an H100."""
