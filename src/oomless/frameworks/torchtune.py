"""torchtune: configurations of its recipes, its own ones by name (facts/torchtune_configs.csv), and files."""

import re
from collections.abc import Mapping
from typing import Any

from .. import facts
from ..errors import UsageError
from ..run.training import Mesh, Method, TrainingAsked
from .entries import Entries
from .record import of_facts

LONGEST_SAMPLE = 1304
"""Tokens of the longest sample of Alpaca, which most configurations train on with max_seq_len null: litgpt
prints it. Samples of a batch are padded to its longest."""
ATTENTION = ("q_proj", "v_proj", "output_proj")
"""Matrices of attention that get adapters in the configurations of 0.5 on; to 0.4 those of q and v alone."""
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
OPTIMIZERS = {
    "AdamW": "adamw-fused",
    "PagedAdamW": "paged-adamw",
    "PagedAdamW8bit": "paged-adamw-8bit",
    "AdamW8bit": "adamw-8bit",
    "CPUOffloadOptimizer": "adamw-fused",
}
"""Class of `optimizer._component_` -> ours."""

ENDINGS = (".yaml", ".yml")


def own_configuration(given: str) -> dict[str, Any] | None:
    """Return the entries of a configuration that comes with torchtune; None: a file of the user's.

    >>> own_configuration("mistral/7B_lora")["batch_size"], own_configuration("my.yaml")
    (4, None)
    """
    name = given.removeprefix("recipes/configs/").removesuffix(".yaml")
    row = next((each for each in facts.table("torchtune_configs") if each["config"] == name), None)
    if row is None and not given.endswith(ENDINGS):
        raise UsageError(
            f"--command: no configuration of torchtune is called {given}", "paste its YAML", "command"
        )
    if row is None:
        return None
    differs, (of, kind) = row["differs"].split(), _parts(name)
    values: dict[str, Any] = {
        "model._component_": f"{'qlora_' if 'q' in kind else 'lora_' if row['rank'] else ''}{of}",
        "model.use_dora": "dora" in differs,
        "batch_size": int(row["batch"]),
        "enable_activation_checkpointing": "kept" not in differs,
        "enable_activation_offloading": "away" in differs,
        "fsdp_cpu_offload": "host" in differs,
        "optimizer_in_bwd": "in_backward" in differs,
        "optimizer._component_": next((word for word in differs if word in OPTIMIZERS), "AdamW"),
    }
    if row["rank"]:
        values |= {"model.lora_rank": int(row["rank"]), "model.lora_attn_modules": [*ATTENTION]}
        values["model.apply_lora_to_mlp"] = True
    return values


def _parts(config: str) -> tuple[str, str]:
    """Return what names its model, and how that is trained.

    >>> _parts("qwen2_5/0.5B_lora_single_device")
    ('qwen2_5_0_5b', 'lora')
    """
    match = re.fullmatch(r"(\w+)/(.+?)_(q?lora|q?dora|full).*", config)
    assert match
    return f"{match[1]}_{match[2]}".replace(".", "_").lower(), match[3]


def read(entries: Entries) -> tuple[str | None, TrainingAsked, int | None]:
    """Return model, question and no ranks, which its launcher says."""
    recipe = entries.text("task", default="full_finetune_single_device") or ""
    builder = (entries.text("model._component_", default="") or "").rpartition(".")[2]
    packed = builder.startswith("qlora_") or entries.switch("model.quantize_base", default=False)
    method: Method = "qlora" if packed else "lora" if builder.startswith("lora_") else "full"
    away = {"params": "fsdp_cpu_offload", "activations": "enable_activation_offloading"}
    optimizer = (entries.text("optimizer._component_", default="AdamW") or "").rpartition(".")[2]
    again = entries.switch("enable_activation_checkpointing", default=False)
    asked = TrainingAsked(
        framework=entries.framework,
        task="dpo" if "_dpo_" in recipe else "sft",
        method=method,
        mesh=Mesh(),
        sharding="fsdp2" if recipe.endswith("distributed") else None,
        precision="fp32" if entries.text("dtype", default="bf16") in ("fp32", "float32") else None,
        optimizer=OPTIMIZERS.get(optimizer),
        optimizer_in_backward=entries.switch("optimizer_in_bwd", default=False),
        offload=entries.away(away),
        micro_batch=entries.whole("batch_size", default=2),
        grad_accum=entries.whole("gradient_accumulation_steps", default=1),
        seq_len=entries.whole("tokenizer.max_seq_len", "dataset.max_seq_len", default=LONGEST_SAMPLE),
        packed=entries.switch("dataset.packed", default=False),
        recompute="full" if again else "none",
        kernels="compiled" if entries.switch("compile", default=False) else None,
        loss="plain" if (entries.text("loss._component_") or "").endswith(".CrossEntropyLoss") else None,
    )
    return _model(builder), _adapters(entries, asked), None


def _model(builder: str) -> str:
    """Return the name in the catalogue of what a builder makes.

    >>> _model("qlora_llama3_1_8b"), _model("lora_qwen2_5_7b_instruct")
    ('llama-3.1-8b', 'qwen2.5-7b')
    """
    of = re.sub(r"^q?lora_|_(?:instruct|base)$", "", builder)
    for row in facts.table("torchtune_configs"):
        if _parts(row["config"])[0] == of:
            return row["model"]
    raise UsageError(f"--command: torchtune's model {builder} is not known", "ask by flags", "command")


def _adapters(entries: Entries, asked: TrainingAsked) -> TrainingAsked:
    if asked.method == "full":
        return asked
    said = entries.words("model.lora_attn_modules") or ATTENTION
    targets = tuple("o_proj" if each == "output_proj" else each for each in said)
    if entries.switch("model.apply_lora_to_mlp", default=False):
        targets = (*targets, *FEED_FORWARD)
    return asked._replace(
        adapter="dora" if entries.switch("model.use_dora", default=False) else "lora",
        lora_rank=entries.whole("model.lora_rank", default=8),
        lora_targets=targets,
    )


def refuses(values: Mapping[str, Any]) -> str | None:
    """Return why a file alone is not read: the recipe that runs it says how ranks divide states."""
    model = values.get("model")
    builder = str(model.get("_component_", "")) if isinstance(model, dict) else ""
    if not builder.startswith("torchtune."):
        return None
    recipe = f"{'lora' if 'lora_' in builder else 'full'}_finetune_single_device"
    return f'a file of torchtune, which its command reads: --command "tune run {recipe} --config FILE"'


RECORDS = {"torchtune": of_facts("torchtune")._replace(title="torchtune", reads=read, refuses=refuses)}
