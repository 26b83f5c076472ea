"""Files of LLaMA-Factory that Megatron-Core trains (USE_MCA: train/mca/workflow.py, mcore_adapter), counted
as Megatron-Bridge trains."""

from ...run.training import Method, Task, TrainingAsked
from ..entries import Entries
from ..ms_swift.megatron import computed_again, mesh_of

MARKS = (
    "tensor_model_parallel_size",
    "pipeline_model_parallel_size",
    "expert_model_parallel_size",
    "context_parallel_size",
    "use_distributed_optimizer",
)
"""Entries of mcore_adapter's arguments, which the Trainer has not."""
COUNTED = "megatron-bridge"


def by_megatron(entries: Entries, task: Task, method: Method) -> TrainingAsked:
    """Return the question. Samples are padded to the length where experts are divided (train/mca/workflow.py,
    pad_to_max)."""
    entries.like = "megatron-swift"
    entries.note(f"Megatron-Core trains it through mcore_adapter, which is counted as {COUNTED}")
    mesh = mesh_of(entries)
    divided = entries.switch("use_distributed_optimizer", default=False)
    asked = TrainingAsked(
        framework=COUNTED,
        task=task,
        method=method,
        mesh=mesh,
        sharding="distopt" if divided else "ddp",
        micro_batch=entries.whole("per_device_train_batch_size", default=8),
        grad_accum=entries.whole("gradient_accumulation_steps", default=1),
        seq_len=entries.whole("cutoff_len", default=2048),
        data_workers=entries.whole("dataloader_num_workers", default=0),
        packed=entries.switch("packing", "neat_packing", default=task == "pretrain") or mesh.ep > 1,
    )
    return computed_again(entries, asked, "none")
