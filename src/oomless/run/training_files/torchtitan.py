"""torchtitan's job configuration (torchtitan/config/job_config.py of 2024 to 2026; older names beside the new
ones)."""

from ... import facts
from ...errors import OomlessError, did_you_mean
from ..training import Mesh, Sharding, TrainingAsked
from .keys import Keys

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


def read(keys: Keys) -> tuple[str | None, TrainingAsked, int | None]:
    """Model, question, ranks."""
    model = _model(keys)
    replicas = keys.whole("parallelism.data_parallel_replicate_degree", default=1)
    shards = keys.whole("parallelism.data_parallel_shard_degree", "training.data_parallel_degree", default=-1)
    tp = keys.whole("parallelism.tensor_parallel_degree", "training.tensor_parallel_degree", default=1)
    cp = keys.whole("parallelism.context_parallel_degree", "experimental.context_parallel_degree", default=1)
    pp = keys.whole(
        "parallelism.pipeline_parallel_degree", "experimental.pipeline_parallel_degree", default=1
    )
    ep = keys.whole("parallelism.expert_parallel_degree", default=1)
    etp = keys.whole("parallelism.expert_tensor_parallel_degree", default=1)
    batch = keys.whole("training.local_batch_size", "training.batch_size", default=8)
    whole_batch = keys.whole("training.global_batch_size", default=-1)
    dp = replicas * shards if shards > 0 else 0
    micro, accumulated = batch, 1
    if whole_batch > 0 and dp:
        accumulated = max(1, whole_batch // (batch * dp))
    elif whole_batch > 0:
        keys.note(
            "training.global_batch_size needs the number of cards to become micro-batches: give --grad-accum"
        )
    schedule, virtual = "1f1b", 1
    if pp > 1:
        schedule, virtual = _schedule(keys)
        micro = keys.whole("parallelism.pipeline_parallel_microbatch_size", default=1)
        if micro > 0 and batch % micro == 0:
            accumulated *= batch // micro
    sharding: Sharding = "fsdp2"
    if replicas > 1:
        sharding = "ddp" if shards == 1 else "hsdp"
    elif shards == 1 and cp == 1:
        sharding = "none"
    mesh = Mesh(
        dp,
        tp,
        pp,
        cp,
        ep,
        etp,
        tp > 1,
        virtual,
        schedule,
        shards * cp if sharding == "hsdp" and shards > 0 else 0,
    )
    recompute, modules, every = _recompute(keys)
    compiled = keys.switch("compile.enable", "training.compile", default=False)
    components = keys.words("compile.components") or ("model", "loss")
    kept = keys.text("training.dtype", default="float32")
    used = keys.text("training.mixed_precision_param", default="bfloat16")
    if keys.words("model.converters"):
        keys.note(
            "model.converters: low-precision products save no memory that was measured "
            "(torchtitan, torchao: within 1 %); not counted"
        )
    asked = TrainingAsked(
        framework="torchtitan",
        mesh=mesh,
        precision="bf16" if kept == "bfloat16" else "fp32" if used == "float32" else "mixed-bf16",
        optimizer=_optimizer(keys),
        optimizer_in_backward=keys.switch("optimizer.early_step_in_backward", default=False),
        micro_batch=micro,
        seq_len=keys.whole("training.seq_len", default=2048),
        grad_accum=accumulated,
        sharding=sharding,
        recompute=recompute,  # type: ignore[arg-type]
        recompute_modules=modules,
        recompute_every=every,
        kernels="compiled" if compiled and "model" in components else "eager",
        loss="compiled" if compiled and "loss" in components else "plain",
        offload=("params", "optimizer", "gradients")
        if keys.switch("training.enable_cpu_offload", default=False)
        else (),
    )
    return model, asked, dp * tp * pp * cp if dp else None


def _model(keys: Keys) -> str | None:
    name, flavor = keys.text("model.name"), keys.text("model.flavor")
    if name is None and flavor is None:
        return None
    rows = {(row["name"], row["flavor"].lower()): row["model"] for row in facts.table("torchtitan_flavors")}
    found = rows.get((name or "llama3", (flavor or "").lower()))
    if found is None:
        known = [f"{each} {size}" for each, size in rows]
        raise OomlessError(
            f"{keys.path}: model {name} {flavor} is in no table",
            did_you_mean(f"{name} {flavor}", known, "torchtitan_flavors.csv") + "; or give MODEL",
        )
    return found


def _schedule(keys: Keys) -> tuple[str, int]:
    word = (
        keys.text(
            "parallelism.pipeline_parallel_schedule",
            "experimental.pipeline_parallel_schedule",
            default="1F1B",
        )
        or "1F1B"
    )
    if word.lower() not in SCHEDULES:
        raise OomlessError(
            f"{keys.path}: unknown pipeline schedule {word}", f"known are {', '.join(SCHEDULES)}"
        )
    if keys.has("parallelism.pipeline_parallel_layers_per_stage"):
        keys.note(
            "pipeline_parallel_layers_per_stage is not read: two stages a rank for looped "
            "schedules, one for the others"
        )
    return SCHEDULES[word.lower()]


def _recompute(keys: Keys) -> tuple[str, tuple[str, ...], int]:
    mode = keys.text("activation_checkpoint.mode", default="selective") or "selective"
    if mode not in ("none", "selective", "full"):
        raise OomlessError(
            f"{keys.path}: activation_checkpoint.mode is {mode}", "it is none, selective or full"
        )
    if mode != "selective":
        return mode, (), 1
    option = keys.text("activation_checkpoint.selective_ac_option", default="op") or "op"
    if option == "op":
        return mode, ("ops",), 1
    if not option.isdecimal() or not 0 < int(option) < 1000:
        raise OomlessError(
            f"{keys.path}: selective_ac_option is {option}",
            "it is op, or a whole number: every how many-th layer",
        )
    return ("full", (), 1) if option == "1" else (mode, (), int(option))


def _optimizer(keys: Keys) -> str:
    name = (keys.text("optimizer.name", default="AdamW") or "AdamW").lower()
    how = keys.text("optimizer.implementation", default="fused") or "fused"
    fused = keys.switch("optimizer.fused", default=True) if keys.has("optimizer.fused") else how == "fused"
    if name in ("adamw", "adam"):
        return f"{name}-fused" if fused else f"{name}-loop" if how == "for-loop" and name == "adamw" else name
    keys.entries["optimizer.name"] = name
    return keys.optimizer("optimizer.name", default=name)
