"""A training step on one rank: what is alive at the worst moment of forward, backward and optimizer. The peak
is the largest of them."""

from ...model.model import EMBEDDING as EMBEDDING_NAME
from ...model.model import HEAD as HEAD_NAME
from ...run.releases import reentrant
from ...run.training import Mesh, Optimizer, Recipe, TrainingResolved
from .activations import Ends, Segment
from .gathered import gathered
from .phases import EMBEDDING, HEAD, LayerStates, Part, Phase, layer_states
from .pipeline import in_flight, kept_outputs, pipeline_buffers
from .rank_portions import Portion, Stage
from .states import States, adapter_bytes


def resident_gradients(request: TrainingResolved, mesh: Mesh) -> bool:
    """Whether gradients have memory of their own through the whole step: buckets, Megatron's buffers, or
    micro-batches that add up."""
    return held_always(request) or request.grad_accum > 1 or mesh.pp > 1


def held_always(request: TrainingResolved) -> bool:
    """Whether gradients lie in buffers that live from the first step on."""
    return request.sharding in ("ddp", "distopt", "megatron_fsdp")


def inputs_wait(request: TrainingResolved) -> bool:
    """Whether the inputs of layers, and their gradients, outlive the layers' backward.

    FSDP1 reshards a unit without trained weights when the gradients of its inputs are there, by a hook that
    it removes when the whole backward is over (torch/distributed/fsdp/_runtime_utils.py,
    _register_post_backward_reshard_only_hook). Under a reentrant checkpoint these inputs are leaves, and the
    hook holds them: two hidden states a layer where one is kept (a CPU run of six layers: 1, 2, ... 6).
    """
    return request.sharding == "fsdp1" and request.method != "full" and reentrant(request)


def step(
    stage: Stage,
    pieces: tuple[Segment, ...],
    last: Ends | None,
    portions: list[Portion],
    held: States,
    mesh: Mesh,
    request: TrainingResolved,
    form: Recipe,
    rule: Optimizer,
    boundary: int,
) -> tuple[Phase, ...]:
    """The phases of a step on one rank, with what each adds to weights and optimizer states.

    forward: gradients that have memory of their own, what segments below keep, and the running one. backward:
    what is kept below, the running segment, gradients of those above. optimizer: all gradients, and the
    temporaries of its step: foreach as much as its moments' type of every value, loop of the largest tensor
    twice, fused nothing.
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

    grads = Part("gradients.trained", "gradients", all_gradients, "memory of their own") if resident else None
    if mesh.pp > 1 and chunks == request.grad_accum * mesh.virtual_stages and not held_always(request):
        # all micro-batches fly when the first backward makes the gradients: at the second one a micro-batch
        # is gone
        late = max(0, all_gradients - kept // mesh.virtual_stages)
        grads = Part(
            "gradients.trained", "gradients", late, "all of them, when one micro-batch less is in flight"
        )
    waiting = Part(
        "activations.in_flight",
        "micro-batches in flight",
        others,
        f"{chunks} chunks of {mesh.virtual_stages} a micro-batch",
    )
    pipes = pipeline_buffers(mesh, stage, request, boundary, chunks)
    inputs = Part(
        "inputs.batch",
        "token ids, labels, mask",
        3 * 8 * request.micro_batch * request.seq_len // mesh.cp,
        "3 x 8 B a token",
    )

    # forward: the segment at which most is alive
    below, most, at = 0, 0, pieces[0]
    for piece in pieces:
        alive = (0 if offloaded else below) + piece.forward_peak
        if alive > most:
            most, at = alive, piece
        below += piece.saved
    window = 2 * max(piece.saved for piece in pieces) if offloaded else kept
    flying, at_loss = _casts_in_forward(request, per_layer, casts)
    cast = Part(
        "temporaries.autocast",
        "autocast copies of weights",
        flying,
        f"{flying // form.compute:,} values x {form.compute} B",
    )
    stacks = max(each.stacks for each in per_layer.values())
    unpacked = Part(
        "temporaries.unpacked_experts",
        "a layer's experts, unpacked",
        stacks,
        f"{stacks // form.compute:,} values x {form.compute} B",
    )
    forward_parts = parts(
        grads,
        unpacked,
        Part(
            "activations.running",
            "kept and running layers",
            most,
            f"layers {_span(at.layers)} run, {at.what}",
        ),
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
                    Part("activations.kept", "kept by layers", base, _kept(pieces)),
                    waiting,
                    Part("logits.loss", "logits and loss", last.forward_peak, f"{last.logits:,} logits"),
                    cast._replace(bytes=at_loss),
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
                    Part("activations.kept", "kept by layers", base, _kept(pieces)),
                    waiting,
                    Part(
                        "logits.loss",
                        "logits and loss",
                        last.backward_peak
                        + (many - 1) * last.saved
                        + kept_outputs(mesh, stage, request, last, form.compute, many),
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
    below, top, over = kept, pieces[-1], 0
    for piece in reversed(pieces):
        below -= piece.saved
        own = sum(per_layer[layer].gradients for layer in piece.layers if layer in per_layer)
        largest = max((per_layer[layer].largest for layer in piece.layers if layer in per_layer), default=0)
        cast_here = sum(per_layer[layer].casts for layer in piece.layers if layer in per_layer)
        if request.optimizer_in_backward:
            grad_bytes = max(own, largest)
        else:
            grad_bytes = (
                0 if resident else above if whole.scattered else above + own
            )  # sharded gradients follow the whole ones
            above += own
        extra = largest if adds_up else 0
        copies = max(casts_left, cast_here)
        held_below = (min(below, window) if offloaded else below) + over
        over += 2 * piece.saved if inputs_wait(request) else 0
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
                grads
                or Part(
                    "gradients.trained", "gradients so far", grad_bytes, f"layers from {piece.layers[0]} on"
                ),
                Part(
                    "activations.kept",
                    "kept by other layers" if over else "kept by layers below",
                    held_below,
                    beside_of(piece, over > 0),
                ),
                Part(
                    "activations.running",
                    "running layer",
                    piece.backward_peak,
                    f"layers {_span(piece.layers)}, {piece.what}",
                ),
                waiting,
                Part(
                    "temporaries.gradient",
                    "a gradient before it is added",
                    extra,
                    "the largest tensor of the layer",
                ),
                unpacked,
                cast._replace(bytes=copies),
                whole.backward,
                Part("communication.reduced", "gradients that are reduced", scattered, "of the layer above"),
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
                    Part("gradients.trained", "gradients", all_gradients, "all of them"),
                    Part(
                        "temporaries.gradient",
                        "gradient of the embedding",
                        again,
                        "before it is added to the head's",
                    ),
                    Part(
                        "activations.input_gradient",
                        "gradient of the first layer's input",
                        boundary,
                        f"{boundary:,} B",
                    ),
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
                Part(
                    "gradients.trained",
                    "gradients",
                    0 if request.optimizer_in_backward else all_gradients,
                    "all of them",
                ),
                Part("temporaries.optimizer_step", f"{rule.step} step of {rule.name}", temp, formula),
                inputs,
            ),
        )
    )
    return tuple(phases)


def optimizer_temporaries(
    held: States, portions: list[Portion], request: TrainingResolved, form: Recipe, rule: Optimizer
) -> tuple[int, str]:
    """foreach: one value of the moments' type for each value here (torch.optim.adam, _multi_tensor_adam: the
    square roots); loop:

    two of the largest tensor (the square root and the quotient); fused: none. Offloaded states step on the
    host. Until torch 2.0 foreach made two copies (the square roots, and their sums with epsilon). DeepSpeed
    flattens its half-precision gradients (2), casts them to F32 (4) and keeps those that it averaged (2):
    runtime/zero/stage_1_and_2.py and stage3.py. ColossalAI casts the gradients of all its shards to the
    master copies' type at once: zero/low_level/low_level_optim.py, step.
    """
    if {"optimizer", "params"} & set(request.offload):
        return 0, "on the host"
    if form.name.startswith("deepspeed"):
        return 8 * held.trained_values, f"{held.trained_values:,} values x 8 B of flat and F32 gradients"
    if form.name == "colossalai-bf16" and request.sharding in ("zero1", "zero2"):
        return (
            form.master * held.trained_values,
            f"{held.trained_values:,} values x {form.master} B of F32 gradients",
        )
    if rule.step == "fused":
        return 0, "fused"
    size = adapter_bytes(request) if request.method != "full" else form.moment
    if rule.step in ("foreach", "foreach-2.0") and rule.moments == 2:
        size *= 2 if rule.step == "foreach-2.0" else 1
        return held.trained_values * size, f"{held.trained_values:,} values x {size} B"
    wide = 4 if rule.moment_bits or rule.factored else size
    return 2 * held.largest_trained * wide, f"2 x {held.largest_trained:,} values x {wide} B"


def beside_of(piece: Segment, waits: bool) -> str:
    """What else is kept while a segment's backward runs."""
    return f"layers below {piece.layers[0]}" + (
        "; inputs and their gradients of those above, which FSDP1 holds" if waits else ""
    )


def request_ties(portions: list[Portion]) -> bool:
    """Whether one tensor is both embedding and head: two gradients then meet."""
    names = {portion.name for portion in portions if not portion.layers}
    return EMBEDDING_NAME in names and HEAD_NAME not in names


def _cast_kept(request: TrainingResolved, per_layer: dict[int, LayerStates], casts: int) -> int:
    """Copies of weights that outlive the forward: autograd keeps those of layers that are not computed
    again."""
    if request.recompute == "full":
        return per_layer[HEAD].casts if HEAD in per_layer else 0
    return casts


def _casts_in_forward(
    request: TrainingResolved, per_layer: dict[int, LayerStates], casts: int
) -> tuple[int, int]:
    """Most copies of weights alive (in a layer, in the loss) of the forward: the region of autocast caches
    those of trained weights alone.

    Source: ATen/autocast_mode.cpp, cached_cast (a leaf that requires a gradient). Frozen ones go with the
    layer that is computed again.
    """
    kept = _cast_kept(request, per_layer, casts)
    if request.method == "full":
        return casts, casts
    return max(kept, *(each.casts for each in per_layer.values())), kept


def _span(layers: tuple[int, ...]) -> str:
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"


def _kept(pieces: tuple[Segment, ...]) -> str:
    sizes: dict[int, int] = {}
    for piece in pieces:
        sizes[piece.saved] = sizes.get(piece.saved, 0) + 1
    return " + ".join(f"{count} x {size:,} B" for size, count in sizes.items())
