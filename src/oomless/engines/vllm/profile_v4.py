"""What V4's attention holds at once while vLLM profiles: its tensors by their births and deaths, as
deepseek_v4/attention.py of 0.22 to 0.33 makes them.

The output is made first, at as many heads as the kernel takes; then the projections of the hidden states.
Then, on streams of their own, the indexer, whose scores the profile run stands in for, and after it has let
go the queries, which are padded with a copy; from 0.31 on the indexer scores beside the queries. What is left
of the layer before stays as long as its caller names it: nothing compiles the model from 0.23 on.
"""

from ...model.attention import V4, V41
from ...model.model import Kinds, Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from .release import VllmRules
from .sparse import scratch_bytes

FLASHMLA_HEADS = (64, 128)
"""Heads that FlashMLA's decode kernel takes; what lies between is padded."""
FLASHINFER_HEADS = (16, 32, 64, 128)
"""Those of FlashInfer's kernel for compute capability 12."""


def padded_heads(heads: int, hardware: Hardware) -> int:
    """Return the heads that queries and output are made at; ROCm pads none.

    >>> from ...run.hardware import parse_gpu
    >>> [padded_heads(8, parse_gpu(card)) for card in ("h200:8", "rtx-pro-6000:8", "mi300x:8")]
    [64, 16, 8]
    """
    if not hardware.card.is_nvidia:
        return heads
    taken = FLASHINFER_HEADS if hardware.card.capability >= 12 else FLASHMLA_HEADS
    return next((each for each in taken if heads <= each), heads)


def widest_bytes(
    model: Model, kinds: Kinds, asked: Resolved, hardware: Hardware, rules: VllmRules, width: int
) -> int:
    """Return the largest peak of any of a stage's layers."""
    found = [each for each in kinds.attentions if isinstance(each, V4 | V41)]
    return max(attention_bytes(model, each, asked, hardware, rules, width) for each in found)


def attention_bytes(
    model: Model, attention: V4 | V41, asked: Resolved, hardware: Hardware, rules: VllmRules, width: int
) -> int:
    """Return the peak of one layer of the profile run in bytes, hidden states and residual with it, without
    the workspace that stays.

    T x (b x (streams x h + h) x (2 where nothing is compiled) + b x padded heads x d of output + b x 2 x
    (q_lora + d) + 4 x scores of compressors) + what queries and indexer take. Ignored: vectors of routers
    and norms, at most 1 %.

    DeepSeek-V4-Flash, two ranks, 8,192 tokens, MiB: 640 + 512 + 48 + 80, and 768 of queries and their copy:

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> flash, asked = load("deepseek-v4-flash"), Resolved(max_num_batched_tokens=8192, layout=Layout(tp=2))
    >>> layer = next(each for each in flash.kinds.of(V4) if each.has_indexer)
    >>> attention_bytes(flash, layer, asked, parse_gpu("h20:2"), RELEASES.at("0.26.0"), 2) // 2**20
    2048
    """
    tokens, hidden = asked.max_num_batched_tokens or 0, model.hidden_size
    heads = max(attention.num_heads // asked.layout.tp, 1)
    padded = padded_heads(heads, hardware)
    kept_twice = 2 if rules.runs_v4_uncompiled else 1
    row = width * kept_twice * (model.streams + 1) * hidden
    row += width * padded * attention.head_dim  # the output
    row += width * 2 * (attention.q_lora_rank + attention.head_dim)  # latents, and what their norms make
    row += 4 * compressed_scores(attention)
    queries = tokens * width * padded * attention.head_dim
    copied = queries + (tokens * width * heads * attention.head_dim if padded > heads else 0)
    made, quantised, scores = indexer_bytes(attention, tokens, asked, rules, width)
    if rules.scores_index_beside_queries:
        beside = quantised + max(made, copied, queries + scores)
    elif hardware.card.is_nvidia:
        beside = max(quantised + max(made, scores), copied)
    else:  # one stream: the queries come first and stay
        beside = queries + quantised + max(made, scores)
    return tokens * row + beside


def compressed_scores(attention: V4 | V41) -> int:
    """Return the F32 values that a token's compressors make: keys and scores, twice where windows overlap."""
    if not attention.ratio or (isinstance(attention, V41) and not attention.owns_cache):
        return 0
    overlap = 2 if isinstance(attention, V4) and attention.has_indexer else 1
    index = attention.index_head_dim if isinstance(attention, V4) and attention.has_indexer else 0
    return 2 * overlap * (attention.head_dim + index)


def indexer_bytes(
    attention: V4 | V41, tokens: int, asked: Resolved, rules: VllmRules, width: int
) -> tuple[int, int, int]:
    """Return what the indexer's queries take in 16 bit, then in 8 bit with their weights, and its scores."""
    owns = attention.has_indexer if isinstance(attention, V4) else attention.owns_index and attention.ratio
    if not owns:
        return 0, 0, 0
    queries = tokens * attention.index_heads * attention.index_head_dim
    return queries * width, queries + tokens * attention.index_heads * 4, scratch_bytes(asked, rules)
