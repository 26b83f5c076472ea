"""A training step on one rank: what is alive at the fullest moments of forward, backward and optimizer, whose
own temporaries stand here. The peak is the largest of them."""

from ...frameworks.graphs.blocks import MicroBatchWork
from ...frameworks.megatron.models import copies_moments
from .activations import segments
from .backward_moments import backward_in_embedding, backward_in_layers, backward_in_loss, backward_in_tower
from .gathered import gathered
from .head_and_loss import ends
from .job import Job
from .phases import PhasePart, StepPhase, layer_states
from .rank_portions import PipelineStage, Portion
from .stage_step import StageStep, parts, span
from .state_bytes import adapter_bytes
from .states import RankStates, degrees, local_values, sharding_ranks
from .tower import SeenImages, tower_of


def stage_step(
    job: Job, work: MicroBatchWork, stage: PipelineStage, portions: list[Portion], held: RankStates
) -> StageStep:
    """Return the step of a stage's ranks.

    The head and the loss are the last stage's; in schedules that turn round (ZB-V, DualPipe-V) the first
    stage's ranks have them too.
    """
    has_loss = stage.last or (stage.first and job.mesh.schedule in ("zbv", "dualpipev"))
    per_layer = layer_states(portions, job)
    return StageStep(
        job,
        stage,
        segments(job, work, stage),
        ends(job, work) if has_loss else None,
        portions,
        held,
        per_layer,
        gathered(job, per_layer, stage.layers),
        work.stream_tokens * job.model.hidden_size * work.residual,
        tower_of(job.model, job.request, job.recipe.compute) if stage.first else SeenImages(),
    )


def phases(step: StageStep) -> tuple[StepPhase, ...]:
    """Return the fullest moments of a step, with what each adds to weights and optimizer states."""
    found = (
        forward_in_tower(step),
        forward_in_layers(step),
        forward_in_loss(step),
        backward_in_loss(step),
        backward_in_layers(step),
        backward_in_embedding(step),
        backward_in_tower(step),
        optimizer_in_step(step),
    )
    return tuple(phase for phase in found if phase is not None)


def forward_in_tower(step: StageStep) -> StepPhase | None:
    """Return the moment at which the tower makes tokens of images, before any layer runs; None: it never
    does."""
    running = step.tower.running_part()
    if not running.most:
        return None
    return StepPhase(
        "forward",
        "in the tower",
        parts(step.gradients(), running, step.tower.kept_part(), step.pipes(), step.inputs()),
    )


def forward_in_layers(step: StageStep) -> StepPhase:
    """Return the moment of the forward at which most is alive: what segments below keep, and the running
    one."""
    below, most, at = 0, 0, step.segments[0]
    for segment in step.segments:
        alive = (0 if step.offloads else below) + segment.forward_peak
        if alive > most:
            most, at = alive, segment
        below += segment.saved
    running = PhasePart(
        "activations.running",
        "activations of the layers, kept and running",
        most,
        f"layers {span(at.layers)} run, {at.what}",
    )
    return StepPhase(
        "forward",
        f"in layer {at.layers[0]}",
        parts(
            step.gradients(),
            step.unpacked(),
            running,
            step.waiting(),
            step.casts_in_forward(),
            step.gathered.forward,
            step.pipes(),
            step.inputs(),
            step.tower.kept_part(),
        ),
    )


def forward_in_loss(step: StageStep) -> StepPhase | None:
    """Return the moment at which the loss holds most; None on a stage without it."""
    if step.last is None:
        return None
    loss = PhasePart("logits.loss", "logits and loss", step.last.forward_peak, f"{step.last.logits:,} logits")
    return StepPhase(
        "forward",
        "in the loss",
        parts(
            step.gradients(),
            step.below(),
            step.waiting(),
            loss,
            step.casts_in_loss(),
            step.gathered.loss,
            step.pipes(),
            step.inputs(),
            step.tower.kept_part(),
        ),
    )


def optimizer_in_step(step: StageStep) -> StepPhase:
    """Return the moment of the optimizer's step."""
    temporaries, formula = step_temporaries(step, groups=2 if step.job.request.method == "full" else 1)
    rule = step.job.optimizer
    gradients = 0 if step.job.request.optimizer_in_backward else step.held.gradients
    engine = step.job.engine
    if engine is not None and engine.stage == 1 and gradients:
        gradients = min(gradients, step.held.values_here * step.job.recipe.gradient)
    return StepPhase(
        "optimizer",
        "in the step",
        parts(
            PhasePart("gradients.trained", "gradients", gradients, "all of them"),
            PhasePart(
                "temporaries.optimizer_step",
                f"temporaries of the {rule.name} step, {rule.step}",
                temporaries,
                formula,
            ),
            step.inputs(),
        ),
    )


def step_temporaries(step: StageStep, groups: int = 1) -> tuple[int, str]:
    """Return what a step makes and frees, and how it is counted. `groups` of parameters: trainers make two,
    of what decays and what does not (transformers/trainer.py, create_optimizer, whatever the decay is).

    foreach: one value of the moments' type for each value here (torch.optim.adam, _multi_tensor_adam: the
    square roots); loop: two of the largest tensor (the square root and the quotient), in place: one; fused:
    none. Offloaded states step on the host. Until torch 2.0 foreach made two copies (the square roots, and
    their sums with epsilon), and left FSDP1's flat parameters to the loop: their type is none of those that
    it knows (torch/optim/optimizer.py of 2.0.1, _default_to_fused_or_foreach). DeepSpeed's engine makes what
    frameworks/deepspeed/zero_engine.py says, and the optimizer its own temporaries of what is updated at
    once. ColossalAI casts the gradients of all its shards to the master copies' type at once:
    zero/low_level/low_level_optim.py, step.
    """
    held, request = step.held, step.job.request
    form, rule = step.job.recipe, step.job.optimizer
    engine, values = step.job.engine, held.values_here
    if "optimizer.master_copies" in step.job.on_host:
        if engine is None or not engine.offload_steps_on_card or engine.stage not in (1, 2):
            return 0, "on the host"
        return 4 * values, f"{values:,} values x 4 B, cast on the card in these releases"
    if engine is not None:
        values = engine.updated_at_once(values, -(-held.largest_trained // (step.job.mesh.dp or 1)))
        made = step.job.made_in_step
        most = engine.step_bytes(values, form.gradient, made, groups)
        copies = f"flat and F32 gradients, and {made} B a value of the optimizer when flat ones are gone"
        return most, f"{values:,} values at once, at most {most:,} B: {copies}"
    if form.step == "cast" and request.sharding in ("zero1", "zero2"):
        return (
            form.master * values,
            f"{values:,} values x {form.master} B of F32 gradients",
        )
    if rule.step == "fused":
        return narrow_copies(step)
    size = adapter_bytes(request) if request.method != "full" else form.moment
    flat = rule.step == "foreach-2.0" and request.sharding == "fsdp1"
    if rule.step in ("foreach", "foreach-2.0") and rule.moments == 2 and not flat:
        lists = 2 if rule.step == "foreach-2.0" else 1
        return lists * held.one_moment, f"{lists} x {held.one_moment:,} B of a moment of {values:,} values"
    wide = 4 if rule.moment_bits or rule.factored else size
    made_at_once = 1 if rule.step == "in-place" else 2
    return (
        made_at_once * held.largest_trained * wide,
        f"{made_at_once} x {held.largest_trained:,} values x {wide} B",
    )


def narrow_copies(step: StageStep) -> tuple[int, str]:
    """Return the F32 copies that a fused step makes of bfloat16 moments, as Transformer Engine's did in
    earlier releases: of one group of parameters at a time, experts or all else."""
    job, request = step.job, step.job.request
    if not copies_moments(request):
        return 0, "fused"
    groups = {"dense": 0, "expert": 0}
    for portion in step.portions:
        if portion.trained and not portion.adapter:
            ranks = sharding_ranks(job.mesh, portion.group, request.framework)
            cut = degrees(request.sharding, ranks)
            groups[portion.group] += local_values(portion, cut.optimizer, cut.padded)
    values = max(groups.values())
    return 8 * values, f"{values:,} values of a group x 2 F32 copies of moments"
