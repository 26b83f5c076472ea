"""Which matrices of models with experts PEFT adapts: all-linear as a word, and as the list of modules that
some frameworks make of it, held against PEFT itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from oomless.api.training import train
from oomless.model.load import config_document

MODELS = ["qwen3-30b-a3b", "deepseek-v2-lite", "deepseek-v3"]


def adapted(name: str, framework: str, targets: str = "all-linear") -> int:
    """Return the values of its adapters, of rank 4."""
    found = train(name, "h200", framework=framework, method="lora", lora_rank=4, lora_targets=targets)
    return found.groups[0].states.trained_values


@pytest.mark.torch
@pytest.mark.parametrize(("framework", "lists"), [("trl", False), ("ms-swift", True), ("axolotl", True)])
@pytest.mark.parametrize("name", MODELS)
def test_adapters_beside_experts_are_those_of_peft(name: str, framework: str, lists: bool) -> None:
    """PEFT takes the word for experts and routers too; a list of linear modules has their names if a shared
    expert or a dense layer does, whose own adapters are then left out."""
    torch = pytest.importorskip("torch")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    config: dict[str, Any] = {k: v for k, v in config_document(name)[1].items() if k != "quantization_config"}
    settings = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(settings)
        linear = {path for path, each in model.named_modules() if isinstance(each, torch.nn.Linear)}
        names = sorted({path.rpartition(".")[2] for path in linear} - {"lm_head"})
        model = peft.get_peft_model(
            model, peft.LoraConfig(r=4, target_modules=names if lists else "all-linear")
        )
    assert adapted(name, framework) == model.get_nb_trainable_parameters()[0]


@pytest.mark.torch
def test_stacks_that_axolotl_names_are_those_of_peft(tmp_path: Path) -> None:
    """Parameters of experts beside modules of attention, as its examples for experts have them."""
    torch = pytest.importorskip("torch")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    targets, stacks = ["q_proj", "o_proj"], ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    said = {"base_model": "Qwen/Qwen3-30B-A3B", "adapter": "lora", "lora_r": 4, "sequence_len": 2048}
    said |= {"lora_target_modules": targets, "lora_target_parameters": stacks}
    (file := tmp_path / "lora.yaml").write_text(json.dumps(said))
    config = dict(config_document("qwen3-30b-a3b")[1])
    settings = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(settings)
        asked = peft.LoraConfig(r=4, target_modules=targets, target_parameters=stacks)
        theirs = peft.get_peft_model(model, asked).get_nb_trainable_parameters()[0]
    found = train("qwen3-30b-a3b", "h200", from_file=str(file))
    assert found.groups[0].states.trained_values == theirs
    assert not any("lora_target_parameters" in each for each in found.warnings)


def test_llama_factory_adapts_no_stack() -> None:
    """Its PEFT, 0.18, knows modules alone: attention, and what shared experts and dense layers have."""
    attention = adapted("qwen3-30b-a3b", "trl", "q_proj,k_proj,v_proj,o_proj")
    assert adapted("qwen3-30b-a3b", "llama-factory") == attention
    few, many = (adapted("deepseek-v2-lite", each) for each in ("llama-factory", "ms-swift"))
    assert many > 10 * few


def test_the_family_that_others_go_by_has_no_adapted_stack() -> None:
    """PEFT looks a family up in transformers' table, which maps the others to qwen2_moe, and that to none."""
    assert adapted("qwen2-57b-a14b", "trl") < 11_010_160 + 1  # what PEFT 0.21 makes, with its gates


def test_what_is_said_to_be_counted_is() -> None:
    """Megatron-SWIFT's slack is of runs with expandable segments: without them nothing is said of it."""
    asked: dict[str, Any] = {"framework": "megatron-swift", "method": "lora", "ep": 8, "recompute": "full"}
    for expands in (True, False):
        found = train("qwen3-235b-a22b", "h100:8", **asked, expandable_segments=expands)
        [held] = [each for each in found.groups[0].ledger.lines if each.key == "fragmentation.reserved"]
        assert (
            any("nothing explains" in each for each in found.warnings) == ("9 GiB" in held.formula) == expands
        )
