"""Adapters of families whose code keeps several matrices as one module: as many values as PEFT makes, under
the names that it finds."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.model.load import config_document, load
from oomless.plan.launch.training import targets_of
from oomless.run.training import TrainingAsked


def trained(model: str, targets: str) -> int:
    """Return the values of adapters of rank 8 on one card."""
    found = train(model, "h200", framework="peft", method="lora", lora_rank=8, lora_targets=targets)
    return found.groups[0].states.trained_values


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("phi-4", ("qkv_proj", "gate_up_proj", "o_proj")),
        ("phi-2", ("q_proj", "dense", "fc1", "fc2")),
        ("gpt2", ("c_attn", "c_fc")),
        ("gpt2", ("c_proj",)),
        ("gpt2", ("mlp.c_proj",)),
        ("opt-1.3b", ("out_proj", "fc1", "fc2")),
        ("gpt-neox-20b", ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")),
        ("falcon-7b", ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")),
        ("bloom-7b1", ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")),
        ("starcoder2-3b", ("c_fc", "c_proj")),
        ("lfm2-1.2b", ("w1", "w2", "w3")),
        ("lfm2-1.2b", ("out_proj",)),
        ("lfm2-1.2b", ("self_attn.out_proj",)),
        ("qwen3.5-0.8b", ("in_proj_qkv", "in_proj_z", "out_proj")),
        ("qwen3-coder-next", ("in_proj_qkvz",)),
    ],
)
def test_adapters_are_those_of_peft(name: str, modules: tuple[str, ...]) -> None:
    """The halves that read the input are one for what a module fuses."""
    torch = pytest.importorskip("torch")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    config: dict[str, Any] = dict(config_document(name)[1])
    config = {"model_type": config["model_type"]} | config.get("text_config", config)
    settings = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(settings)
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=list(modules)))
    theirs = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    assert trained(name, ",".join(modules)) == theirs


@pytest.mark.parametrize(
    ("own", "names"),
    [
        ("c_attn,attn.c_proj,w1,w2", "q_proj,k_proj,v_proj,o_proj,up_proj,gate_proj"),
        ("c_proj,w1,w2", "o_proj,down_proj,up_proj,gate_proj"),
    ],
)
def test_modules_of_the_first_qwen_are_its_matrices(own: str, names: str) -> None:
    """Its scripts say c_attn, c_proj, w1 and w2."""
    assert trained("qwen-14b", own) == trained("qwen-14b", names)


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
        ("qwen-7b", ("q_proj", "o_proj", "up_proj"), ("c_attn", "attn.c_proj", "w1")),
        ("opt-1.3b", ("o_proj", "down_proj"), ("out_proj", "fc2")),
    ],
)
def test_launch_files_name_modules_that_are_there(
    model: str, targets: tuple[str, ...], written: tuple[str, ...]
) -> None:
    asked = TrainingAsked(framework="peft", method="lora", lora_targets=targets)
    assert targets_of(load(model), asked) == written


@pytest.mark.parametrize(("model", "layers"), [("glm-4-9b-chat", 40), ("chatglm3-6b", 28)])
def test_adapters_of_chatglm_go_by_the_names_of_its_own_code(model: str, layers: int) -> None:
    """modeling_chatglm.py: queries with two heads of keys and values are one module, as are gate and up."""
    hidden, inner, kv = 4096, 13696, 2 * 128
    ends = (hidden + hidden + 2 * kv, 2 * hidden, hidden + 2 * inner, inner + hidden)
    assert trained(model, "query_key_value,dense,dense_h_to_4h,dense_4h_to_h") == layers * 8 * sum(ends)
