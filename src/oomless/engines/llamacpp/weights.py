"""What cards and host hold of a GGUF file: its tensors in one buffer each, rounded to 32 B at most."""

from ...ledger import Key
from ...model.gguf_model import num_blocks
from ...model.model import Model, Tensor
from ...run.cards import Hardware
from ...run.serving import Asked, Resolved
from ..rank import Placed, Stage
from .cache import cache_layout, needed_bytes, slices_of
from .defaults import HOSTS, output_first, stages
from .gguf_file import stored
from .placement import HOST, Held, held, offload, rows_of_card, split_points
from .release import rules_of
from .tensor_slices import Slices, one_device


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """Tensor bytes of a card: of its layers, or with --split-mode row its rows of every matrix and the rest
    of its layers."""
    file = stored(model, asked)
    dealt, asked = stages(model, asked), as_mapped(asked, hardware)
    if one_memory(file, asked, hardware):
        return [_placed(Held(group, group.layers)) for group in file.tensors]
    if asked.split_mode == "tensor":
        return sliced_weights(file, asked, dealt[0], stage.position, slices_of(model, asked))
    return dealt_weights(file, asked, dealt, stage) + draft_weights(file, asked, stage)


def sliced_weights(file: Model, asked: Resolved, dealt: Stage, card: int, slices: Slices) -> list[Placed]:
    """Tensor bytes of a card with --split-mode tensor: its slice of each, by the layers where it is as
    large."""
    whole = one_device(dealt)
    mine = held(file, asked, [whole], 0, output_first(asked))
    if asked.draft_tokens:
        mine = [*mine, *(Held(each, each.layers) for each in file.tensors if each.part == "mtp")]
    found = []
    for each in mine:
        sizes: dict[int, list[int]] = {}
        for layer in each.layers or (-1,):
            sizes.setdefault(slices.bytes_of(each.group, layer, card), []).append(layer)
        for size, layers in sizes.items():
            part = _placed(each._replace(layers=tuple(layers) if each.layers else ()))
            found.append(part._replace(num_bytes=size))
    return found


def draft_weights(file: Model, asked: Resolved, stage: Stage) -> list[Placed]:
    """The MTP layer of a file that has one: read where it drafts, else left on disk. Qwen3.8-27B in Q4_K_M:
    drafting took 1,292 MiB at 131,072 tokens on one card (sudoingX/qwen38-mtp#14), these 251 with it."""
    if not asked.draft_tokens or not stage.last:
        return []
    return [_placed(Held(group, group.layers)) for group in file.tensors if group.part == "mtp"]


def dealt_weights(file: Model, asked: Resolved, dealt: list[Stage], stage: Stage) -> list[Placed]:
    """Tensor bytes of a card, without what drafts."""
    if asked.split_mode != "row" or len(dealt) == 1:
        return [_placed(each) for each in held(file, asked, dealt, stage.position, output_first(asked))]
    points = split_points(asked)
    found = []
    for card in range(len(dealt)):
        for each in held(file, asked, dealt, card, output_first(asked)):
            if divides_by_rows(each.group):
                rows = rows_of_card(each.group.shape[0], points, stage.position)
                found.append(
                    _placed(each._replace(group=each.group._replace(shape=(rows, each.group.shape[1]))))
                )
            elif card == stage.position:
                found.append(_placed(each))
    return found


def one_memory(model: Model, asked: Resolved, hardware: Hardware) -> bool:
    """Whether one buffer holds every tensor: of a host without a card, and of Apple's, which maps the file
    from its first tensor to its last (llama-model.cpp, buffer_from_host_ptr) and so the embedding between
    them, if every layer is on it. Each of several machines holds its layers alone (ggml-rpc)."""
    if hardware.card.vendor == "Apple" and asked.layout.pp == 1:
        return offload(num := num_blocks(model), asked, output_first(asked)).active > num
    return hardware.card.vendor in HOSTS


def as_mapped(asked: Resolved, hardware: Hardware) -> Resolved:
    """What a card holds where the file is mapped, not read: on Apple's, what -ot, -cmoe and -ncmoe leave to
    the host lies between its tensors, and one mapping spans them (llama-model.cpp, get_mapping_range)."""
    if not maps_file(asked, hardware) or asked.layout.pp > 1:
        return asked
    return asked._replace(cpu_moe=False, n_cpu_moe=0, override_tensor=None)


def maps_file(asked: Resolved | Asked, hardware: Hardware) -> bool:
    """Whether the buffer of weights is the file's own pages. What --no-mmap changes of it is ignored."""
    return hardware.card.vendor == "Apple" and not rules_of(asked).decides_mapping


def divides_by_rows(tensor: Tensor) -> bool:
    """Whether --split-mode row divides a tensor: plain matrices; those of routed experts stay whole (no split
    MUL_MAT_ID)."""
    return len(tensor.shape) == 2 and tensor.repeat == 1 and tensor.role != "expert"


def _placed(each: Held) -> Placed:
    group = each.group
    key: Key = (
        "weights.routed_experts"
        if group.role == "expert"
        else "weights.layers"
        if group.layers
        else "weights.output_head"
    )
    return Placed(key, group.name, group.format.num_bytes(group.shape), group.repeat, each.layers)


def host_bytes(model: Model, asked: Resolved, hardware: Hardware) -> int:
    """What no card holds: the embedding, layers before the offloaded ones with their cache, tensors that were
    told to stay."""
    if one_memory(model, asked, hardware):
        return 0
    dealt, asked = stages(model, asked), as_mapped(asked, hardware)
    tensors = sum(
        _placed(each).total_bytes
        for each in held(stored(model, asked), asked, dealt, HOST, output_first(asked))
    )
    return tensors + needed_bytes(
        cache_layout(model, asked, Stage(HOST, len(dealt), 0, dealt[0].start)), asked
    )


def left_to_host(model: Model, asked: Resolved) -> tuple[list[Tensor], set[int]]:
    """What -ngl, -ncmoe and -ot leave to the host of a file's tensors, and the layers whose cache lies
    there."""
    dealt = stages(model, asked)
    found = held(model, asked, dealt, HOST, output_first(asked))
    on_cards = {layer for stage in dealt for layer in range(stage.start, stage.stop)}
    away = set(range(len(model.layers))) - on_cards
    return [each.group._replace(layers=each.layers) for each in found], away
