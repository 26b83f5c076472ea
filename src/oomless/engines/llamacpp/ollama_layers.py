"""The layers that Ollama gives the cards by its own estimate: llm/memory.go (EstimateGPULayers),
fs/ggml/ggml.go (GraphSize) and server/sched.go of 0.1.32 to 0.24. Where it is too low, it runs out of memory.

Its own engine measures since 0.11.11 (ollama eb10390de), llama-server since 0.30: there fit.py counts.
"""

from typing import NamedTuple

from ... import facts
from ...model.attention import MLA, Linear, Sliding
from ...model.feedforward import MoE
from ...model.gguf_model import num_blocks
from ...model.model import EMBEDDING, HEAD, Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB, MIB
from .gguf_file import expands, heads_of, stored
from .release import rules_of
from .tower import scores_bytes, tower_bytes

MINIMUM, MINIMUM_OF_METAL, BATCH = 457 * MIB, 512 * MIB, 512
"""What it leaves free of a card (ml/device.go, MinimumMemory), and tokens of its largest graph."""


class Sizes(NamedTuple):
    """What the estimate adds up, in bytes."""

    layers: list[int]
    output: int
    tower: int
    """What reads images: on the first card, or beside the output."""
    partial: int
    """A graph where layers stay on the host."""
    full: int


def sizes_of(model: Model, asked: Resolved, slots: int) -> Sizes:
    """Return the sizes of a question with so many slots.

    >>> from ...model.load import load
    >>> asked = Resolved(engine="ollama", engine_version="2024-07-22", quantization="Q4_K_S", context=2048)
    >>> found = sizes_of(load("qwen2-72b-instruct"), asked, 1)  # ollama#5913: 974.6 MiB, 1.3 GiB, 313.0 MiB
    >>> [size // MIB for size in found[1:]]
    [974, 0, 1287, 313]
    """
    heads, context, family, output = heads_in_file(model, asked), asked.context * slots, model.family, 0
    rules = rules_of(asked)
    hybrids = rules.measures_layers  # ollama#12186 came with it
    row = int((heads.key + heads.value) * heads.kv * {"q8_0": 1, "q4_0": 0.5}.get(asked.cache_type_k, 2))
    layers, cache, gates = [context * row] * len(model.layers), 0, 0
    for index, layer in enumerate(model.layers):
        kept = layer.attention
        if hybrids and isinstance(kept, Linear):
            layers[index] = ((kept.conv_kernel - 1) * kept.conv_width + kept.state_size) * 4
        cache += layers[index]
        if isinstance(kept, Sliding) and family in rules.measures_windows:
            window = rules.length_of_windows.of(family) or kept.window
            layers[index] = (window * slots + BATCH) * row
    for each in stored(model, asked).tensors:
        size = each.format.num_bytes(each.shape) * each.repeat
        for index in each.layers if each.part == "main" else ():
            layers[index] += size
        if 0 in each.layers and "experts.gate_proj" in each.name:
            gates = size * rules.weighs_experts
        if not each.layers and each.name == (EMBEDDING if model.tied else HEAD):
            output += size
    tower = tower_bytes(model, "F16") + scores_bytes(model, rules)
    of_sinks = 4 if rules.joins_sinks else 2
    lacks = family in rules.lacks_graph
    return Sizes(layers, output, tower, *graph_sizes(model, heads, context, cache, of_sinks, gates, lacks))


def file_sizes(model: Model, asked: Resolved, slots: int) -> tuple[int, int, int]:
    """Return the bytes of a file, of its cache in F16, and of a graph: a sixth of that cache for each head
    that shares one (llm/llm.go, New)."""
    heads = heads_in_file(model, asked)
    cache = 2 * asked.context * slots * (heads.key + heads.value) * heads.kv * len(model.layers)
    tensors = stored(model, asked).tensors
    size = sum(t.format.num_bytes(t.shape) * t.repeat * max(len(t.layers), 1) for t in tensors)
    return size, cache, heads.num // heads.least_kv * cache // 6


class HeadsInFile(NamedTuple):
    """Heads and their widths as the file's metadata has them."""

    num: int
    kv: int
    least_kv: int
    key: int
    value: int


def heads_in_file(model: Model, asked: Resolved) -> HeadsInFile:
    """Return the most heads of any layer, and their widths, by which GraphSize goes."""
    whole = expands(model, asked)
    found = [(*heads_of(each, whole), each.core) for each in model.kinds.attentions]
    num, _, core = max(found, key=lambda each: each[0])
    kv = [each[1] for each in found]
    key = value = model.hidden_size // num
    if isinstance(core, MLA) and not rules_of(asked).divides_width:
        key, value = core.latent_dim, core.kv_lora_rank
        if whole:
            key, value = core.qk_nope_head_dim + core.qk_rope_head_dim, core.v_head_dim
    elif not rules_of(asked).divides_width:
        key = getattr(core, "head_dim", key)
        value = getattr(core, "value_dim", 0) or key
    return HeadsInFile(num, max(kv), min(kv) or 1, key, value)


def graph_sizes(
    model: Model, heads: HeadsInFile, context: int, cache: int, of_sinks: int, gates: int, lacks: bool = False
) -> tuple[int, int]:
    """What GraphSize takes a graph for where layers stay on the host, and where none do; `cache` is that of
    all layers, `gates` are those of a layer's experts where they are weighed; it may lack the graph."""
    hidden, words, batch = model.hidden_size, model.vocab_size, min(BATCH, context)
    family = next((each for each in ("gemma", "deepseek") if model.family.startswith(each)), model.family)
    grouped = heads.kv if family == "deepseek" else heads.num
    wide, llama = heads.key * grouped, (2, 4, 0, hidden, hidden // heads.num * heads.kv)
    shapes = {
        **dict.fromkeys(("llama", "mistral", "mixtral", "llama4"), llama),
        "qwen2": (1, 2, 0, 0, hidden),
        "cohere": (1, 4, 0, hidden, hidden),
        "gemma": (1, 2, 2 * wide, wide, 8 * heads.key),
        "deepseek": (3, 3, 2 * wide, wide, wide),
    }
    if family not in shapes or lacks:
        size = (of_sinks if family == "gpt_oss" else 1) * heads.num // heads.least_kv * cache // 6
        return size, size
    outputs, states, more, square, rows = shapes[family]
    scores = context * (1 + grouped)
    partial = max(
        4 * batch * (outputs * hidden + words) + hidden * words * 105 // 128,
        4 * (batch * (2 * hidden + more + scores) + context * rows) + hidden * square * 9 // 16,
    )
    ffn = next(iter(model.kinds.of(MoE)), None)
    if gates and ffn and family in ("mixtral", "llama4"):
        width = hidden // heads.num * heads.kv
        inner = 2 * ffn.expert_width + heads.kv + hidden + context + width
        partial = max(
            3 * gates + 4 * batch * inner,
            4 * (context * (batch * heads.num + width) + batch * (1024 + width)),
        )
    return partial, 4 * batch * max(outputs * hidden + words, states * hidden + more + scores)


def counted(sizes: Sizes, free: list[int], metal: bool, forwards: bool) -> list[int]:
    """Return the layers that there is room for on each card, the output as one more: cards get one after the
    other, in turns, while more is free than a minimum, a first layer as a reserve, a graph and the layers.
    The output is tried on the card whose turn it is.

    >>> counted(Sizes([10 * MIB] * 4, 5 * MIB, 0, MIB, MIB), [490 * MIB, 510 * MIB], False, False)
    [2, 2]
    """
    graph = sizes.full if metal else sizes.partial if len(free) > 1 else max(sizes.partial, sizes.full)
    reserve = (MINIMUM_OF_METAL if metal else MINIMUM) + sizes.layers[0] + graph
    left, counts = [each - reserve for each in free], [0] * len(free)
    if forwards:
        left[0] -= sizes.tower
    output = sizes.output + (0 if forwards else sizes.tower)
    cards = [card for card, each in enumerate(left) if each >= sizes.layers[0]]
    for index in sorted(range(len(sizes.layers)), reverse=not forwards):
        while cards:
            card = cards[index % len(cards)]
            if left[card] > sizes.layers[index]:
                left[card] -= sizes.layers[index]
                counts[card] += 1
                break
            cards.remove(card)
    taking = (cards[sum(counts) % num] for num in range(len(cards), 0, -1))
    if (card := next((each for each in taking if left[each] > output), -1)) >= 0:
        counts[card] += 1
    return counts


def counted_together(sizes: Sizes, free: list[int], reserves: bool = True) -> int:
    """Return the layers that there was room for when the memory of all cards was taken for one card's, the
    output as one more: a graph a card and one minimum for all (llm/memory.go to 0.1.44), of a first layer too
    where a release `reserves` it. llama.cpp then dealt them by what is free.

    >>> counted_together(Sizes([10 * MIB] * 4, 5 * MIB, 0, MIB, MIB), [245 * MIB, 255 * MIB])
    3
    """
    left = sum(free) - MINIMUM - sizes.layers[0] * reserves - sizes.tower
    if left > sum(sizes.layers) + sizes.output + len(free) * sizes.full:
        return len(sizes.layers) + 1
    left -= len(free) * sizes.partial
    count = 0
    for size in sizes.layers:
        if left > size:
            left -= size
            count += 1
    return count


def counted_by_shares(num: int, size: int, cache: int, graph: int, free: list[int]) -> int:
    """Return how many of a file's layers, the output as one, there was room for when each was taken for an
    equal share of file and cache, and a graph and a tenth or 1 GiB of each card were left (llm/llm.go, New,
    and gpu/gpu.go, CheckVRAM, of 0.1.21 to 0.1.31).

    >>> counted_by_shares(33, 100 * GIB, 0, GIB, [12 * GIB]), counted_by_shares(33, GIB, 0, 0, [12 * GIB])
    (3, 33)
    """
    each = (sum(free) - max(sum(free) // 10, len(free) * GIB)) // len(free)
    most = min(num * (each - graph) // (cache + size // len(free)), num)
    return most if most > 0 and graph + cache * most // num <= each else 0


def on_cards(model: Model, hardware: Hardware, asked: Resolved) -> Resolved:
    """Return the question with slots and layers as Ollama takes them: one card where all fits there, else all
    cards; fewer slots than it would like where only so all fits, or as many layers as num_gpu says."""
    rules, made = rules_of(asked), hardware.card.vendor
    if rules.fills_metal and made == "Apple":
        return asked._replace(n_gpu_layers=num_blocks(model) + 1, max_num_seqs=asked.concurrency)
    # the process that asks has a context of its own
    taken = int(facts.constant("llamacpp", "context", (0,)).low * GIB) if made == "NVIDIA" else 0
    free = [memory - taken - asked.gpu_overhead for memory in hardware.memories(hardware.num_gpus)]
    least = asked.max_num_seqs or asked.concurrency
    most = asked.max_num_seqs or max(least, rules.auto_slots)
    wanted = min(asked.n_gpu_layers or 0, len(model.layers) + 1)
    for cards, slots in ((each, num) for each in (sorted(free)[-1:], free) for num in (most, least)):
        sizes = sizes_of(model, asked, slots)
        counts = counted(sizes, cards, made == "Apple", rules.counts_from_front)
        if together := rules.sums_cards and made != "Apple":
            num = counted_together(sizes, cards, rules.reserves_layer)
            if rules.shares_file:
                num = counted_by_shares(len(model.layers) + 1, *file_sizes(model, asked, slots), cards)
            counts = [0] * (len(cards) - 1) + [num]
        if sum(counts) >= wanted > 0:
            counts[-1] += num_blocks(model) - len(model.layers)  # what drafts is not weighed, and is counted
            break
    split = ",".join(map(str, counts)) if len(counts) > 1 and any(counts) else None
    if together:
        split = asked.tensor_split
    layout = asked.layout._replace(pp=len(counts))
    return asked._replace(n_gpu_layers=sum(counts), tensor_split=split, layout=layout, max_num_seqs=slots)
