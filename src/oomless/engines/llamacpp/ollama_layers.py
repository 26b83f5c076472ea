"""The layers that Ollama gives the cards by its own estimate: llm/memory.go (EstimateGPULayers),
fs/ggml/ggml.go (GraphSize) and server/sched.go of 0.1.34 to 0.24. Where it is too low, it runs out of memory.

Its own engine measures since 0.11.11 (ollama eb10390de), llama-server since 0.30: there fit.py counts.
"""

from typing import NamedTuple

from ... import facts
from ...model.attention import MLA, Linear, Sliding
from ...model.model import EMBEDDING, HEAD, Model
from ...run.cards import Hardware
from ...run.serving import Asked, Resolved
from ...units import GIB, MIB
from .gguf_file import expands, heads_of, stored
from .release import rules_of
from .tower import ONE_SIZE, scores_bytes, tower_bytes

MINIMUM, MINIMUM_OF_METAL, BATCH = 457 * MIB, 512 * MIB, 512
MEASURED = "gemma3 gemma4 gpt_oss llama4 mistral3 mllama qwen2_5_vl qwen3 nemotron_h olmo3 lfm2 glm4_moe_lite"
"""Families that its own engine runs, as their names begin (fs/ggml/ggml.go, OllamaEngineRequired)."""
WINDOWS = {"gemma3": 0, "gemma3_text": 0, "gpt_oss": 4096}
"""Families whose windows are known, and their length where it is not taken from the file."""


def estimates(model: Model, asked: Asked) -> bool:
    """Return whether a release estimates the layers of a model."""
    rules = rules_of(asked)
    own = model.family.startswith(tuple(MEASURED.split()))
    return rules.estimates_layers and not (rules.measures_layers and own)


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
    rules, hidden, words, family = rules_of(asked), model.hidden_size, model.vocab_size, model.family
    whole, context = expands(model, asked), asked.context * slots
    heads, kv = zip(*(heads_of(each, whole) for each in model.kinds.attentions), strict=True)
    num, num_kv = max(heads), max(kv)
    core = next(each.core for each, of in zip(model.kinds.attentions, heads, strict=True) if of == num)
    key = value = hidden // num
    if isinstance(core, MLA) and not rules.divides_width:
        key, value = core.latent_dim, core.kv_lora_rank
        if whole:
            key, value = core.qk_nope_head_dim + core.qk_rope_head_dim, core.v_head_dim
    elif not rules.divides_width:
        key = getattr(core, "head_dim", key)
        value = getattr(core, "value_dim", 0) or key
    row = int((key + value) * num_kv * {"q8_0": 1, "q4_0": 0.5}.get(asked.cache_type_k, 2))
    layers = [context * row] * len(model.layers)
    for index, layer in enumerate(model.layers):
        if isinstance(layer.attention, Sliding) and family in WINDOWS:
            layers[index] = ((WINDOWS[family] or layer.attention.window) * slots + BATCH) * row
        if isinstance(layer.attention, Linear) and rules.measures_layers:  # since ollama#12186
            kept = layer.attention
            layers[index] = ((kept.conv_kernel - 1) * kept.conv_width + kept.state_size) * 4
    cache, output = sum(layers) if rules.measures_layers else context * row * len(layers), 0
    for each in stored(model, asked).tensors:
        size = each.format.num_bytes(each.shape) * each.repeat
        for index in each.layers if each.part == "main" else ():
            layers[index] += size
        if not each.layers and each.name == (EMBEDDING if model.tied else HEAD):
            output += size
    tower = tower_bytes(model, "F16") + (scores_bytes(model) if family in ONE_SIZE else 0)
    of_latent = family.startswith("deepseek")
    grouped = num_kv if of_latent else num
    wide, llama = key * grouped, (2, 4, 0, hidden, hidden // num * num_kv)
    graphs = {
        "llama": llama,
        "mistral": llama,
        "llama4": llama,
        "qwen2": (1, 2, 0, 0, hidden),
        "cohere": (1, 4, 0, hidden, hidden),
        "gemma": (1, 2, 2 * wide, wide, 8 * key),
        "deepseek": (3, 3, 2 * wide, wide, wide),
    }
    short = next((each for each in ("gemma", "deepseek") if family.startswith(each)), family)
    if short not in graphs:
        of_sinks = 4 if rules.doubles_graph_of_sinks else 2
        graph = (of_sinks if family == "gpt_oss" else 1) * num // (min(kv) or 1) * cache // 6
        return Sizes(layers, output, tower, graph, graph)
    outputs, states, more, square, rows = graphs[short]
    batch, scores = min(BATCH, context), context * (1 + grouped)
    partial = max(
        4 * batch * (outputs * hidden + words) + hidden * words * 105 // 128,
        4 * (batch * (2 * hidden + more + scores) + context * rows) + hidden * square * 9 // 16,
    )
    full = 4 * batch * max(outputs * hidden + words, states * hidden + more + scores)
    return Sizes(layers, output, tower, partial, full)


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


def on_cards(model: Model, hardware: Hardware, asked: Resolved) -> Resolved:
    """Return the question with slots and layers as Ollama takes them: one card where all fits there, else all
    cards; fewer slots than it would like where only so all fits."""
    rules, made = rules_of(asked), hardware.card.vendor
    # the process that asks has a context of its own
    taken = int(facts.constant("llamacpp", "context", (0,)).low * GIB) if made == "NVIDIA" else 0
    free = [memory - taken for memory in hardware.memories(hardware.num_gpus)]
    least = asked.max_num_seqs or asked.concurrency
    most = asked.max_num_seqs or max(least, rules.auto_slots)
    for cards, slots in ((each, num) for each in (sorted(free)[-1:], free) for num in (most, least)):
        counts = counted(sizes_of(model, asked, slots), cards, made == "Apple", rules.counts_from_front)
        if sum(counts) > len(model.layers):
            break
    split = ",".join(map(str, counts)) if len(counts) > 1 and any(counts) else None
    layout = asked.layout._replace(pp=len(counts))
    return asked._replace(n_gpu_layers=sum(counts), tensor_split=split, layout=layout, max_num_seqs=slots)
