"""What attention adds to vLLM's profile run: cached context that MLA expands, the projections that V0 keeps,
and layers of linear attention."""

from ...model.attention import MLA, Attention, Linear
from ...run.serving import Resolved
from ..rank import Stage
from .release import VllmRules

CONTEXT_CHUNK = 65536
"""Tokens of cached context that MLA expands at a time, at most."""


def context_chunk(asked: Resolved) -> int:
    """Tokens whose latents are expanded at a time: 8 of the longest requests, or 4 blocks of each
    (mla/common.py, mla_attention.py)."""
    blocks = (asked.max_num_seqs or 0) * (asked.block_size or 16)
    return max(min(max(8 * (asked.max_model_len or 0), 4 * blocks), CONTEXT_CHUNK), blocks)


def expanded_context_bytes(mla: MLA, asked: Resolved, rules: VllmRules, width: int) -> int:
    """Keys and values of a chunk of cached context, which the profile run of MLA stands in for (read in 0.11
    to 0.33).

    DeepSeek-V3 with all 128 heads on each rank, as under data parallelism: 65,536 x 128 x 256 x 2 B = 4 GiB.

    >>> from ...units import GIB
    >>> from .release import RELEASES
    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(max_model_len=163840, max_num_seqs=256, layout=Layout(dp=8))
    >>> expanded_context_bytes(
    ...     load("deepseek-v3").kinds.latents[0], asked, RELEASES.at("0.19.0"), 2
    ... ) == 4 * GIB
    True
    """
    if not rules.expands_context_when_profiled:
        return 0
    heads = max(mla.num_heads // asked.layout.tp, 1)
    return context_chunk(asked) * heads * (mla.qk_nope_head_dim + mla.v_head_dim) * width


def v0_attention_bytes(mla: MLA, hidden: int, asked: Resolved, stage: Stage, width: int) -> int:
    """What lives while the output projection of MLA runs in V0, which compiles nothing
    (attention/backends/mla/common.py of 0.8).

    Hidden states and residual, queries and latents, keys and values of the batch with values padded to keys,
    the projection, its all-reduced copy and what both are written to; with prefix caching a chunk of cached
    latents and what they expand to.

    DeepSeek-V2.5 at TP8 with 8,192 tokens and prefix caching; a log of 0.8.3 says 1.27 GiB (of it 0.01 are
    cuBLAS's):

    >>> from ...units import GIB
    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(
    ...     max_num_batched_tokens=8192, max_num_seqs=256, max_model_len=8192, layout=Layout(tp=8, pp=2)
    ... )
    >>> asked = asked._replace(enable_prefix_caching=True)
    >>> attention = load("deepseek-v2.5").kinds.latents[0]
    >>> round(v0_attention_bytes(attention, 5120, asked, Stage(0, 2, 0, 30), 2) / GIB, 2)
    1.27
    """
    heads = max(mla.num_heads // asked.layout.tp, 1)
    query, expanded = mla.qk_nope_head_dim + mla.qk_rope_head_dim, mla.qk_nope_head_dim + mla.v_head_dim
    per_head = 3 * query + expanded + mla.v_head_dim
    row = (
        (5 if stage.first else 6) * hidden
        + 2 * mla.q_lora_rank
        + mla.latent_dim
        + 2 * mla.kv_lora_rank
        + heads * per_head
    )
    total = (asked.max_num_batched_tokens or 0) * row
    if asked.enable_prefix_caching:
        blocks = (asked.max_num_seqs or 0) * (asked.block_size or 16)
        chunk = min(max(8 * (asked.max_model_len or 0), 4 * blocks), 2 * CONTEXT_CHUNK)
        total += chunk * (heads * expanded + mla.latent_dim)
    return total * width


def linear_bytes(attention: Attention, asked: Resolved, hidden: int, width: int) -> int:
    """What may live at once in a layer of linear attention: an upper end, as the feed-forward is wider in
    most models.

    T x (b x (3 h + 2 x projected + convolved + output of the core, its gate and its norm) + F32 x (decay of
    KDA, norm)).

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(max_num_batched_tokens=64000, layout=Layout(tp=2))
    >>> round(linear_bytes(load("kimi-linear-48b-a3b").kinds.attentions[0], asked, 2304, 2) / 2**30, 2)
    5.22
    """
    if not isinstance(attention, Linear):
        return 0
    ranks = asked.layout.tp
    conv, value = attention.conv_width // ranks, attention.value_width // ranks
    decay = 2 * attention.key_width // ranks if attention.variant == "kda" else 0
    row = width * (3 * hidden + 2 * conv + 4 * value) + 4 * (decay + 2 * value)
    return (asked.max_num_batched_tokens or 0) * row
