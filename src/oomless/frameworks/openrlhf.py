"""OpenRLHF: arguments of `openrlhf.cli.train_sft`, `train_dpo`, `train_rm` and `train_ppo_ray`, by their
names of today (`--ds.zero_stage`) and up to 0.9 (`--zero_stage`), and of `train_ppo`, which 0.6 left out."""

from ..run.training import Mesh, Sharding, Task, TrainingAsked
from .entries import Entries
from .record import of_facts

TASKS: dict[str, Task] = {"sft": "sft", "dpo": "dpo", "rm": "reward", "ppo_ray": "ppo", "ppo": "ppo"}
USUAL_RANKS = 8
"""Ranks that share the global batch, which its launcher alone knows."""
SHARDINGS: tuple[Sharding, ...] = ("ddp", "zero1", "zero2", "zero3")
RECOMPUTES = (
    "model.gradient_checkpointing_enable",
    "actor.gradient_checkpointing_enable",
    "gradient_checkpointing",
)
MODELS = ("model.model_name_or_path", "actor.model_name_or_path", "pretrain")
MICRO_BATCH = ("train.micro_batch_size", "micro_train_batch_size")


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks, where an argument says them."""
    task = TASKS[entries.text("task", default="sft") or "sft"]
    cards = None
    if task == "ppo":
        sampled = entries.text("algo.advantage.estimator", "advantage_estimator", default="gae")
        task = "ppo" if sampled == "gae" else "grpo"
    if not _together(entries) and task in ("ppo", "grpo"):
        cards = entries.whole("actor.num_nodes", "actor_num_nodes", default=1)
        cards *= entries.whole("actor.num_gpus_per_node", "actor_num_gpus_per_node", default=8)
    rank = entries.whole("ds.lora.rank", "lora_rank", default=0)
    four_bits = entries.switch("ds.load_in_4bit", "load_in_4bit", default=False)
    targets = entries.words("ds.lora.target_modules", "target_modules")
    kernel = entries.text("ds.attn_implementation", "attn_implementation", default="flash_attention_2") or ""
    micro_batch = entries.whole(*MICRO_BATCH, default=8 if task in ("sft", "dpo") else 1)
    whole = entries.whole("train.batch_size", "train_batch_size", default=128)
    asked = TrainingAsked(
        framework=entries.framework,
        task=task,
        method="full" if not rank else "qlora" if four_bits else "lora",
        mesh=Mesh(
            cp=entries.whole("ds.ring_attn_size", "ring_attn_size", default=1),
            tp=entries.whole("ds.tensor_parallel_size", "ds_tensor_parallel_size", default=1),
        ),
        sharding=SHARDINGS[min(max(entries.whole("ds.zero_stage", "zero_stage", default=2), 0), 3)],
        offload=("optimizer",) if entries.switch("ds.adam_offload", "adam_offload", default=False) else (),
        hpz_partition_size=entries.whole("ds.zpg", "zpg", default=1) or None,
        overlap_comm=entries.switch("ds.overlap_comm", "overlap_comm", default=False),
        micro_batch=micro_batch,
        grad_accum=max(whole // max((cards or USUAL_RANKS) * micro_batch, 1), 1),
        seq_len=_length(entries, task),
        packed=entries.switch("ds.packing_samples", "packing_samples", default=False),
        recompute="full" if entries.switch(*RECOMPUTES, default=False) else "none",
        attention="flash" if "flash" in kernel else kernel,
        kernels="liger" if entries.switch("ds.use_liger_kernel", "use_liger_kernel", default=False) else None,
        lora_rank=rank or 8,
        lora_targets=(targets or ("all-linear",)) if rank else (),
    )
    if task in ("ppo", "grpo"):
        asked = _reinforcement(entries, asked)
    elif task == "dpo" and entries.switch("ref.offload", "ref_offload", default=False):
        entries.beside["reference_model"] = "none"
    return entries.text(*MODELS), asked, cards


def _together(entries: Entries) -> bool:
    """Return whether each rank has all models, as under train_ppo."""
    return entries.text("task") == "ppo"


def _length(entries: Entries, task: Task) -> int:
    """Return the tokens of a sample, those of its answer among them."""
    if entries.has("prompt_max_len", "generate_max_len"):
        prompt = entries.whole("prompt_max_len", default=1024)
        return prompt + entries.whole("generate_max_len", default=1024)
    return entries.whole("data.max_len", "max_len", default=512 if task in ("dpo", "reward") else 2048)


def _reinforcement(entries: Entries, asked: TrainingAsked) -> TrainingAsked:
    """Return the question of train_ppo and train_ppo_ray, with what stands beside the actor where all models
    share cards; else they have cards of their own. Under train_ppo transformers generates."""
    length, cut = asked.seq_len or 0, asked.mesh.cp
    scored = entries.whole("rollout.micro_batch_size", "micro_rollout_batch_size", default=1) * length
    if entries.switch("train.dynamic_batch_enable", "use_dynamic_batch", default=False):
        tokens = entries.whole("train.max_tokens_per_gpu", "train_max_tokens_per_gpu", default=16192)
        scored = (
            entries.whole("rollout.max_tokens_per_gpu", "rollout_max_tokens_per_gpu", default=tokens) * cut
        )
        asked = asked._replace(micro_batch=1, seq_len=max(tokens * cut, length), packed=True)
    beside = entries.beside
    beside["score_tokens"] = max(scored, length)
    together = _together(entries)
    if not (together or entries.switch("train.colocate_all", "colocate_all_models", default=False)):
        entries.note("models beside the actor have cards of their own, which are not counted")
        beside["reference_model"] = "none"
        return asked
    compares = entries.number("algo.kl.init_coef", "init_kl_coef", default=0.01) > 0
    on_host = entries.switch("ref.offload", "ref_reward_offload", default=False)
    beside["reference_model"] = "same" if compares and not on_host else "none"
    for name, words in (
        ("reward_model", ("reward.model_name_or_path", "reward_pretrain")),
        ("value_model", ("critic.model_name_or_path", "critic_pretrain")),
    ):
        if (model := entries.text(*words)) and (name == "reward_model" or asked.task == "ppo"):
            beside[name] = model
    if together:
        return asked
    beside["rollout_engine"] = "vllm"
    beside["rollout_gpu_memory_utilization"] = entries.number(
        "vllm.gpu_memory_utilization", "vllm_gpu_memory_utilization", default=0.95
    )
    beside["rollout_tp"] = entries.whole("vllm.tensor_parallel_size", "vllm_tensor_parallel_size", default=1)
    if entries.switch("vllm.enable_sleep", "vllm_enable_sleep", default=False):
        beside["rollout_sleep"] = True
    if entries.switch("ds.enable_sleep", "deepspeed_enable_sleep", default=False):
        beside["park"] = ("optimizer", "gradients")
    return asked


RECORDS = {"openrlhf": of_facts("openrlhf")._replace(title="OpenRLHF", reads=read)}
