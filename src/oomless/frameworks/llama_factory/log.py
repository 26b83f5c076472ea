"""What the lines that LLaMA-Factory prints ask; they are read with those of other trainers."""

from ..entries import Entries
from ..logged import LoggedTraining, LogWords
from ..trainer.log import LOG as LOG
from ..trainer.log import asks as trainer_asks
from .configuration import read


def asks(words: LogWords) -> LoggedTraining | None:
    """Return the question in the names of its YAML; None: the log says no batch."""
    lines = trainer_asks(words)
    if lines is None:
        return None
    method, kind = words.said("method").lower(), words.said("compute_dtype")
    values: dict[str, object] = {
        "model_name_or_path": lines.model or None,
        "finetuning_type": method if method in ("full", "freeze", "lora") else None,
        "per_device_train_batch_size": lines.asked.micro_batch,
        "gradient_accumulation_steps": lines.asked.grad_accum,
        "quantization_bit": words.number("quantized_bits"),
        "bf16": kind == "bfloat16",
        "fp16": kind == "float16",
        "pure_bf16": bool(words.said("pure")),
        "disable_gradient_checkpointing": not words.said("recompute"),
        "flash_attn": {"FlashAttention-2": "fa2", "vanilla": "disabled"}.get(words.said("attention")),
        "lora_target": words.said("lora_targets") or None,
    }
    model, asked, _ = read(Entries(words.path, "llama-factory", values))
    if lines.asked.sharding is not None:
        asked = asked._replace(sharding=lines.asked.sharding)
    unsaid = ("seq_len", "optimizer", *(("lora_rank",) if asked.method != "full" else ()))
    return LoggedTraining(model or "", asked, lines.num_gpus, unsaid)
