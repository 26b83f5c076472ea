"""What transformers takes beside weights and cache, and what it leaves to the cache."""

from collections.abc import Iterable
from typing import assert_never

from ... import facts
from ...errors import UnsupportedError
from ...facts.release import Release
from ...ledger import Line, exact, ranged
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import gib
from ..overhead_lines import WORDS, assumed_line, context_line, measured
from ..rank import Budget, Stage
from .cache import row_bytes
from .release import RELEASES


def budget_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Budget:
    """Context, a prefill of the whole load, its logits, the copy that a growing cache makes, and the
    allocator's waste."""
    width, rules = DTYPES[asked.dtype].bits // 8, RELEASES.at(asked.engine_version)
    tokens, batch = asked.context * asked.concurrency, asked.concurrency or 1
    context = measured("transformers", "runtime.context", "context", rules.release)
    lines = [
        context_line(context, "transformers", rules.release, (), hardware.card),
        prefill_line(model, stage, tokens, width, rules.release),
    ]
    if stage.last:
        rows = batch if rules.keeps_last_logits else tokens
        formula = f"{rows:,} rows x {model.num_logits:,} x ({width} + 4) B"
        lines.append(
            exact(
                "logits.sampler",
                "engine",
                WORDS["logits.sampler"],
                rows * model.num_logits * (width + 4),
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
    kept = kept_line(sum(line.bytes for line in lines[1:]), rules.release)
    pairs = batch * asked.context**2
    attentions = stage.kinds(model).attentions
    if model.family in rules.scores_eagerly:
        lines += eager_lines(attentions, pairs, width, model.family in rules.may_fuse)
    elif rules.masks_windows:
        lines += pair_lines(attentions, asked.context, pairs, width)
    return Budget((*lines, kept), ())


def prefill_line(model: Model, stage: Stage, tokens: int, width: int, release: Release) -> Line:
    """The peak of a prefill: the widest feed-forward or attention beside four copies of the residual."""
    spread = facts.constant("transformers", "activation_spread", release)
    busiest = facts.constant("transformers", "busiest_expert_share", release).value
    hidden, largest = model.hidden_size, 0
    for ffn in model.kinds.ffns:
        match ffn:
            case Dense():
                largest = max(largest, 3 * ffn.intermediate_size)
            case MoE():
                routed = int(ffn.num_active_experts * (hidden + 3 * ffn.expert_width) * busiest)
                largest = max(largest, routed + 3 * ffn.shared_width)
            case never:
                assert_never(never)
    heads = max(attention_width(each) for each in stage.kinds(model).attentions)
    size = tokens * width * (max(largest, heads) + 4 * hidden * model.streams)
    formula = (
        f"{tokens:,} tokens x {width} B x (max(feed-forward {largest:,}, heads {heads:,}) + 4 x {hidden:,})"
    )
    return assumed_line("activations.profile_run", size, spread, formula)


def pair_lines(attentions: Iterable[Attention], length: int, pairs: int, width: int) -> tuple[Line, ...]:
    """Return what a prompt takes for each pair of its tokens, as (least, likely, most) bytes.

    Layers of windows get a mask of the whole prompt, 1 B a pair (masking_utils.py, sdpa_mask; one of all
    tokens and no padding is left out). torch widens it to the model's type, and pads a copy where the length
    is no multiple of 8 (attention.cpp, preprocess_mask). Heads wider than 256 take no flash kernel; where
    several share keys and nothing is masked, the math path alone takes them (cuda/sdp_utils.cpp): scores and
    their exponents in float32, or else, as with the tokens of a processor, a mask of all.

    >>> [line.bytes for line in pair_lines([Sliding(GQA(32, 16, 128), 1024)], 131072, 131072**2, 2)]
    [85899345920]
    """
    kinds = tuple(attentions)
    least = likely = most = 0
    if any(isinstance(each, Sliding) and each.window <= length for each in kinds):
        least, likely, most = 1 + width, 1 + 2 * width, 1 + 2 * width
    wide = (each for each in kinds if isinstance(each, GQA) and each.head_dim > WIDEST_FLASH)
    if heads := max((each.num_heads for each in wide if each.num_kv_heads < each.num_heads), default=0):
        least, likely, most = least + 1, likely + 8 * heads, most + 12 * heads
    return of_pairs(
        pairs, (likely, least, most), "masking_utils.py of 4.53; torch's scaled_dot_product_attention"
    )


def eager_lines(attentions: Iterable[Attention], pairs: int, width: int, may_fuse: bool) -> tuple[Line, ...]:
    """Return what eager attention takes for each pair of a prompt's tokens: the scores of all heads of one
    layer, the same with the mask, and their exponents in float32, made before the first two go (llama of
    4.31, gpt_oss); nothing, where it may be fused.

    >>> [line.bytes for line in eager_lines([GQA(32, 32, 128)], 20000**2, 2, False)]
    [102400000000]
    """
    heads = max((heads_of(each) for each in attentions), default=0)
    most = heads * (2 * width + 4)
    return of_pairs(pairs, (most, 0 if may_fuse else most - heads * width, most), "LlamaAttention of 4.31")


def heads_of(attention: Attention) -> int:
    """Return the heads whose scores a layer has; none of linear attention."""
    match attention:
        case Sliding():
            return attention.inner.num_heads
        case DSA():
            return attention.mla.num_heads
        case GQA() | MLA() | V4() | V41():
            return attention.num_heads
        case Linear():
            return 0


def of_pairs(pairs: int, sizes: tuple[int, int, int], source: str) -> tuple[Line, ...]:
    """Return the line of (likely, least, most) bytes a pair of tokens; none where it is 0."""
    if not sizes[0]:
        return ()
    words, formula = "masks and scores of a whole prompt", f"{pairs:,} pairs of tokens x {sizes[0]} B"
    likely, least, most = (pairs * size for size in sizes)
    return (
        ranged("temporaries.running", "engine", words, (likely, least, most), "assumed", formula, source),
    )


WIDEST_FLASH = 256
"""The widest head of FlashAttention-2 in torch (cuda/sdp_utils.cpp, check_head_dim_size_flash)."""


def kept_line(held: int, release: Release) -> Line:
    """The allocator's waste of `held` bytes of temporaries."""
    waste = facts.constant("transformers", "caching_overhead", release)
    low, kept, high = (int(held * share) for share in (waste.low, waste.value, waste.high))
    formula = f"{waste.value:g} of {gib(held):.3f} GiB of temporaries, {waste.low:g} to {waste.high:g}"
    return ranged(
        "fragmentation.reserved",
        "engine",
        "blocks that the allocator keeps",
        (kept, low, high),
        "assumed",
        formula,
        waste.source,
    )


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
