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
LAYERS = (
    ("opt-", "decoder.layers.0.self_attn.q_proj"),
    ("neox pythia", "layers.0.attention.query_key_value"),
    ("gpt-neo gpt-j bloom gpt2 codegen", "h.0.attn.self_attention.q_proj"),
    ("llama vicuna mistral", "layers.0.self_attn.q_proj"),
)
"""Words of a model's name -> how a linear's name goes on behind that of the model in it (transformers)."""
UNPINNED = 4096
"""Parts in which weights are gathered where none are pinned: layer by layer."""


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model and question. Matrices with adapters stay; all else is trained unless --only_optimize_lora
    is there (dschat/utils/module/lora.py). Of step 3 the batches are named anew since mid-2023."""
    actor = "actor_" if entries.has(STEP_3) else ""
    task: Task = "ppo" if actor else "reward" if entries.has(STEP_2) else "sft"
    rank = _rank(entries, actor, STEP_3 if actor else "model_name_or_path")
    only = entries.switch("only_optimize_lora", default=False)
    stage = min(max(entries.whole(f"{actor}zero_stage", default=0), 0), 3)
    away = entries.switch("offload", default=False)
    bf16 = entries.text("dtype", default="fp16") == "bf16"
    entries.asked.add("deepspeed")
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
            default=16,
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


def _rank(entries: Entries, prefix: str, model: str) -> int:
    """Return the rank of the adapters; 0: there are none, or no linear's name has --lora_module_name in it,
    so that all is trained (dschat/utils/module/lora.py, convert_linear_layer_to_lora)."""
    rank = entries.whole(f"{prefix}lora_dim", default=0)
    part = entries.text(f"{prefix}lora_module_name", default="decoder.layers.") or ""
    name = (entries.text(model) or "").lower()
    linear = next((path for words, path in LAYERS if any(word in name for word in words.split())), part)
    if not rank or _bare(part) in linear:
        return rank
    entries.note(f"{prefix}lora_module_name = {part} is in no linear's name: no adapters")
    return 0


def _bare(part: str) -> str:
    """Return a part of a linear's name without the name of the model in it, and without a layer's number."""
    for model in ("model.", "transformer.", "gpt_neox."):
        part = part.removeprefix(model)
    return part.strip("0123456789.")


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
    made = entries.whole("per_device_generation_batch_size", "per_device_train_batch_size", default=16)
    critic = entries.text("critic_model_name_or_path")
    beside = entries.beside
    beside["score_tokens"] = made * length
    beside["reference_model"] = "none" if entries.switch("offload_reference_model", default=False) else "same"
    if critic:
        beside["value_model"] = critic
        beside["value_method"] = "lora" if _rank(entries, "critic_", "critic_model_name_or_path") else "full"
        again = entries.switch("critic_gradient_checkpointing", default=False)
        beside["value_recompute"] = "full" if again else "none"
        if not entries.switch("offload_reward_model", default=False):
            beside["reward_model"] = critic
    if SHARDINGS[entries.whole("critic_zero_stage", default=0) % 4] != asked.sharding:
        entries.note("critic_zero_stage: the critic is counted as the actor is divided")
    if entries.switch("enable_ema", default=False):
        entries.note("enable_ema: one more copy of the actor is not counted")
    if entries.switch("enable_hybrid_engine", default=False):
        beside["rollout_engine"] = "hybrid"
        beside["rollout_tp"] = entries.whole("inference_tp_size", default=1)
        beside["rollout_sleep"] = entries.switch("release_inference_cache", default=False)
        if entries.switch("unpin_actor_parameters", default=False):
            beside["rollout_sync_batches"] = UNPINNED
    return asked._replace(seq_len=length)
