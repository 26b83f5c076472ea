"""Arguments of DeepSpeed-Chat's three steps (DeepSpeedExamples, applications/DeepSpeed-Chat:
training/*/main.py, dschat/utils/ds_utils.py, dschat/rlhf/rlhf_engine.py): supervised, reward, and PPO with a
critic of its own."""

from ...run.training import Mesh, Sharding, Task, TrainingAsked
from ..entries import Entries
from ..releases import habits

STEP_3, STEP_2 = "actor_model_name_or_path", "num_padding_at_beginning"
KEYS = (STEP_3, STEP_2, "zero_stage")
"""Arguments by which its commands are known."""
SHARDINGS: tuple[Sharding, ...] = ("ddp", "zero1", "zero2", "zero3")
LIVE = 30_000_000
"""stage3_prefetch_bucket_size and stage3_max_live_parameters of get_train_ds_config."""


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model and question. Matrices with adapters stay; all else is trained unless --only_optimize_lora
    is there (dschat/utils/module/lora.py). Of step 3 the batches are named anew since mid-2023."""
    actor = "actor_" if entries.has(STEP_3) else ""
    task: Task = "ppo" if actor else "reward" if entries.has(STEP_2) else "sft"
    rank = entries.whole(f"{actor}lora_dim", default=0)
    only = entries.switch("only_optimize_lora", default=False)
    stage = min(max(entries.whole(f"{actor}zero_stage", default=0), 0), 3)
    away = entries.switch("offload", default=False)
    bf16 = entries.text("dtype", default="fp16") == "bf16"
    entries.asked.update(("deepspeed", f"{actor}lora_module_name"))
    asked = TrainingAsked(
        framework="deepspeed",
        task=task,
        method="lora" if rank else "full",
        mesh=Mesh(),
        precision="deepspeed-bf16" if bf16 else "deepspeed-fp16",
        optimizer="adam-fused",
        sharding=SHARDINGS[stage],
        offload=(("optimizer", "params") if stage == 3 else ("optimizer",)) if away else (),
        prefetch_bucket_size=LIVE,
        max_live_parameters=LIVE,
        overlap_comm=True,
        micro_batch=entries.whole(
            *("per_device_training_batch_size", "per_device_mini_train_batch_size"),
            "per_device_train_batch_size",
            default=8 if task == "reward" else 16,
        ),
        seq_len=entries.whole("max_seq_len", default=512),
        grad_accum=entries.whole("gradient_accumulation_steps", default=1),
        attention=_kernel(entries),
        recompute="full" if entries.switch(f"{actor}gradient_checkpointing", default=False) else "none",
        lora_rank=rank or 8,
        lora_targets=("all-linear",) if rank else (),
        trained_ends=bool(rank) and not only,
    )
    if actor:
        asked = _reinforcement(entries, asked)
    return entries.text(STEP_3, "model_name_or_path"), asked, None


def _kernel(entries: Entries) -> str | None:
    """Return the kernel that transformers of the named release gives a model of that name."""
    families = (habits("transformers", ("transformers",), entries.version).attention or "").split()
    name = (entries.text(STEP_3, "model_name_or_path") or "").lower()
    return families[-1] if any(each == "any" or each in name for each in families[:-1]) else None


def _reinforcement(entries: Entries, asked: TrainingAsked) -> TrainingAsked:
    """Return the question of step 3: actor, reference, critic and reward model lie on every rank, divided by
    ZeRO-3 alone; what generates is the actor itself."""
    prompt = entries.whole("max_prompt_seq_len", default=256)
    length = prompt + entries.whole("max_answer_seq_len", default=256)
    made = entries.whole(
        "per_device_generation_batch_size", "per_device_train_batch_size", default=asked.micro_batch
    )
    critic = entries.text("critic_model_name_or_path")
    beside = entries.beside
    beside["score_tokens"] = made * length
    beside["reference_model"] = "none" if entries.switch("offload_reference_model", default=False) else "same"
    if critic:
        beside["value_model"] = critic
        if not entries.switch("offload_reward_model", default=False):
            beside["reward_model"] = critic
    if SHARDINGS[entries.whole("critic_zero_stage", default=0) % 4] != asked.sharding:
        entries.note("critic_zero_stage: the critic is counted as the actor is divided")
    if entries.switch("enable_ema", default=False):
        entries.note("enable_ema: one more copy of the actor is not counted")
    entries.asked.update(("critic_gradient_checkpointing", "enable_hybrid_engine", "inference_tp_size"))
    return asked._replace(seq_len=length)
