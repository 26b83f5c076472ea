"""Arguments of `openrlhf.cli.train_sft`, `train_dpo` and `train_rm`, by their names of today
(`--ds.zero_stage`) and up to 0.9 (`--zero_stage`)."""

from ...run.training import Mesh, Sharding, Task, TrainingAsked
from ..entries import Entries

TASKS: dict[str, Task] = {"sft": "sft", "dpo": "dpo", "rm": "reward"}
USUAL_RANKS = 8
"""Ranks that share the global batch, which its launcher alone knows."""
SHARDINGS: tuple[Sharding, ...] = ("ddp", "zero1", "zero2", "zero3")


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and ranks, which its launcher says."""
    task = TASKS[entries.text("task", default="sft") or "sft"]
    rank = entries.whole("ds.lora.rank", "lora_rank", default=0)
    packed = entries.switch("ds.packing_samples", "packing_samples", default=False)
    four_bits = entries.switch("ds.load_in_4bit", "load_in_4bit", default=False)
    again = entries.switch("model.gradient_checkpointing_enable", "gradient_checkpointing", default=False)
    targets = entries.words("ds.lora.target_modules", "target_modules")
    ranks = entries.whole("ds.ring_attn_size", "ring_attn_size", default=1)
    kernel = entries.text("ds.attn_implementation", "attn_implementation", default="flash_attention_2") or ""
    micro_batch = entries.whole(
        "train.micro_batch_size", "micro_train_batch_size", default=1 if task == "reward" else 8
    )
    whole = entries.whole("train.batch_size", "train_batch_size", default=128)
    if task == "dpo" and entries.switch("ref.offload", "ref_offload", default=False):
        entries.beside["reference_model"] = "none"
    asked = TrainingAsked(
        framework=entries.framework,
        task=task,
        method="full" if not rank else "qlora" if four_bits else "lora",
        mesh=Mesh(
            cp=ranks, tp=entries.whole("ds.tensor_parallel_size", "ds_tensor_parallel_size", default=1)
        ),
        sharding=SHARDINGS[min(max(entries.whole("ds.zero_stage", "zero_stage", default=2), 0), 3)],
        offload=("optimizer",) if entries.switch("ds.adam_offload", "adam_offload", default=False) else (),
        hpz_partition_size=entries.whole("ds.zpg", "zpg", default=1) or None,
        overlap_comm=entries.switch("ds.overlap_comm", "overlap_comm", default=False),
        micro_batch=micro_batch,
        grad_accum=max(whole // max(USUAL_RANKS * micro_batch, 1), 1),
        seq_len=entries.whole("data.max_len", "max_len", default=2048 if task == "sft" else 512),
        packed=packed,
        recompute="full" if again else "none",
        attention="flash" if "flash" in kernel else kernel,
        kernels="liger" if entries.switch("ds.use_liger_kernel", "use_liger_kernel", default=False) else None,
        lora_rank=rank or 8,
        lora_targets=() if not rank or targets == ("all-linear",) else targets,
    )
    return entries.text("model.model_name_or_path", "pretrain"), asked, None
