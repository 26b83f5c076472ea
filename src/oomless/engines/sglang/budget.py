"""How SGLang divides a card: the pool is mem_fraction_static of what was free at the start, less the weights;
the rest is for running.

pool = free after loading - (1 - f) * free before loading = f * (card - context - NCCL) - weights
(profile_max_num_token). Activations, graphs and the table of requests live in (1 - f) of it and are not
subtracted again.
"""

from math import inf

from ... import facts
from ...ledger import Line, exact
from ...model.attention import V4, V41, Linear
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GB
from ..overhead_lines import assumed_line, context_line, measured
from ..rank import Budget, CacheLayout, Stage
from .backends import workspace_lines
from .beside import canvas_line, carried_lines, joined_parts, page_tables, symmetric_lines, tuning_lines
from .cache import (
    cache_layout,
    pool_tokens,
    requests_of_states,
)
from .defaults import DEFAULT_REQUESTS, MOST_REQUESTS, stages
from .drafts import draft_line, released_line
from .graphs import graph_line, graphs_are_captured
from .host_experts import kept_on_host, long_prompt_lines, staged_lines
from .index_scores import prompt_lines, score_lines
from .rank_tensors import shard, stage_layers
from .release import RELEASES, attention_ranks, expert_ranks
from .weights import placed_weights

MAX_PREFILL_TOKENS = 16384
"""--max-prefill-tokens of every release, where nothing else is asked."""
V4_HEADS, V4_TOKENS = 64, 11673
"""Heads that FlashMLA takes at least; the longest prompts that it takes as steps (dsv4/metadata.py,
_LARGE_INDEXER_QUERY_THRESHOLD)."""
TABLE_EXTRA = 4
"""Columns of the table of requests beyond the longest length."""


def start_lines(asked: Resolved, hardware: Hardware) -> list[Line]:
    """What is on the card before loading: the context, then NCCL and custom all-reduce."""
    layout = asked.layout
    rules = RELEASES.at(asked.engine_version)
    found = {
        "tp": layout.tp > 1,
        "pp": layout.pp > 1,
        "multi_node": layout.num_ranks > hardware.per_node,
        "no_link": hardware.card.has_no_link,
        "amd": hardware.card.vendor == "AMD",
        "ascend": hardware.card.vendor == "Huawei",
        "unified": hardware.card.shared_bytes > 0,
        "before_hopper": 0 < hardware.card.capability < 9 and hardware.card.vendor == "NVIDIA",
    }
    tags = tuple(name for name, holds in found.items() if holds)
    context = measured("sglang", "runtime.context", "context", rules.release, tags)
    return [
        context_line(context, "sglang", rules.release, tags, hardware.card),
        measured("sglang", "runtime.non_torch", "dist_init", rules.release, tags, "communication"),
    ]


def budget_bytes(asked: Resolved, hardware: Hardware) -> int:
    """What weights, cache and all that was there before may take: f * card + (1 - f) * (context + NCCL).

    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> budget_bytes(
    ...     Resolved(engine_version="0.5.3", mem_fraction_static=0.88, layout=Layout()), parse_gpu("80GiB")
    ... ) // 2**20
    72163
    """
    share, before = asked.mem_fraction_static or 0, sum(line.bytes for line in start_lines(asked, hardware))
    return int(share * hardware.card.memory_bytes + (1 - share) * before)


def made_pool(layout: CacheLayout, asked: Resolved, left: int) -> int:
    """Return the pool that is made: of as many tokens as what a release counts for one goes into what is
    left; of --max-total-tokens, where the room has more, beside the states' share of that room
    (model_runner_kv_cache_mixin.py of 0.5.10: handle_max_mamba_cache, then user_limit).

    >>> from ..rank import CacheGroup
    >>> layout = CacheLayout((CacheGroup("all", 1, 64, 4096),), 4096, 64, 0, 4096, "", "")
    >>> made_pool(layout, Resolved(max_total_tokens=100), 10**6)
    4096
    """
    if layout.need_block_bytes != layout.block_bytes:
        left = left * layout.block_bytes // layout.need_block_bytes
    if asked.max_total_tokens is None:
        return left
    pages = asked.max_total_tokens // layout.groups[0].block_size
    states = int(max(left - layout.set_aside_bytes, 0) * layout.states_share)
    return min(left, layout.set_aside_bytes + states + pages * layout.block_bytes)


def host_bytes(model: Model, asked: Resolved, hardware: Hardware) -> int:
    """Engram tables and experts, where they are kept on the host, and the pinned second pool of every rank:
    so many GB, or as often what the card's pool is (mem_cache/memory_pool_host.py, HostKVCache)."""
    tables = sum(t.num_bytes for t in model.tensors if t.part == "engram") if asked.engram == "host" else 0
    tables += kept_on_host(model, asked)
    if not asked.enable_hierarchical_cache:
        return tables
    ranks = asked.layout.num_ranks
    if asked.hicache_size:
        return tables + asked.hicache_size * GB * ranks
    pools = (pool_expected(model, asked, hardware, stage)[1] for stage in stages(model, asked))
    return tables + int(asked.hicache_ratio * sum(max(pool, 0) for pool in pools) * ranks / asked.layout.pp)


def budget_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Budget:
    """What was there before loading is charged, and what loading leaves: free memory is read before and
    after.

    Activations, graphs, the table of requests and an old release's draft are beside.
    """
    rules = RELEASES.at(asked.engine_version)
    rows = table_rows(model, asked, hardware, stage)
    beside = [*activation_lines(model, asked, hardware, stage), request_table(asked, rows)]
    loaded = [
        measured(
            "sglang",
            "fragmentation.loading",
            "load_extra",
            rules.release,
            loading_tags(model, asked, hardware, stage),
        ),
        *kept(model, asked, stage),
        *staged_lines(model, asked),
    ]
    beside.extend(long_prompt_lines(model, asked, stage))
    beside.extend(prompt_lines(model, asked, stage, prefill_tokens(asked), beside[0]))
    beside.extend(symmetric_lines(model, asked))
    beside.extend(workspace_lines(model, asked, hardware))
    beside.extend(carried_lines(model, asked, hardware, stage))
    if graphs_are_captured(model, asked, hardware):
        beside.append(graph_line(model, asked, hardware, stage))
    if not asked.enforce_eager:
        beside.append(page_tables(model, asked, hardware, rules))
        beside.extend(score_lines(model, asked, hardware, stage))
    later = tuple(each for each in beside if each.key in LATER)
    beside.extend(tuning_lines(model, asked, hardware, rows, later))
    beside.extend(joined_parts(model, asked, hardware, rules, rows))
    if model.canvas and stage.last:
        beside.append(canvas_line(model, asked))
    if asked.speculative and stage.last and model.draft and not rules.loads_draft_before_pool:
        tokens = pool_tokens(*pool_expected(model, asked, hardware, stage))
        tokens = int(min(tokens, asked.max_total_tokens or inf))
        beside.append(draft_line(model, asked, hardware, stage, tokens))
    released = released_line(model, asked, stage)
    loaded.extend(released)
    return Budget(
        (*start_lines(asked, hardware), *loaded), tuple(beside), (sum(line.bytes for line in released),) * 3
    )


LATER = ("activations.profile_run", "logits.sampler", "runtime.cuda_graphs")
"""What is taken once experts are tuned."""


def table_rows(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> int:
    """Return the requests that a rank's tables are made for: no more than states, and unless they are asked
    512 for as many tokens as the model's length has, from 2,048 to 4,096 (model_runner.py, later
    model_runner_kv_cache_mixin.py, _resolve_max_num_reqs)."""
    rows = asked.max_num_seqs or 1
    states = stage.kinds(model).has(Linear)
    if not states and rows != DEFAULT_REQUESTS:
        return rows
    layout, pool = pool_expected(model, asked, hardware, stage)
    if states:
        return int(min(rows, requests_of_states(layout, pool)))
    tokens = max(min(pool_tokens(layout, pool), asked.max_total_tokens or inf), 0)
    return min(max(int(tokens * 512 // max(asked.max_model_len, 1)), rows), MOST_REQUESTS)


def loading_tags(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> tuple[str, ...]:
    """What the memory that loading leaves beside the tensors goes by: of another maker's checkpoint it cannot
    be told from what that keeps in 16 bit."""
    found = {
        "amd": hardware.card.vendor == "AMD",
        "v4": stage.kinds(model).has(V4, V41),
        "requantised": asked.quantization not in (None, model.quantization),
    }
    return tuple(name for name, holds in found.items() if holds)


def pool_expected(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> tuple[CacheLayout, int]:
    """The cache of a rank and its pool, before what loading leaves is known."""
    weights = sum(group.total_bytes for group in placed_weights(model, asked, hardware, stage))
    charged = weights + sum(line.bytes for line in start_lines(asked, hardware))
    layout, left = (
        cache_layout(model, asked, stage),
        budget_bytes(asked, hardware) - charged,
    )
    return layout, made_pool(layout, asked._replace(max_total_tokens=None), left)


def kept(model: Model, asked: Resolved, stage: Stage) -> list[Line]:
    """What another's checkpoint may keep in 16 bit."""
    if asked.quantization in (None, model.quantization):
        return []
    from ..requantised import MODELSLIM, kept_line

    parts = []
    for tensor in model.tensors:
        layers = stage_layers(tensor, model, asked, stage)
        if layers:
            shape, repeat = shard(tensor, model, asked)
            parts.append((tensor, shape, repeat * len(layers)))
    return kept_line(model, asked.quantization, parts, MODELSLIM * (asked.attention_backend == "ascend"))


def request_table(asked: Resolved, requests: int) -> Line:
    """ReqToTokenPool: one int32 for each token that each request may have."""
    rows = requests + 1
    width = asked.max_model_len + TABLE_EXTRA
    formula = f"{rows:,} requests x {width:,} x 4 B"
    return exact(
        "runtime.request_table",
        "engine",
        "table of requests",
        rows * width * 4,
        formula,
        "mem_cache/memory_pool.py, ReqToTokenPool",
    )


def prefill_tokens(asked: Resolved) -> int:
    """The most tokens of one prefill: further requests join a batch below max_prefill_tokens alone, and the
    first is cut by the chunk (managers/schedule_policy.py, PrefillAdder). No more than the load has: nothing
    is run for a measure.

    >>> from ...run.serving import Layout
    >>> asked = Resolved(max_num_batched_tokens=131072, context=8192, layout=Layout())
    >>> [prefill_tokens(asked._replace(concurrency=num)) for num in (1, 64)]
    [8192, 16384]
    """
    chunk, length = asked.max_num_batched_tokens or 0, asked.context or 0
    at_once = -(-(asked.concurrency or 1) // asked.layout.dp)
    most = max(min(chunk, asked.max_prefill_tokens or MAX_PREFILL_TOKENS), min(chunk, length))
    return min(most, at_once * length)


def gathers(asked: Resolved) -> bool:
    """Return whether ranks of data-parallel attention gather their tokens before a feed-forward."""
    return asked.layout.enable_dp_attention and asked.moe_a2a_backend == "none"


def v4_values(attention: V4, asked: Resolved, hardware: Hardware, tokens: int) -> int:
    """Return the values of a token that V4's attention holds at once: padded queries and results, and, until
    prompts had a kernel of their own, a result in F32 of every token and part (FlashMLA, o_accum).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> flash, card = load("deepseek-v4-flash").kinds.of(V4)[0], parse_gpu("h200:8")
    >>> asked = [Resolved(engine_version=each, layout=Layout(tp=8)) for each in ("0.5.14", "0.5.15")]
    >>> [v4_values(flash, each, card, 8192) for each in asked]  # 64 heads x 512 values, 4 times and twice
    [131072, 65536]
    """
    rules, ranks = RELEASES.at(asked.engine_version), attention_ranks(asked)
    heads, least = attention.num_heads // ranks, V4_HEADS
    if ranks > 1 and not (rules.has_v4_heads_on_sm120 and hardware.card.major == 12):
        heads = attention.num_heads if heads > least or rules.pads_v4_to_all_heads else least
    joined = rules.joins_parts_of_v4 and tokens <= V4_TOKENS and hardware.card.major in (9, 10)
    return heads * attention.head_dim * (4 if joined else 2)


def activation_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Line]:
    """A chunk of prefill, by shapes: T * b * (3 * inner + 4 * h), experts T * k * b * (3 * width + h),
    expanded heads of MLA; then the logits, where those are more. At least what is carried past a layer, what
    it reads and what it writes, and the sum with a shared expert's (models/llama4.py). Under data-parallel
    attention a layer's feed-forward runs on the tokens of all groups, gathered in one buffer and written to
    another, unless tokens are sent to experts (layers/dp_attention.py, DpPaddingMode.SUM_LEN). V4's streams
    are there once beside a layer's parts, and twice while they are mixed (models/deepseek_v4.py, hc_post).

    Not fitted: no log of a prefill's peak is known. SGLang itself keeps 1.5 MiB a token
    (arg_groups/memory_hook.py).
    """
    layout, width = asked.layout, DTYPES[asked.dtype].bits // 8
    tokens, hidden = prefill_tokens(asked), model.hidden_size
    busy = min(layout.dp, asked.concurrency or 1) if gathers(asked) else 1
    gathered = 2 * busy * hidden if busy > 1 else 0
    largest = 0
    for ffn in model.kinds.ffns:
        match ffn:
            case Dense() if asked.moe_dense_tp_size and model.kinds.has_experts:
                largest = max(largest, 3 * ffn.intermediate_size)
                continue
            case Dense():
                inner = 3 * ffn.intermediate_size // layout.tp
            case MoE():
                expert = ffn.expert_width // (layout.tp // expert_ranks(asked))
                inner = ffn.num_active_experts * (3 * expert + hidden) + 3 * ffn.shared_width // layout.tp
        largest = max(largest, busy * inner + gathered)
    for mla in stage.kinds(model).latents:
        largest = max(
            largest,
            mla.num_heads // attention_ranks(asked) * 4 * (mla.qk_nope_head_dim + mla.qk_rope_head_dim),
        )
    rules, carried, plain = RELEASES.at(asked.engine_version), 4 * hidden * model.streams, True
    for v4 in stage.kinds(model).of(V4):
        carried, plain = (model.streams + 1) * hidden, False
        largest = max(largest, model.streams * hidden, v4_values(v4, asked, hardware, tokens))
    spread = facts.constant("sglang", "activation_spread", rules.release, *(() if plain else ("v4",)))
    size = tokens * width * (largest + carried)
    formula = f"{tokens:,} tokens x {width} B x ({largest:,} + {carried:,})"
    line = assumed_line("activations.profile_run", size, spread, formula)
    if asked.moe_a2a_backend == "none":  # else ranks may share the tokens between layers
        beside = any(isinstance(ffn, MoE) and ffn.shared_width for ffn in model.kinds.ffns)
        copies = 3 + (beside and not rules.fuses_shared_expert)
        line = line._replace(low_bytes=max(line.low_bytes, copies * tokens * width * hidden))
    lines = [line]
    if stage.last:
        rows = max(asked.cuda_graph_max_bs or 0, 1)
        logits = rows * model.num_logits * (width + 4)
        more = max(0, logits - size)  # logits come when the layers are done, on the same stream
        formula = f"{rows} rows x {model.num_logits:,} x ({width} + 4) B, less what the layers leave"
        lines.append(assumed_line("logits.sampler", more, spread, formula))
    return lines
