"""Axolotl's YAML (docs.axolotl.ai, config reference)."""

from ...errors import OomlessError, UnsupportedError
from ...run.training import Mesh, Method, Sharding, Task, TrainingAsked
from ..adapter_products import supervised
from ..deepspeed.configuration import beside, recipe_of
from ..entries import Entries
from ..trainer.accelerate import Launcher, launcher, strategy
from ..trainer.configuration import colocated

TASKS: dict[str, Task] = {
    "dpo": "dpo",
    "ipo": "dpo",
    "simpo": "dpo",
    "orpo": "dpo",
    "kto": "kto",
    "grpo": "grpo",
}
PAIRS_WITHOUT_REFERENCE = ("simpo", "orpo")
"""Of `rl`: chosen and rejected run as in DPO (TRL's CPO and ORPO trainers, concatenated_forward)."""


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks, where accelerate's file says how many."""
    model = entries.text("base_model")
    asked = _adapter(entries)
    entries.refuse(("unfrozen_parameters",), "which parameters are trained is not read")
    entries.refuse(("relora", "relora_steps"), "merging adapters on the way is not modelled")
    start = launcher(entries)
    away, sharding = _sharding(entries, start)
    deep = beside(entries, "deepspeed") or start.deep
    if deep is not None:
        away, sharding = deep.offload, deep.sharding
        asked = asked._replace(**deep.settings)
    precision = recipe_of(deep, _precision(entries))
    recompute, waits, again = _checkpointing(entries)
    kernels, loss = _kernels(entries)
    targets = entries.words("lora_target_modules")
    task = _task(entries)
    if entries.text("rl") == "orpo":  # of whole logits, whatever the loss of labels
        loss = "orpo"
    packed = entries.switch("sample_packing", default=False)
    asked = asked._replace(
        task=task,
        sharding=sharding,
        precision=precision,
        recompute="full" if start.recompute else recompute,  # type: ignore[arg-type]
        use_reentrant=again,
        tiled_mlp=entries.whole("tiled_mlp_num_shards", default=0)
        if entries.switch("tiled_mlp", default=False)
        else None,
        offload=tuple(dict.fromkeys((*away, *waits))),
    )
    asked = _generates(entries, _load(entries, asked, kernels, loss))
    asked = _lora(entries, asked, targets)
    asked = asked._replace(packed=packed or entries.switch("pad_to_sequence_len", default=packed))
    return model, asked, start.num_ranks


def _adapter(entries: Entries) -> TrainingAsked:
    """Return the method, and how frozen weights are stored."""
    adapter = entries.text("adapter")
    four, eight = (
        entries.switch("load_in_4bit", default=False),
        entries.switch("load_in_8bit", default=False),
    )
    if adapter not in (None, "lora", "qlora"):
        raise OomlessError(f"{entries.path}: adapter is {adapter}", "it is lora or qlora")
    method: Method = "full" if adapter is None else "qlora" if adapter == "qlora" or four or eight else "lora"
    return TrainingAsked(
        framework=entries.framework, method=method, quantization="int8" if eight and adapter else None
    )


def _checkpointing(entries: Entries) -> tuple[str, tuple[str, ...], bool | None]:
    """Return what is computed again, what of activations waits in host memory, and whether checkpoints are
    reentrant: gradient_checkpointing is a switch, or the word `offload`. What accelerate wraps for FSDP is
    not (accelerator.py, CheckpointImpl.NO_REENTRANT)."""
    word = None
    if isinstance(entries.values.get("gradient_checkpointing"), str):
        word = entries.text("gradient_checkpointing")
    on = word is not None or entries.switch(
        "gradient_checkpointing", "activation_checkpointing", default=False
    )
    wrapped = not on and entries.switch(
        "fsdp_config.fsdp_activation_checkpointing", "fsdp_config.activation_checkpointing", default=False
    )
    waits = bool(word and "offload" in word) or entries.has("activation_offloading")
    if waits:
        entries.text("activation_offloading")
    said = "gradient_checkpointing_kwargs.use_reentrant"
    again = entries.switch(said, default=False) if said in entries.values else None
    return (
        "full" if on or wrapped else "none",
        ("activations",) if waits else (),
        False if wrapped else again if on else None,
    )


def _kernels(entries: Entries) -> tuple[str | None, str | None]:
    """Return kernels and loss, where a plugin or its switch names them: CutCrossEntropy is on as soon as it
    is listed (integrations/cut_cross_entropy/args.py)."""
    plugins = entries.words("plugins")
    for plugin in plugins:
        if not plugin.endswith((".LigerPlugin", ".CutCrossEntropyPlugin")):
            entries.note(f"plugins = {plugin} is not understood and may change memory")
    listed = any(plugin.endswith(".CutCrossEntropyPlugin") for plugin in plugins)
    liger = entries.switch("liger_rms_norm", default=False) and entries.switch(
        "liger_glu_activation", "liger_swiglu", default=False
    )
    cut = entries.switch("cut_cross_entropy", default=listed)
    fused = entries.switch("liger_fused_linear_cross_entropy", "unsloth_cross_entropy_loss", default=False)
    return "liger" if liger else None, "cut" if cut else "fused" if fused else None


def _task(entries: Entries) -> Task:
    if entries.has("rl"):
        word = entries.text("rl") or ""
        if word not in TASKS:
            raise UnsupportedError(
                f"{entries.path}: rl is {word}, which is not modelled", f"{', '.join(TASKS)} are"
            )
        if word in PAIRS_WITHOUT_REFERENCE:
            entries.beside["reference_model"] = "none"
        return TASKS[word]
    return "reward" if entries.switch("reward_model", default=False) else "sft"


def _load(entries: Entries, asked: TrainingAsked, kernels: str | None, loss: str | None) -> TrainingAsked:
    """Return the question with ranks, batch, optimizer and kernels."""
    tp = entries.whole("tensor_parallel_size", default=1)
    cp = entries.whole("context_parallel_size", "sequence_parallel_degree", default=1)
    ep = entries.whole("expert_parallel_size", default=1)
    mesh, sharding = Mesh(tp=tp, cp=cp, ep=ep), asked.sharding
    if entries.has("dp_shard_size") and sharding == "fsdp2":  # ranks beyond these hold copies
        mesh = mesh._replace(shard_size=ep * cp * entries.whole("dp_shard_size", default=1))
        sharding = "hsdp"
    asked = asked._replace(
        mesh=mesh,
        sharding=sharding,
        optimizer=entries.optimizer("optimizer", default="adamw_torch_fused"),
        micro_batch=entries.whole("micro_batch_size", default=1),
        seq_len=entries.whole("sequence_len", default=512),
        grad_accum=entries.whole("gradient_accumulation_steps", default=1),
        attention=_attention(entries),
    )
    if loss is None:
        loss = "chunked" if entries.switch("chunked_cross_entropy", default=False) else "plain"
    if kernels is None:
        compiled = entries.has("torch_compile") and entries.text("torch_compile") != "False"
        kernels = "compiled" if compiled else "eager"
    return asked._replace(
        loss=loss,
        kernels=kernels,
        packed_experts=entries.switch("quantize_moe_experts", default=False),
        data_workers=entries.whole("dataloader_num_workers", default=0),
    )


def _generates(entries: Entries, asked: TrainingAsked) -> TrainingAsked:
    """Return the question with the answers that GRPO generates behind prompts, which nothing cuts, and with
    the engine that does so (core/trainers/grpo/__init__.py: its share is `vllm`'s)."""
    if asked.task != "grpo":
        return asked
    colocated(entries.within("trl."))
    if entries.has("vllm.gpu_memory_utilization") and entries.beside.get("rollout_engine"):
        share = entries.number("vllm.gpu_memory_utilization", default=0.9)
        entries.beside["rollout_gpu_memory_utilization"] = share
        entries.beside["rollout_tp"] = entries.whole("vllm.tensor_parallel_size", default=1)
    answer = entries.whole("trl.max_completion_length", default=256)
    return asked._replace(seq_len=(asked.seq_len or 0) + answer, query_len=asked.seq_len)


def _lora(entries: Entries, asked: TrainingAsked, targets: tuple[str, ...]) -> TrainingAsked:
    """Return the question with rank and targets; full training leaves the targets out."""
    rank = entries.whole("lora_r", default=8)
    targets += _stacks(entries)
    everything = entries.switch("lora_target_linear", default=not targets)
    saved = set(entries.words("lora_modules_to_save"))
    named = ("all-linear",) if everything else targets
    return asked._replace(
        adapter_products=_adapter_products(entries, asked),
        lora_rank=rank,
        lora_targets=() if asked.method == "full" else named,
        trained_ends=bool({"embed_tokens", "lm_head"} & saved),
    )


def _stacks(entries: Entries) -> tuple[str, ...]:
    """Return the matrices of experts in the stacks that adapters are asked for by their parameters' names."""
    names = [each.rpartition(".")[2] for each in entries.words("lora_target_parameters")]
    halves = {"gate_up_proj": ("gate_proj", "up_proj")}
    return tuple(f"experts.{half}" for each in names for half in halves.get(each, (each,)))


FUNCTIONS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel")


def _adapter_products(entries: Entries, asked: TrainingAsked) -> str | None:
    """Return whether matrices and adapters are one function: where its keys say so, the feed-forward's before
    all; code of the model's own has none. Releases of May 2025 to March 2026 have them without dropout alone
    (pull requests 2589, 2655 and 3528)."""
    if asked.method == "full":
        return None
    if any(entries.has(name) for name in FUNCTIONS):
        on = [entries.switch(name, default=False) for name in FUNCTIONS]
        return "fused" if on[0] else "apart"
    if entries.switch("trust_remote_code", default=False):
        return "apart"
    dropped = "lora_dropout" not in entries.values or entries.number("lora_dropout", default=0.0) > 0
    if entries.habits("transformers").adapter_products == "undropped" and not dropped:
        return "fused" if supervised(asked) else "apart"
    return None


def _sharding(entries: Entries, start: Launcher) -> tuple[tuple[str, ...], Sharding | None]:
    """Return offload and sharding by the FSDP entries, or by what accelerate is told."""
    inside = [name for name in entries.values if name.startswith("fsdp_config.")]
    sharded = any(name == "fsdp" or name.startswith("fsdp_config.") for name in entries.values) and (
        entries.has("fsdp") or any(entries.has(name) for name in inside)
    )
    if not sharded:
        return start.offload, start.sharding
    words = entries.words("fsdp")
    version = entries.whole("fsdp_version", "fsdp_config.fsdp_version", default=1)
    away = entries.switch("fsdp_config.fsdp_offload_params", "fsdp_config.offload_params", default=False)
    whole = strategy(entries, "fsdp_config.fsdp_", "fsdp_config.") or "no_shard" in words
    if "shard_grad_op" in words:
        entries.keeps_gathered = True
    return (("params",) if away else ()), "ddp" if whole else "fsdp2" if version == 2 else "fsdp1"


def _precision(entries: Entries) -> str | None:
    """Return the recipe: that of Axolotl's bf16 (None), unless fp16 or neither is asked for."""
    word = entries.values.get("bf16")
    bf16 = word in ("auto", "full", None) or entries.switch("bf16", default=True)
    fp16 = entries.switch("fp16", default=False)
    return "fp16" if fp16 else None if bf16 and (word is not None or not entries.has("fp16")) else "fp32"


def _attention(entries: Entries) -> str | None:
    """Return the kernel; None: nobody says, and it goes by the release and the family."""
    said = entries.text("attn_implementation", "attention") or ""
    if entries.switch("flash_attention", default="flash" in said):
        return "flash"
    if entries.switch("eager_attention", default=said == "eager"):
        return "eager"
    named = said or entries.has("sdp_attention", "xformers_attention")
    return "auto" if named else None
