"""Overrides of `python -m verl.trainer.main_ppo` and of verl's fine-tuning (verl/trainer/config:
ppo_trainer.yaml, sft_trainer.yaml, and what they include)."""

from typing import Any

from ...errors import UnsupportedError
from ...run.training import Mesh, Sharding, Task, TrainingAsked
from ..entries import Entries

SHARDINGS: dict[str, Sharding] = {"fsdp": "fsdp1", "fsdp2": "fsdp2"}
ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor.", "actor_rollout_ref.rollout.", "actor_rollout_ref.model."
REF = "actor_rollout_ref.ref."
COMPARES = (ACTOR + "use_kl_loss", "algorithm.use_kl_in_reward")
"""Switches that bring a frozen reference in."""
AT_ONCE, MOST_TOKENS = "ppo_micro_batch_size_per_gpu", "ppo_max_token_len_per_gpu"
SCORED, MOST_SCORED = "log_prob_micro_batch_size_per_gpu", "log_prob_max_token_len_per_gpu"
OFFLOADED = {"optimizer": "optimizer_offload", "params": "param_offload", "gradients": "grad_offload"}
WIDE = ("fp32", "float32", "none")


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks."""
    program = entries.text("task")
    if program != "main_ppo":
        return *_fine_tuning(entries, packs=program == "sft_trainer"), None
    cards = entries.whole("trainer.nnodes", default=1) * entries.whole("trainer.n_gpus_per_node", default=8)
    return *_reinforcement(entries, cards), cards


def _fine_tuning(entries: Entries, packs: bool) -> tuple[str | None, TrainingAsked]:
    """Return model and question of fsdp_sft_trainer, or of sft_trainer, which packs what it reads."""
    engine = "engine." if packs else "model.fsdp_config."
    asked = TrainingAsked(
        framework=entries.framework,
        task="sft",
        sharding=_sharding(
            entries, "engine.strategy" if packs else "model.strategy", "fsdp" if packs else "fsdp2"
        ),
        offload=_away(entries, engine, {"params": "offload_policy" if packs else "offload_params"}),
        micro_batch=entries.whole("data.micro_batch_size_per_gpu", "data.micro_batch_size", default=4),
        seq_len=entries.whole("data.max_length", default=1024),
        **_common(entries, "model.", engine, engine if packs else ""),
    )
    if packs and entries.switch("data.use_dynamic_bsz", default=True):
        tokens = entries.whole("data.max_token_len_per_gpu", default=8192) * asked.mesh.cp
        asked = asked._replace(micro_batch=1, seq_len=max(tokens, asked.seq_len or 0), packed=True)
    return entries.text("model.path" if packs else "model.partial_pretrain"), asked


def _reinforcement(entries: Entries, cards: int) -> tuple[str | None, TrainingAsked]:
    """Return model and question of main_ppo: the update of the actor, and beside it the engine, a critic and
    what is scored at a time."""
    task: Task = "ppo" if entries.text("algorithm.adv_estimator", default="gae") == "gae" else "grpo"
    length = entries.whole("data.max_prompt_length", default=512)
    length += entries.whole("data.max_response_length", default=512)
    by_megatron = entries.text(ACTOR + "strategy", default="fsdp") == "megatron"
    by_megatron = by_megatron or "megatron" in (entries.text("config_name") or "")
    parts = _megatron(entries) if by_megatron else _fsdp(entries, cards)
    mesh = parts["mesh"]
    ranks = mesh.cp, max(cards // max(mesh.cp * mesh.tp * mesh.pp, 1), 1)
    micro_batch, seq_len = _batch(entries, ACTOR, length, ranks)
    asked = TrainingAsked(
        task=task,
        offload=_away(entries, MODEL, {"activations": "enable_activation_offload"}),
        micro_batch=micro_batch,
        seq_len=seq_len,
        packed=seq_len != length,
        **parts,
    )
    model = entries.text(MODEL + "path")
    compares = any(entries.switch(name, default=False) for name in COMPARES)
    where = ACTOR + ("megatron." if by_megatron else "fsdp_config.")
    parked = _away(entries, where, OFFLOADED)
    on_host = not by_megatron or entries.switch(REF + "megatron.param_offload", default="params" in parked)
    if compares and not by_megatron:
        entries.note("the reference lies in host memory, and comes layer by layer")
    if task == "ppo" or by_megatron:
        entries.beside["reference_model"] = "same" if compares and not on_host else "none"
    entries.beside |= {"park": parked} if parked else {}
    scored = [_batch(entries, where, length, ranks) for where in (ROLLOUT, REF)[: 1 + compares]]
    _beside(entries, asked, max(sequences * tokens for sequences, tokens in scored))
    if task == "ppo":
        critic = entries.text("critic.model.path")
        entries.beside |= {} if critic in (None, model) else {"value_model": critic}
    return model, asked


def _beside(entries: Entries, asked: TrainingAsked, scored: int) -> None:
    """Note the engine, and what is scored at a time."""
    beside, engine = entries.beside, entries.text(ROLLOUT + "name", default="vllm")
    if scored != asked.micro_batch * (asked.seq_len or 0):
        beside["score_tokens"] = scored
    if engine == "hf":
        return
    beside["rollout_engine"] = engine
    beside["rollout_gpu_memory_utilization"] = entries.number(ROLLOUT + "gpu_memory_utilization", default=0.5)
    beside["rollout_tp"] = entries.whole(ROLLOUT + "tensor_model_parallel_size", default=2)
    if entries.switch(ROLLOUT + "free_cache_engine", default=True):
        beside["rollout_sleep"] = True


def _batch(entries: Entries, where: str, length: int, ranks: tuple[int, int]) -> tuple[int, int]:
    """Return sequences that run at once, and their length: with dynamic batches one pack of as many tokens as
    each rank of a sequence may take. What is scored follows the actor where nothing is said. `ranks`: those
    of a sequence, and those that share what earlier names count for all of them."""
    usual, most = entries.values.get(ACTOR + "use_dynamic_bsz"), entries.values.get(ACTOR + MOST_TOKENS)
    dynamic = "use_dynamic_bsz" if where == ACTOR else "log_prob_use_dynamic_bsz"
    at_once = where + (AT_ONCE if where == ACTOR else SCORED)
    if not entries.switch(where + dynamic, default=usual is True):
        if entries.has(of_all := at_once.removesuffix("_per_gpu")):
            return max(entries.whole(of_all, default=1) // ranks[1], 1), length
        return entries.whole(at_once, default=1), length
    tokens = entries.whole(
        where + (MOST_TOKENS if where == ACTOR else MOST_SCORED), default=most if type(most) is int else 16384
    )
    return 1, max(tokens * ranks[0], length)


def _loss(entries: Entries) -> str | None:
    """Return the loss: that of sampled tokens (None), in chunks, or with entropies, which keep the logits."""
    if entries.switch(MODEL + "use_fused_kernels", default=False):
        return "fused"
    return "sampled-0.3" if entries.number(ACTOR + "entropy_coeff", default=0) else None


def _away(entries: Entries, where: str, names: dict[str, str]) -> tuple[str, ...]:
    """Return what is offloaded, by the switch that says so."""
    return tuple(what for what, name in names.items() if entries.switch(where + name, default=False))


def _sharding(entries: Entries, name: str, usual: str) -> Sharding:
    word = entries.text(name, default=usual) or usual
    if word not in SHARDINGS:
        raise UnsupportedError(
            f"{entries.path}: strategy is {word}, which is not modelled", "fsdp and fsdp2 are"
        )
    return SHARDINGS[word]


def _fsdp(entries: Entries, cards: int) -> dict[str, Any]:
    """Return what an actor under FSDP is."""
    parts = _common(entries, MODEL, ACTOR + "fsdp_config.", ACTOR)
    sharding = _sharding(entries, ACTOR + "strategy", "fsdp")
    size = entries.whole(ACTOR + "fsdp_config.fsdp_size", default=-1)
    if 0 < size < cards:
        sharding, parts["mesh"] = "hsdp", parts["mesh"]._replace(shard_size=size)
    return {**parts, "framework": entries.framework, "sharding": sharding, "loss": _loss(entries)}


def _megatron(entries: Entries) -> dict[str, Any]:
    """Return what an actor under Megatron-Core is (engine/megatron.yaml)."""
    where = ACTOR + "megatron."
    within = where + "override_transformer_config.recompute_"

    def ranks(name: str, usual: int = 1) -> int:
        return entries.whole(f"{where}{name}_parallel_size", default=usual)

    stages = ranks("virtual_pipeline_model")
    granularity = entries.text(within + "granularity", default="none") or "none"
    modules = entries.words(within + "modules") if granularity == "selective" else ()
    return {
        "framework": "megatron-bridge",
        "sharding": "distopt",
        "mesh": Mesh(
            tp=ranks("tensor_model"),
            pp=ranks("pipeline_model"),
            cp=ranks("context"),
            ep=ranks("expert_model"),
            etp=ranks("expert_tensor", 0),
            sequence_parallel=ranks("tensor_model") > 1,
            virtual_stages=stages,
            schedule="interleaved" if stages > 1 else "1f1b",
        ),
        "recompute": granularity,
        "recompute_modules": modules,
    }


def _common(entries: Entries, model: str, engine: str, ulysses: str) -> dict[str, Any]:
    """Return what both programs say of a model and its sharding."""
    rank = entries.whole(model + "lora_rank", default=0)
    again = entries.switch(model + "enable_gradient_checkpointing", default=True)
    kind = (entries.text(engine + "model_dtype", default="fp32") or "fp32").lower()
    targets = entries.words(model + "target_modules")
    return {
        "method": "lora" if rank else "full",
        "mesh": Mesh(cp=entries.whole(ulysses + "ulysses_sequence_parallel_size", default=1)),
        "precision": None if kind in WIDE else "bf16",
        "recompute": "full" if again else "none",
        "lora_rank": rank or 8,
        "lora_targets": (targets or ("all-linear",)) if rank else (),
    }
