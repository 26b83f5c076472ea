"""The ends of a network: last norm, head and loss, on a stage that has them."""

from typing import NamedTuple

from ...frameworks import framework
from ...frameworks.graphs.adapters import adapter
from ...frameworks.graphs.blocks import Builder, MicroBatchWork, layer_norm, rms_norm
from ...frameworks.graphs.graph import Walk, walk
from ...frameworks.graphs.layers import norms_of
from ...frameworks.graphs.loss import loss_graph
from ...frameworks.graphs.loss_kinds import Loss, LossShape, has_loss, loss_kind
from ...run.training import TrainingResolved
from .job import Job
from .rank_portions import portions, stages
from .recomputation import waits_on_host
from .state_bytes import weight_bytes_of

COMPARING = ("dpo", "kto")
"""Tasks whose loss is made of the log-probabilities of whole sequences: the trainer gathers them from logits,
whatever its cross-entropy."""
SAMPLING = ("grpo", "ppo")
"""Tasks whose loss is made of the log-probabilities of sampled tokens."""
SAMPLED = "sampled"
"""Their loss, where a framework has one of its own, by its name."""
OF_LABELS = ("logits", "chunked-logits", "cut", "compiled", "chunked-compiled", "in-place", "checkpointed")
"""Losses that stand in the model for the one of labels, and do not run where the trainer asks for logits."""
SELECTED = ("selected", "selected-divided", "selected-nll")
"""Losses whose logits stay in 16 bits beside DeepSpeed."""
F32 = 4
CONTRASTIVE = "contrastive"
"""A query's own passage among those of the batch."""
CHUNKED = "chunked"
"""A loss of labels by its name, whatever its kind."""


class Ends(NamedTuple):
    """The last norm, the head and the loss."""

    saved: int
    forward_peak: int
    backward_peak: int
    logits: int
    """Elements of the logits on this rank."""


def vocab_parallel(request: TrainingResolved) -> bool:
    """Whether the loss works on a rank's share of the vocabulary: Megatron's, and torchtitan's loss_parallel;
    elsewhere logits are gathered (transformers' tp_plan: colwise_gather_output).
    """
    by_name = (request.loss or "").startswith("vocab-parallel")
    return by_name or framework(request.framework).loss_on_shares


def ends(job: Job, work: MicroBatchWork) -> Ends:
    """Return the last norm, the head and the loss. A reward model has one output and no logits; one whose
    value is a head beside the model's own makes them too, in F32 beside those of its type, and drops them
    before the backward (trl, AutoModelForCausalLMWithValueHead.forward, which LLaMA-Factory's rm trains).

    Under tensor parallelism a rank makes its share of the logits; where the loss does not work on shares they
    are gathered, so that every rank has all of them, and for a moment its share beside them. GRPO has
    logits of answers alone (`unread_tokens`), where the model's forward leaves out the others.
    """
    model, request, mesh = job.model, job.request, job.mesh
    b = Builder(work)
    hidden = model.hidden_size
    b.sizes["x"] = work.stream_tokens * hidden * work.residual
    (layer_norm if norms_of(model, 0).biased else rms_norm)(b, "x", hidden, "hidden")
    norm = walk(b.graph("x", "hidden"))
    if request.loss == CONTRASTIVE:
        return compared_vectors(job, work, norm)
    if request.task == "reward":
        made = work.tokens * model.vocab_size if framework(request.framework).value_model == "head" else 0
        wide = made * (work.compute % F32 + F32)
        return Ends(norm.saved_bytes, max(norm.forward_peak, norm.saved_bytes + wide), norm.backward_peak, 0)
    vocab = -(-model.vocab_size // mesh.tp) if vocab_parallel(request) else model.vocab_size
    kind = kind_of_loss(request, vocab < model.vocab_size)
    trained_head = work.trained or request.trained_ends
    room = room_beside_weights(job, work) if kind.room_share else 0
    tokens = work.tokens - (prompts := unread_tokens(job, work))
    shape = LossShape(tokens, hidden, vocab, work.compute, trained_head, job.recipe.compute, work.batch, room)
    loss = walk(loss_graph(kind, shape))
    inside = norm.saved_bytes
    if request.method != "full" and adapter(request.adapter).where == "embedding" and model.tied:
        # the head reads a copy of the table with the trained rows in it
        inside += model.vocab_size * hidden * work.compute
    gathers = vocab * mesh.tp > model.vocab_size + mesh.tp
    share = tokens * model.vocab_size * work.compute // mesh.tp if gathers else 0
    # logits of prompts are made with the others, and a gradient of zeros as wide
    made = model.family in framework(request.framework).habits(request.framework_version).whole_logits
    whole = prompts * vocab * work.compute * made
    found = Ends(
        inside + loss.saved_bytes,
        max(norm.forward_peak, inside + loss.forward_peak + share + whole),
        max(norm.backward_peak, inside + loss.backward_peak + whole),
        tokens * vocab,
    )
    return behind_depths(found, request.mtp_layers, b.sizes["x"])


def unread_tokens(job: Job, work: MicroBatchWork) -> int:
    """Return the tokens of prompts, whose logits GRPO's loss does not read where they have a length and the
    trainer knows logits_to_keep."""
    request, prompt = job.request, job.request.query_len or 1
    alone = request.task == "grpo" and framework(request.framework).answers_alone
    return work.batch * (prompt - 1) if alone and job.mesh.cp == 1 and prompt < work.seq else 0


def behind_depths(found: Ends, depths: int, stream: int) -> Ends:
    """Return the ends beside those of the MTP depths, whose losses come first and wait for the backward; each
    keeps its two inputs side by side (mtp eh_proj).

    >>> behind_depths(Ends(4, 10, 6, 2), 1, 3)
    Ends(saved=14, forward_peak=20, backward_peak=16, logits=2)
    """
    kept = depths * (found.saved + 2 * stream)
    return Ends(kept + found.saved, kept + found.forward_peak, kept + found.backward_peak, found.logits)


def room_beside_weights(job: Job, work: MicroBatchWork) -> int:
    """Return what a card leaves when the first loss runs: no moments are there yet, but inputs of layers that
    do not wait on the host are."""
    model, request = job.model, job.request
    num_layers = len(model.layers)
    last = stages(num_layers, job.mesh)[-1]
    held = sum(
        weight_bytes_of(each, each.total, request, job.recipe)
        for each in portions(model, job.mesh, last, request)
    )
    if not waits_on_host(request):
        held += num_layers * work.stream_tokens * model.hidden_size * work.residual
    return max(1, job.capacity_bytes - held)


def compared_vectors(job: Job, work: MicroBatchWork, norm: Walk) -> Ends:
    """Return the ends of a contrastive loss: the mean of each sequence, whose mask is as wide as what it
    reads, and scores of queries and passages in F32 (sentence_transformers: Pooling,
    MultipleNegativesRankingLoss and its cached form). BERT has no norm behind its layers; its pooler's output
    is not read, and holds what they give."""
    model, request = job.model, job.request
    hidden, (rows, docs) = model.hidden_size, request.compared
    b, wide = Builder(work), work.tokens * hidden * work.residual
    b.sizes.update({"hidden": wide, "mask": wide})
    b.op(
        "mean",
        ("hidden", "mask"),
        {"vectors": F32 * work.batch * hidden},
        ("mask",),
        forward_temp=wide,
        backward_temp=wide,
    )
    b.op("normalise", ("vectors",), {"unit": b.sizes["vectors"]}, ("vectors",))
    b.op("scores", ("unit",), {"scores": F32 * rows * docs}, ("unit",), product=True)
    b.op("scale", ("scores",), {"scaled": F32 * rows * docs})
    b.op("logsumexp", ("scaled",), {"loss": F32 * rows}, ("scaled",))
    b.constants.add("mask")
    found = walk(b.graph("hidden", "loss"))
    inside = 0 if norms_of(model, 0).of_sums else norm.saved_bytes
    inside += wide if any(each.name.startswith("pooler") for each in model.tensors) else 0
    inside += F32 * request.cached_vectors * hidden
    return Ends(
        inside + found.saved_bytes,
        max(norm.forward_peak, inside + found.forward_peak),
        max(norm.backward_peak, inside + found.backward_peak),
        rows * docs,
    )


def kind_of_loss(request: TrainingResolved, on_shares: bool) -> Loss:
    """Return how the loss is made; `on_shares`: from a rank's share of the vocabulary.

    A trainer that compares log-probabilities asks for logits, whatever its loss of labels, unless that gives
    them token by token.
    """
    kind = loss_kind(request.loss or "plain", request.framework)
    name = request.loss or ""
    chunks = name.startswith(CHUNKED) and kind.kind != "tiled"
    of_labels = (kind.kind in OF_LABELS and not name.startswith(SAMPLED)) or chunks
    of, habits = request.framework, framework(request.framework).habits(request.framework_version)
    if request.task in COMPARING and of_labels:
        kind = loss_kind(habits.log_probs or "log-probs", of)
    if request.task in SAMPLING and of_labels and has_loss(SAMPLED, of):
        kind = loss_kind(habits.sampled or SAMPLED, of)
    if framework(of).selects_log_probs and kind.kind in SELECTED and "zero" in request.sharding:
        named, frozen = kind.named_bytes // 2, kind.frozen_bytes // 2
        kind = kind._replace(upcast="none", named_bytes=named, frozen_bytes=frozen)
    return loss_kind("loss-parallel") if kind.kind == "logits" and on_shares else kind
