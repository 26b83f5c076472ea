"""Meta's llama-recipes, now llama-cookbook: arguments of its finetuning.py, fields of its train_config,
fsdp_config and lora_config (src/llama_recipes/configs), alone or behind the name of their class."""

from ..errors import UnsupportedError
from ..run.training import Mesh, Method, TrainingAsked
from .entries import Entries
from .record import of_facts

OF_JULY_2023 = "micro_batch_size"
"""A key of the first weeks: then pure_bf16 was on, and a sample had 2,048 tokens (configs/fsdp.py,
ft_datasets/utils.py)."""
BITS = {"true": "int8", "8bit": "int8", "4bit": "nf4"}
"""`quantization`, a switch until July 2024 -> ours."""
TARGETS = ("q_proj", "v_proj")


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and no ranks, which its launcher says."""
    first = entries.has(OF_JULY_2023)
    entries.asked.add(OF_JULY_2023)
    bits = BITS.get(str(entries.values.get("quantization", "")).lower())
    entries.asked.add("quantization")
    adapters = entries.switch("use_peft", default=False)
    if entries.text("peft_method", default="lora") != "lora":
        raise UnsupportedError(f"{entries.path}: peft_method is not modelled", "lora is")
    method: Method = "full" if not adapters else "qlora" if bits else "lora"
    sharded = entries.switch("enable_fsdp", default=False)
    asked = TrainingAsked(
        framework=entries.framework,
        task="sft",
        method=method,
        mesh=Mesh(),
        precision=_precision(entries, sharded, first),
        sharding="fsdp1" if sharded else "none",
        offload=("params",) if sharded and _fsdp(entries, "fsdp_cpu_offload", usual=False) else (),
        micro_batch=entries.whole("batch_size_training", default=4),
        grad_accum=entries.whole("gradient_accumulation_steps", default=1),
        seq_len=2048 if first else entries.whole("context_length", default=4096),
        packed=entries.text("batching_strategy", default="packing") == "packing",
        recompute="full" if sharded and _fsdp(entries, "fsdp_activation_checkpointing", usual=True) else None,
        quantization=bits if method == "qlora" else None,
        lora_rank=entries.whole("lora_config.r", "r", default=8) if adapters else 8,
        lora_targets=entries.words("lora_config.target_modules", "target_modules") or TARGETS
        if adapters
        else (),
    )
    if not sharded and method != "qlora":
        asked = asked._replace(recompute="none")
    if entries.switch("freeze_layers", default=False):
        entries.note("freeze_layers = true: all layers are counted as trained")
    return entries.text("model_name"), asked, None


def _fsdp(entries: Entries, name: str, usual: bool) -> bool:
    """A switch of fsdp_config."""
    return entries.switch(f"fsdp_config.{name}", name, default=usual)


def _precision(entries: Entries, sharded: bool, first: bool) -> str | None:
    """Return the recipe: F32 weights, which FSDP gathers in bfloat16 unless all are turned to it."""
    half = entries.switch("use_fp16", "fsdp_config.use_fp16", default=False)
    if sharded and _fsdp(entries, "pure_bf16", usual=first):
        return "bf16"
    if sharded and not _fsdp(entries, "mixed_precision", usual=True):
        return "fp32"
    return "amp-fp16" if half and not sharded else None


RECORDS = {"llama-recipes": of_facts("llama-recipes")._replace(title="llama-recipes", reads=read)}
