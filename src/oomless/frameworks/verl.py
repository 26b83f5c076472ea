"""verl: overrides of `python -m verl.trainer.main_ppo` and of its fine-tuning (verl/trainer/config:
ppo_trainer.yaml, sft_trainer.yaml, and what they include)."""

from typing import Any

from ..errors import UnsupportedError
from ..run.training import Mesh, Sharding, Task, TrainingAsked
from .entries import Entries
from .record import of_facts
from .releases import habits

SHARDINGS: dict[str, Sharding] = {"fsdp": "fsdp1", "fsdp2": "fsdp2"}
OFFLOADED = {"optimizer": "optimizer_offload", "params": "param_offload", "gradients": "grad_offload"}
OF_CRITIC = {f"value-{each}": OFFLOADED[each] for each in ("optimizer", "params")}
ENGINES_OF_CRITIC = ("model.fsdp_config.", "fsdp.")
"""Where a critic's offload stands, before and since verl of 2026 (trainer/config/critic/dp_critic.yaml)."""
REINFORCES = "main_ppo"
"""The program that samples, and recipes' that read its file (recipe/dapo/config)."""
WIDE = ("fp32", "float32", "none")
MEGATRON = "megatron-bridge"
"""What stands for its actors under Megatron-Core."""
MOST_TOKENS = 16384
"""Tokens of a dynamic batch on each rank of a sequence."""


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks."""
    program = entries.text("task", default=REINFORCES)
    if program != REINFORCES:
        return *_fine_tuning(entries, packs=program == "sft_trainer"), None
    trainer = entries.within("trainer.")
    cards = trainer.whole("nnodes", default=1) * trainer.whole("n_gpus_per_node", default=8)
    return *_reinforcement(entries, cards), cards


def _fine_tuning(entries: Entries, packs: bool) -> tuple[str | None, TrainingAsked]:
    """Return model and question of fsdp_sft_trainer, or of sft_trainer, which packs what it reads."""
    model, data = entries.within("model."), entries.within("data.")
    engine = entries.within("engine.") if packs else model.within("fsdp_config.")
    asked = TrainingAsked(
        framework=entries.framework,
        task="sft",
        sharding=_sharding(engine, "fsdp") if packs else _sharding(model, "fsdp2"),
        offload=engine.away({"params": "offload_policy" if packs else "offload_params"}),
        micro_batch=data.whole("micro_batch_size_per_gpu", "micro_batch_size", default=4),
        seq_len=data.whole("max_length", default=1024),
        **_common(model, engine, engine if packs else entries),
    )
    if packs and data.switch("use_dynamic_bsz", default=True):
        tokens = data.whole("max_token_len_per_gpu", default=8192) * asked.mesh.cp
        asked = asked._replace(micro_batch=1, seq_len=max(tokens, asked.seq_len or 0), packed=True)
    return model.text("path") if packs else model.text("partial_pretrain"), asked


def _reinforcement(entries: Entries, cards: int) -> tuple[str | None, TrainingAsked]:
    """Return model and question of main_ppo: the update of the actor, and beside it a reference, an engine, a
    critic and what is scored at a time."""
    data, algorithm, whole = (entries.within(each) for each in ("data.", "algorithm.", "actor_rollout_ref."))
    actor, model, reference = (whole.within(each) for each in ("actor.", "model.", "ref."))
    task: Task = "ppo" if algorithm.text("adv_estimator", default="gae") == "gae" else "grpo"
    length = data.whole("max_prompt_length", default=512) + data.whole("max_response_length", default=512)
    by_megatron = _by_megatron(entries, actor)
    engine = actor.within("megatron.") if by_megatron else actor.within("fsdp_config.")
    parts = _megatron(model, actor) if by_megatron else _fsdp(model, actor, cards)
    mesh, dynamic = parts["mesh"], actor.switch("use_dynamic_bsz", default=False)
    ranks = max(cards // max(mesh.cp * mesh.tp * mesh.pp, 1), 1)
    micro_batch, seq_len, tokens = _at_once(actor, "ppo_micro_batch_size", ranks), length, MOST_TOKENS
    packed = False
    if dynamic:
        tokens = actor.whole("ppo_max_token_len_per_gpu", default=MOST_TOKENS)
        micro_batch, seq_len = 1, max(tokens * mesh.cp, length)
        packed = tokens * mesh.cp >= length  # samples fill it (utils/seqlen_balancing.py)
    offload = (*parts.pop("offload", ()), *model.away({"activations": "enable_activation_offload"}))
    asked = TrainingAsked(
        task=task,
        offload=offload,
        micro_batch=micro_batch,
        seq_len=seq_len,
        packed=packed,
        **parts,
    )
    compares = actor.switch("use_kl_loss", default=False) or algorithm.switch(
        "use_kl_in_reward", default=False
    )
    scored = []
    for scores in (whole.within("rollout."), reference)[: 1 + compares]:
        if scores.switch("log_prob_use_dynamic_bsz", default=dynamic):
            most = scores.whole("log_prob_max_token_len_per_gpu", default=tokens) * mesh.cp
            scored.append(max(most, length))
        else:
            scored.append(_at_once(scores, "log_prob_micro_batch_size", ranks) * length)
    beside = entries.beside
    beside |= {"score_tokens": max(scored)} if max(scored) != micro_batch * seq_len else {}
    parked = engine.away(OFFLOADED)
    critic = entries.within("critic.")
    if task == "ppo":
        parked += _away_of_critic(critic, ("megatron.",) if by_megatron else ENGINES_OF_CRITIC)
    beside |= {"park": parked} if parked else {}
    if compares and not by_megatron:
        entries.note("the reference lies in host memory, and comes layer by layer")
    if task == "ppo" or by_megatron:
        own = by_megatron and not reference.within("megatron.").switch(
            "param_offload", default="params" in parked
        )
        beside["reference_model"] = "same" if compares and own else "none"
    shares = _engine(whole.within("rollout."))
    expands = shares and not entries.habits("verl").fixed_segments
    policy = model.text("path")
    value = critic.within("model.").text("path") if task == "ppo" else None
    beside |= {} if value in (None, policy) else {"value_model": value}
    return policy, asked._replace(expandable_segments=expands)


def _away_of_critic(critic: Entries, engines: tuple[str, ...]) -> tuple[str, ...]:
    """Return what of the critic lies in host memory between its updates."""
    return tuple(
        what
        for what, name in OF_CRITIC.items()
        if critic.switch(*(engine + name for engine in engines), default=False)
    )


def _by_megatron(entries: Entries, actor: Entries) -> bool:
    """Return whether its actor runs under Megatron-Core: by the strategy, by the file of its defaults, or
    since verl of April 2026 by model_engine (ppo_trainer.yaml; pull request 5848), which examples also say
    of the actor."""
    said = actor.text("strategy", default="fsdp"), entries.text("model_engine"), actor.text("model_engine")
    return "megatron" in said or "megatron" in (entries.text("config_name") or "")


def _engine(rollout: Entries) -> bool:
    """Note the engine that generates on the training cards, if one does: transformers generates by itself.
    Between its turns the trainer's allocator has expandable segments (verl/workers/fsdp_workers.py and
    megatron_workers.py, trainer_mode)."""
    name, beside = rollout.text("name", default="vllm"), rollout.beside
    if name == "hf":
        return False
    beside["rollout_engine"] = name
    beside["rollout_gpu_memory_utilization"] = rollout.number("gpu_memory_utilization", default=0.5)
    beside["rollout_tp"] = rollout.whole("tensor_model_parallel_size", default=2)
    beside["rollout_sleep"] = rollout.switch("free_cache_engine", default=True)
    return True


def _at_once(entries: Entries, name: str, ranks: int) -> int:
    """Return the sequences that a rank runs at once; by their earlier name those of all ranks are counted."""
    if entries.has(name):
        return max(entries.whole(name, default=1) // ranks, 1)
    return entries.whole(name + "_per_gpu", default=1)


def _sharding(entries: Entries, usual: str) -> Sharding:
    word = entries.text("strategy", default=usual) or usual
    if word not in SHARDINGS:
        raise UnsupportedError(
            f"{entries.path}: strategy is {word}, which is not modelled", "fsdp and fsdp2 are"
        )
    return SHARDINGS[word]


def _fsdp(model: Entries, actor: Entries, cards: int) -> dict[str, Any]:
    """Return what an actor under FSDP is. Its loss is that of sampled tokens, in chunks where kernels are
    fused; entropies keep the logits."""
    engine = actor.within("fsdp_config.")
    parts = _common(model, engine, actor)
    sharding, size = _sharding(actor, "fsdp"), engine.whole("fsdp_size", default=-1)
    if 0 < size < cards:
        sharding, parts["mesh"] = "hsdp", parts["mesh"]._replace(shard_size=size)
    loss = "sampled-0.3" if actor.number("entropy_coeff", default=0) else None
    if model.switch("use_fused_kernels", default=False):
        loss = "fused"
    frozen = actor.switch("freeze_vision_tower", default=False)
    parts |= {"trained_tower": False} if frozen else {}
    return {**parts, "framework": actor.framework, "sharding": sharding, "loss": loss}


def _megatron(model: Entries, actor: Entries) -> dict[str, Any]:
    """Return what an actor under Megatron-Core is (engine/megatron.yaml). Its loss is Megatron's own of F32
    logits (utils/megatron/tensor_parallel.py), of which entropies need a copy: when scored, and with a weight
    in the update, there 4 B a logit more as in the fused one. Or by kernels that write no logits
    (models/mcore/model_forward_fused.py)."""
    engine = actor.within("megatron.")
    again = engine.within("override_transformer_config.recompute_")
    stages = engine.whole("virtual_pipeline_model_parallel_size", default=1)
    tp = engine.whole("tensor_model_parallel_size", default=1)
    granularity = again.text("granularity", default="none") or "none"
    scored = habits(MEGATRON, ("verl",), actor.version).loss or "vocab-parallel-scored-0.9"
    loss = "vocab-parallel-fused" if actor.number("entropy_coeff", default=0) else scored
    if model.switch("use_fused_kernels", default=False):
        loss = "cut"
    return {
        "framework": MEGATRON,
        "sharding": "distopt",
        "mesh": Mesh(
            tp=tp,
            pp=engine.whole("pipeline_model_parallel_size", default=1),
            cp=engine.whole("context_parallel_size", default=1),
            ep=engine.whole("expert_model_parallel_size", default=1),
            etp=engine.whole("expert_tensor_parallel_size", default=0),
            sequence_parallel=tp > 1,
            virtual_stages=stages,
            schedule="interleaved" if stages > 1 else "1f1b",
        ),
        "recompute": granularity,
        "recompute_modules": again.words("modules") if granularity == "selective" else (),
        "loss": loss,
        "offload": _hybrid(actor.within("optim.override_optimizer_config.")),
    }


def _hybrid(optimizer: Entries) -> tuple[str, ...]:
    """Return what Megatron's hybrid optimizer has on the host all the time."""
    if not optimizer.switch("optimizer_cpu_offload", default=False):
        return ()
    share = optimizer.number("optimizer_offload_fraction", default=0)
    if 0 < share < 1:
        optimizer.note(f"optimizer_offload_fraction = {share:g}: all states are counted on the host")
    return ("optimizer",) if share else ()


def _common(model: Entries, engine: Entries, ulysses: Entries) -> dict[str, Any]:
    """Return what both programs say of a model and its sharding."""
    rank = model.whole("lora_rank", default=0)
    kind = (engine.text("model_dtype", default="fp32") or "fp32").lower()
    targets = model.words("target_modules")
    return {
        "method": "lora" if rank else "full",
        "mesh": Mesh(cp=ulysses.whole("ulysses_sequence_parallel_size", default=1)),
        "precision": None if kind in WIDE else "bf16",
        "recompute": "full" if model.switch("enable_gradient_checkpointing", default=True) else "none",
        "lora_rank": rank or 8,
        "lora_targets": (targets or ("all-linear",)) if rank else (),
    }


RECORDS = {"verl": of_facts("verl")._replace(title="verl", reads=read)}
