"""Arguments of QLoRA's own script (artidoro/qlora, qlora.py): those of transformers' Trainer with other
defaults, beside lengths of a question and of its answer."""

from ...run.training import Mesh, Method, TrainingAsked
from ..entries import Entries
from .accelerate import launcher
from .evaluation import note_evaluation

KEYS = ("source_max_len", "target_max_len", "do_mmlu_eval", "full_finetune")
"""Arguments by which its commands are known, whatever the script is called."""


def is_said(entries: Entries) -> bool:
    """Return whether a command is its own: by the script's name, or by an argument that no other has."""
    named = entries.has("task") and entries.text("task") == "qlora"
    return named or entries.has(*KEYS)


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks. Where neither bf16 nor fp16 is asked for it loads and computes in
    float32 (get_accelerate_model, compute_dtype)."""
    bits = entries.whole("bits", default=4)
    packed = bits in (4, 8)
    full = entries.switch("full_finetune", default=False)
    method: Method = "full" if full else "qlora" if packed else "lora"
    bf16, fp16 = (entries.switch(name, default=False) for name in ("bf16", "fp16"))
    double = entries.switch("double_quant", default=True)
    again = entries.switch("gradient_checkpointing", default=True)
    start = launcher(entries)
    asked = TrainingAsked(
        framework="transformers" if full else "peft",
        task="sft",
        method=method,
        mesh=Mesh(),
        precision="amp-fp16" if fp16 else None if bf16 else "fp32",
        sharding=start.sharding,
        optimizer=entries.optimizer("optim", default="paged_adamw_32bit"),
        micro_batch=entries.whole("per_device_train_batch_size", default=1),
        grad_accum=entries.whole("gradient_accumulation_steps", default=16),
        seq_len=entries.whole("source_max_len", default=1024) + entries.whole("target_max_len", default=256),
        data_workers=entries.whole("dataloader_num_workers", default=0),
        recompute="full" if again else "none",
        lora_rank=entries.whole("lora_r", default=64),
        lora_targets=() if full else ("all-linear",),
        quantization=None if full or not packed else "int8" if bits == 8 else "nf4-dq" if double else "nf4",
        adapter_dtype=None if full else "bfloat16" if bf16 else "float32",
    )
    note_evaluation(entries, asked)
    return entries.text("model_name_or_path", default="EleutherAI/pythia-12b"), asked, start.num_ranks
