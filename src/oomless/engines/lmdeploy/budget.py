"""What LMDeploy takes beside weights and cache, and what it leaves to the cache.

TurboMind cuts its cache first, all of it at once, and then finds room for its buffers: those of the batch and
of a step's tokens are made at start, those inside of a layer with the first step, which from 0.6 on runs
before it serves. PyTorch's backend sets the logits of a prefill aside first.
Read in src/turbomind/models/llama: LlamaBatch.cc (AllocateBuffer, AllocatePersistantBuffer, tune),
BlockManager.cc (GetBlockCount), unified_attention_layer.cc, LlamaFfnLayer.cc, moe_ffn_layer.cc, and
lmdeploy/pytorch/engine/executor/base.py (_get_runtime_size, update_configs).
"""

from ... import facts
from ...ledger import Line, exact, ranged
from ...model.attention import GQA, MLA, V4, V41, Linear
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..overhead_lines import WORDS, context_line, fitted_line, measured
from ..rank import Budget, Stage
from ..vllm.profile_images import encoder_bytes
from .release import RELEASES, on_turbomind

LOGIT_BYTES = {False: 7, True: 2}
"""What PyTorch's backend counts for a logit of a prefill. Before 0.10 and since."""


def pool_bytes(asked: Resolved, allowed: int, charged: int) -> int:
    """cache_max_entry_count, of what is free or, until 0.2.1, of the card.

    >>> asked = Resolved(free_gpu_memory_fraction=0.5)
    >>> [pool_bytes(asked._replace(engine_version=v), 24 << 30, 15 << 30) >> 29 for v in ("0.2.0", "0.4.2")]
    [24, 9]
    """
    of_free = RELEASES.at(asked.engine_version).shares_what_is_free
    return int((asked.free_gpu_memory_fraction or 0) * (allowed - (charged if of_free else 0)))


def budget_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Budget:
    """Context and communication, and what the step of a backend takes."""
    rules = RELEASES.at(asked.engine_version)
    tags = ("tp",) if asked.layout.tp > 1 else ()
    context = measured("lmdeploy", "runtime.context", "context", rules.release, tags)
    lines = (
        context_line(context, "lmdeploy", rules.release, tags, hardware.card),
        measured("lmdeploy", "runtime.non_torch", "non_torch", rules.release, tags, "communication"),
    )
    pictures = tower_lines(model, asked)
    if on_turbomind(model, asked):
        return Budget(lines, (buffers_line(model, asked), step_line(model, asked), *pictures))
    reserve = reserve_line(model, asked)
    step = step_line(model, asked)
    over = step._replace(
        bytes=max(step.bytes - reserve.bytes, 0),
        low_bytes=max(step.low_bytes - reserve.bytes, 0),
        high_bytes=max(step.high_bytes - reserve.bytes, 0),
    )
    graphs = measured("lmdeploy", "runtime.cuda_graphs", "graphs", rules.release)
    return Budget((*lines, reserve), (over, *(() if asked.enforce_eager else (graphs,)), *pictures))


def step_tokens(model: Model, asked: Resolved) -> int:
    """Tokens of the largest step that runs: of the load, or those of a start that tries a whole one."""
    rules, most = RELEASES.at(asked.engine_version), asked.max_num_batched_tokens or 0
    if not rules.cuts_prompts and on_turbomind(model, asked):
        most = asked.max_model_len
    if rules.tunes_at_start and on_turbomind(model, asked):
        return most
    return min(most, (asked.context or 1) * (asked.concurrency or 1))


def buffers_line(model: Model, asked: Resolved) -> Line:
    """What TurboMind makes at start for its batch and a step's tokens.

    Qwen2.5-32B with --session-len 100: hidden states of 8,320 tokens and F32 logits of 128 sequences, twice.

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(engine_version="0.6.2", dtype="float16", layout=Layout(), max_model_len=100)
    >>> asked = asked._replace(max_num_seqs=128, max_num_batched_tokens=8192)
    >>> round(buffers_line(load("qwen2.5-32b"), asked).bytes / 2**20)
    311
    """
    rules, batch, length = RELEASES.at(asked.engine_version), asked.max_num_seqs or 1, asked.max_model_len
    tokens = (asked.max_num_batched_tokens or 0) + batch if rules.steps_by_prefill_tokens else length
    copies, ids, width = rules.copies_of_step, rules.copies_of_ids, DTYPES[asked.dtype].bits // 8
    hidden = copies * tokens * model.hidden_size * width
    logits = 2 * batch * model.num_logits * 4
    formula = (
        f"{copies} x {tokens:,} tokens x {model.hidden_size:,} x {width} B + 2 x {batch:,} x "
        f"{model.num_logits:,} logits x 4 B + {ids} x {batch:,} x {length:,} ids x 4 B"
    )
    size, source = hidden + logits + ids * batch * length * 4, "LlamaBatch.cc, AllocateBuffer"
    return exact("temporaries.running", "engine", "buffers of the batch", size, formula, source)


def step_line(model: Model, asked: Resolved) -> Line:
    """The widest layer of a step: attention's heads and the keys and values that it reads, or the
    feed-forward block; both of them where the allocator keeps what was freed. PyTorch's backend has the
    residual beside it, and until 0.6 the logits of every token."""
    rules, layout = RELEASES.at(asked.engine_version), asked.layout
    tokens, width, turbomind = (
        step_tokens(model, asked),
        DTYPES[asked.dtype].bits // 8,
        on_turbomind(model, asked),
    )
    heads = max(width_of_heads(each.core) for each in model.kinds.attentions) // layout.tp
    ffn = 0
    for block in model.kinds.ffns:
        match block:
            case Dense():
                ffn = max(ffn, 2 * block.intermediate_size // layout.tp)
            case MoE():
                inside = 2 * block.expert_width // (layout.tp // layout.expert_ranks) + 2 * model.hidden_size
                ffn = max(ffn, block.num_active_experts * inside)
    beside = 0 if turbomind else 4 * model.hidden_size
    logits = 0 if turbomind or rules.keeps_last_logits else 3 * model.num_logits
    row = max(heads, ffn) + beside + logits
    spread = facts.constant("lmdeploy", "activation_spread", rules.release)
    shown = f"max(heads {heads:,}, feed-forward {ffn:,})"
    formula = f"{tokens:,} tokens x {width} B x ({shown} + {beside + logits:,})"
    line = fitted_line("activations.profile_run", tokens * width * row, spread, formula, spread.source)
    both = tokens * width * (heads + ffn + beside + logits)
    return line._replace(
        key="activations.running",
        kind="assumed",
        what=WORDS["activations.profile_run"],
        high_bytes=max(line.high_bytes, both),
    )


def width_of_heads(attention: GQA | MLA | V4 | V41 | Linear) -> int:
    """Elements of a token inside of an attention: queries and their outputs, and keys and values, which are
    read from the cache once more.

    >>> width_of_heads(GQA(32, 8, 128))
    12288
    """
    match attention:
        case GQA():
            return (2 * attention.num_heads + 4 * attention.num_kv_heads) * attention.head_dim
        case MLA():
            return 2 * attention.num_heads * (attention.qk_nope_head_dim + attention.qk_rope_head_dim)
        case V4() | V41() | Linear():
            return 0  # refused before


MASK_BYTES = 3
"""A pair of patches in a mask: a boolean, and a number in 16 bit that it becomes."""
SHARES = (0.25, 0.0, 1.0)
"""Middle and ends of a request's pictures, of the largest that the model takes: nobody says them."""


def tower_lines(model: Model, asked: Resolved) -> tuple[Line, ...]:
    """What a tower takes while it reads the pictures of a request, for which no start makes room.

    >>> from ...model.load import load
    >>> asked = Resolved(dtype="bfloat16", engine_version="0.6.1")
    >>> [round(line.high_bytes / 2**30, 1) for line in tower_lines(load("qwen2-vl-7b"), asked)]
    [14.0]
    """
    if model.vision is None:
        return ()
    width = DTYPES[asked.dtype].bits // 8
    size = encoder_bytes(model, asked, 1, width, 1)
    patches = model.vision.item_tokens * PATCHES
    if model.family in RELEASES.at(asked.engine_version).masks_pictures:
        size += MASK_BYTES * patches**2
    middle, low, high = (int(size * share) for share in SHARES)
    what, formula = "vision tower while it runs", f"up to {model.vision.item_tokens:,} tokens of pictures"
    source = "lmdeploy/vl/engine.py: no dummy pictures at start"
    return (ranged("activations.running", "engine", what, (middle, low, high), "assumed", formula, source),)


PATCHES = 4
"""Patches of a token of Qwen's towers."""


def reserve_line(model: Model, asked: Resolved) -> Line:
    """What PyTorch's backend sets aside before it cuts the pool."""
    rules, tokens = RELEASES.at(asked.engine_version), asked.max_num_batched_tokens or 0
    each = LOGIT_BYTES[rules.reserves_last_logits]
    rows = tokens + 2 * (asked.max_num_seqs or 0) if rules.reserves_last_logits else tokens
    formula, source = f"{rows:,} x {model.num_logits:,} x {each} B", "executor/base.py, _get_runtime_size"
    return exact(
        "activations.profile_run",
        "engine",
        "set aside for a prefill",
        rows * model.num_logits * each,
        formula,
        source,
    )
