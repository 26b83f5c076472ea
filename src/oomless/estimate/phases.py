"""A training step as phases: what is alive at the worst moment of forward, backward and optimizer. The peak is the largest of them."""

from typing import NamedTuple

from ..ledger import Category
from ..model.model import EMBEDDING as EMBEDDING_NAME
from ..model.model import HEAD as HEAD_NAME
from ..run.training import Mesh, Optimizer, Recipe, Training
from .activations import Ends, Segment
from .shares import Portion, Stage
from .states import States, adapter_bytes, degrees, local_values, packed, packed_bytes, sharding_ranks


class Part(NamedTuple):
    """Bytes of one thing at one moment."""

    category: Category
    what: str
    bytes: int
    formula: str


class Phase(NamedTuple):
    """The worst moment of a phase. Its parts are what is there beside the states that live through the whole step."""

    name: str
    moment: str
    parts: tuple[Part, ...]

    @property
    def total_bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


class LayerStates(NamedTuple):
    """Bytes of one layer that come and go during a step."""

    gradients: int
    """Gradients as they stay until the optimizer has read them."""
    largest: int
    """The largest gradient of a tensor in the type of the computation."""
    unit: int
    """The layer's weights gathered from all ranks: in the type of the computation, packed ones as they are stored."""
    casts: int
    """Copies that autocast makes of its matrices."""
    unit_values: int


def layer_states(portions: list[Portion], mesh: Mesh, request: Training, form: Recipe) -> dict[int, LayerStates]:
    """Per layer; HEAD is what the last stage has outside of the layers, EMBEDDING what the first one has."""
    sharding = request.sharding or "none"
    sums: dict[int, list[int]] = {}
    for portion in portions:
        over = degrees(sharding, sharding_ranks(mesh, portion.group))
        size = adapter_bytes(request) if portion.adapter else form.gradient
        layers = portion.layers or ((EMBEDDING if portion.lookup else HEAD),)
        held = local_values(portion, over.gradients, over.padded) if portion.trained else 0
        each = held * size // len(layers)
        values = portion.values * portion.per_layer
        width = adapter_bytes(request) if portion.adapter else form.compute
        stack = values if portion.stacked else portion.values
        largest = stack * (adapter_bytes(request) if portion.adapter else form.compute) if portion.trained else 0
        for layer in layers:
            row = sums.setdefault(layer, [0, 0, 0, 0, 0])
            row[0] += each
            row[1] = max(row[1], largest)
            row[2] += packed_bytes(values, request.quantization or "nf4-dq") if packed(portion, request) else values * width
            row[3] += values * form.compute if portion.product and form.autocast and not portion.adapter else 0
            row[4] += values if portion.trained else 0
    return {layer: LayerStates(*row) for layer, row in sums.items()}


HEAD, EMBEDDING = -1, -2


def in_flight(mesh: Mesh, stage: Stage, micro_batches: int) -> int:
    """Chunks of layers whose activations a rank holds at once, a micro-batch being as many as it has chunks.

    GPipe: all micro-batches. 1F1B and ZB1P: min(m, p - r). Interleaved: 2 (p - r - 1) + (v - 1) p + 1 chunks. ZB-V and DualPipe-V:
    as much as 1F1B's first stage on every rank. DualPipe: p + 1 micro-batches. Sources: arXiv 2104.04473, 2401.10241, deepseek-ai/DualPipe.

    >>> [in_flight(Mesh(pp=4), Stage(r, ((0,),), r == 0, r == 3), 8) for r in range(4)]
    [4, 3, 2, 1]
    >>> in_flight(Mesh(pp=4, virtual_stages=2, schedule="interleaved"), Stage(3, ((0,), (1,)), False, True), 8)
    5
    """
    p, r, v, m = mesh.pp, stage.rank, mesh.virtual_stages, max(1, micro_batches)
    match mesh.schedule:
        case "gpipe":
            return m * v
        case "zbv" | "dualpipev":
            return min(m * v, p * v)
        case "dualpipe":
            return min(m, p + 1) * v
        case _ if v > 1:
            return min(m * v, 2 * (p - r - 1) + (v - 1) * p + 1)
        case _:
            return min(m, p - r)


class Gathered(NamedTuple):
    """What fully sharded ranks have whole for a while, at the three kinds of moments."""

    forward: Part | None
    loss: Part | None
    backward: Part | None
    """In a layer: its whole gradients too."""
    embedding: Part | None
    scattered: int = 0
    """Bytes of the layer above that are reduced and scattered meanwhile."""


def gathered(request: Training, units: dict[int, LayerStates], layers: tuple[int, ...], form: Recipe, mesh: Mesh) -> Gathered:
    """What fully sharded ranks gather: in the forward the running unit, the next one on its way, and the root's unit, which stays;

    in the loss the root's and one layer's, as there is no next one (FSDP: seen with two ranks, to 0.1 %); in the backward a layer's
    whole gradients too, in the type of the computation, the buffer in which those of the layer above are reduced, and under FSDP the
    head's whole gradient, which waits for the rest of the root's unit; at the end this unit's gradients and their buffer.
    torchtitan of 2024 keeps the last layer whole from forward to backward; since 2025 embedding and head are units of their own, so
    that it has less than this.
    Under a pipeline FSDP2 neither gives up gathered weights between micro-batches nor scatters gradients before the last one, and
    adds them up in F32 (torchtitan: reshard_after_forward off, reduce in F32; torch FSDPParam.unsharded_accumulated_grad).
    """
    sharding = request.sharding or "none"
    if sharding not in ("zero3", "fsdp1", "fsdp2", "hsdp", "megatron_fsdp"):
        return Gathered(None, None, None, None)
    largest = max((units[layer].unit for layer in layers if layer in units), default=0)
    values = max((units[layer].unit_values for layer in layers if layer in units), default=0)
    root = sum(units[end].unit for end in (HEAD, EMBEDDING) if end in units)
    if mesh.pp > 1 and sharding in ("fsdp2", "hsdp"):
        whole, trained = sum(each.unit for each in units.values()), sum(each.unit_values for each in units.values())
        text = f"{whole:,} B of the stage's weights"
        weights = Part("communication", "gathered weights", whole, text)
        both = Part(
            "communication", "gathered weights and whole gradients", whole + 4 * trained, f"{text} + {trained:,} values x 4 B"
        )
        return Gathered(weights, both, both, both)
    forward = 2 * largest + root
    text = f"2 x {largest:,} B of the largest layer + {root:,} B outside of the layers"
    reduced = values * form.compute + values * form.gradient
    weights = Part("communication", "gathered weights", forward, text)
    shown = f"{text} + {values:,} values x ({form.compute} + {form.gradient}) B of gradients"
    if sharding == "zero3" or sharding == "megatron_fsdp":
        both = Part("communication", "gathered weights and whole gradients", forward + reduced, shown)
        return Gathered(weights, both, both, both)
    head = units[HEAD].unit_values * form.compute if HEAD in units else 0
    rest = sum(units[end].unit_values for end in (HEAD, EMBEDDING) if end in units)
    units_in_loss = 2 if request.framework == "torchtitan" else 1
    shown = f"{text} + {values:,} values x {form.compute} B of its gradients" + (
        f" + {head:,} B of the head's gradient" if head else ""
    )
    last = f"{root:,} B + {rest:,} values x ({form.compute} + {form.gradient}) B of gradients"
    return Gathered(
        weights,
        weights._replace(
            bytes=units_in_loss * largest + root, formula=f"{units_in_loss} x {largest:,} B of a layer + {root:,} B outside"
        ),
        Part("communication", "gathered weights and whole gradients", forward + values * form.compute + head, shown),
        Part("communication", "gathered weights and whole gradients", root + rest * (form.compute + form.gradient), last),
        values * form.gradient,
    )


TORCH_PIPELINES = ("fsdp", "torchtitan", "transformers", "automodel")
"""Frameworks whose pipelines are torch.distributed.pipelining's."""


def pipeline_buffers(mesh: Mesh, stage: Stage, request: Training, boundary: int, chunks: int) -> Part:
    """What passes between stages. `boundary`: bytes of one micro-batch's hidden states; `chunks`: those in flight, of v a micro-batch.

    torch.distributed.pipelining makes buffers for every micro-batch and chunk before the first step: of inputs where there is a
    stage before, of gradients where there is one behind. Inputs in flight are then these buffers and not what a layer keeps beside
    them; outputs in flight stay until their backward; one gradient is on its way. Schedules with several chunks wait for what they
    sent at the end of the flush alone (_PipelineScheduleRuntime), so outputs and gradients that were sent stay too. Seen with four
    ranks and three schedules: between steps to the byte. Others: an input and an output of what is in flight.
    """
    if mesh.pp == 1:
        return Part("communication", "pipeline inputs and outputs", 0, "")
    v, m, p = mesh.virtual_stages, max(1, request.grad_accum), mesh.pp
    if request.framework not in TORCH_PIPELINES:
        return Part("communication", "pipeline inputs and outputs", 2 * boundary * chunks // v, f"2 x {boundary:,} B each")
    with_input, with_output = v - stage.first, v - stage.last
    received = m * (with_input + with_output)
    outputs, sent = chunks * with_output // v, 1
    if v > 1:
        done = m * v - chunks
        rounds, rest = divmod(done, p * v)
        outputs, sent = m * with_output, rounds * p * with_input + min(rest, p * with_input)
    beside = outputs - min(m * with_input, chunks * with_input // v)
    total = max(0, received + beside + sent) * boundary
    text = f"({received} received + {beside} outputs less inputs in flight + {sent} gradients sent) x {boundary:,} B"
    return Part("communication", "pipeline inputs and outputs", total, text)


def kept_outputs(mesh: Mesh, stage: Stage, request: Training, last: Ends, size: int, micro_batches: int) -> int:
    """Logits that a pipeline holds until their backward, beside what the loss keeps: those of every micro-batch in flight.

    Source: torch.distributed.pipelining stage.py, fwd_cache.
    """
    if mesh.pp == 1 or request.framework not in TORCH_PIPELINES or not stage.last:
        return 0
    return micro_batches * last.logits * size


def resident_gradients(request: Training, mesh: Mesh) -> bool:
    """Whether gradients have memory of their own through the whole step: buckets, Megatron's buffers, or micro-batches that add up."""
    return held_always(request) or request.grad_accum > 1 or mesh.pp > 1


def held_always(request: Training) -> bool:
    """Whether gradients lie in buffers that live from the first step on."""
    return request.sharding in ("ddp", "distopt", "megatron_fsdp")


def step(
    stage: Stage,
    pieces: tuple[Segment, ...],
    last: Ends | None,
    portions: list[Portion],
    held: States,
    mesh: Mesh,
    request: Training,
    form: Recipe,
    rule: Optimizer,
    boundary: int,
) -> tuple[Phase, ...]:
    """The phases of a step on one rank, with what each adds to weights and optimizer states.

    forward: gradients that have memory of their own, what segments below keep, and the running one.
    backward: what is kept below, the running segment, gradients of those above.
    optimizer: all gradients, and the temporaries of its step: foreach as much as its moments' type of every value, loop of the
    largest tensor twice, fused nothing.
    """
    per_layer = layer_states(portions, mesh, request, form)
    none = LayerStates(0, 0, 0, 0, 0)
    head, embedding = per_layer.get(HEAD, none), per_layer.get(EMBEDDING, none)
    resident = resident_gradients(request, mesh)
    adds_up = request.grad_accum > 1 or mesh.pp > 1 or request.sharding == "ddp"
    all_gradients = held.gradients
    offloaded = "activations" in request.offload
    kept = sum(piece.saved for piece in pieces)
    chunks = in_flight(mesh, stage, request.grad_accum) if mesh.pp > 1 else mesh.virtual_stages
    flying = kept * chunks // mesh.virtual_stages
    others = max(0, flying - kept)
    if offloaded:
        others = 0
    casts = sum(each.casts for each in per_layer.values())
    whole = gathered(request, per_layer, stage.layers, form, mesh)
    phases = []

    def parts(*found: Part | None) -> tuple[Part, ...]:
        return tuple(part for part in found if part is not None and part.bytes)

    grads = Part("gradients", "gradients", all_gradients, "memory of their own") if resident else None
    if mesh.pp > 1 and chunks == request.grad_accum * mesh.virtual_stages and not held_always(request):
        # all micro-batches fly when the first backward makes the gradients: at the second one a micro-batch is gone
        late = max(0, all_gradients - kept // mesh.virtual_stages)
        grads = Part("gradients", "gradients", late, "all of them, when one micro-batch less is in flight")
    waiting = Part("activations", "micro-batches in flight", others, f"{chunks} chunks of {mesh.virtual_stages} a micro-batch")
    pipes = pipeline_buffers(mesh, stage, request, boundary, chunks)
    inputs = Part(
        "inputs", "token ids, labels, mask", 3 * 8 * request.micro_batch * (request.seq_len or 1) // mesh.cp, "3 x 8 B a token"
    )

    # forward: the segment at which most is alive
    below, most, at = 0, 0, pieces[0]
    for piece in pieces:
        alive = (0 if offloaded else below) + piece.forward_peak
        if alive > most:
            most, at = alive, piece
        below += piece.saved
    window = 2 * max(piece.saved for piece in pieces) if offloaded else kept
    cast = Part("temporaries", "autocast copies of weights", casts, f"{casts // form.compute:,} values x {form.compute} B")
    forward_parts = parts(
        grads,
        Part("activations", "kept and running layers", most, f"layers {_span(at.layers)} run, {at.what}"),
        waiting,
        cast,
        whole.forward,
        pipes,
        inputs,
    )
    phases.append(Phase("forward", f"in layer {at.layers[0]}", forward_parts))
    base = min(window, kept) if offloaded else kept
    if last is not None:
        phases.append(
            Phase(
                "forward",
                "in the loss",
                parts(
                    grads,
                    Part("activations", "kept by layers", base, _kept(pieces)),
                    waiting,
                    Part("logits", "logits and loss", last.forward_peak, f"{last.logits:,} logits"),
                    cast,
                    whole.loss,
                    pipes,
                    inputs,
                ),
            )
        )
        many = in_flight(mesh, stage, request.grad_accum) if mesh.schedule == "gpipe" and mesh.pp > 1 else 1
        phases.append(
            Phase(
                "backward",
                "in the loss",
                parts(
                    grads,
                    Part("activations", "kept by layers", base, _kept(pieces)),
                    waiting,
                    Part(
                        "logits",
                        "logits and loss",
                        last.backward_peak + (many - 1) * last.saved + kept_outputs(mesh, stage, request, last, form.compute, many),
                        f"{last.logits:,} logits" + (f", {many} micro-batches" if many > 1 else ""),
                    ),
                    cast._replace(bytes=_cast_kept(request, per_layer, casts)),
                    whole.loss,
                    pipes,
                    inputs,
                ),
            )
        )
    # backward: from the last segment to the first
    above = head.gradients if stage.last else 0
    casts_left = _cast_kept(request, per_layer, casts)
    best: tuple[int, Segment, int, int, int, int, int] | None = None
    below, top = kept, pieces[-1]
    for piece in reversed(pieces):
        below -= piece.saved
        own = sum(per_layer[layer].gradients for layer in piece.layers if layer in per_layer)
        largest = max((per_layer[layer].largest for layer in piece.layers if layer in per_layer), default=0)
        cast_here = sum(per_layer[layer].casts for layer in piece.layers if layer in per_layer)
        if request.optimizer_in_backward:
            grad_bytes = max(own, largest)
        else:
            grad_bytes = 0 if resident else above if whole.scattered else above + own  # sharded gradients follow the whole ones
            above += own
        extra = largest if adds_up else 0
        copies = max(casts_left, cast_here)
        held_below = min(below, window) if offloaded else below
        scattered = 0 if piece is top else whole.scattered
        alive = held_below + piece.backward_peak + grad_bytes + extra + copies + scattered
        if best is None or alive > best[0]:
            best = (alive, piece, held_below, grad_bytes, extra, copies, scattered)
        casts_left = max(0, casts_left - cast_here)
    assert best is not None
    _, piece, held_below, grad_bytes, extra, copies, scattered = best
    phases.append(
        Phase(
            "backward",
            f"in layer {piece.layers[-1]}",
            parts(
                grads or Part("gradients", "gradients so far", grad_bytes, f"layers from {piece.layers[0]} on"),
                Part("activations", "kept by layers below", held_below, f"layers below {piece.layers[0]}"),
                Part("activations", "running layer", piece.backward_peak, f"layers {_span(piece.layers)}, {piece.what}"),
                waiting,
                Part("temporaries", "a gradient before it is added", extra, "the largest tensor of the layer"),
                cast._replace(bytes=copies),
                whole.backward,
                Part("communication", "gradients that are reduced", scattered, "of the layer above"),
                pipes,
                inputs,
            ),
        )
    )
    if stage.first and embedding.gradients and not request.optimizer_in_backward:
        again = embedding.largest if adds_up or request_ties(portions) else 0
        phases.append(
            Phase(
                "backward",
                "in the embedding",
                parts(
                    Part("gradients", "gradients", all_gradients, "all of them"),
                    Part("temporaries", "gradient of the embedding", again, "before it is added to the head's"),
                    Part("activations", "gradient of the first layer's input", boundary, f"{boundary:,} B"),
                    whole.embedding,
                    inputs,
                ),
            )
        )
    temp, formula = optimizer_temporaries(held, portions, request, form, rule)
    phases.append(
        Phase(
            "optimizer",
            "in the step",
            parts(
                Part("gradients", "gradients", 0 if request.optimizer_in_backward else all_gradients, "all of them"),
                Part("temporaries", f"{rule.step} step of {rule.name}", temp, formula),
                inputs,
            ),
        )
    )
    return tuple(phases)


def optimizer_temporaries(held: States, portions: list[Portion], request: Training, form: Recipe, rule: Optimizer) -> tuple[int, str]:
    """foreach: one value of the moments' type for each value here (torch.optim.adam, _multi_tensor_adam: the square roots); loop:

    two of the largest tensor (the square root and the quotient); fused: none. Offloaded states step on the host. Until torch 2.0
    foreach made two copies (the square roots, and their sums with epsilon). DeepSpeed flattens its half-precision gradients (2),
    casts them to F32 (4) and keeps those that it averaged (2): runtime/zero/stage_1_and_2.py and stage3.py.
    """
    if {"optimizer", "params"} & set(request.offload):
        return 0, "on the host"
    if form.name.startswith("deepspeed"):
        return 8 * held.trained_values, f"{held.trained_values:,} values x 8 B of flat and F32 gradients"
    if rule.step == "fused":
        return 0, "fused"
    size = adapter_bytes(request) if request.method != "full" else form.moment
    if rule.step in ("foreach", "foreach-2.0") and rule.moments == 2:
        size *= 2 if rule.step == "foreach-2.0" else 1
        return held.trained_values * size, f"{held.trained_values:,} values x {size} B"
    wide = 4 if rule.moment_bits or rule.factored else size
    return 2 * held.largest_trained * wide, f"2 x {held.largest_trained:,} values x {wide} B"


def request_ties(portions: list[Portion]) -> bool:
    """Whether one tensor is both embedding and head: two gradients then meet."""
    names = {portion.name for portion in portions if not portion.layers}
    return EMBEDDING_NAME in names and HEAD_NAME not in names


def _cast_kept(request: Training, per_layer: dict[int, LayerStates], casts: int) -> int:
    """Copies of weights that outlive the forward: autograd keeps those of layers that are not computed again."""
    if request.recompute == "full":
        return per_layer[HEAD].casts if HEAD in per_layer else 0
    return casts


def _span(layers: tuple[int, ...]) -> str:
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"


def _kept(pieces: tuple[Segment, ...]) -> str:
    sizes: dict[int, int] = {}
    for piece in pieces:
        sizes[piece.saved] = sizes.get(piece.saved, 0) + 1
    return " + ".join(f"{count} x {size:,} B" for size, count in sizes.items())
