"""llama.cpp and ik_llama.cpp: tensors as the GGUF file stores them, layers dealt out over the cards, a cache of fixed size.

Read in llama.cpp (src/llama-model.cpp, llama-kv-cache*.cpp) and ik_llama.cpp of March to July 2025 (build_deepseek2); buffers were
checked against logged ones (serving_memory.md 2). Nothing is allotted in advance: the cache is as long as the context asked for.
"""

from typing import NamedTuple

from .. import facts
from ..errors import UnsupportedError, UsageError
from ..ledger import Line
from ..model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ..model.gguf_model import as_gguf
from ..model.gguf_types import TYPES
from ..model.model import EMBEDDING, Model
from ..run.hardware import Hardware
from ..run.serving import Layout, Serving
from ..units import GIB, KIB, MIB, format_bytes
from . import Budget, CacheGroup, CacheLayout, Count, Placed, Stage

NAME = "llama.cpp"
COUNTS: Count = "plain"
VERSIONS = ("2025-03", "2025-07", "2026-08")
LATEST = "2026-08"
CELLS = 256
"""The context is padded to a multiple of it (llama_kv_cache padding with flash attention)."""
WHAT_COMPUTE = "compute buffer"


class Sizes(NamedTuple):
    """What the buffers of one card depend on."""

    n_ctx: int
    n_ubatch: int
    flash: bool
    mla_mode: int
    """0: keys and values of every head; 1: latent, with a transposed copy unless flash attention; 2, 3: latent alone."""


# ---------------------------------------------------------------- what is asked


def layouts(hardware: Hardware, expert_parallel: bool) -> list[Layout]:
    """Layers over one card, two ... all of them: a layer split is a pipeline of one sequence."""
    return [Layout(pp=num) for num in range(1, hardware.num_gpus + 1)]


def resolve(model: Model, hardware: Hardware, asked: Serving, layout: Layout) -> Serving:
    """llama-server's defaults: context of the model, one slot, micro-batches of 512, flash attention on, cache in f16."""
    if layout.tp > 1 or layout.dp > 1:
        raise UsageError("--tp and --dp are not llama.cpp's", "it deals layers out over cards: use --pp, or leave it out")
    length = asked.max_model_len or asked.context or model.max_positions
    for kind in (asked.cache_type_k, asked.cache_type_v):
        if kind.upper() not in TYPES:
            raise UsageError(f"cache type {kind!r} is not known", "use f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl")
    if isinstance(model.layers[0].attention, V4 | V41 | Linear):
        raise UnsupportedError(f"the cache of {model.family} in llama.cpp is not known yet", "use --engine vllm")
    return asked._replace(
        quantization=asked.quantization or (None if model.quantization.startswith("gguf") else published_as(model)),
        engine_version=asked.engine_version or LATEST,
        layout=layout,
        max_model_len=length,
        context=asked.context or length,
        concurrency=asked.concurrency or 1,
        ubatch_size=asked.ubatch_size or 512,
        n_gpu_layers=len(model.layers) + 1 if asked.n_gpu_layers is None else min(asked.n_gpu_layers, len(model.layers) + 1),
    )


def published_as(model: Model) -> str:
    """The file type that a checkpoint is converted to where none is asked for: its own 16 bits, but MXFP4 stays as it is.

    >>> from ..model.load import load
    >>> [published_as(load(name)) for name in ("gpt-oss-20b", "deepseek-v3", "deepseek-coder-1.3b")]
    ['MXFP4', 'BF16', 'BF16']
    """
    if model.quantization == "mxfp4":
        return "MXFP4"
    return "F16" if model.dtype.name == "float16" else "BF16"


def sizes(model: Model, asked: Serving) -> Sizes:
    """The context is shared by all slots, so it is their number times the length of one."""
    total = (asked.context or 1) * (asked.concurrency or 1)
    mode = asked.mla_attn
    if mode is None:
        mode = 3 if asked.flash_attn else 1
    return Sizes(-(-total // CELLS) * CELLS, asked.ubatch_size or 512, asked.flash_attn, mode)


def stages(model: Model, asked: Serving) -> list[Stage]:
    """Layers of each card: the last -ngl ones, dealt out evenly; the output goes with the last.

    llama.cpp's load_tensors: layer il of the offloaded ones goes to the card whose share of the split it falls into.
    """
    cards = (asked.layout or Layout()).pp
    num_layers = len(model.layers)
    offloaded = asked.n_gpu_layers if asked.n_gpu_layers is not None else num_layers + 1
    first = max(num_layers - offloaded, 0) if offloaded else num_layers
    active = max(min(offloaded, num_layers + 1), 1)
    starts = [first + -(-active * card // cards) for card in range(cards)]
    stops = [min(start, num_layers) for start in [*starts[1:], num_layers]]
    return [Stage(card, cards, min(start, num_layers), stop) for card, (start, stop) in enumerate(zip(starts, stops, strict=True))]


# ---------------------------------------------------------------- weights


def stored(model: Model, asked: Serving) -> Model:
    """The model as its GGUF file stores it: the file type of --quantization, or the checkpoint's own 16 bits."""
    if model.quantization.startswith("gguf"):
        return model
    word = asked.quantization or published_as(model)
    kv_b = "whole" if sizes(model, asked).mla_mode == 0 else "split"
    return as_gguf(model, word, "whole" if kv_b == "whole" else "split")


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


# ---------------------------------------------------------------- cache


def row_bytes(attention: Attention, asked: Serving, mode: int) -> int:
    """Bytes of a token in one layer: K and V in their own types; MLA keeps its latent once, and mode 1 its transpose too.

    >>> row_bytes(MLA(128, 1536, 512, 128, 64, 128), Serving(cache_type_k="q8_0"), 3)   # 576 values of 8.5 bits
    612
    >>> row_bytes(MLA(128, 1536, 512, 128, 64, 128), Serving(), 0)                      # every head: 128 x (192 + 128) x 2 B
    81920
    """
    key, value = TYPES[asked.cache_type_k.upper()], TYPES[asked.cache_type_v.upper()]

    def size(kind: object, values: int) -> int:
        assert isinstance(kind, type(key))
        return kind.num_bytes((values,))

    match attention:
        case GQA():
            return size(key, attention.num_kv_heads * attention.head_dim) + size(value, attention.num_kv_heads * attention.head_dim)
        case Sliding():
            return row_bytes(attention.inner, asked, mode)
        case DSA():
            return row_bytes(attention.mla, asked, mode)
        case MLA():
            if mode == 0:
                query = attention.qk_nope_head_dim + attention.qk_rope_head_dim
                return size(key, attention.num_heads * query) + size(value, attention.num_heads * attention.v_head_dim)
            copy = size(value, attention.kv_lora_rank) if mode == 1 and not asked.flash_attn else 0
            return size(key, attention.latent_dim) + copy
        case V4() | V41() | Linear():
            raise UnsupportedError(f"the cache of {attention.kind} attention in llama.cpp is not known yet", "use --engine vllm")


def cache_layout(model: Model, asked: Serving, stage: Stage) -> CacheLayout:
    """The cache of a card's layers. Windows are kept whole: llama.cpp's own window cache saves memory, so this is an upper bound."""
    mode = sizes(model, asked).mla_mode
    rows: dict[int, int] = {}
    for layer in model.layers[stage.start : stage.stop]:
        row = row_bytes(layer.attention, asked, mode)
        rows[row] = rows.get(row, 0) + 1
    token = sum(row * num for row, num in rows.items())
    formula = " + ".join(f"{num} layers x {row} B" for row, num in rows.items()) or "no layers"
    group = CacheGroup("all layers", stage.stop - stage.start, CELLS, token * CELLS)
    dtype = f"{asked.cache_type_k}/{asked.cache_type_v}"
    return CacheLayout((group,), max(token * CELLS, 1), token, 0, token * CELLS, formula, dtype)


def needed_bytes(layout: CacheLayout, asked: Serving) -> int:
    """The cache is allocated for the whole context of all slots."""
    total = (asked.context or 1) * (asked.concurrency or 1)
    return -(-total // CELLS) * layout.groups[0].page_bytes


def max_tokens(layouts_: list[CacheLayout], pools: list[int], asked: Serving) -> int:
    """The largest context whose cache fits beside the buffers of the asked one; what llama.cpp prints is the context asked for."""
    fits = [max(pool, 0) // layout.block_bytes * CELLS for layout, pool in zip(layouts_, pools, strict=True) if layout.token_bytes]
    return min(fits, default=0)


def sequences(layout: CacheLayout, pool: int, length: int, asked: Serving) -> float:
    """Slots of a length that fit."""
    return max(pool, 0) // layout.block_bytes / -(-length // CELLS)


def longest_sequence(layout: CacheLayout, pool: int, asked: Serving) -> int:
    """The longest single sequence beside the buffers of the asked context."""
    return min(max(pool, 0) // layout.block_bytes * CELLS, asked.max_model_len or 0)


# ---------------------------------------------------------------- buffers


def compute_buffer_bytes(model: Model, asked: Serving) -> int:
    """The scratch buffer of a card that computes attention and output for one micro-batch.

    Output: ub x (V + 2h) x 4 B. Attention without flash: scores of all heads, ub x n x ctx x 4 B. MLA of ik_llama.cpp modes 2 and 3
    with flash: K and V of one layer in f16 for the whole context, 640 n B a token, a slice of at most -amb in F32 on top, the mask
    6 x ub x ctx. Checked on 44 logged buffers: see facts/engines.csv, compute_buffer_spread.
    """
    s = sizes(model, asked)
    ub, hidden = s.n_ubatch, model.hidden_size
    attention = model.layers[-1].attention
    mla = attention.mla if isinstance(attention, DSA) else attention
    if isinstance(mla, MLA):
        output = ub * (model.vocab_size + hidden) * 4
        return max(output, _mla_buffer(mla, hidden, s, asked.attn_max_batch * MIB))
    output = ub * (model.vocab_size + 2 * hidden) * 4
    if s.flash:
        return output
    heads = mla.inner.num_heads if isinstance(mla, Sliding) else mla.num_heads if isinstance(mla, GQA) else 0
    return max(output, ub * heads * s.n_ctx * 4 + ub * s.n_ctx * 4 + 5 * ub * hidden * 4)


def _mla_buffer(mla: MLA, hidden: int, s: Sizes, most: int) -> int:
    heads, query = mla.num_heads, mla.qk_nope_head_dim + mla.qk_rope_head_dim
    if s.mla_mode == 0:
        scores = 0 if s.flash else s.n_ctx * s.n_ubatch * heads * 4
        return scores + s.n_ubatch * heads * (query + mla.v_head_dim) * 4 + s.n_ctx * s.n_ubatch * (6 if s.flash else 4)
    if not s.flash:
        scores = s.n_ctx * s.n_ubatch * heads * 4
        scores = min(scores, most) if most else scores
        absorbed = s.n_ubatch * heads * (mla.latent_dim + 2 * mla.kv_lora_rank) * 4
        return scores + absorbed + s.n_ctx * s.n_ubatch * 4 + 4 * hidden * s.n_ubatch + 2 * mla.kv_lora_rank * s.n_ctx
    inner = mla.qk_nope_head_dim + mla.v_head_dim
    slice_heads, size = heads, heads * inner * s.n_ctx * 4
    while most and size > most and slice_heads % 2 == 0:
        slice_heads, size = slice_heads // 2, size // 2
    mask = 6 * s.n_ctx * s.n_ubatch
    if slice_heads == heads:  # all heads at once: F32 products beside both casts, queries twice
        return s.n_ctx * heads * inner * 6 + mask + s.n_ubatch * (2 * heads * query + hidden) * 4
    both = 2 * (query + mla.v_head_dim) * heads * s.n_ctx
    return both + size + mask + max(LEAST_REST_BYTES, REST_BYTES_PER_TOKEN * s.n_ubatch)


LEAST_REST_BYTES, REST_BYTES_PER_TOKEN = 264 * MIB, 66 * KIB
"""What is beside K, V and mask: at least the output, growing with the micro-batch (by_hand.md: 264 MiB at 4096)."""


def budget_bytes(asked: Serving, hardware: Hardware) -> int:
    """The whole card."""
    return hardware.card.memory_bytes


def pool_bytes(asked: Serving, allowed: int, charged: int) -> int:
    """What is left is room for a longer context."""
    return allowed - charged


def budget_lines(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> Budget:
    """Compute buffer and context. The output buffer of logits is on the host."""
    mla = isinstance(model.layers[-1].attention, MLA | DSA)
    spread = facts.constant("llamacpp", "compute_buffer_spread", (0,), *(["mla"] if mla else []))
    value = compute_buffer_bytes(model, asked) if stage.stop > stage.start else 0
    s = sizes(model, asked)
    formula = f"{s.n_ubatch} tokens against {s.n_ctx:,} cells, flash attention {'on' if s.flash else 'off'} = {format_bytes(value)}"
    compute = Line(
        "activations", WHAT_COMPUTE, value, int(value * spread.low), int(value * spread.high), "fitted", formula, spread.source
    )
    row = facts.constant("llamacpp", "context", (0,))
    low, middle, high = (int(number * GIB) for number in (row.low, row.value, row.high))
    context = Line("runtime", "CUDA context", middle, low, high, "assumed", f"{row.value:g} GiB", row.source)
    return Budget((compute, context), ())
