"""The compute buffer of llama.cpp's graph, and what decides its size."""

import re

from ...model.attention import DSA, GQA, MLA, V4, Attention, Linear, Sliding
from ...model.feedforward import Dense, MoE
from ...model.gguf_model import num_blocks
from ...model.gguf_types import TYPES
from ...model.model import EMBEDDING, HEAD, LAYER_TABLE, Layer, Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..rank import Stage
from .batch import F32, Batch, Left
from .cache import drafting_layers, has_windows, one_slot, states_of_slot, window_cells
from .defaults import CELLS, HOSTS, flash, has_sinks, num_cells, output_first, stages
from .gguf_file import expands, stored
from .graphs import buffer_bytes, experts_bytes, representative
from .placement import HOST, by_hand, device_of, held, offload
from .release import is_ik, rules_of


def batch_of(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, pipelined: bool = True
) -> Batch:
    """What the graph of a card depends on, beside its layers; whether it is pipelined where it can be."""
    ik, rules = is_ik(asked), rules_of(asked)
    slots, host = asked.max_num_seqs, hardware.card.vendor in HOSTS
    apart = slots if rules.keeps_slots_apart and not asked.kv_unified else 1
    cells = num_cells(asked) // apart
    tokens = min(asked.ubatch_size or 512, cells)
    if asked.no_kv_offload and not host:  # attention is the host's (llama-graph.cpp, build_attn)
        cells = CELLS
    outputs = slots if rules.reserves_logits_of_slots else tokens
    on_cards = offload(num_blocks(model), asked, output_first(asked)).output
    sent = not on_cards and not host and stage.position == 0 and outputs >= MIN_OFFLOADED_BATCH
    copied_output = output_matrix_bytes(model, asked) if sent else 0
    window = next((each.window for each in model.kinds.attentions if isinstance(each, Sliding | V4)), 0)
    windows = window_cells(window, asked) // apart if window and has_windows(model, asked) else 0
    if model.kinds.has(V4):
        windows = window_cells(window, one_slot(asked))
    piped = pipelined and not by_hand(asked) and may_pipeline(model, asked, hardware)
    copies = rules.copies_inputs if piped else 1
    sends = by_hand(asked) and not host and not stage.position  # ggml-backend.cpp: to the first that can
    copied = copied_matrices(model, asked) if sends else (0, 0)
    return Batch(
        num_cells=cells,
        num_tokens=tokens,
        num_outputs=outputs,
        flash=flash(model, asked),
        mla_mode=(asked.mla_attn or 0) if ik else None,
        most_scores=(asked.attn_max_batch or rules.limits_scores) if ik else 0,
        key_type=asked.cache_type_k.upper(),
        host=host,
        copied_matrix=copied[0],
        copied_down=copied[1],
        split_kv_b=not expands(model, asked),
        early=rules.expands_in_f32,
        transposed_values=asked.flash_attn is False,
        num_copies=copies,
        row_indices=rules.inputs_row_indices,
        embedded_input=host and rules.inputs_embeddings,
        casts_mask=rules.casts_mask,
        window_cells=windows,
        index_heads=index_heads(model, asked),
        num_seqs=slots,
        num_states=states_of_slot(asked),
        cast_keys=cast_streams(asked.cache_type_k, asked, hardware),
        cast_values=cast_streams(asked.cache_type_v, asked, hardware),
        has_output=copied_output > 0 or (on_cards and multiplies_output(asked, stage)),
        copied_output=copied_output,
        turns_keys=rules.turns_quantised and TYPES[asked.cache_type_k.upper()].block > 1,
        turns_values=rules.turns_quantised and TYPES[asked.cache_type_v.upper()].block > 1,
        keeps_states=bool(asked.draft_tokens and drafting_layers(model, asked, stage)),
        host_activation=model.family in rules.activates_on_host and not host,
        joins_sinks=rules.joins_sinks and has_sinks(model),
    )


def may_pipeline(model: Model, asked: Resolved, hardware: Hardware) -> bool:
    """Return whether several cards of one machine work on micro-batches at once: where all layers are on
    them, and the output."""
    all_offloaded = (asked.n_gpu_layers or 0) > num_blocks(model)
    return asked.layout.pp > 1 and asked.split_mode == "layer" and hardware.num_nodes == 1 and all_offloaded


def host_copies(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> int:
    """Return the bytes of the copies that the first card would keep of all matrices of experts on the host,
    which it multiplies for a micro-batch: in a build of ik_llama.cpp by its defaults, which are many."""
    rules = rules_of(asked)
    if not rules.copies_host_matrices or stage.position or not may_pipeline(model, asked, hardware):
        return 0
    if not by_hand(asked) or copied_matrices(model, asked) == (0, 0):
        return 0
    on_host = held(stored(model, asked), asked, stages(model, asked), HOST, output_first(asked))
    experts = (each for each in on_host if each.group.role == "expert")
    return rules.copies_inputs * sum(
        each.group.format.num_bytes(each.group.shape) * each.group.repeat * len(each.layers)
        for each in experts
    )


def cast_streams(cache_type: str, asked: Resolved, hardware: Hardware) -> int:
    """Return the streams of the cache that flash attention copies to F16 in a place of the graph: those of
    all slots, which the reserved graph has (ggml_cuda_flash_attn_ext_get_alloc_size). The forks with
    TurboQuant take them of the pool (TheTom/llama-cpp-turboquant, fattn.cu)."""
    on_card = hardware.card.vendor in ("NVIDIA", "AMD", "")
    on_card &= "turbo" not in asked.cache_type_k + asked.cache_type_v
    if not on_card or is_ik(asked) or not rules_of(asked).reserves_cast_cache or cache_type.upper() == "F16":
        return 0
    return 1 if asked.kv_unified else asked.max_num_seqs or 1


def multiplies_output(asked: Resolved, stage: Stage) -> bool:
    """Whether a card multiplies the output matrix and holds its logits: the last one, but where rows of
    matrices are divided the main one (ggml-cuda.cu: split buffers are their main device's)."""
    return stage.position == 0 if asked.split_mode == "row" else stage.last


def index_heads(model: Model, asked: Resolved) -> int:
    """Heads of the indexer whose scores are kept: all, or one since it is one operation; none before it was
    built."""
    sparse = next((each for each in model.kinds.attentions if isinstance(each, DSA | V4)), None)
    rules = rules_of(asked)
    if sparse is None or not rules.has_indexer:
        return 0
    return 1 if rules.fuses_indexer else sparse.index_heads


def output_matrix_bytes(model: Model, asked: Resolved) -> int:
    """Bytes of the output matrix in the file: its own, or the embedding's."""
    sizes = {
        each.name: each.num_bytes
        for each in stored(model, asked).tensors
        if not each.layers and len(each.shape) == 2
    }
    return sizes.get(HEAD, sizes.get(EMBEDDING, 0))


MIN_OFFLOADED_BATCH = 32
"""GGML_OP_OFFLOAD_MIN_BATCH: tokens from which a card multiplies weights of the host."""


def copied_matrices(model: Model, asked: Resolved) -> tuple[int, int]:
    """Bytes of the largest matrices of a layer's experts, those that lead in and that which leads back, if a
    card multiplies host experts: then it copies them, one operation after the other.

    ik_llama.cpp counts the tokens of an expert since 2025-06-12 (#520).

    >>> from ...model.load import load
    >>> asked = Resolved(quantization="Q4_K_M", ubatch_size=512, cpu_moe=True)
    >>> copied_matrices(load("deepseek-r1"), asked)  # 256 x 7,168 x 2,048 values of Q4_K and of Q6_K
    (2113929216, 3082813440)
    """
    ffn = next(reversed(model.kinds.of(MoE)), None)
    tokens = asked.ubatch_size or 512
    if ffn is None or tokens < MIN_OFFLOADED_BATCH:
        return 0, 0
    rules = rules_of(asked)
    if (
        rules.counts_tokens_of_experts
        and tokens * ffn.num_active_experts < MIN_OFFLOADED_BATCH * ffn.num_experts
    ):
        return 0, 0
    experts = [
        each for each in stored(model, asked).tensors if each.role == "expert" and "bias" not in each.name
    ]
    experts = [each for each in experts if on_cards(each.format.name, asked)]

    def largest(*, down: bool) -> int:
        sizes = [
            each.format.num_bytes(each.shape) * (ffn.num_experts if len(each.shape) == 2 else 1)
            for each in experts
            if ("down" in each.name) == down
        ]
        return max(sizes, default=0)

    return largest(down=False), largest(down=True)


INTERLEAVED_ON_CARDS = "IQ1_S IQ1_M IQ2_K IQ3_K IQ4_K IQ5_K IQ4_KS IQ5_KS".split()
"""Types whose interleaved form cards multiply, since 2025-05-26 (ggml-cuda.cu; ik_llama.cpp#461, #462, #492,
#494)."""


def on_cards(kind: str, asked: Resolved) -> bool:
    """Return whether a card multiplies a matrix of the host that is stored so: interleaved rows, of the file
    or as it is loaded (-rtr), it cannot read but of a few types.

    >>> asked = Resolved(engine="ik-llamacpp", engine_version="2025-07", run_time_repack=True)
    >>> [on_cards(kind, asked) for kind in ("Q8_0", "IQ3_K", "IQ4_KSS")]
    [False, True, True]
    """
    plain = TYPES.get(kind.upper(), TYPES["F32"])
    forms = (TYPES.get(f"{plain.name}_{rows}", TYPES["F32"])[2:] for rows in ("R4", "R8", "R16"))
    repacked = asked.run_time_repack and plain[2:] in forms
    named = re.fullmatch(r"(\w+)_R(?:4|8|16)", (asked.quantization or "").upper() if plain.block > 1 else "")
    found = re.fullmatch(r"(\w+)_R(?:4|8|16)", plain.name)
    if not (repacked or named or found):
        return True
    base = found[1] if found else plain.name
    return not rules_of(asked).lacks_interleaved_kernels and base in INTERLEAVED_ON_CARDS


def layer_inputs_bytes(model: Model, batch: Batch) -> int:
    """Gemma's embeddings for each layer, which live beside the graph's own tensors: rows that were looked up,
    and projected ones."""
    table = next((tensor for tensor in model.tensors if tensor.name == LAYER_TABLE), None)
    return 2 * batch.num_tokens * table.shape[1] * F32 if table else 0


def copied_for_layers_left(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> int:
    """Bytes of the largest matrix of layers left on the host: the first card multiplies it for a whole
    micro-batch, and has all matrices of a layer's experts where each of them is read expert by expert. The
    graph itself has the copy of an output that is left there (`copied_output`). Before, it was one matrix."""
    left = offload(num_blocks(model), asked, output_first(asked))
    if hardware.card.vendor in HOSTS or stage.position or (asked.ubatch_size or 512) < MIN_OFFLOADED_BATCH:
        return 0
    if not left.first:
        return 0
    file = stored(model, asked)
    matrices = [
        each.group
        for each in held(
            file,
            asked._replace(cpu_moe=False, n_cpu_moe=0, override_tensor=None),
            stages(model, asked),
            HOST,
            output_first(asked),
        )
        if len(each.group.shape) > 1 and each.group.name not in (EMBEDDING, HEAD)
    ]
    if rules_of(asked).leaves_batches:
        return max((group.format.num_bytes(group.shape) for group in matrices), default=0)
    sizes = [group.format.num_bytes(group.shape) * group.repeat for group in matrices]
    if rules_of(asked).loops_over_experts:
        experts = [
            (size, group) for size, group in zip(sizes, matrices, strict=True) if group.role == "expert"
        ]
        layers = {layer for _, group in experts for layer in group.layers}
        sizes += [sum(size for size, group in experts if layer in group.layers) for layer in layers]
    return max(sizes, default=0)


HEADS_MATRICES = tuple(f"self_attn.{part}_proj.weight" for part in "qkvo")
LINEAR_MATRICES = (
    "linear_attn.in_proj_qkv.weight",
    "linear_attn.in_proj_z.weight",
    "",
    "linear_attn.out_proj.weight",
)


def layers_left(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage
) -> tuple[tuple[Layer, Left], ...]:
    """The layers of the host that the first card computes for a whole micro-batch, one of each kind: plain or
    linear attention and MLPs alone."""
    first = offload(num_blocks(model), asked, output_first(asked)).first
    if (
        hardware.card.vendor in HOSTS
        or stage.position
        or (asked.ubatch_size or 512) < MIN_OFFLOADED_BATCH
        or not first
        or rules_of(asked).leaves_batches
    ):
        return ()
    sizes: dict[str, int] = {}
    for group in stored(model, asked).tensors:
        if group.layers and min(group.layers) < first and len(group.shape) > 1:
            part = group.name.rpartition("layers.{}.")[2]
            sizes[part] = max(sizes.get(part, 0), group.format.num_bytes(group.shape))
    found: dict[Layer, Left] = {}
    for layer in model.layers[:first]:
        heads = layer.attention.core
        if (
            not isinstance(heads, GQA | Linear)
            or not replayed(heads, asked)
            or getattr(heads, "variant", "gdn") == "mamba2"
            or not isinstance(layer.ffn, Dense)
        ):
            return ()
        names = LINEAR_MATRICES if isinstance(heads, Linear) else HEADS_MATRICES
        matrices = [
            sizes.get(name, 0)
            for name in (*names, *(f"mlp.{part}_proj.weight" for part in ("up", "gate", "down")))
        ]
        if isinstance(heads, Linear):
            found[layer] = Left(*(*matrices, 0, 0))
            continue
        width = heads.num_kv_heads * heads.head_dim * num_cells(asked)
        kinds = (TYPES[kind.upper()] for kind in (asked.cache_type_k, asked.cache_type_v))
        found[layer] = Left(*matrices, *(width // 32 * kind.num_bytes((256,)) // 8 for kind in kinds))
    return tuple((layer, sent) for layer, sent in found.items() for _ in range(2))


def with_host_experts(model: Model, asked: Resolved) -> frozenset[int]:
    """Layers whose routed experts lie on the host by an override, whole or in part."""
    if not by_hand(asked):
        return frozenset()
    experts = [each for each in stored(model, asked).tensors if each.role == "expert"]
    return frozenset(
        layer for each in experts for layer in each.layers if device_of(each, layer, asked, 0) == HOST
    )


def replayed(attention: Attention, asked: Resolved) -> bool:
    """Whether the graph of such a layer is the engine's own: of linear attention the fused gated delta rule
    and Mamba-2, which stand for the others."""
    fused = rules_of(asked).fuses_gated_delta
    return not isinstance(attention, Linear) or {"gdn": fused, "mamba2": True}.get(attention.variant, False)


def kinds_of_graph(model: Model, asked: Resolved, batch: Batch, vendor: str) -> set[str]:
    """What the spread of the compute buffer goes by: the kinds of attention whose graph is less certain than
    that of plain heads, or more: CUDA leaves the order of a graph whose tensors lie together."""
    attentions = model.kinds.attentions
    kinds: set[str] = {each.kind for each in attentions if isinstance(each, MLA | V4)}
    if any(isinstance(each, DSA) for each in attentions):
        kinds.add("dsa_fused" if batch.index_heads == 1 else "dsa")
    if any(isinstance(each, Linear) for each in attentions):
        kinds.add("gdn" if all(replayed(each, asked) for each in attentions) else "linear")
        variants = {each.variant for each in attentions if isinstance(each, Linear)}
        if variants == {"gdn"} and vendor == "NVIDIA" and not by_hand(asked):
            kinds.add("in_order")
    if not (batch.flash or batch.joins_sinks) and has_sinks(model):
        kinds.add("sinks")
    return kinds


def graph_bytes(
    model: Model, asked: Resolved, batch: Batch, stage: Stage, left: tuple[tuple[Layer, Left], ...]
) -> int:
    """Return the bytes of the graph of a card's layers, and of those `left` to the host that it computes."""
    layers = tuple(model.layers[stage.start : stage.stop])
    on_host = with_host_experts(model, asked)
    host_experts = frozenset(number - stage.start for number in on_host if stage.start <= number < stage.stop)
    if not layers and not left:
        return layer_inputs_bytes(model, batch)
    if model.kinds.has(V4):
        from .graph_v4 import v4_buffer_bytes  # of one family

        shown = tuple(representative([(layer, place in host_experts) for place, layer in enumerate(layers)]))
        sizes = model.hidden_size, model.streams, model.vocab_size
        return v4_buffer_bytes(shown, *sizes, batch, not stage.position)
    size = buffer_bytes(layers, model.hidden_size, model.vocab_size, batch, host_experts, left)
    if batch.copied_matrix and on_host and not host_experts:
        size = max(size, experts_bytes(model.layers[min(on_host)].ffn, model.hidden_size, batch))
    return size + layer_inputs_bytes(model, batch)
