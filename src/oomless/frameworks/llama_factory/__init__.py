"""LLaMA-Factory: its YAML."""

from collections.abc import Iterator, Mapping
from typing import Any

from ...model.model import Model
from ...run.training import Task, TrainingAsked
from ..plan_space import PlannedCards, PlanSpace, as_it_is
from ..record import of_facts
from .configuration import read

OF_V1 = ("model_class", "dist_config", "peft_config", "kernel_config", "quant_config", "init_config")
"""Entries of LLaMA-Factory's src/llamafactory/v1, which has names of its own and none of the marks of the
usual YAML."""


OF_TRL = ("use_peft", "load_in_4bit", "lora_r", "max_length", "dataset_name", "attn_implementation")
"""Entries of TRL's ModelConfig, SFTConfig and ScriptArguments that LLaMA-Factory has under other names."""


def refuses(values: Mapping[str, Any]) -> str | None:
    """Return why a file is not read: it is one of the new trainer, or of TRL, whose entries look alike."""
    if "model_name_or_path" in values and any(mark in values for mark in OF_TRL):
        task = "grpo" if "num_generations" in values else "sft"
        return f'a file of TRL, which its command reads: --command "trl {task} --config FILE"'
    if "model" in values and any(mark in values for mark in OF_V1):
        return "a file of LLaMA-Factory's new trainer (USE_V1), whose rules are not known"
    return None


def fine_tuning(base: TrainingAsked, model: Model, cards: PlannedCards) -> Iterator[TrainingAsked]:
    """Yield pairs or fine-tuning, which is what the files that are written say; under ZeRO DeepSpeed keeps
    the states."""
    precision = "deepspeed-bf16" if base.sharding == "zero3" else None
    task: Task = "dpo" if base.task == "dpo" else "sft"
    yield from as_it_is(base._replace(task=task, precision=precision), model, cards)


RECORDS = {
    "llama-factory": of_facts("llama-factory")._replace(
        title="LLaMA-Factory",
        marks=("model_name_or_path", "finetuning_type", "cutoff_len", "stage"),
        reads=read,
        log="llama_factory.log",
        refuses=refuses,
        plan=PlanSpace(shardings=("none", "zero3"), ways=fine_tuning),
    )
}
