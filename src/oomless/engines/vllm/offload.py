"""What vLLM's --cpu-offload-gb leaves on the host: weights of layers, from the first on, until that much has
gone.

vllm/model_executor/models/utils.py of 0.8 (maybe_offload_to_cpu) and model_executor/offloader/uva.py of 0.33:
the same count.
"""

from ...model.model import Model, Tensor
from ...run.serving import Resolved
from ...units import GIB
from ..rank import Placed, Stage


def stay_on_card(
    placed: list[Placed], extra: list[Placed], asked: Resolved, stage: Stage, moves_copies: bool
) -> list[Placed]:
    """What is left of a rank's tensors; `moves_copies`: what loading derives from a weight is made where the
    weight lies (V0).

    >>> layers = [Placed("weights.feed_forward", "w", GIB, 1, (0, 1, 2, 3))]
    >>> [
    ...     each.layers
    ...     for each in stay_on_card(layers, [], Resolved(cpu_offload_gb=1.5), Stage(0, 1, 0, 4), False)
    ... ]
    [(2, 3)]
    """
    limit, gone = int(asked.cpu_offload_gb * GIB), 0
    left: dict[int, list[int]] = {index: [] for index in range(len(placed))}
    whole_layers = set()
    for layer in range(stage.start, stage.stop):
        moved = gone < limit
        for index, each in enumerate(placed):
            if layer not in each.layers:
                continue
            if gone < limit:
                gone += each.num_bytes * each.per_layer
            else:
                left[index].append(layer)
                moved = False
        if moved:
            whole_layers.add(layer)
    kept = []
    for index, each in enumerate(placed):
        outside = tuple(
            layer for layer in each.layers if not stage.start <= layer < stage.stop
        )  # a draft's or a tower's
        if not each.layers or left[index] or outside:
            kept.append(each._replace(layers=(*left[index], *outside)))
    for each in extra:
        layers = tuple(layer for layer in each.layers if not (moves_copies and layer in whole_layers))
        if layers or not each.layers:
            kept.append(each._replace(layers=layers))
    return kept


def most_on_host(asked: Resolved, num_ranks: int, layer_bytes: int) -> int:
    """Host memory of all ranks: what was asked for, or all that the layers have."""
    return min(int(asked.cpu_offload_gb * GIB) * num_ranks, layer_bytes)


def left_to_host(model: Model, asked: Resolved) -> tuple[list[Tensor], set[int]]:
    """The first layers, until their share of a rank is as much as --cpu-offload-gb; caches stay on the
    cards."""
    layout = asked.layout
    tensors = [tensor for tensor in model.tensors if tensor.layers and tensor.part == "main"]
    room = asked.cpu_offload_gb * GIB * layout.num_ranks
    gone: set[int] = set()
    for layer in range(len(model.layers)):
        if room <= 0:
            break
        gone.add(layer)
        room -= sum(tensor.num_bytes / len(tensor.layers) for tensor in tensors if layer in tensor.layers)
    return [part for tensor in tensors if (part := tensor.of_layers(gone)).layers], set()
