"""A configuration file of a training framework -> the question that it puts: what it says, what its framework
takes by default, and what in it is not understood and might change memory."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import OomlessError, UnsupportedError
from ..from_answer import SCHEMA
from ..training import TrainingAsked
from . import answer
from .keys import Keys
from .text import content_of, flat, json_of, toml_of, yaml_of


class TrainingFile(NamedTuple):
    """What a file asks for."""

    framework: str
    model: str | None
    """A catalogue name, hub id or path; None: the file names no model."""
    training: TrainingAsked
    num_gpus: int | None
    """Ranks, where the file fixes them."""
    read: tuple[str, ...]
    defaults: tuple[str, ...]
    """Entries that the file leaves out, with what its framework then takes."""
    warnings: tuple[str, ...]
    gpu: str | None = None
    """Cards, where the file says which."""
    beside: Mapping[str, Any] = MappingProxyType({})
    """What stands beside the policy, by flag."""


ENDINGS = (".toml", ".json", ".yaml", ".yml")


def read_training_file(path: Path) -> TrainingFile:
    """The question that a torchtitan TOML, a DeepSpeed JSON, an Axolotl or LLaMA-Factory YAML, or a saved
    answer puts."""
    content = content_of(path)
    match path.suffix.lower():
        case ".toml":
            entries = toml_of(content, path)
        case ".json":
            entries = json_of(content, path)
        case ".yaml" | ".yml":
            entries = yaml_of(content, path)
        case _:
            raise OomlessError(
                f"{path}: its name ends in none of {', '.join(ENDINGS)}", "rename the file by what it holds"
            )
    if entries.get("schema") == SCHEMA:
        model, gpu, asked, beside = answer.question(entries, path)
        return TrainingFile(asked.framework, model, asked, None, (), (), (), gpu, beside)
    framework = framework_of(entries, path)
    keys = Keys(path, framework, flat(entries, path))
    from . import axolotl, deepspeed, llama_factory, torchtitan  # each reads its own framework's names

    readers = {
        "torchtitan": torchtitan,
        "deepspeed": deepspeed,
        "axolotl": axolotl,
        "llama-factory": llama_factory,
    }
    model, training, num_gpus = readers[framework].read(keys)
    training.check()
    return TrainingFile(
        framework, model, training, num_gpus, tuple(keys.read), tuple(keys.defaults), keys.warnings()
    )


MARKS = {
    "torchtitan": ("training", "parallelism", "activation_checkpoint"),
    "deepspeed": ("zero_optimization", "train_micro_batch_size_per_gpu", "train_batch_size"),
    "axolotl": ("base_model", "sequence_len", "micro_batch_size"),
    "llama-factory": ("model_name_or_path", "finetuning_type", "cutoff_len", "stage"),
}
"""Entries by which a framework's file is known: one is enough."""


OF_V1 = ("model_class", "dist_config", "peft_config", "kernel_config", "quant_config", "init_config")
"""Entries of LLaMA-Factory's src/llamafactory/v1, which has names of its own and none of the marks of the
usual YAML."""


def framework_of(entries: dict[str, Any], path: Path) -> str:
    """Whose file it is.

    >>> framework_of({"base_model": "deepseek-ai/deepseek-llm-7b-base", "adapter": "lora"}, Path("x.yaml"))
    'axolotl'
    """
    if "model" in entries and any(mark in entries for mark in OF_V1):
        raise UnsupportedError(
            f"{path}: a file of LLaMA-Factory's new trainer (USE_V1), whose rules are not known",
            "ask by flags, or with its usual YAML",
        )
    found = {name: sum(mark in entries for mark in marks) for name, marks in MARKS.items()}
    best = max(found, key=lambda name: found[name])
    if not found[best]:
        raise OomlessError(
            f"{path}: not a file of torchtitan, DeepSpeed, Axolotl or LLaMA-Factory",
            "; ".join(f"{name} has {' or '.join(marks)}" for name, marks in MARKS.items()),
        )
    return best
