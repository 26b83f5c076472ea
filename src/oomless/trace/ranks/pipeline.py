"""A pipeline stage of a model of transformers, run by torch's own schedules."""

from typing import Any

from ...errors import UnsupportedError, need
from ...run.training import Mesh, TrainingResolved
from ..recorder import Recorder
from ..step import NUM_STEPS, own_gradients, own_states
from .parallel import decoder, keep_stage


def stage_module(model: Any, mesh: Mesh, stage: int) -> Any:
    """A module that takes what the stage before passes on: token ids or hidden states, and returns hidden
    states or logits."""
    torch = need("torch", "trace")
    keep_stage(model, mesh, stage)
    base, _ = decoder(model)

    class StageModule(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, values: Any) -> Any:
            given = {"input_ids": values} if stage == 0 else {"inputs_embeds": values}
            hidden = base(**given, use_cache=False).last_hidden_state
            return model.lm_head(hidden) if stage == mesh.pp - 1 else hidden

    return StageModule()


def passed_on(
    width: int, vocabulary: int, dtype: Any, mesh: Mesh, asked: TrainingResolved, stage: int
) -> dict[str, Any]:
    """Shapes that a stage takes and gives, so that stages need not tell each other; what it gives has a
    gradient."""
    torch = need("torch", "trace")
    shape = (asked.micro_batch, asked.seq_len)
    with torch.device("meta"):
        ids = torch.empty(shape, dtype=torch.int64)
        hidden = torch.empty((*shape, width), dtype=dtype, requires_grad=True)
        logits = torch.empty((*shape, vocabulary), dtype=dtype, requires_grad=True)
    return {
        "input_args": (hidden if stage else ids,),
        "output_args": (logits if stage == mesh.pp - 1 else hidden,),
    }


def schedule_of(
    module: Any,
    mesh: Mesh,
    asked: TrainingResolved,
    stage: int,
    group: Any,
    loss: Any,
    passed: dict[str, Any],
) -> Any:
    """torch.distributed.pipelining's schedule for one stage."""
    pipelining = need("torch.distributed.pipelining", "trace")
    kinds = {"gpipe": pipelining.ScheduleGPipe, "1f1b": pipelining.Schedule1F1B}
    if mesh.schedule not in kinds:
        raise UnsupportedError(f"a trace does not follow --schedule {mesh.schedule}", "choose gpipe or 1f1b")
    if asked.grad_accum < mesh.pp and mesh.schedule == "1f1b":
        raise UnsupportedError(
            f"--schedule 1f1b needs --grad-accum of {mesh.pp} or more "
            f"micro-batches, it is {asked.grad_accum}",
            "raise --grad-accum",
        )
    built = pipelining.PipelineStage(
        module, stage, mesh.pp, need("torch", "trace").device("cpu"), group=group, **passed
    )
    return kinds[mesh.schedule](built, n_microbatches=asked.grad_accum, loss_fn=loss)


def pipeline_steps(
    recorder: Recorder,
    module: Any,
    optimizer: Any,
    schedule: Any,
    batch: dict[str, Any],
    mesh: Mesh,
    stage: int,
) -> None:
    """Two steps: the schedule interleaves forward and backward, so both are one phase."""
    ids = batch["input_ids"]
    for step in range(NUM_STEPS):
        with recorder.during("backward", step):
            if stage == 0:
                schedule.step(ids)
            elif stage == mesh.pp - 1:
                schedule.step(target=ids, losses=[])
            else:
                schedule.step()
            own_gradients(recorder, module)
        with recorder.during("optimizer", step):
            optimizer.step()
            own_states(recorder, module, optimizer)
            optimizer.zero_grad(set_to_none=True)


def next_token_loss(logits: Any, ids: Any) -> Any:
    """The loss that transformers takes: logits in F32, labels moved by one."""
    functional = need("torch.nn.functional", "trace")
    labels = functional.pad(ids, (0, 1), value=-100)[..., 1:].contiguous()
    return functional.cross_entropy(logits.float().view(-1, logits.shape[-1]), labels.view(-1))
