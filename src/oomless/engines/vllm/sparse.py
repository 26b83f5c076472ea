"""What sparse attention sets aside while vLLM profiles: the shared workspace of a prefill, and the scores of
its indexer.

Read in 0.11 (models/deepseek_v2.py), 0.13 to 0.33 (layers/sparse_attn_indexer.py, backends/mla/indexer.py and
flashmla_sparse.py), 0.21 (layers/deepseek_v4_attention.py), 0.25 and 0.33 (models/deepseek_v4, deepseek_v41).
"""

from typing import assert_never

from ...ledger import Line, ranged
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import MIB
from .cache import INDEX_ROWS
from .release import VllmRules

LOGITS_BYTES = 512 * MIB
"""VLLM_SPARSE_INDEXER_MAX_LOGITS_MB: the profile run allocates as much in place of the indexer's scores."""
FLASHINFER_BYTES = 128 * MIB
"""The fixed workspace of V4's FlashInfer kernels, which compute capability 12 takes."""
GATHERED_REQUESTS = 4
"""PREFILL_CHUNK_SIZE: requests whose compressed rows are gathered in BF16 at a time."""
LONG_CONTEXT = 262144
KERNEL_HEADS, MIXED_HEADS = 64, 32
"""Heads that FlashMLA's kernel for FP8 rows pads to; with fewer than 32 a rank it reads prompts too."""


def loaded_bytes(model: Model, asked: Resolved, rules: VllmRules) -> int:
    """What FlashMLA's sparse layers reserve as soon as they are built: it is counted as memory of loading the
    model."""
    if not rules.reserves_sparse_rows_at_load:
        return 0
    return max(
        (_mla_bytes(each, asked, rules) for each in model.kinds.of(DSA)),
        default=0,
    )


def shared_bytes(model: Model, asked: Resolved, hardware: Hardware, rules: VllmRules) -> int:
    """The largest that any sparse layer asks of the workspace that all layers share.

    >>> from ...run.serving import Layout
    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> asked = Resolved(
    ...     kv_cache_dtype="fp8_ds_mla",
    ...     max_model_len=163840,
    ...     max_num_batched_tokens=8192,
    ...     layout=Layout(tp=8),
    ... )
    >>> shared_bytes(load("deepseek-v3.2"), asked, parse_gpu("h200:8"), RELEASES.at("0.19.0"))
    1094713344
    """
    if not rules.shares_expert_workspace:
        return 0
    scores = (
        captured_bytes(model, asked, asked.max_num_batched_tokens) if keeps_scores(hardware, rules) else 0
    )
    layers = (_layer_bytes(each, asked, hardware, rules) for each in model.kinds.attentions)
    return max(scores, *layers)


def keeps_scores(hardware: Hardware, rules: VllmRules) -> bool:
    """Whether the scores of a decode step lie in the workspace: on ROCm, a row for each token of the batch.

    8,192 x 1,048,576 x 4 B = 32 GiB of a GLM-5.3 on MI355X (vllm#55132).
    """
    return hardware.card.vendor == "AMD" and rules.reserves_scores_on_rocm


def sum_lines(
    model: Model, asked: Resolved, hardware: Hardware, rules: VllmRules, charged: list[Line]
) -> list[Line]:
    """What FlashMLA makes for the sums of parts while it reads a prompt, in F32 and twice, though nothing is
    split, beside queries and outputs of as many heads as it takes and the slots that it reads: the profile
    run calls no kernel, so all comes out of what that run leaves, or beside the pool.

    GLM-5.2 on eight H200, 32,768 tokens: 2 x 32,768 x 64 x 512 x 4 B = 8 GiB, of which it died (vllm#53413),
    and 2.25 + 2 + 0.25.
    """
    ranks, cap = asked.layout.tp, hardware.card.capability
    read = model.kinds.of(DSA)
    mixed = [each for each in read if each.mla.num_heads // ranks < MIXED_HEADS]
    if not mixed or not rules.sums_unsplit_parts or asked.kv_cache_dtype != "fp8_ds_mla" or not 9 <= cap < 11:
        return []
    tokens, mla = min(asked.max_num_batched_tokens or 0, asked.max_model_len), mixed[0].mla
    dim, padded = mla.kv_lora_rank, mla.latent_dim + mla.kv_lora_rank
    size = tokens * (KERNEL_HEADS * (2 * dim * 4 + padded * 2) + mixed[0].index_topk * 4)
    left = sum(line.bytes for line in charged if line.category in ("activations", "logits"))
    what = "partial sums of sparse attention, outside the profile run"
    formula = f"{tokens:,} tokens x ({KERNEL_HEADS} heads x (2 x {dim} x 4 B + {padded} x 2 B)"
    formula += f" + {mixed[0].index_topk} x 4 B)"
    ends = (size, max(size - left, 0), size)
    return [ranged("temporaries.running", "engine", what, ends, "assumed", formula, "vllm#49357, #53413")]


def scratch_bytes(asked: Resolved, rules: VllmRules) -> int:
    """What lives beside the workspace while an indexer runs: its scores; before 0.13 two copies of the
    gathered keys."""
    if rules.profiles_indexer_scores:
        return LOGITS_BYTES
    return 0 if rules.shares_expert_workspace else 2 * _gathered_keys(asked, rules, 1)


def captured_bytes(model: Model, asked: Resolved, rows: int) -> int:
    """Scores of a decode step in the largest captured graph: a row a token, drafts with it, as long as the
    longest sequence, in F32 (utils/deep_gemm.py, fp8_fp4_paged_mqa_logits).

    >>> from ...model.load import load
    >>> captured_bytes(load("deepseek-v4-flash"), Resolved(max_model_len=1048576), 256)
    268435456
    """
    ratios = set()
    for attention in model.kinds.attentions:
        match attention:
            case DSA():
                ratios.add(attention.index_pool)
            case V41() if attention.owns_index and attention.ratio:
                ratios.add(attention.ratio)
            case V4() if attention.has_indexer:
                ratios.add(attention.ratio)
            case V41() | V4() | GQA() | Sliding() | MLA() | Linear():
                continue
            case _:
                assert_never(attention)
    return rows * (asked.max_model_len // min(ratios)) * 4 if ratios else 0


def _layer_bytes(attention: Attention, asked: Resolved, hardware: Hardware, rules: VllmRules) -> int:
    match attention:
        case DSA():
            return max(
                _mla_bytes(attention, asked, rules), _gathered_keys(asked, rules, attention.index_pool)
            )
        case V4():
            index = _gathered_keys(asked, rules, attention.ratio) if attention.has_indexer else 0
            return max(_gathered_rows(attention, asked, hardware, rules), index)
        case V41():
            index = (
                _gathered_keys(asked, rules, attention.ratio)
                if attention.owns_index and attention.ratio
                else 0
            )
            return max(_gathered_rows(attention, asked, hardware, rules), index)
        case GQA() | Sliding() | MLA() | Linear():
            return 0
        case _:
            assert_never(attention)


def _factor(asked: Resolved, rules: VllmRules) -> int:
    """sparse_mla_prefill_workspace_factor: how many of the longest sequence a prefill gathers at a time."""
    return 2 if rules.gathers_less_of_long_contexts and asked.max_model_len > LONG_CONTEXT else 5


def _gathered_keys(asked: Resolved, rules: VllmRules, ratio: int) -> int:
    """Keys of the indexer, gathered for a prefill: 8 (1,152 / 132) times the rows of the attention's own
    workspace."""
    row = INDEX_ROWS[asked.indexer_kv_dtype]
    return 8 * _factor(asked, rules) * asked.max_model_len // ratio * row


def _gathered_rows(attention: V4 | V41, asked: Resolved, hardware: Hardware, rules: VllmRules) -> int:
    """Compressed rows, the window and the batch in BF16; from 0.33 on with the indices of each token."""
    if hardware.card.capability >= 12:
        return FLASHINFER_BYTES
    tokens = asked.max_num_batched_tokens
    rows = (-(-asked.max_model_len // attention.ratio) if attention.ratio else 0) + attention.window + tokens
    gathered = GATHERED_REQUESTS * rows * attention.head_dim * 2
    if rules.keeps_row_indices:
        topk = attention.index_topk if attention.ratio else 0
        gathered += 4 * tokens * (-(-(topk + attention.window) // 128) * 128 + 1)
    return gathered


def _mla_bytes(attention: DSA, asked: Resolved, rules: VllmRules) -> int:
    """FlashMLA's sparse kernel: queries side by side (0.19), and for packed caches their rows in BF16."""
    mla, tokens, tp = attention.mla, asked.max_num_batched_tokens, asked.layout.tp
    heads = max(mla.num_heads // tp, 1)
    queries = tokens * heads * mla.latent_dim * 2 if rules.joins_sparse_queries else 0
    if not asked.kv_cache_dtype.endswith("_ds_mla"):
        return queries
    rows = _factor(asked, rules) * asked.max_model_len * mla.latent_dim * 2
    if rules.pads_sparse_queries:
        padded = -(-heads // 64) * 64
        queries += 2 * tokens * (padded * (mla.latent_dim + mla.kv_lora_rank) + heads * mla.kv_lora_rank)
    return queries + rows
