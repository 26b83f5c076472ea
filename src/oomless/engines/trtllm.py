"""TensorRT-LLM: weights, then a share of what is free beside them and the execution context goes to blocks of
cache.

Engine builds (0.5 to 0.19) fix the context from maximal shapes when the engine is built; the PyTorch backend
(the default from 1.0 on) measures a dry run. Read in cpp/tensorrt_llm/batch_manager (kDefaultGpuMemFraction,
calculateMaxNumBlocks) and tensorrt_llm/_torch/pyexecutor/_util.py (_cal_max_memory),
_torch/modules/attention.py and llmapi's KvCacheConfig.
"""

from .. import facts
from ..errors import UnsupportedError, UsageError
from ..ledger import Line, ranged
from ..model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ..model.feedforward import Dense, MoE
from ..model.model import EMBEDDING, Model, Tensor
from ..model.storage import DTYPES, FP4_E8M0
from ..run.cards import Hardware
from ..run.serving import Layout, Serving
from ..units import gib
from .layouts import tensor_parallel_layouts
from .rank import Budget, CacheGroup, CacheLayout, Count, Placed, Stage
from .releases import ReleaseRules, Releases
from .shards import WORDS, divide, experts_per_rank, measured
from .vllm.defaults import default_length, resolve_dtype
from .vllm.weights import key_of, runtime_format

NAME = "TensorRT-LLM"
COUNTS: Count = "allocated"
layouts = tensor_parallel_layouts
REQUESTS, ENGINE_REQUESTS, TOKENS = 2048, 256, 8192
"""max_batch_size of the PyTorch backend and of engine builds; max_num_tokens."""
PACKED_ROW_BYTES, INDEX_ROW_BYTES = 656, 132
"""Sparse MLA in FP8 (512 fp8, four F32 scales, 64 BF16 of rope) and its index key."""
V4_STATE_ROWS, STATE_BYTES = {4: 8, 128: 128}, 4
CACHE_DTYPES = ("auto", "bfloat16", "float16", "fp8")


class TrtllmRules(ReleaseRules):
    """What a release of TensorRT-LLM does (facts/engine_rules.csv)."""

    runs_pytorch: bool = False
    """The PyTorch backend is the default; before, engines are built from maximal shapes."""
    serves_sparse_mla: bool = False
    serves_v4: bool = False
    pads_mxfp4: bool = False
    prints_tokens_in_blocks: bool = False


RELEASES = Releases("trtllm", TrtllmRules, ("0.5", "0.9", "0.17", "1.0", "1.3"), first="0")
LATEST, VERSIONS = RELEASES.latest, RELEASES.versions


def resolve(model: Model, hardware: Hardware, asked: Serving, layout: Layout) -> Serving:
    """The question with the defaults of trtllm-serve, or of the C++ runtime before 1.0."""
    asked = asked._replace(engine_version=LATEST if asked.engine_version is None else asked.engine_version)
    rules = RELEASES.at(asked.engine_version)
    kinds = model.kinds
    if asked.kv_cache_dtype not in CACHE_DTYPES:
        raise UsageError(
            f"--kv-cache-dtype {asked.kv_cache_dtype!r} is not TensorRT-LLM's",
            f"known are {', '.join(CACHE_DTYPES)}",
        )
    if (
        kinds.has(V41)
        or (kinds.has(V4) and not rules.serves_v4)
        or (kinds.has(DSA) and not rules.serves_sparse_mla)
    ):
        raise UnsupportedError(
            f"{model.name} in TensorRT-LLM {asked.engine_version} is not known yet",
            "use --engine vllm or sglang",
        )
    if layout.pp > len(model.layers):
        raise UsageError(
            f"--pp {layout.pp} is more than the {len(model.layers)} layers of {model.name}",
            "use fewer stages",
        )
    length = asked.max_model_len or default_length(model)
    block = facts.constant("trtllm", "tokens_per_block", rules.release, *(["v4"] if kinds.has(V4) else []))
    share = asked.free_gpu_memory_fraction
    return asked._replace(
        layout=layout,
        dtype=resolve_dtype(model, asked.dtype, hardware),
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or (REQUESTS if rules.runs_pytorch else ENGINE_REQUESTS),
        max_num_batched_tokens=asked.max_num_batched_tokens or TOKENS,
        context=asked.context or length,
        concurrency=asked.concurrency or 1,
        free_gpu_memory_fraction=facts.constant("trtllm", "free_gpu_memory_fraction", rules.release).value
        if share is None
        else share,
        block_size=asked.block_size or int(block.value),
    )


def stages(model: Model, asked: Serving) -> list[Stage]:
    """Layers a pipeline stage: the first stages take the remainder (Mapping.pp_layers).

    >>> from ..model.load import load
    >>> [stage.stop - stage.start for stage in stages(load("deepseek-r1"), Serving(layout=Layout(pp=2)))]
    [31, 30]
    """
    pp, num_layers = (asked.layout or Layout()).pp, len(model.layers)
    ends = [0]
    for index in range(pp):
        ends.append(ends[-1] + num_layers // pp + int(index < num_layers % pp))
    return [Stage(index, pp, ends[index], ends[index + 1]) for index in range(pp)]


def placed_weights(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> list[Placed]:
    """A rank's share of every tensor of the main model, and MLA's k_b_proj_trans and v_b_proj beside
    kv_b_proj (same type).

    Vocabulary is padded to a multiple of the ranks alone.
    """
    check_published(model, asked)
    placed = []
    for tensor in model.tensors:
        if tensor.part not in ("main", "vision") or tensor.copy_of:
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
        shape, repeat = shard(tensor, asked)
        form = runtime_format(tensor, model, asked)
        if tensor.role == "expert" and form == FP4_E8M0 and RELEASES.at(asked.engine_version).pads_mxfp4:
            shape = padded(shape)
        stacked = repeat if tensor.role == "expert" else 1
        placed.append(
            Placed(
                key_of(tensor.name), tensor.name, form.num_bytes(shape) * stacked, repeat // stacked, layers
            )
        )
    kinds = stage.kinds(model)
    for mla in kinds.latents:
        width = 1 if model.quantization == "fp8" else 2
        rows = mla.num_heads // (asked.layout or Layout()).tp * (mla.qk_nope_head_dim + mla.v_head_dim)
        placed.append(
            Placed(
                "weights.attention",
                "k_b_proj_trans and v_b_proj",
                rows * mla.kv_lora_rank * width,
                1,
                kinds.latent_layers,
                "beside kv_b_proj",
            )
        )
    return placed


def check_published(model: Model, asked: Serving) -> None:
    """A requantised checkpoint must be one that ModelOpt or the engine's own converter writes."""
    wanted = asked.quantization
    if wanted not in (None, "none", model.quantization, *CHECKPOINTS):
        raise UnsupportedError(
            f"a checkpoint in {wanted} is not TensorRT-LLM's", f"known are {', '.join(CHECKPOINTS)}"
        )
    if wanted in CHECKPOINTS and model.quantization:
        raise UsageError(
            f"{model.name} is published as {model.quantization}", f"leave out --quantization {wanted}"
        )


CHECKPOINTS = ("fp8", "w8a8", "awq", "gptq", "w4a16", "nvfp4")


def shard(tensor: Tensor, asked: Serving) -> tuple[tuple[int, ...], int]:
    """(shape on one rank, tensors a layer)."""
    layout = asked.layout or Layout()
    shape, ranks = tensor.shape, layout.tp
    if tensor.role == "expert" and layout.enable_expert_parallel:
        return shape, experts_per_rank(tensor.repeat, ranks, 0)
    return divide(tensor, ranks, f"--tp {ranks}"), tensor.repeat


def padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """An expert in MXFP4 as the PyTorch backend's kernels hold it: rows and columns in multiples of 128.

    gpt-oss-120b, 36 layers of 128 experts of three matrices each; 63.32 GiB are reported with all else, 60.8
    without:

    >>> padded((2880, 2880)), round(36 * 128 * 3 * (2944**2 - 2880**2) * 17 / 32 / 2**30, 2)
    ((2944, 2944), 2.55)
    """
    return tuple(-(-size // MXFP4_ALIGNMENT) * MXFP4_ALIGNMENT for size in shape)


MXFP4_ALIGNMENT = 128
"""weight_alignment of MXFP4 methods (_torch/modules/fused_moe/quantization.py)."""


def budget_bytes(asked: Serving, hardware: Hardware) -> int:
    """All of the card: the share is of what is free after loading."""
    return hardware.card.memory_bytes


def pool_bytes(asked: Serving, allowed: int, charged: int) -> int:
    """fraction * (free after weights, context and activations).

    >>> pool_bytes(Serving(free_gpu_memory_fraction=0.9), 80 << 30, 70 << 30) >> 30
    9
    """
    return int((asked.free_gpu_memory_fraction or 0) * (allowed - charged))


def budget_lines(model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> Budget:
    """Everything but weights and cache: context, communication, and the engine's execution context or the
    peak of the dry run."""
    layout, rules = asked.layout or Layout(), RELEASES.at(asked.engine_version)
    version = rules.release
    tags = (*(["tp"] if layout.tp > 1 else []), *(["unified"] if hardware.card.shared_bytes else []))
    lines = [
        measured("trtllm", "runtime.context", "context", version, tags),
        measured("trtllm", "runtime.non_torch", "non_torch", version, tags, "communication"),
    ]
    if not rules.runs_pytorch:
        lines.append(measured("trtllm", "activations.profile_run", "execution_context", version, tags))
        lines.append(decoder_line(model, asked, version))
        return Budget(tuple(lines), ())
    tokens, width, hidden = (
        asked.max_num_batched_tokens or 0,
        DTYPES[asked.dtype].bits // 8,
        model.hidden_size,
    )
    largest = 0
    for ffn in model.kinds.ffns:
        match ffn:
            case Dense():
                largest = max(largest, 3 * ffn.intermediate_size // layout.tp)
            case MoE():
                expert = ffn.expert_width // (1 if layout.enable_expert_parallel else layout.tp)
                largest = max(largest, ffn.num_active_experts * (3 * expert + 2 * hidden))
    spread = facts.constant("trtllm", "activation_spread", version)
    size = tokens * width * (largest + 4 * hidden * model.streams)
    formula = (
        f"{tokens:,} tokens x {width} B x ({largest:,} + 4 x "
        f"{hidden * model.streams:,}) = {gib(size):.3f} GiB"
    )
    low, high = int(size * spread.low), int(size * spread.high)
    lines.append(
        ranged(
            "activations.profile_run",
            "engine",
            WORDS["activations.profile_run"],
            (size, low, high),
            "assumed",
            formula,
            spread.source,
        )
    )
    beside = (
        [] if asked.enforce_eager else [measured("trtllm", "runtime.cuda_graphs", "graphs", version, tags)]
    )
    return Budget(tuple(lines), tuple(beside))


def decoder_line(model: Model, asked: Serving, version: tuple[int, ...]) -> Line:
    """The decoder of the C++ runtime keeps logits, probabilities and what sorts them for every sequence that
    may run.

    >>> from ..model.load import load
    >>> round(decoder_line(load("llama-2-7b"), Serving(max_num_seqs=4096), (0, 12)).bytes / 2**30, 2)
    4.15
    """
    row, logits = (
        facts.constant("trtllm", "decoder_bytes_per_logit", version),
        (asked.max_num_seqs or 0) * model.vocab_size,
    )
    formula = (
        f"{asked.max_num_seqs:,} sequences x {model.vocab_size:,} x {row.value:g} B, "
        f"{row.low:g} to {row.high:g}"
    )
    value, low, high = (int(logits * each) for each in (row.value, row.low, row.high))
    return ranged("logits.decoder", "engine", "decoder", (value, low, high), "fitted", formula, row.source)


def row_bytes(attention: Attention, asked: Serving) -> float:
    """Growth of one layer's cache a token on one rank, an indexer's key included.

    >>> row_bytes(MLA(128, 1536, 512, 128, 64, 128), Serving(dtype="bfloat16", kv_cache_dtype="fp8"))
    576
    """
    fp8 = asked.kv_cache_dtype == "fp8"
    width = (
        1 if fp8 else DTYPES[asked.dtype if asked.kv_cache_dtype == "auto" else asked.kv_cache_dtype].bits / 8
    )
    match attention:
        case GQA():
            heads = max(attention.num_kv_heads // (asked.layout or Layout()).tp, 1)
            return heads * attention.cache_dim * width
        case Sliding():
            return row_bytes(attention.inner, asked)
        case MLA():
            return attention.latent_dim * width
        case DSA():
            row = PACKED_ROW_BYTES if fp8 else attention.mla.latent_dim * width
            return row + (INDEX_ROW_BYTES if attention.owns_indexer else 0)
        case V4():
            index = INDEX_ROW_BYTES if attention.has_indexer else 0
            return (attention.head_dim * width + index) / attention.ratio if attention.ratio else 0.0
        case V41() | Linear():
            raise UnsupportedError(
                f"{attention.kind} attention in TensorRT-LLM is not known yet", "use --engine vllm"
            )


def cache_layout(model: Model, asked: Serving, stage: Stage) -> CacheLayout:
    """How one rank pages its cache. V4's windows and F32 states are a fixed part of each sequence."""
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    block = asked.block_size or 32
    token = sum(row_bytes(attention, asked) for attention in attentions)
    fixed = 0
    for a in attentions:
        if isinstance(a, V4):
            fixed += int(a.window * a.head_dim * (1 if asked.kv_cache_dtype == "fp8" else 2))
            if a.ratio:
                states = 4 * (a.head_dim + a.index_head_dim) if a.has_indexer else 2 * a.head_dim
                fixed += V4_STATE_ROWS[a.ratio] * states * STATE_BYTES
    page = int(token * block)
    formula = f"{token:,.2f} B a token in {len(attentions)} layers" + (
        f" + {fixed:,} B a sequence" if fixed else ""
    )
    group = CacheGroup("all layers", len(attentions), block, page)
    return CacheLayout((group,), page, token, fixed, page, formula, asked.kv_cache_dtype)


def one(layout: CacheLayout, length: int) -> int:
    """Bytes of one sequence of a length."""
    return layout.fixed_bytes + layout.groups[0].blocks(length, 0) * layout.block_bytes


def needed_bytes(layout: CacheLayout, asked: Serving) -> int:
    """Pool that the asked load needs, in whole blocks."""
    return one(layout, asked.context or 1) * (asked.concurrency or 1)


def max_tokens(layouts: list[CacheLayout], pools: list[int], asked: Serving) -> int:
    """The log's "max tokens in paged KV cache": of the stage that has room for the fewest; 0.5 prints them
    before it makes blocks."""
    found = []
    prints_blocks = RELEASES.at(asked.engine_version).prints_tokens_in_blocks
    for layout, pool in zip(layouts, pools, strict=True):
        block = layout.groups[0].block_size
        tokens = (
            int(max(pool, 0) / layout.token_bytes) if layout.token_bytes else layout.blocks_in(pool) * block
        )
        found.append(tokens // block * block if prints_blocks else tokens)
    return min(found)


def sequences(layout: CacheLayout, pool: int, length: int, asked: Serving) -> float:
    """Sequences of a length that fit the pool at once, at most max_batch_size."""
    return min(max(pool, 0) / one(layout, length), float(asked.max_num_seqs or 1))


def longest_sequence(layout: CacheLayout, pool: int, asked: Serving) -> int:
    """The longest single sequence that the pool holds."""
    blocks = layout.blocks_in(pool - layout.fixed_bytes)
    return min(blocks * layout.groups[0].block_size, asked.max_model_len or 1)


def host_bytes(model: Model, asked: Serving, hardware: Hardware) -> int:
    """Nothing stays on the host."""
    return 0
