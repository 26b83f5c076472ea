"""torchtitan's job configuration (torchtitan/config/job_config.py of 2024 to 2026; older names beside the new
ones)."""

from typing import NamedTuple

from ... import facts
from ...errors import OomlessError, did_you_mean
from ...run.training import Mesh, Sharding, TrainingAsked
from ..entries import Entries

SCHEDULES = {
    "gpipe": ("gpipe", 1),
    "1f1b": ("1f1b", 1),
    "interleaved1f1b": ("interleaved", 2),
    "loopedbfs": ("gpipe", 2),
    "interleavedzerobubble": ("interleaved", 2),
    "zbvzerobubble": ("zbv", 2),
    "dualpipev": ("dualpipev", 2),
}
"""torch.distributed.pipelining's names: the schedule, and stages a rank where the file gives no layers a
stage."""


class Degrees(NamedTuple):
    """Parallel degrees of a file."""

    replicas: int
    shards: int
    """Ranks that share the states; -1: those that the cards leave."""
    tp: int
    cp: int
    pp: int
    ep: int
    etp: int

    @property
    def dp(self) -> int:
        """Data-parallel ranks; 0: those that the cards leave."""
        return self.replicas * self.shards if self.shards > 0 else 0

    @property
    def sharding(self) -> Sharding:
        """How states are divided: FSDP2, over copies where there are several (HSDP)."""
        if self.replicas > 1:
            return "ddp" if self.shards == 1 else "hsdp"
        return "none" if self.shards == 1 and self.cp == 1 else "fsdp2"


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks."""
    model = _model(entries)
    degrees = _degrees(entries)
    if entries.has("parallelism.fsdp_reshard_after_forward"):
        entries.keeps_gathered = entries.text("parallelism.fsdp_reshard_after_forward") == "never"
    micro, accumulated, schedule, virtual = _batches(entries, degrees)
    sharding = degrees.sharding
    mesh = Mesh(
        dp=degrees.dp,
        tp=degrees.tp,
        pp=degrees.pp,
        cp=degrees.cp,
        ep=degrees.ep,
        etp=degrees.etp,
        sequence_parallel=degrees.tp > 1,
        virtual_stages=virtual,
        schedule=schedule,
        shard_size=degrees.shards * degrees.cp if sharding == "hsdp" and degrees.shards > 0 else 0,
    )
    recompute, modules, every = _recompute(entries)
    kernels, loss = _compiled(entries)
    asked = TrainingAsked(
        framework=entries.framework,
        mesh=mesh,
        precision=_precision(entries),
        optimizer=_optimizer(entries),
        optimizer_in_backward=entries.switch("optimizer.early_step_in_backward", default=False),
        micro_batch=micro,
        seq_len=entries.whole("training.seq_len", default=2048),
        grad_accum=accumulated,
        sharding=sharding,
        recompute=recompute,  # type: ignore[arg-type]
        recompute_modules=modules,
        recompute_every=every,
        kernels=kernels,
        loss=loss,
        offload=("params", "optimizer", "gradients")
        if entries.switch("training.enable_cpu_offload", default=False)
        else (),
    )
    ranks = degrees.dp * degrees.tp * degrees.pp * degrees.cp
    return model, asked, ranks or None


def _degrees(entries: Entries) -> Degrees:
    def whole(*names: str, default: int = 1) -> int:
        return entries.whole(*names, default=default)

    return Degrees(
        replicas=whole("parallelism.data_parallel_replicate_degree"),
        shards=whole("parallelism.data_parallel_shard_degree", "training.data_parallel_degree", default=-1),
        tp=whole("parallelism.tensor_parallel_degree", "training.tensor_parallel_degree"),
        cp=whole("parallelism.context_parallel_degree", "experimental.context_parallel_degree"),
        pp=whole("parallelism.pipeline_parallel_degree", "experimental.pipeline_parallel_degree"),
        ep=whole("parallelism.expert_parallel_degree"),
        etp=whole("parallelism.expert_tensor_parallel_degree"),
    )


def _batches(entries: Entries, degrees: Degrees) -> tuple[int, int, str, int]:
    """Return sequences of a micro-batch, micro-batches of a step, the pipeline's schedule and its chunks a
    rank."""
    batch = entries.whole("training.local_batch_size", "training.batch_size", default=8)
    whole_batch = entries.whole("training.global_batch_size", default=-1)
    accumulated = 1
    if whole_batch > 0 and degrees.dp:
        accumulated = max(1, whole_batch // (batch * degrees.dp))
    elif whole_batch > 0:
        entries.note(
            "training.global_batch_size needs the number of cards to become micro-batches: give --grad-accum"
        )
    if degrees.pp <= 1:
        return batch, accumulated, "1f1b", 1
    schedule, virtual = _schedule(entries)
    micro = entries.whole("parallelism.pipeline_parallel_microbatch_size", default=1)
    if micro > 0 and batch % micro == 0:
        accumulated *= batch // micro
    return micro, accumulated, schedule, virtual


def _compiled(entries: Entries) -> tuple[str, str]:
    """Return how elementwise work and the loss are run."""
    compiled = entries.switch("compile.enable", "training.compile", default=False)
    components = entries.words("compile.components") or ("model", "loss")
    norms = entries.text("model.norm_type", default="rmsnorm")  # torchtitan/models/norms.py to February 2025
    kernels = "fused-norms" if norms == "fused_rmsnorm" else "eager"
    kernels = "compiled" if compiled and "model" in components else kernels
    return kernels, "compiled" if compiled and "loss" in components else "plain"


def _precision(entries: Entries) -> str:
    """Return the recipe of the file's types; low-precision products change no memory that was measured."""
    kept = entries.text("training.dtype", default="float32")
    used = entries.text("training.mixed_precision_param", default="bfloat16")
    if entries.words("model.converters"):
        entries.note(
            "model.converters: low-precision products save no memory that was measured "
            "(torchtitan, torchao: within 1 %); not counted"
        )
    return "bf16" if kept == "bfloat16" else "fp32" if used == "float32" else "mixed-bf16"


def _model(entries: Entries) -> str | None:
    name, flavor = entries.text("model.name"), entries.text("model.flavor")
    if name is None and flavor is None:
        return None
    rows = {(row["name"], row["flavor"].lower()): row["model"] for row in facts.table("torchtitan_flavors")}
    found = rows.get((name or "llama3", (flavor or "").lower()))
    if found is None:
        known = [f"{each} {size}" for each, size in rows]
        raise OomlessError(
            f"{entries.path}: model {name} {flavor} is in no table",
            did_you_mean(f"{name} {flavor}", known) + "; or give MODEL",
        )
    return found


def _schedule(entries: Entries) -> tuple[str, int]:
    word = (
        entries.text(
            "parallelism.pipeline_parallel_schedule",
            "experimental.pipeline_parallel_schedule",
            default="1F1B",
        )
        or "1F1B"
    )
    if word.lower() not in SCHEDULES:
        raise OomlessError(
            f"{entries.path}: unknown pipeline schedule {word}", f"known are {', '.join(SCHEDULES)}"
        )
    if entries.has("parallelism.pipeline_parallel_layers_per_stage"):
        entries.note(
            "pipeline_parallel_layers_per_stage is not read: two stages a rank for looped "
            "schedules, one for the others"
        )
    return SCHEDULES[word.lower()]


def _recompute(entries: Entries) -> tuple[str, tuple[str, ...], int]:
    mode = entries.text("activation_checkpoint.mode", default="selective") or "selective"
    if mode not in ("none", "selective", "full"):
        raise OomlessError(
            f"{entries.path}: activation_checkpoint.mode is {mode}", "it is none, selective or full"
        )
    if mode != "selective":
        return mode, (), 1
    option = entries.text("activation_checkpoint.selective_ac_option", default="op") or "op"
    if option == "op":
        return mode, ("ops",), 1
    if not option.isdecimal() or not 0 < int(option) < 1000:
        raise OomlessError(
            f"{entries.path}: selective_ac_option is {option}",
            "it is op, or a whole number: every how many-th layer",
        )
    return ("full", (), 1) if option == "1" else (mode, (), int(option))


def _optimizer(entries: Entries) -> str:
    name = (entries.text("optimizer.name", default="AdamW") or "AdamW").lower()
    how = entries.text("optimizer.implementation", default="fused") or "fused"
    fused = (
        entries.switch("optimizer.fused", default=True) if entries.has("optimizer.fused") else how == "fused"
    )
    if name in ("adamw", "adam"):
        return f"{name}-fused" if fused else f"{name}-loop" if how == "for-loop" and name == "adamw" else name
    entries.values["optimizer.name"] = name
    return entries.optimizer("optimizer.name", default=name)
