"""One rank of a training step that many ranks share, traced under a process group without the others; and one
stage of a pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import OomlessError, UnsupportedError, need
from ...run.tracing import Tracing
from ...run.training import Mesh, TrainingResolved
from ..build import ModelSource, build_model, build_optimizer, stepping, training_batch, vocabulary
from ..models import materialized
from ..recorder import Recorder
from ..region import Progress, eager, fake_mode, own_inputs, prepare, running
from ..step import NUM_STEPS, own_gradients, own_states, training_steps
from .parallel import (
    decoder,
    distributed_data_parallel,
    expert_parallel,
    fully_shard,
    gradient_buckets,
    keep_stage,
    tensor_parallel,
)


class Rank:
    """A rank's model, and what its steps need."""

    def __init__(
        self,
        source: ModelSource,
        asked: TrainingResolved,
        mesh: Mesh,
        rank: int,
        attention: str | None,
        meta: bool,
    ) -> None:
        self.asked, self.mesh = asked, mesh
        if (
            mesh.cp > 1
            or mesh.virtual_stages > 1
            or mesh.etp not in (0, 1, mesh.tp)
            or mesh.sequence_parallel
        ):
            raise UnsupportedError(
                "a trace does not follow --cp, --virtual-stages, --etp and --sequence-parallel",
                "oomless train has formulas for them",
            )
        if mesh.dp % mesh.ep:
            raise UnsupportedError(
                f"a trace deals experts to data-parallel ranks: --ep {mesh.ep} does "
                f"not divide --dp {mesh.dp}",
                "add --dp",
            )
        self.stage = rank // (mesh.dp * mesh.tp)
        self.axes = axes_of(mesh)  # now, since cutting them out needs real tensors
        if mesh.pp > 1 and source.function is not None:
            raise UnsupportedError("--pp is for models of transformers", "trace the function without it")
        self.model = build_model(source, asked, attention, meta)
        self.vocabulary = vocabulary(self.model)
        if mesh.pp > 1:
            embedding = self.model.get_input_embeddings().weight
            self.passed = passed_on(
                embedding.shape[1], self.vocabulary, embedding.dtype, mesh, asked, self.stage
            )
        self.module: Any = self.model
        self.buckets: list[Any] = []
        if mesh.pp > 1:
            self.module = stage_module(self.model, mesh, self.stage)
        if mesh.tp > 1:
            tensor_parallel(self.model, self.axes["tp"])
        if mesh.ep > 1:
            axis = self.axes["ep"]
            expert_parallel(self.model, axis.get_group(), mesh.ep, axis.get_local_rank())
        self.sharded = mesh.dp > 1 and asked.sharding in ("fsdp2", "zero3")
        if self.sharded:
            fully_shard(self.module, self.axes["dp"], self.axes["outer"], asked)

    def replicate(self, alone: bool) -> None:
        """Copies of what is not divided, once weights exist; `alone`: no other rank answers."""
        if self.mesh.dp == 1 or self.sharded:
            return
        if alone:
            self.buckets = gradient_buckets(self.model, self.asked, self.axes["outer"].size())
        else:
            self.module = distributed_data_parallel(self.module, self.axes["dp"], self.asked)

    def steps(self, recorder: Recorder, batch: dict[str, Any], on_cpu: bool) -> Any:
        """Two training steps of this rank; returns the optimizer with its states."""
        optimizer = build_optimizer(self.module, self.asked, on_cpu)
        if self.mesh.pp == 1:
            training_steps(recorder, self.module, optimizer, batch, stepping(self.asked))
            return optimizer
        group = self.axes["pp"].get_group()
        schedule = schedule_of(
            self.module, self.mesh, self.asked, self.stage, group, next_token_loss, self.passed
        )
        pipeline_steps(recorder, self.module, optimizer, schedule, batch, self.mesh, self.stage)
        return optimizer

    def batch(self) -> dict[str, Any]:
        """This rank's share of the tokens: all micro-batches at once for a pipeline."""
        asked = self.asked
        if self.mesh.pp > 1:
            asked = asked._replace(micro_batch=asked.micro_batch * asked.grad_accum)
        if self.mesh.pp == 1:
            return training_batch(self.model, asked)
        torch = need("torch", "trace")
        return {"input_ids": torch.randint(0, max(self.vocabulary, 2), (asked.micro_batch, asked.seq_len))}


def trace_rank(
    source: ModelSource, asked: Tracing, recorder: Recorder, used: dict[str, int], progress: Progress | None
) -> None:
    """Record the steps of one rank of the layout."""
    if asked.purpose == "infer":
        raise UnsupportedError("a trace of --for infer runs one rank", "leave the layout out")
    fake = fake_mode()
    with fake_world(asked.rank, asked.world_size):
        rank = Rank(source, asked.training, asked.mesh, asked.rank, eager(asked), meta=True)
        materialized(rank.module, fake, tie=not rank.sharded)
        recorder.widths |= frozenset({rank.vocabulary} - {0})
        prepare(recorder, rank.module)
        with without_propagation(recorder), running(recorder, rank.model, asked, fake, used, progress):
            rank.replicate(alone=True)
            batch = rank.batch()
            own_inputs(recorder, batch)
            _held = rank.steps(
                recorder, batch, not recorder.on_device
            )  # its states are alive when the run ends


@contextmanager
def fake_world(rank: int, size: int) -> Iterator[None]:
    """This process is one rank of a world whose others never answer, and never have to."""
    distributed = need("torch.distributed", "trace")
    fake = need("torch.testing._internal.distributed.fake_pg", "trace")
    if distributed.is_initialized():
        raise OomlessError("torch.distributed runs in this process already", "trace in a process of its own")
    distributed.init_process_group("fake", store=fake.FakeStore(), rank=rank, world_size=size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def axes_of(mesh: Mesh) -> dict[str, Any]:
    """Ranks by pipeline stage, data-parallel rank and tensor-parallel rank, from the outermost axis to the
    innermost.

    Ranks that share experts (`ep`) are neighbours within the data-parallel ranks; `outer` are those that hold
    the same experts.
    """
    build = need("torch.distributed.device_mesh", "trace").init_device_mesh
    names = ("pp", "outer", "ep", "tp")
    devices = build("cpu", (mesh.pp, mesh.dp // mesh.ep, mesh.ep, mesh.tp), mesh_dim_names=names)
    return {**{name: devices[name] for name in names}, "dp": devices["outer", "ep"]._flatten("dp")}


@contextmanager
def without_propagation(recorder: Recorder) -> Iterator[None]:
    """DTensor works out shapes with fake tensors of the whole size, which no rank ever has: do not record
    them."""
    propagation = need("torch.distributed.tensor._sharding_prop", "trace").ShardingPropagator
    name = "_propagate_tensor_meta_non_cached"
    original = getattr(propagation, name)

    def propagate(self: Any, *args: Any, **kwargs: Any) -> Any:
        before, recorder.paused = recorder.paused, True
        try:
            return original(self, *args, **kwargs)
        finally:
            recorder.paused = before

    setattr(propagation, name, propagate)
    try:
        yield
    finally:
        setattr(propagation, name, original)


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
