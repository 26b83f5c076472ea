"""What a card holds of a GGUF file, and what stays on the host. Read in src/llama-model.cpp (load_tensors)."""

from ...model.gguf_model import as_gguf
from ...model.model import EMBEDDING, Model
from ...run.hardware import Hardware
from ...run.serving import Serving
from .. import Placed, Stage
from .defaults import expands, published_as, stages


def stored(model: Model, asked: Serving) -> Model:
    """The model as its GGUF file stores it: the file type of --quantization, or the checkpoint's own 16 bits."""
    if model.quantization.startswith("gguf"):
        return model
    word = asked.quantization or published_as(model)
    return as_gguf(model, word, "whole" if expands(model, asked) else "split")


def placed_weights(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> list[Placed]:
    """What a card holds; it does not depend on which card it is."""
    return on_card(stored(model, asked), asked, stage)


def on_card(model: Model, asked: Serving, stage: Stage) -> list[Placed]:
    """Tensor bytes of the layers on a card, in one buffer: no rounding but to 32 B. Embedding and layers left stay on the host."""
    placed = []
    for tensor in model.tensors:
        on_host = asked.cpu_moe and tensor.role == "expert"
        if tensor.name == EMBEDDING and not (model.tied and stage.last):
            continue
        layers = tuple(layer for layer in tensor.layers if stage.start <= layer < stage.stop)
        if on_host or (tensor.layers and not layers) or (not tensor.layers and not output_here(asked, model, stage)):
            continue
        part = "routed experts" if tensor.role == "expert" else "output" if not tensor.layers else "layers"
        placed.append(Placed(part, tensor.name, tensor.format.num_bytes(tensor.shape), tensor.repeat, layers))
    return placed


def output_here(asked: Serving, model: Model, stage: Stage) -> bool:
    """The output counts as one layer more: it is on the last card if all layers are."""
    return stage.last and (asked.n_gpu_layers or 0) > len(model.layers)


def host_bytes(model: Model, asked: Serving) -> int:
    """Tensors that no card holds: the embedding, layers before the offloaded ones, experts that were told to stay."""
    file = stored(model, asked)
    on_cards = 0
    for stage in stages(model, asked):
        on_cards += sum(group.total_bytes for group in on_card(file, asked, stage))
    return sum(tensor.num_bytes for tensor in file.tensors) - on_cards
