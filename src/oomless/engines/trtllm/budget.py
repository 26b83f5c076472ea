"""What TensorRT-LLM takes beside weights and cache, and what it leaves to the cache."""

from ... import facts
from ...ledger import Line, ranged
from ...model.attention import Sliding
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import gib
from ..overhead_lines import WORDS, measured
from ..rank import Budget, Stage
from .cache import cache_layout
from .release import RELEASES
from .weights import kept, placed_weights


def budget_bytes(asked: Resolved, hardware: Hardware) -> int:
    """All of the card: the share is of what is free after loading."""
    return hardware.card.memory_bytes


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
    lines = [
        measured("trtllm", "runtime.context", "context", version, tags),
        measured("trtllm", "runtime.non_torch", "non_torch", version, tags, "communication"),
        *kept(model, asked, stage),
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
                largest = max(largest, 3 * ffn.intermediate_size * layout.dp // layout.tp)
            case MoE():
                expert = ffn.expert_width // (layout.tp // layout.expert_ranks)
                gathered = layout.dp * ffn.num_active_experts  # of all ranks' tokens (moe_max_num_tokens)
                largest = max(largest, gathered * (3 * expert + 2 * hidden))
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
    if not rules.tries_cache_of_longest:
        return Budget(tuple(lines), ())
    tried = [each for each in lines if each.key in TRIED]
    return Budget(tuple(lines), (), passing=(trial_cache(model, asked, hardware, stage, lines), *tried))


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


def host_bytes(model: Model, asked: Resolved, hardware: Hardware) -> int:
    """Nothing stays on the host."""
    return 0
