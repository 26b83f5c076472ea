"""What TensorRT-LLM takes beside weights and cache, and what it leaves to the cache."""

from ... import facts
from ...ledger import Line, exact, ranged
from ...model.attention import Sliding
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import gib
from ..overhead_lines import WORDS, context_line, measured
from ..rank import Budget, Stage
from ..runtime_formats import runtime_format
from .cache import cache_layout
from .command_line import SCORES, scores_bytes
from .release import RELEASES
from .weights import kept, placed_weights


def pool_bytes(asked: Resolved, allowed: int, charged: int) -> int:
    """fraction * (free after weights, context and activations).

    >>> pool_bytes(Resolved(free_gpu_memory_fraction=0.9), 80 << 30, 70 << 30) >> 30
    9
    """
    return int((asked.free_gpu_memory_fraction or 0) * (allowed - charged))


def budget_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Budget:
    """Everything but weights and cache: context, communication, and the engine's execution context or the
    peak of the dry run."""
    layout, rules = asked.layout, RELEASES.at(asked.engine_version)
    version = rules.release
    tags = (*(["tp"] if layout.tp > 1 else []), *(["unified"] if hardware.card.shared_bytes else []))
    context = measured("trtllm", "runtime.context", "context", version, tags)
    lines = [
        context_line(context, "trtllm", version, tags, hardware.card),
        measured("trtllm", "runtime.non_torch", "non_torch", version, tags, "communication"),
        *kept(model, asked, stage),
    ]
    if not rules.runs_pytorch:
        lines.append(built_line(model, asked, version, tags))
        lines.append(decoder_line(model, asked, version))
        lines += scores_lines(model, asked)
        return Budget(tuple(lines), ())
    tokens, width, hidden = (
        asked.max_num_batched_tokens or 0,
        DTYPES[asked.dtype].bits // 8,
        model.hidden_size,
    )
    routed = routed_width(model, asked)
    dense = (ffn.intermediate_size for ffn in model.kinds.of(Dense))
    largest = max(routed, 3 * max(dense, default=0) * layout.dp // layout.tp)
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
    if not asked.enforce_eager:  # the dry run comes after they are captured (_torch/pyexecutor/_util.py)
        lines.append(measured("trtllm", "runtime.cuda_graphs", "graphs", version, tags))
    beside = later_experts(model, asked, tokens * width * routed)
    if not rules.tries_cache_of_longest:
        return Budget(tuple(lines), beside)
    tried = [each for each in lines if each.key in TRIED]
    return Budget(tuple(lines), beside, passing=(trial_cache(model, asked, hardware, stage, lines), *tried))


def routed_width(model: Model, asked: Resolved) -> int:
    """Return the elements that experts hold for a token of a rank at most: its choices go in, come out and
    are multiplied between, for the tokens of all ranks with attention of their own (moe_max_num_tokens)."""
    layout, hidden, found = asked.layout, model.hidden_size, 0
    for ffn in model.kinds.ffns:
        if isinstance(ffn, MoE):
            expert = ffn.expert_width // (layout.tp // layout.expert_ranks)
            found = max(found, layout.dp * ffn.num_active_experts * (3 * expert + 2 * hidden))
    return found


def later_experts(model: Model, asked: Resolved, size: int) -> tuple[Line, ...]:
    """Return the line of what experts in FP8 of blocks take beyond the dry run for the tokens of all ranks:
    their workspace is made, and its kernels are tried, once the pool is there (_torch/pyexecutor/_util.py
    resets the peak that came before; TensorRT-LLM#18669). `size`: as the dry run's own line has it.

    DeepSeek-V3.2 with 8 x 8,192 tokens, 20.0 GiB by that line, wanted 14.0 of H200 where 10.8 were left
    (TensorRT-LLM#18322); DeepSeek-R1 took 22 to 26 of B200 beyond a dry run of 16 (TensorRT-LLM#13357). In
    FP4 other kernels run.
    """
    forms = {runtime_format(each, model, asked) for each in model.tensors if each.role == "expert"}
    if asked.layout.dp == 1 or not any(form.bits == 8 and form.block == (128, 128) for form in forms):
        return ()
    share = facts.constant("trtllm", "later_experts", RELEASES.at(asked.engine_version).release)
    ends = int(size * share.value), int(size * share.low), int(size * share.high)
    what, formula = "experts of all ranks' tokens, beyond the dry run", f"{gib(size):.3f} GiB"
    return (ranged("temporaries.running", "engine", what, ends, "assumed", formula, share.source),)


TRIED = ("activations.profile_run", "runtime.cuda_graphs")
"""Keys of lines that lie beside the cache of the dry run."""

GRAPH_SIZES = 128
"""max_batch_size of cuda_graph_config, where nothing is asked."""


def trial_cache(model: Model, asked: Resolved, hardware: Hardware, stage: Stage, lines: list[Line]) -> Line:
    """Return the line of the cache that the dry run has: of the longest sequence and the graphs' others, of
    a block for each sequence that may run, as often as there are windows of several lengths where the second
    manager divides it among them, and no more than the share of what is free then
    (_torch/pyexecutor/_util.py, _get_token_num_for_estimation). What has a sequence for each block is of
    2026's releases, and which of them has the second manager is not known: at least the dry run's tokens.

    Gemma 3 27B in FP8 ran out of an H100 so at 131,072 tokens and ran at 4,096 (TensorRT-LLM#18056).
    """
    layout, block = cache_layout(model, asked, stage), asked.block_size or 32
    tokens, sequences = asked.max_num_batched_tokens or 0, asked.max_num_seqs or 1
    graphs = 0 if asked.enforce_eager else min(sequences, asked.cuda_graph_max_bs or GRAPH_SIZES)
    longest = -(-(asked.max_model_len + 1) // block) + graphs - 1
    windows = {a.window if isinstance(a, Sliding) else asked.max_model_len for a in model.kinds.attentions}
    pools = len({min(each, asked.max_model_len) for each in windows})
    blocks = max(longest, -(-tokens // block), sequences) * pools
    there = sum(group.total_bytes for group in placed_weights(model, asked, hardware, stage))
    there += sum(line.bytes for line in lines if line.key != "activations.profile_run")
    free = max(hardware.card.memory_bytes - there, 0)
    share, states = int((asked.free_gpu_memory_fraction or 0) * free), layout.set_aside_bytes
    size = min(states + blocks * layout.block_bytes, share)
    least = min(states + -(-tokens // block) * layout.block_bytes, size)
    beside = f" + {states:,} B of states" if states else ""
    return ranged(
        "temporaries.running",
        "engine",
        "cache of the dry run",
        (size, least, size),
        "assumed",
        f"{blocks:,} blocks of {layout.block_bytes:,} B{beside}, no more than the share",
        "tensorrt_llm/_torch/pyexecutor/_util.py",
    )


def built_line(model: Model, asked: Resolved, version: tuple[int, ...], tags: tuple[str, ...]) -> Line:
    """What an engine holds for its largest shapes: of a model without experts by the tokens that its profile
    allows, at the product of gate and up.

    393,216 tokens of llama-2-7b found no room on an A100 of 40 GB (TensorRT-LLM#401):

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(max_num_batched_tokens=393216, dtype="float16", layout=Layout())
    >>> round(built_line(load("llama-2-7b"), asked, (0, 5), ()).bytes / 2**30, 2)
    25.12
    """
    found = measured("trtllm", "activations.profile_run", "execution_context", version, tags)
    wide = [each.intermediate_size for each in model.kinds.of(Dense)]
    if model.kinds.has_experts or not wide:
        return found
    tokens, width = asked.max_num_batched_tokens or 0, DTYPES[asked.dtype].bits // 8
    row, inside = 3 * model.hidden_size, 2 * max(wide) // asked.layout.tp
    spread, size = facts.constant("trtllm", "built_spread", version), tokens * width * (row + inside)
    return ranged(
        "activations.profile_run",
        "engine",
        WORDS["activations.profile_run"],
        (size, int(size * spread.low), max(int(size * spread.high), size + found.high_bytes)),
        "assumed",
        f"{tokens:,} tokens x {width} B x ({inside:,} + {row:,}) = {gib(size):.3f} GiB",
        spread.source,
    )


def scores_lines(model: Model, asked: Resolved) -> tuple[Line, ...]:
    """What an engine without context FMHA keeps of a batch of prompts."""
    size = scores_bytes(model, asked) if SCORES in asked.engine_version else 0
    if not size:
        return ()
    formula, source = f"scores of {asked.max_num_seqs:,} inputs", "gptAttentionCommon.cpp"
    return (exact("activations.running", "engine", "scores of all pairs of tokens", size, formula, source),)


def decoder_line(model: Model, asked: Resolved, version: tuple[int, ...]) -> Line:
    """The decoder of the C++ runtime keeps logits, probabilities and what sorts them for every sequence that
    may run.

    >>> from ...model.load import load
    >>> round(decoder_line(load("llama-2-7b"), Resolved(max_num_seqs=4096), (0, 12)).bytes / 2**30, 2)
    4.15
    """
    row, logits = (
        facts.constant("trtllm", "decoder_bytes_per_logit", version),
        (asked.max_num_seqs or 0) * model.num_logits,
    )
    formula = (
        f"{asked.max_num_seqs:,} sequences x {model.num_logits:,} x {row.value:g} B, "
        f"{row.low:g} to {row.high:g}"
    )
    value, low, high = (int(logits * each) for each in (row.value, row.low, row.high))
    return ranged(
        "logits.decoder", "engine", "logits of the decoder", (value, low, high), "fitted", formula, row.source
    )
