"""LLaMA-Factory's YAML (src/llamafactory/hparams; Trainer arguments of transformers)."""

from ...errors import OomlessError, UnsupportedError
from ..training import Mesh, Method, Task, TrainingAsked
from .deepspeed import beside
from .keys import Keys

STAGES: dict[str, Task] = {
    "pt": "pretrain",
    "sft": "sft",
    "rm": "reward",
    "dpo": "dpo",
    "kto": "kto",
    "ppo": "ppo",
}
PAIRS_WITHOUT_REFERENCE = ("orpo", "simpo")


def read(keys: Keys) -> tuple[str | None, TrainingAsked, int | None]:
    """Model, question, ranks."""
    model = keys.text("model_name_or_path")
    stage = keys.text("stage", default="sft") or "sft"
    if stage not in STAGES:
        raise OomlessError(f"{keys.path}: stage is {stage}", f"it is one of {', '.join(STAGES)}")
    task = STAGES[stage]
    if task == "dpo" and keys.text("pref_loss", default="sigmoid") in PAIRS_WITHOUT_REFERENCE:
        task = "sft"
    kind = keys.text("finetuning_type", default="lora") or "lora"
    if kind not in ("full", "lora"):
        raise UnsupportedError(
            f"{keys.path}: finetuning_type is {kind}, which is not modelled", "full and lora are"
        )
    bits = keys.whole("quantization_bit", default=0) if keys.has("quantization_bit") else 0
    if bits not in (0, 4, 8):
        raise OomlessError(f"{keys.path}: quantization_bit is {bits}", "it is 4 or 8")
    if bits == 8:
        keys.note(
            "quantization_bit 8: weights are counted in 16 bit, twice what bitsandbytes keeps of the matrices"
        )
    method: Method = "full" if kind == "full" else "qlora" if bits == 4 else "lora"
    for word in (
        "use_galore",
        "use_apollo",
        "use_badam",
        "use_dora",
        "use_adam_mini",
        "use_llama_pro",
        "mixture_of_depths",
        "shift_attn",
    ):
        keys.refuse((word,), "it changes what is trained or kept and is not modelled")
    deep = beside(keys, "deepspeed")
    pure = keys.switch("pure_bf16", default=False)
    bf16, fp16 = keys.switch("bf16", default=False), keys.switch("fp16", default=False)
    if method != "full" or pure:
        precision = "fp16" if fp16 else "bf16"
    elif deep is not None:
        precision = "deepspeed-fp16" if fp16 else "deepspeed-bf16"
    elif keys.has("fsdp"):
        precision = "mixed-bf16"
    else:  # trainable weights are cast to F32
        precision = "amp-fp16" if fp16 else "amp-bf16" if bf16 else "fp32"
    targets = keys.words("lora_target") if method != "full" else ()
    unsloth = keys.switch("use_unsloth", default=False)
    fsdp = keys.words("fsdp")
    asked = TrainingAsked(
        framework="unsloth" if unsloth and method != "full" else "llama-factory",
        task=task,
        method=method,
        mesh=Mesh(),
        precision=precision,
        optimizer=keys.optimizer("optim", default="adamw_torch_fused"),
        micro_batch=keys.whole("per_device_train_batch_size", default=8),
        seq_len=keys.whole("cutoff_len", default=2048),
        grad_accum=keys.whole("gradient_accumulation_steps", default=1),
        data_workers=keys.whole("dataloader_num_workers", default=0),
        sharding=deep.sharding if deep else "fsdp1" if fsdp else None,
        recompute="none" if keys.switch("disable_gradient_checkpointing", default=False) else "full",
        attention={"fa2": "flash", "fa3": "flash", "disabled": "eager"}.get(
            keys.text("flash_attn", default="auto") or "auto", "auto"
        ),
        kernels="liger"
        if keys.switch("enable_liger_kernel", default=False)
        else None
        if unsloth
        else "eager",
        offload=deep.offload if deep else ("params",) if "offload" in " ".join(fsdp) else (),
        lora_rank=keys.whole("lora_rank", default=8),
        lora_targets=("all-linear",)
        if method != "full" and (not targets or targets == ("all",))
        else targets,
        adapter_dtype=None if method == "full" else "bfloat16" if pure else "float32",
        quantization="nf4"
        if method == "qlora" and not keys.switch("double_quantization", default=True)
        else None,
        trained_ends=bool({"embed_tokens", "lm_head"} & set(keys.words("additional_target"))),
        packed=keys.switch("packing", "neat_packing", default=task == "pretrain"),
    )
    if keys.switch("use_unsloth_gc", default=False):
        asked = asked._replace(offload=(*asked.offload, "activations"))
    return model, asked, None
