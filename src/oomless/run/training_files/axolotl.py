"""Axolotl's YAML (docs.axolotl.ai, config reference)."""

from ...errors import OomlessError, UnsupportedError
from ..training import Mesh, Method, Sharding, Task, TrainingAsked
from .deepspeed import beside
from .keys import Keys

TASKS: dict[str, Task] = {
    "dpo": "dpo",
    "ipo": "dpo",
    "simpo": "sft",
    "orpo": "sft",
    "kto": "kto",
    "grpo": "grpo",
}
"""`rl`: SimPO and ORPO have no reference model, so they take what fine-tuning on pairs takes."""


def read(keys: Keys) -> tuple[str | None, TrainingAsked, int | None]:
    """Model, question, ranks."""
    model = keys.text("base_model")
    adapter = keys.text("adapter")
    four, eight = keys.switch("load_in_4bit", default=False), keys.switch("load_in_8bit", default=False)
    if adapter not in (None, "lora", "qlora"):
        raise OomlessError(f"{keys.path}: adapter is {adapter}", "it is lora or qlora")
    method: Method = "full" if adapter is None else "qlora" if adapter == "qlora" or four or eight else "lora"
    keys.refuse(("unfrozen_parameters",), "which parameters are trained is not read")
    keys.refuse(("relora", "relora_steps"), "merging adapters on the way is not modelled")
    away, sharding, precision = _sharding(keys)
    deep = beside(keys, "deepspeed")
    if deep is not None:
        away, sharding = deep.offload, deep.sharding
    precision = precision or _precision(keys)
    checkpointing = (
        keys.text("gradient_checkpointing")
        if isinstance(keys.entries.get("gradient_checkpointing"), str)
        else None
    )
    on = checkpointing is not None or keys.switch(
        "gradient_checkpointing", "activation_checkpointing", default=False
    )
    on = on or keys.switch(
        "fsdp_config.fsdp_activation_checkpointing", "fsdp_config.activation_checkpointing", default=False
    )
    if (checkpointing and "offload" in checkpointing) or keys.has("activation_offloading"):
        away = (*away, "activations")
        keys.text("activation_offloading")
    liger = keys.switch("liger_rms_norm", default=False) and keys.switch(
        "liger_glu_activation", "liger_swiglu", default=False
    )
    fused = keys.switch(
        "liger_fused_linear_cross_entropy", "cut_cross_entropy", "unsloth_cross_entropy_loss", default=False
    )
    targets = keys.words("lora_target_modules")
    task: Task = "sft"
    if keys.has("rl"):
        word = keys.text("rl") or ""
        if word not in TASKS:
            raise UnsupportedError(
                f"{keys.path}: rl is {word}, which is not modelled", f"{', '.join(TASKS)} are"
            )
        task = TASKS[word]
    elif keys.switch("reward_model", default=False):
        task = "reward"
    packed = keys.switch("sample_packing", default=False)
    asked = TrainingAsked(
        framework="axolotl",
        task=task,
        method=method,
        mesh=Mesh(
            tp=keys.whole("tensor_parallel_size", default=1),
            cp=keys.whole("context_parallel_size", "sequence_parallel_degree", default=1),
        ),
        precision=precision,
        optimizer=keys.optimizer("optimizer", default="adamw_torch_fused"),
        micro_batch=keys.whole("micro_batch_size", default=1),
        seq_len=keys.whole("sequence_len", default=512),
        grad_accum=keys.whole("gradient_accumulation_steps", default=1),
        sharding=sharding,
        recompute="full" if on else "none",
        attention=_attention(keys),
        loss="fused"
        if fused
        else "chunked"
        if keys.switch("chunked_cross_entropy", default=False)
        else "plain",
        kernels="liger"
        if liger
        else "compiled"
        if keys.has("torch_compile") and keys.text("torch_compile") != "False"
        else "eager",
        offload=tuple(dict.fromkeys(away)),
        quantization="int8" if eight and adapter else None,
        packed_experts=keys.switch("quantize_moe_experts", default=False),
        data_workers=keys.whole("dataloader_num_workers", default=0),
        lora_rank=keys.whole("lora_r", default=8),
        lora_targets=("all-linear",) if keys.switch("lora_target_linear", default=not targets) else targets,
        trained_ends=bool({"embed_tokens", "lm_head"} & set(keys.words("lora_modules_to_save"))),
        packed=packed or keys.switch("pad_to_sequence_len", default=packed),
    )
    if method == "full":
        asked = asked._replace(lora_targets=())
    return model, asked, None


def _sharding(keys: Keys) -> tuple[tuple[str, ...], Sharding | None, str | None]:
    """Offload, sharding and precision by the FSDP entries; F32 or 16-bit weights stay as loaded."""
    sharded = any(name == "fsdp" or name.startswith("fsdp_config.") for name in keys.entries) and (
        keys.has("fsdp") or any(name.startswith("fsdp_config.") and keys.has(name) for name in keys.entries)
    )
    if not sharded:
        return (), None, None
    keys.words("fsdp")
    version = keys.whole("fsdp_version", "fsdp_config.fsdp_version", default=1)
    away = keys.switch("fsdp_config.fsdp_offload_params", "fsdp_config.offload_params", default=False)
    return (("params",) if away else ()), "fsdp2" if version == 2 else "fsdp1", None


def _precision(keys: Keys) -> str:
    """Weights are loaded in the type of computation: bf16 unless fp16 or neither is asked for."""
    word = keys.entries.get("bf16")
    bf16 = word in ("auto", "full", None) or keys.switch("bf16", default=True)
    fp16 = keys.switch("fp16", default=False)
    return "fp16" if fp16 else "bf16" if bf16 and (word is not None or not keys.has("fp16")) else "fp32"


def _attention(keys: Keys) -> str:
    keys.text("attn_implementation", "attention")
    if keys.switch("flash_attention", default=False):
        return "flash"
    if keys.switch("eager_attention", default=False):
        return "eager"
    return "auto"
