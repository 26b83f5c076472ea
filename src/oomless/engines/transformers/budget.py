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
    eager = (model.family in rules.scores_eagerly) + (model.family in rules.may_fuse)
    if eager or rules.masks_windows:
        lines += pair_lines(stage.kinds(model).attentions, asked.context, batch, width, eager)
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


def pair_lines(
    attentions: Iterable[Attention], length: int, batch: int, width: int, eager: int
) -> tuple[Line, ...]:
    """Return what a prompt takes for each pair of its tokens.

    Eager attention (2: it may be fused) has the scores of all heads, the same with the mask, and their
    exponents in float32. Else layers of windows have a mask of the whole prompt, 1 B a pair (sdpa_mask),
    which torch widens, and pads in a copy where the length is no multiple of 8 (attention.cpp). Heads wider
    than 256 that share keys have no kernel where nothing is masked (sdp_utils.cpp): scores and exponents in
    float32; or else a mask of all.

    >>> [pair_lines([GQA(32, 16, 128)], 20000, 1, 2, eager)[0].low_bytes for eager in (1, 2)]
    [76800000000, 0]
    """
    kinds = tuple(attentions)
    inner = [each.inner if isinstance(each, Sliding) else each for each in kinds]
    grouped = [each for each in inner if isinstance(each, GQA)]
    least = likely = most = 0
    if eager:
        heads = max((each.num_heads for each in grouped), default=0)
        least, likely, most = heads * (width + 4) * (eager < 2), *[heads * (2 * width + 4)] * 2
    else:
        if any(isinstance(each, Sliding) and each.window <= length for each in kinds):
            least, likely, most = 1 + width, *[1 + 2 * width] * 2
        wide = (each for each in grouped if each.num_kv_heads < each.num_heads and each.head_dim > 256)
        if heads := max((each.num_heads for each in wide), default=0):
            least, likely, most = least + 1, likely + 8 * heads, most + 12 * heads
    if not most:
        return ()
    pairs, words = batch * length**2, "masks and scores of a whole prompt"
    sizes, formula = (pairs * likely, pairs * least, pairs * most), f"{pairs:,} pairs of tokens x {likely} B"
    source = "masking_utils.py and modeling files; torch's attention"
    return (ranged("temporaries.running", "engine", words, sizes, "assumed", formula, source),)


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
