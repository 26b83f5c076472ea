"""What if the weights lay in a compute-in-memory crossbar? What leaves the card, what stays, and what moves
for each token.

A crossbar holds weights as conductances and multiplies where they lie. Inputs come through converters,
results leave through others: activations, cache, norms, routers and embeddings stay digital, on the card.
Nothing is promised about quality or speed.
"""

from typing import NamedTuple

from ..errors import UsageError
from ..estimate.serving.estimate import Estimate
from ..ledger import Key
from ..model.feedforward import MoE
from ..model.model import Tensor

DIGITAL: tuple[Key, ...] = (
    "weights.embedding",
    "weights.norms",
    "weights.routers",
    "weights.vision",
    "weights.engram",
    "weights.hyper_connections",
)
"""Parts of a model that are no matrix product with fixed weights, or that see single rows: they stay on the
card."""
TILE, CELL_BITS = 256, 4
"""Rows and columns of a crossbar, and bits of a cell: what published designs have (NeuroSim 1.5 and others:
128 to 512; 1 to 5)."""
DIGITAL_BYTES = 2
"""Of an activation between tiles."""


class InMemory(NamedTuple):
    """The what-if of one estimate, on the worst rank."""

    weight_bytes: int
    """Weights as they lie on the card now."""
    freed_bytes: int
    """Of those, what a crossbar would hold."""
    headroom_bytes: int
    """On the card without them."""
    more_tokens: int
    """Cache that the freed memory takes."""
    num_cells: int
    num_tiles: int
    """Of the whole model, all ranks."""
    read_now_bytes: int
    """Weights that one token of one sequence reads, all ranks, as they lie on the card."""
    converted_bytes: int
    """Inputs and results of the crossbars for the same token."""


def weights_in_memory(estimate: Estimate, tile: int = TILE, cell_bits: int = CELL_BITS) -> InMemory:
    """The what-if of an answer.

    >>> from ..estimate.serving.estimate import estimate_serving
    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> from ..run.serving import Layout, Asked
    >>> eight = estimate_serving(
    ...     load("deepseek-v3"), Asked(layout=Layout(tp=8), max_model_len=32768), parse_gpu("h200:8")
    ... )
    >>> found = weights_in_memory(eight)
    >>> 0.97 < found.freed_bytes / found.weight_bytes < 1, found.read_now_bytes // found.converted_bytes
    (True, 897)
    """
    if not 1 <= tile <= MAX_TILE or not 1 <= cell_bits <= MAX_CELL_BITS:
        raise UsageError(
            f"a tile of {tile} with cells of {cell_bits} bits",
            "tiles are 1 to 4096 wide, cells hold 1 to 8 bits",
        )
    weights = [line for line in estimate.ledger.lines if line.category == "weights"]
    freed = sum(line.bytes for line in weights if line.key not in DIGITAL)
    cells = tiles = read = moved = 0
    for tensor in estimate.model.tensors:
        if not is_analog(tensor):
            continue
        rows, columns = tensor.shape[-2], tensor.shape[-1]
        bits = 8 * tensor.format.num_bytes(tensor.shape) / (rows * columns)
        slices = -(-round(bits) // cell_bits)
        cells += tensor.num_parameters * slices
        tiles += tensor.num_tensors * -(-rows // tile) * -(-columns // tile) * slices
        visited = share_of_token(estimate, tensor)
        read += round(tensor.num_bytes * visited)
        moved += round(tensor.num_tensors * visited * (rows + columns)) * DIGITAL_BYTES
    each = estimate.kv_cache.bytes_per_token
    more = int(freed / each) if each else 0
    total = sum(line.bytes for line in weights)
    return InMemory(total, freed, estimate.headroom_bytes + freed, more, cells, tiles, read, moved)


MAX_TILE, MAX_CELL_BITS = 4096, 8


def is_analog(tensor: Tensor) -> bool:
    """Whether a weight is a matrix that inputs are multiplied with: no norm, no table, no copy, none of a
    draft."""
    matrix = len(tensor.shape) >= 2 and min(tensor.shape[-2:]) > 1
    return (
        matrix
        and not tensor.lookup
        and not tensor.copy_of
        and tensor.part == "main"
        and ".gate.weight" not in tensor.name
    )


def share_of_token(estimate: Estimate, tensor: Tensor) -> float:
    """Share of a group of tensors that one token visits: of routed experts those that it is sent to."""
    if tensor.role != "expert" or not tensor.layers:
        return 1.0
    ffn = estimate.model.layers[tensor.layers[0]].ffn
    return ffn.num_active_experts / ffn.num_experts if isinstance(ffn, MoE) else 1.0
