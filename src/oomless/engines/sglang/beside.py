"""What SGLang holds beside its pool: tables that captured batches read their slots from, as wide as the
longest length, a row for each request of the largest batch (init_cuda_graph_state of each attention backend);
DeepEP's buffers of tokens that ranks send, and the products of those that came, from the first step on."""

from ... import facts
from ...ledger import Line, exact, ranged
from ...model.attention import GQA, MLA, V4, Linear, Sliding
from ...model.feedforward import MoE
from ...model.model import Model
from ...model.storage import DTYPES, F32
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB, MIB
from ..rank import Stage
from ..symmetric_buffer import symmetric_line
from .backends import step_backend
from .cache import cache_layout, pool_tokens, row_bytes
from .drafts import draft_rows_beside
from .graphs import captured_sizes
from .release import RELEASES, SglangRules, attention_ranks, by_aiter, by_fa3, expert_ranks

INDEX_BYTES, LONG_INDEX_BYTES, MASK_BYTES = 4, 8, 1
SIZES = (1, 2, 4, 8, *range(16, 257, 8))
DRAFT_SIZES = (*range(1, 9), *range(10, 33, 2), *range(48, 161, 16))
"""Batches that were captured before 0.5 (cuda_graph_runner.py, get_batch_sizes_to_capture)."""
TOKENS_A_RANK, FUSED_TOKENS = 128, 8192
"""SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK and that of fused experts, where nothing else is said
(environ.py)."""
PARTITION_TOKENS = 256
"""Tokens of a part, whose results AITER joins (aiter_backend.py, _AITER_PARTITION_SIZE_ROCM)."""
NORMAL_BYTES = 512 * MIB
"""At most, within and between nodes, of the mode for prompts: 20 SMs, 256 and 128 tokens of 7,168 values
(csrc/config.hpp, get_nvl_buffer_size_hint, get_rdma_buffer_size_hint)."""


def page_tables(model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules) -> Line:
    """Return the line of the tables of captured batches: rows x pages x bytes a slot.

    FlashAttention 3 (Hopper) has one table of pages, two before 0.5, and one more of windows or chunks;
    before 0.5 each captured batch has a copy of its rows (those of latents are in what their graphs take);
    TRT-LLM's kernels (Blackwell) one of 64 tokens a page; FlashInfer and AITER a slot for each token, again
    for windows, and a byte of mask: Gemma 3 has 1.40 GiB of 160 x 1,048,576 x 9 B (sglang#4826); Triton,
    which serves latents elsewhere, a slot of 4 B, from 0.5 on of 8. Both have a row for each token that is
    verified: 10 GiB for 32 requests of 64 tokens (sglang#2863).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> from ...run.serving import Layout
    >>> asked = Resolved(engine_version="0.4.6", max_model_len=1000000, cuda_graph_max_bs=256, block_size=1)
    >>> asked = asked._replace(layout=Layout(tp=8))
    >>> line = page_tables(load("llama-4-scout"), asked, parse_gpu("h200:8"), RELEASES.at("0.4.6"))
    >>> round(line.bytes / 2**30, 2)  # 256 x 1,000,000 x 4 B, three times, and 4,231 x 1,000,000 x 4 B
    18.62
    """
    windows = model.kinds.has(Sliding)
    tokens = pages = asked.max_model_len
    latent, page = model.kinds.has(MLA), max(asked.block_size or 1, 1)
    fa3, triton = by_fa3(asked, hardware), step_backend(model, asked, hardware) == "triton"
    if fa3:
        num_tables = (1 if rules.has_one_page_table else 2) + windows
        pages, each = -(-tokens // page), num_tables * INDEX_BYTES
    elif page >= 64:
        pages, each = -(-tokens // page), (1 + windows) * INDEX_BYTES
    elif latent:
        each = LONG_INDEX_BYTES if rules.has_one_page_table else INDEX_BYTES
    else:
        index = LONG_INDEX_BYTES if triton and rules.has_one_page_table else INDEX_BYTES
        each = (1 + (windows and not triton)) * index + MASK_BYTES
    rows = captured_sizes(asked, rules)[-1] if asked.cuda_graph_max_bs else 0
    if not (fa3 or page >= 64 or latent):
        rows *= 1 + asked.draft_tokens  # max_num_token: what is verified of each request
    copies = 0
    if fa3 and rules.copies_page_tables and not latent:
        sizes = DRAFT_SIZES if asked.speculative else SIZES
        copies = sum(size for size in sizes if size <= rows) * pages * INDEX_BYTES
    return exact(
        "runtime.request_table",
        "engine",
        "tables of captured batches",
        rows * pages * each + copies,
        f"{rows:,} requests x {pages:,} pages x {each} B" + (f" + {copies:,} B of copies" if copies else ""),
        "layers/attention: flashattention_backend.py, flashinfer_backend.py, triton_backend.py",
    )


def joined_parts(
    model: Model, asked: Resolved, hardware: Hardware, rules: SglangRules, rows: int
) -> list[Line]:
    """The line of what AITER keeps of the parts of sequences: of each of `rows` requests, head and part of
    the longest length a result, a sum and a maximum of 4 B. Latents have none, and windows, where they are
    Triton's.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> asked = Resolved(engine_version="0.5.15", max_model_len=262144, layout=Layout())
    >>> model, card = load("qwen3-30b-a3b-2507-fp8"), parse_gpu("mi355x")
    >>> [line] = joined_parts(model, asked, card, RELEASES.at("0.5.15"), 4096)
    >>> round(line.bytes / 2**30, 2)  # 4,096 x 32 x 1,024 x 130 x 4 B, of 60.65 GiB (sglang#18263)
    65.0
    """
    windows = model.kinds.has(Sliding) and rules.runs_windows_by_triton
    plain = model.kinds.of(GQA)
    if not by_aiter(model, asked, hardware, rules) or model.kinds.has(MLA) or windows or not plain:
        return []
    heads, dim = max((each.num_heads, each.head_dim) for each in plain)
    heads = max(heads // attention_ranks(asked), 1)
    parts = -(-asked.max_model_len // PARTITION_TOKENS)
    return [
        exact(
            "runtime.workspaces",
            "engine",
            "results of parts of sequences",
            rows * heads * parts * (dim + 2) * 4,
            f"{rows:,} requests x {heads} heads x {parts:,} parts x {dim + 2} x 4 B",
            "layers/attention/aiter_backend.py, workspace_buffer",
        )
    ]


def tuning_lines(
    model: Model, asked: Resolved, hardware: Hardware, rows: int, later: tuple[Line, ...]
) -> list[Line]:
    """The line of the logits that FlashInfer's tuning of experts makes on Blackwell before graphs are
    captured: of as many requests as `rows`, and of each rank with attention of its own, twice while the parts
    of the words are joined, and once in F32 (model_runner.py, _dummy_run; logits_processor.py). `later` is
    taken when they are gone. From 0.5.13 on no logits are made (autotune_dummy_run_mode).

    GLM-5.1-FP8 at DP8 lacked 6.38 GiB of them on B200 with 0.9 (sglang#25453):

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> layout = Layout(tp=8, dp=8, enable_dp_attention=True)
    >>> asked = Resolved(engine_version="0.5.11", layout=layout, dtype="bfloat16")
    >>> [line] = tuning_lines(load("glm-5.1-fp8"), asked, parse_gpu("b200:8"), 2765, ())
    >>> round(line.low_bytes / 2**30, 2)  # 8 x 2,765 x 154,880 x 2 B, and 2,765 x 154,880 x 4 B
    7.98
    >>> asked = Resolved(engine_version="0.5.11", layout=Layout(tp=4), dtype="bfloat16")
    >>> [line] = tuning_lines(load("deepseek-r1-nvfp4"), asked, parse_gpu("gb200:4"), 4096, ())
    >>> round(line.low_bytes / 2**30, 2)  # 4,096 x 129,280 x 6 B
    2.96
    """
    rules, layout = RELEASES.at(asked.engine_version), asked.layout
    tuned = rules.tunes_with_logits and hardware.card.major == 10
    narrow = model.quantization or asked.quantization
    if not (tuned and narrow and model.kinds.has_experts and asked.moe_a2a_backend == "none"):
        return []
    if model.kinds.has(V4) or asked.enable_dp_lm_head:
        return []
    words, width = model.num_logits, DTYPES[asked.dtype].bits // 8
    ranks = layout.dp if layout.enable_dp_attention else 1
    gathered, kept = rows * ranks * words * width, rows * words * F32.bits // 8
    most = gathered + (gathered + gathered // layout.tp) * (layout.tp > 1) + kept
    gone, gone_most = sum(each.bytes for each in later), sum(each.high_bytes for each in later)
    sizes = (max(most - gone, 0), max(gathered + kept - gone_most, 0), most)
    return [
        ranged(
            "logits.sampler",
            "engine",
            "logits of all requests while experts are tuned",
            sizes,
            "assumed",
            f"{ranks} x {rows:,} requests x {words:,} x {width} B, twice, less what comes later",
            "model_executor/model_runner.py, _flashinfer_autotune; sgl-project/sglang#25453",
        )
    ]


def low_latency_bytes(hidden: int, num_experts: int, tokens: int = TOKENS_A_RANK) -> int:
    """Return the buffers of single steps, in bytes: two of each that sends and that receives `tokens` for
    each expert, messages of 16 B and `hidden` values of 16 bit, and two of flags (csrc/config.hpp,
    LowLatencyLayout).

    >>> low_latency_bytes(7168, 256)  # DeepSeek-V3
    1880098816
    """
    message = 16 + 2 * hidden
    flags = -(-4 * num_experts // 128) * 128
    return 2 * (num_experts * tokens * (2 * hidden + message) + flags)


def masked_bytes(hidden: int, width: int, tokens: int) -> int:
    """Return what the masked products of `tokens` rows hold at most, in bytes: rows of 8 bit, a scale for 128
    of them, and two halves of `width` in 16 bit; or one of 8 bit and results of 16 (layers/moe/ep_moe).

    >>> masked_bytes(7168, 2048, 256 * 128)  # DeepSeek-V3, of all 256 experts
    538968064
    """
    first = hidden + hidden // 32 + 4 * width
    second = width + width // 32 + 2 * hidden
    return tokens * max(first, second)


def symmetric_lines(model: Model, asked: Resolved) -> list[Line]:
    """The line of --enable-symm-mem: what is taken at once, so that it does not fragment."""
    rules = RELEASES.at(asked.engine_version)
    taken = rules.gib_of_symmetric_memory * GIB
    without = asked.layout.dcp > 1 and model.family in rules.has_no_symmetric_memory_with_dcp
    if not (asked.enable_symm_mem and taken) or without:
        return []
    formula = f"{taken / GIB:g} GiB"
    source = "pynccl_allocator.py, prealloc_symmetric_memory_pool"
    return [exact("communication.symmetric", "engine", "symmetric memory of NCCL", taken, formula, source)]


def carried_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Line]:
    """The lines of what carries tokens to experts: DeepEP, those in its place, whose buffers are as large,
    and DeepGEMM's fused experts.

    DeepEP's are there from the first step on: those of single steps unless the mode is normal, and those of
    prompts unless it is low_latency (token_dispatcher/deepep.py, get_deepep_buffer). NVSHMEM holds them, in
    the normal mode only between nodes.
    """
    layers = model.layers[stage.start : stage.stop]
    experts = [layer.ffn for layer in layers if isinstance(layer.ffn, MoE)]
    backend, ranks = asked.moe_a2a_backend, asked.layout.tp
    if backend == "none" or not experts:
        return []
    rules, hidden = RELEASES.at(asked.engine_version), model.hidden_size
    most = max(experts, key=lambda ffn: ffn.num_experts * ffn.expert_width)
    if backend == "megamoe":
        copies = most.num_experts + asked.num_redundant_experts
        return [symmetric_line(most, hidden, ranks, copies, asked.moe_a2a_tokens or FUSED_TOKENS, True)]
    tokens = asked.moe_a2a_tokens or TOKENS_A_RANK
    runs = backend == "deepep"
    steps = not runs or (asked.deepep_mode != "normal" and rules.sends_single_steps)
    prompts = not runs or asked.deepep_mode != "low_latency"
    sent = steps * low_latency_bytes(hidden, most.num_experts, tokens)
    own = facts.constant("sglang", "nvshmem", rules.release)
    shared = runs and (steps or asked.layout.num_ranks > hardware.per_node)
    per_rank = f"{tokens} tokens of each rank"
    formula = f"{most.num_experts} experts x {per_rank}" if steps else "of prompts alone"
    lines = [
        ranged(
            "communication.buffers",
            "engine",
            "buffers that carry tokens to experts",
            (
                sent + shared * int(own.value * GIB),
                runs * sent,
                sent + prompts * NORMAL_BYTES + shared * int(own.high * GIB),
            ),
            "assumed",
            formula + f" + {own.value:g} GiB of NVSHMEM" * shared,
            f"DeepEP csrc/config.hpp; {own.source}",
        )
    ]
    if steps:
        rows = most.num_experts // expert_ranks(asked) * tokens * ranks
        held = masked_bytes(hidden, most.expert_width, rows)
        lines.append(
            ranged(
                "temporaries.running",
                "engine",
                "results of experts for the tokens they got",
                (held, 0, held),
                "assumed",
                f"{rows:,} rows: {per_rank} for each of its experts",
                "layers/moe/ep_moe/layer.py, forward_deepgemm_masked",
            )
        )
    return lines


CANVAS_BYTES = (14, 8, 20)
"""Of a logit: the head's, its F32, probabilities and noise; two in F32; logarithm and soft inputs beside."""


def canvas_line(model: Model, asked: Resolved) -> Line:
    """The logits of blocks that are denoised at once, which each rank gathers
    (dllm/algorithm/gemma4_renoise.py).

    >>> from ...model.load import load
    >>> canvas_line(load("diffusiongemma-26b-a4b"), Resolved(max_num_seqs=8)).bytes / GIB
    7.0
    """
    rows = min(asked.max_num_seqs, asked.concurrency or asked.max_num_seqs) * model.canvas
    value, least, most = (rows * model.vocab_size * each for each in CANVAS_BYTES)
    formula, source = (
        f"{rows:,} rows x {model.vocab_size:,} x {CANVAS_BYTES[0]} B",
        "gemma4_renoise.py of 0.5.23",
    )
    what, ends = "logits of canvases", (value, least, most)
    return ranged("temporaries.running", "engine", what, ends, "assumed", formula, source)


def beside_pool(model: Model, asked: Resolved, stage: Stage, pool_bytes: int) -> list[Line]:
    """What a pool takes beyond the bytes that it was divided by: rows of a draft, and those that layers of
    states have on Ascend and never use, to 0.5.9 (model_runner_kv_cache_mixin.py, where the backend is
    "ascend" whatever the model: layer_num=num_effective_layers).

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(engine_version="0.5.9", layout=Layout(tp=2), dtype="bfloat16", max_num_seqs=8)
    >>> asked = asked._replace(attention_backend="ascend", kv_cache_dtype="bfloat16", block_size=128)
    >>> asked = asked._replace(max_mamba_cache_size=8)
    >>> [line] = beside_pool(load("qwen3.5-27b"), asked, Stage(0, 1, 0, 64), 13 * GIB)
    >>> round(line.bytes / GIB, 2)  # of 48 layers, of which the pool knows 16 others (gpustack#4761)
    37.28
    """
    beside = draft_rows_beside(model, asked, stage, pool_bytes)
    attentions = [layer.attention for layer in model.layers[stage.start : stage.stop]]
    states = sum(isinstance(each, Linear) for each in attentions)
    rules = RELEASES.at(asked.engine_version)
    if not states or asked.attention_backend != "ascend" or not rules.stores_rows_of_states:
        return beside
    row = max(row_bytes(each, asked, rules) for each in attentions)
    tokens = max(pool_tokens(cache_layout(model, asked, stage), pool_bytes), 0)
    what, formula = "cache rows of layers that keep states", f"{tokens:,} slots x {states} layers x {row:,} B"
    source = "model_executor/model_runner_kv_cache_mixin.py; sgl-project/sglang#19756"
    return [*beside, exact("kv_cache.copies", "engine", what, tokens * states * row, formula, source)]
