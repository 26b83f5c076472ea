"""Hugging Face transformers, `generate`: the checkpoint's tensors as they are, layers dealt out by
device_map, a cache as long as the text.

No pool: the cache is what is asked for, made as it grows (dynamic) or at once (static). 4.x keeps MLA
expanded to every head's keys and values, 5.x keeps the latent (models.md 4.1: measured on 4.57 and 5.24).
Read in modeling_deepseek_v3.py, cache_utils.py and generation/utils.py.
"""

from typing import assert_never

from .. import facts
from ..errors import UnsupportedError, UsageError
from ..ledger import exact, ranged
from ..model.attention import CSA_RATIO, DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ..model.feedforward import Dense, MoE
from ..model.model import EMBEDDING, Model, Tensor
from ..model.quantization_scheme import REQUANTISED
from ..model.storage import BF16, DTYPES, F32, Format
from ..run.cards import Hardware
from ..run.serving import Layout, Serving
from ..units import gib
from .rank import Budget, CacheGroup, CacheLayout, Count, Placed, Stage
from .releases import ReleaseRules, Releases
from .shards import WORDS, assumed_line, measured
from .vllm.defaults import default_length, resolve_dtype
from .vllm.weights import key_of

NAME = "transformers"
COUNTS: Count = "allocated"
FP8_CAPABILITY = 8.9
"""Below it, FP8 checkpoints are dequantised to BF16 (quantizers/quantizer_finegrained_fp8.py)."""


def layouts(hardware: Hardware, expert_parallel: bool) -> list[Layout]:
    """device_map="auto" over one card, two ... all of them: a pipeline of one sequence."""
    return [Layout(pp=num) for num in range(1, hardware.num_gpus + 1)]


class TransformersRules(ReleaseRules):
    """What a release of transformers does (facts/engine_rules.csv)."""

    caches_latents: bool = False
    has_sparse_models: bool = False
    stacks_experts: bool = False
    keeps_last_logits: bool = False
    """generate asks for the logits of the last token alone."""


RELEASES = Releases("transformers", TransformersRules, ("4.44", "4.57", "5.24"), first="4.40")
LATEST, VERSIONS = RELEASES.latest, RELEASES.versions


def resolve(model: Model, hardware: Hardware, asked: Serving, layout: Layout) -> Serving:
    """torch_dtype="auto", one sequence, cache in the model's type."""
    asked = asked._replace(engine_version=LATEST if asked.engine_version is None else asked.engine_version)
    rules = RELEASES.at(asked.engine_version)
    if layout.pp > 1 and asked.device_map != "auto":
        raise UsageError(
            f"--device-map {asked.device_map} is one card, --pp {layout.pp} are more", "use --device-map auto"
        )
    if layout.pp > len(model.layers):
        raise UsageError(
            f"--pp {layout.pp} is more than the {len(model.layers)} layers of {model.name}", "use fewer cards"
        )
    if asked.kv_cache_dtype not in ("auto", "bfloat16", "float16", "float32"):
        raise UsageError(
            f"--kv-cache-dtype {asked.kv_cache_dtype!r} is not transformers'",
            "its cache has the type of the model",
        )
    check_quantization(model, asked)
    for attention in model.kinds.attentions:
        if isinstance(attention, DSA | V4) and not rules.has_sparse_models:
            raise UnsupportedError(f"transformers before 5.0 has no class for {model.name}", "use 5.24")
        row_bytes(attention, asked._replace(dtype="bfloat16"))  # refuses kinds that are not known
    length = asked.max_model_len or default_length(model)
    return asked._replace(
        layout=layout,
        dtype=resolve_dtype(model, asked.dtype, hardware),
        max_model_len=length,
        context=asked.context or length,
        concurrency=asked.concurrency or 1,
    )


def stages(model: Model, asked: Serving) -> list[Stage]:
    """Layers a card: as even as they divide, the first cards take the remainder (accelerate fills cards in
    order).

    >>> from ..model.load import load
    >>> [stage.stop - stage.start for stage in stages(load("deepseek-v2-lite"), Serving(layout=Layout(pp=2)))]
    [14, 13]
    """
    num, num_layers = (asked.layout or Layout()).pp, len(model.layers)
    ends = [0]
    for index in range(num):
        ends.append(ends[-1] + num_layers // num + int(index < num_layers % num))
    return [Stage(index, num, ends[index], ends[index + 1]) for index in range(num)]


def placed_weights(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> list[Placed]:
    """The checkpoint's tensors on their card, none fused (5.x stacks the experts of a layer). Draft layers
    are not loaded."""
    rules = RELEASES.at(asked.engine_version)
    placed = []
    for tensor in model.tensors:
        if tensor.part not in ("main", "vision", "engram") or tensor.copy_of:
            continue
        layers = tuple(
            layer for layer in tensor.layers if stage.start <= layer < stage.stop or tensor.part == "vision"
        )
        here = (
            bool(layers)
            if tensor.layers
            else stage.first
            if tensor.name == EMBEDDING or tensor.part == "vision"
            else stage.last
        )
        if not here or (tensor.part == "vision" and not stage.first):
            continue
        form = runtime_format(tensor, model, asked, hardware)
        stacked = tensor.repeat if tensor.role == "expert" and rules.stacks_experts else 1
        count, part = tensor.repeat // stacked, key_of(tensor.name)
        placed.append(Placed(part, tensor.name, form.data_bytes(tensor.shape) * stacked, count, layers))
        if form.block:
            placed.append(
                Placed(part, f"{tensor.name} scales", form.scale_bytes(tensor.shape) * stacked, count, layers)
            )
    if model.stored_bytes and model.stored_bytes > model.explained_bytes:
        note = "assumed whole on every card: in the checkpoint, not explained by its config"
        placed.append(
            Placed(
                "weights.unexplained",
                "headers less config",
                model.stored_bytes - model.explained_bytes,
                1,
                (),
                note,
            )
        )
    return placed


def runtime_format(tensor: Tensor, model: Model, asked: Serving, hardware: Hardware) -> Format:
    """The type that a weight has in memory: as stored, or what --quantization makes of matrices (bitsandbytes
    while loading)."""
    stored, wanted = tensor.format, asked.quantization
    if wanted in REQUANTISED and wanted != model.quantization and tensor.role != "plain":
        form = REQUANTISED[wanted]
        return (
            form._replace(scale_bits=32) if wanted == "bitsandbytes" else form
        )  # scales are quantised again only if asked for
    if stored == model.dtype:
        return DTYPES[asked.dtype]
    if model.quantization == "fp8" and stored.bits == 8 and 0 < hardware.card.capability < FP8_CAPABILITY:
        return BF16
    return stored


def check_quantization(model: Model, asked: Serving) -> None:
    """Refuse what transformers cannot quantise, or has quantised already."""
    wanted = asked.quantization
    if wanted in (None, "none", model.quantization):
        return
    if wanted not in REQUANTISED:
        raise UnsupportedError(
            f"--quantization {wanted} in transformers is not known", f"known are {', '.join(REQUANTISED)}"
        )
    if model.quantization:
        raise UsageError(
            f"{model.name} is published as {model.quantization}", f"leave out --quantization {wanted}"
        )
    if RELEASES.at(asked.engine_version).stacks_experts and model.kinds.has_experts:
        raise UnsupportedError(
            f"what transformers 5 quantises of the stacked experts of {model.name} is not known",
            "use --engine-version 4.57",
        )


def budget_bytes(asked: Serving, hardware: Hardware) -> int:
    """All of the card."""
    return hardware.card.memory_bytes


def pool_bytes(asked: Serving, allowed: int, charged: int) -> int:
    """What is left for a cache: nothing takes it in advance."""
    return allowed - charged


def budget_lines(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> Budget:
    """Context, a prefill of the whole load, its logits, the copy that a growing cache makes, and the
    allocator's waste."""
    width, hidden, rules = DTYPES[asked.dtype].bits // 8, model.hidden_size, RELEASES.at(asked.engine_version)
    tokens, batch = (asked.context or 1) * (asked.concurrency or 1), asked.concurrency or 1
    spread = facts.constant("transformers", "activation_spread", rules.release)
    busiest, largest = facts.constant("transformers", "busiest_expert_share", rules.release).value, 0
    for ffn in model.kinds.ffns:
        match ffn:
            case Dense():
                largest = max(largest, 3 * ffn.intermediate_size)
            case MoE():
                largest = max(
                    largest,
                    int(ffn.num_active_experts * (hidden + 3 * ffn.expert_width) * busiest)
                    + 3 * ffn.shared_width,
                )
    heads = max(attention_width(each) for each in stage.kinds(model).attentions)
    size = tokens * width * (max(largest, heads) + 4 * hidden * model.streams)
    formula = (
        f"{tokens:,} tokens x {width} B x (max(feed-forward {largest:,}, heads {heads:,}) + 4 x {hidden:,})"
    )
    lines = [
        measured("transformers", "runtime.context", "context", rules.release),
        assumed_line("activations.profile_run", size, spread, formula),
    ]
    if stage.last:
        rows = batch if rules.keeps_last_logits else tokens
        formula = f"{rows:,} rows x {model.vocab_size:,} x ({width} + 4) B"
        lines.append(
            exact(
                "logits.sampler",
                "engine",
                WORDS["logits.sampler"],
                rows * model.vocab_size * (width + 4),
                formula,
                "generation/utils.py, logits_to_keep",
            )
        )
    if asked.cache_implementation == "dynamic":
        layer = max(
            int(row_bytes(each.attention, asked) * tokens) for each in model.layers[stage.start : stage.stop]
        )
        lines.append(
            exact(
                "temporaries.cache_growth",
                "engine",
                "cache of one layer while it grows",
                layer,
                "torch.cat copies it",
                "cache_utils.py, DynamicLayer",
            )
        )
    waste = facts.constant("transformers", "caching_overhead", rules.release)
    held = sum(line.bytes for line in lines[1:])
    low, kept, high = (int(held * share) for share in (waste.low, waste.value, waste.high))
    formula = f"{waste.value:g} of {gib(held):.3f} GiB of temporaries, {waste.low:g} to {waste.high:g}"
    lines.append(
        ranged(
            "fragmentation.reserved",
            "engine",
            "blocks that the allocator keeps",
            (kept, low, high),
            "assumed",
            formula,
            waste.source,
        )
    )
    return Budget(tuple(lines), ())


def attention_width(attention: Attention) -> int:
    """Elements a token of queries, keys, values and output of one layer, all heads, keys repeated for each
    query head."""
    match attention:
        case GQA():
            return 4 * attention.num_heads * attention.head_dim
        case Sliding():
            return attention_width(attention.inner)
        case MLA():
            return attention.num_heads * (
                2 * (attention.qk_nope_head_dim + attention.qk_rope_head_dim) + 2 * attention.v_head_dim
            )
        case DSA():
            return attention_width(attention.mla) + attention.index_heads * attention.index_head_dim
        case V4():
            return 4 * attention.num_heads * attention.head_dim
        case V41() | Linear():
            raise UnsupportedError(
                f"{attention.kind} attention in transformers is not known yet", "use --engine vllm"
            )


def row_bytes(attention: Attention, asked: Serving) -> float:
    """Growth of one layer's cache a token.

    >>> v3 = MLA(128, 1536, 512, 128, 64, 128)
    >>> (
    ...     row_bytes(v3, Serving(engine_version="4.57", dtype="bfloat16")),
    ...     row_bytes(v3, Serving(engine_version="5.24", dtype="bfloat16")),
    ... )
    (81920.0, 1152.0)
    """
    width = DTYPES[asked.dtype].bits / 8
    match attention:
        case GQA():
            return attention.num_kv_heads * attention.cache_dim * width
        case Sliding():
            return row_bytes(attention.inner, asked)
        case MLA():
            if RELEASES.at(asked.engine_version).caches_latents:
                return attention.latent_dim * width
            keys = attention.qk_nope_head_dim + attention.qk_rope_head_dim
            return attention.num_heads * (keys + attention.v_head_dim) * width
        case DSA():
            return (
                attention.mla.latent_dim + (attention.index_head_dim if attention.owns_indexer else 0)
            ) * width
        case V4():
            index = attention.index_head_dim if attention.ratio == CSA_RATIO else 0
            return (attention.head_dim + index) * width / attention.ratio if attention.ratio else 0.0
        case V41() | Linear():
            raise UnsupportedError(
                f"{attention.kind} attention in transformers is not known yet", "use --engine vllm"
            )


def window_bytes(attention: Attention, asked: Serving) -> int:
    """What a sequence holds in a V4 layer's window and compressor.

    One row a token for keys and values, two where there is no compressed cache (measured on 5.24); tokens not
    yet compressed are counted as the F32 states of models.md 4.1 (8 or 128 slots), which is a bound: 12.2 MB
    of Flash.
    """
    width = DTYPES[asked.dtype].bits // 8
    match attention:
        case V4():
            window = (attention.window - 1) * attention.head_dim * width * (1 if attention.ratio else 2)
            if not attention.ratio:
                return window
            csa = attention.ratio == CSA_RATIO
            state = 4 * (attention.head_dim + attention.index_head_dim) if csa else 2 * attention.head_dim
            return window + STATE_SLOTS[csa] * state * F32.bits // 8
        case GQA() | Sliding() | MLA() | DSA() | V41() | Linear():
            return 0
        case _:
            assert_never(attention)


STATE_SLOTS = {True: 8, False: 128}


def cache_layout(model: Model, asked: Serving, stage: Stage) -> CacheLayout:
    """The cache of one card: a row a token in each layer; layers with a window stop at it; V4 has a window
    beside its rows."""
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    full = sum(row_bytes(a, asked) for a in attentions if not isinstance(a, Sliding))
    groups = [CacheGroup("all tokens", len(attentions), 1, int(full))]
    sliding: dict[int, int] = {}
    for a in attentions:
        if isinstance(a, Sliding):
            sliding[a.window] = sliding.get(a.window, 0) + int(row_bytes(a, asked))
    groups += [
        CacheGroup("windows", len(attentions), 1, num_bytes, window) for window, num_bytes in sliding.items()
    ]
    windows = sum(window_bytes(a, asked) for a in attentions)
    fixed = windows + sum(window * num_bytes for window, num_bytes in sliding.items())
    formula = f"{full:,.2f} B a token in {len(attentions)} layers" + (
        f" + {fixed:,} B a sequence" if fixed else ""
    )
    return CacheLayout(
        tuple(groups), max(int(full), 1), full, fixed, max(int(full), 1), formula, asked.kv_cache_dtype
    )


def one(layout: CacheLayout, length: int) -> int:
    """Bytes of one sequence of a length."""
    sliding = layout.groups[1:]
    windows = layout.fixed_bytes - sum(group.window * group.page_bytes for group in sliding)
    return (
        int(layout.token_bytes * length)
        + windows
        + sum(min(group.window, length) * group.page_bytes for group in sliding)
    )


def needed_bytes(layout: CacheLayout, asked: Serving) -> int:
    """Cache of the asked load; a static cache is made for max_model_len at once."""
    length = asked.context if asked.cache_implementation == "dynamic" else asked.max_model_len
    return one(layout, length or 1) * (asked.concurrency or 1)


def max_tokens(layouts: list[CacheLayout], pools: list[int], asked: Serving) -> int:
    """Tokens that the free memory would hold beside the asked prefill: of the card with room for the
    fewest."""
    return min(
        int(max(pool, 0) / max(layout.token_bytes, 1)) for layout, pool in zip(layouts, pools, strict=True)
    )


def sequences(layout: CacheLayout, pool: int, length: int, asked: Serving) -> float:
    """Sequences of a length that the free memory would hold at once."""
    return max(pool, 0) / max(one(layout, length), 1)


def longest_sequence(layout: CacheLayout, pool: int, asked: Serving) -> int:
    """The longest single sequence that the free memory would hold."""
    left = pool - one(layout, 0)
    return min(int(max(left, 0) / max(layout.token_bytes, 1)), asked.max_model_len or 1)


def host_bytes(model: Model, asked: Serving, hardware: Hardware) -> int:
    """Nothing stays on the host: safetensors are read by mapping."""
    return 0
