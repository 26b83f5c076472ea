"""Adapters of families whose code keeps several matrices as one module: as many values as PEFT makes, under
the names that it finds."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.model.load import config_document, load
from oomless.plan.launch.training import targets_of
from oomless.run.training import TrainingAsked

MODULES = ("qkv_proj", "gate_up_proj", "o_proj")


def trained(model: str, targets: str) -> int:
    """Return the values of adapters of rank 8 on one card."""
    found = train(model, "h200", framework="peft", method="lora", lora_rank=8, lora_targets=targets)
    return found.groups[0].states.trained_values


def test_adapters_of_phi_are_those_of_peft() -> None:
    """The halves that read the input are one for q, k and v, and one for gate and up."""
    torch = pytest.importorskip("torch")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    config: dict[str, Any] = dict(config_document("phi-4")[1])
    settings = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(settings)
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=list(MODULES)))
    theirs = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    assert trained("phi-4", ",".join(MODULES)) == theirs


def test_a_matrix_within_a_module_stands_for_the_module() -> None:
    assert trained("phi-4", "q_proj") == trained("phi-4", "qkv_proj") == trained("phi-4", "k_proj,v_proj")
    assert trained("qwen2.5-7b", "q_proj") < trained("qwen2.5-7b", "q_proj,k_proj")


@pytest.mark.parametrize(
    ("model", "targets", "written"),
    [
        ("phi-4", (), ("qkv_proj",)),
        ("phi-4", ("o_proj", "up_proj"), ("o_proj", "gate_up_proj")),
        ("qwen2.5-7b", (), ("q_proj", "v_proj")),
        ("phi-4", ("all-linear",), ("all-linear",)),
    ],
)
def test_launch_files_name_modules_that_are_there(
    model: str, targets: tuple[str, ...], written: tuple[str, ...]
) -> None:
    asked = TrainingAsked(framework="peft", method="lora", lora_targets=targets)
    assert targets_of(load(model), asked) == written
