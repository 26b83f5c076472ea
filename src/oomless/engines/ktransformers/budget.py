"""What KTransformers takes of a card beside weights and cache: a step, and the moment at which the output
head is read, the last and largest of its tensors (operators/attention.py, util/utils.py, util/custom_gguf.py,
operators/custom_marlin/quantize)."""

from math import prod

from ... import facts
from ...ledger import Line, exact, ranged
from ...model.attention import GQA, MLA
from ...model.feedforward import Dense, MoE
from ...model.model import HEAD, Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import gib
from ..overhead_lines import assumed_line, context_line, measured
from ..parameters import KV_B
from ..rank import Budget, Stage
from .cache import WIDTH, batches
from .release import KtransformersRules, rules_of
from .weights import placed_weights, quantises_head

NAME = "ktransformers"
PART = 1000
"""Tokens whose scores are made at a time (KDeepseekV2Attention, chunck_size)."""
SCORE_BYTES, LEAST_SCORE_BYTES, MOST_SCORE_BYTES = 8, 4, 12
"""Of a score while its part is reckoned: sums in 16 bit, F32 of the softmax."""
READ = {False: (5, 4, 5), True: (12, 10, 13)}
"""Bytes of a weight of the head while it is read, middle and ends: F32 and the file's own; or 16 bit twice
and whole numbers twice, from which it is packed (quant_utils.py, quantize_weights)."""


def budget_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Budget:
    """Context, a step and what it leaves, graphs; and the head while it is read."""
    rules = rules_of(asked.engine_version)
    tags = ("serve",) if batches(asked) else ()
    context = measured(NAME, "runtime.context", "context", rules.release)
    lines = [
        context_line(context, NAME, rules.release, (), hardware.card),
        step_line(model, asked, rules, stage),
        *scores_lines(model, asked, rules),
    ]
    running = sum(line.bytes for line in lines[1:])
    waste = facts.constant(NAME, "caching_overhead", rules.release)
    sizes = (int(running * waste.value), int(running * waste.low), int(running * waste.high))
    formula = f"{waste.value:g} of {gib(running):.3f} GiB of temporaries, {waste.low:g} to {waste.high:g}"
    what = "blocks that the allocator keeps"
    lines += [
        ranged("fragmentation.reserved", "engine", what, sizes, "assumed", formula, waste.source),
        *absorbed_lines(model, asked, rules, hardware, stage),
    ]
    if not asked.enforce_eager:
        lines.append(measured(NAME, "runtime.cuda_graphs", "graphs", rules.release, tags))
    return Budget(tuple(lines), (), passing=head_lines(model, asked, stage))


def step_line(model: Model, asked: Resolved, rules: KtransformersRules, stage: Stage) -> Line:
    """Return the widest moment of a step: attention or feed-forward beside the residual, or the logits.

    >>> from ...model.load import load
    >>> asked = Resolved(engine_version="0.2.3", context=8192, max_num_batched_tokens=8192)
    >>> line = step_line(load("deepseek-r1"), asked, rules_of("0.2.3"), Stage(0, 1, 0, 61))
    >>> round(line.bytes / 2**30, 1)
    2.8
    """
    length = asked.context
    tokens = min(length, asked.max_num_batched_tokens or length)
    heads = 0
    for each in stage.kinds(model).attentions:
        match each:
            case MLA():
                key = each.qk_nope_head_dim + each.qk_rope_head_dim
                if rules.scores_prompts or batches(asked):
                    wide = tokens * (2 * each.latent_dim + key + 2 * each.v_head_dim)
                else:  # keys and values of all heads, those padded to the width of these
                    wide = tokens * 3 * key + length * (each.qk_nope_head_dim + each.v_head_dim + 2 * key)
                heads = max(heads, each.num_heads * wide)
            case GQA():
                heads = max(heads, tokens * 4 * each.num_heads * each.head_dim)
            case _:
                pass  # refused before
    ffn = 0
    for block in model.kinds.ffns:
        match block:
            case Dense():
                ffn = max(ffn, 3 * block.intermediate_size)
            case MoE():
                ffn = max(ffn, 3 * block.shared_width + 3 * model.hidden_size)
    layer = (max(heads, tokens * ffn) + 4 * tokens * model.hidden_size) * WIDTH
    rows = 1 if rules.cuts_prompts else tokens
    each_logit = WIDTH if model.family in rules.widens_one_row else WIDTH + 4
    logits = rows * model.num_logits * each_logit if stage.last else 0
    spread = facts.constant(NAME, "activation_spread", rules.release)
    formula = f"{tokens:,} of {length:,} tokens: max(a layer {layer:,} B, logits {logits:,} B)"
    return assumed_line("activations.profile_run", max(layer, logits), spread, formula)


def scores_lines(model: Model, asked: Resolved, rules: KtransformersRules) -> list[Line]:
    """Return the line of the scores of a prompt, 0.2.0 and before: a part of them while it is reckoned, and
    of DeepSeek-V3 those of all parts, copied as one more is put to them. 8K on 24 GB ended in "CUDA OOM"
    (doc/en/DeepseekR1_V3_tutorial.md)."""
    latents = model.kinds.latents
    if not rules.scores_prompts or not latents:
        return []
    pairs = max(each.num_heads for each in latents) * asked.context
    part = pairs * min(asked.context, PART)
    whole = pairs * asked.context * WIDTH if model.family in rules.keeps_scores else 0
    sizes = (
        whole + part * SCORE_BYTES,
        whole + part * LEAST_SCORE_BYTES,
        2 * whole + part * MOST_SCORE_BYTES,
    )
    formula = f"{pairs:,} scores of a token, {min(asked.context, PART):,} tokens at a time"
    source = "operators/attention.py, forward_chunck"
    what = "masks and scores of a whole prompt"
    return [ranged("temporaries.running", "engine", what, sizes, "assumed", formula, source)]


def absorbed_lines(
    model: Model, asked: Resolved, rules: KtransformersRules, hardware: Hardware, stage: Stage
) -> list[Line]:
    """Return the line of matrices that are absorbed, where they lie beside those that they are made of."""
    if not rules.copies_absorbed and not batches(asked):
        return []
    placed = placed_weights(model, asked, hardware, stage)
    size = sum(each.total_bytes for each in placed if each.name.endswith(KV_B))
    if not size:
        return []
    what, source = "matrices that are absorbed", "operators/attention.py, get_absorbed"
    return [exact("temporaries.running", "engine", what, size, "as large as kv_b_proj", source)]


def head_lines(model: Model, asked: Resolved, stage: Stage) -> tuple[Line, ...]:
    """Return what the output head takes while it is read, beside what stays of it."""
    packs, wide = quantises_head(asked), rules_of(asked.engine_version).widens_on_loading
    if not stage.last or not (packs or wide):
        return ()
    params = sum(prod(each.shape) for each in model.tensors if each.name == HEAD)
    middle, low, high = (params * each for each in READ[packs])
    what, source = "the output head while it is read", "util/custom_gguf.py; quantize/utils/quant_utils.py"
    formula = f"{params:,} weights x {READ[packs][0]} B"
    return (ranged("fragmentation.loading", "engine", what, (middle, low, high), "assumed", formula, source),)
