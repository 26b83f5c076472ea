"""What the feed-forward of vLLM's profile run takes: its widest layer, and the workspace of fused experts."""

from ...model.feedforward import Dense
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Layout, Resolved
from ..rank import Stage
from ..runtime_formats import runtime_format
from .weights import placed_weights


def largest_layer(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> int:
    """Bytes of the largest layer of a rank: V0 copies a layer that lies on the host to the card to run it."""
    placed = placed_weights(model, asked._replace(cpu_offload_gb=0.0), hardware, stage)
    sizes = [
        sum(each.num_bytes * each.per_layer for each in placed if layer in each.layers)
        for layer in range(stage.start, stage.stop)
    ]
    return max(sizes, default=0)


def widest_inner(model: Model, layout: Layout) -> tuple[int, int]:
    """Width of the widest dense or shared feed-forward on a rank, and how many of that width live at once: 3
    with a gate, else 2."""
    widths = [(0, 3)]
    for ffn in model.kinds.ffns:
        inner = ffn.intermediate_size if isinstance(ffn, Dense) else max(ffn.shared_width, ffn.dense_width)
        widths.append((inner // layout.tp, 3 if ffn.gated else 2))
    return max(widths)


def quantises_inputs(model: Model, asked: Resolved) -> bool:
    """Whether matrices are multiplied with 8-bit inputs, which are made by the way."""
    return any(
        tensor.role == "linear" and runtime_format(tensor, model, asked).bits == 8 for tensor in model.tensors
    )
