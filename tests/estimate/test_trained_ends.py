# mypy: ignore-errors
# Its types are torch's, which not every machine that checks types has.
"""Embedding and head that adapters train in full, as PEFT holds them: the frozen ones stay, and the step's
temporaries have the type of each value's moments."""

import pytest

from oomless.api.training import train
from oomless.estimate.training.rank_portions import portions, stages
from oomless.estimate.training.states import states
from oomless.model.families import build
from oomless.run.training import Mesh, TrainingResolved
from small_configs import BASE

STATES = {"precision": "bf16", "optimizer": "adamw-fused", "adapter": "lora", "adapter_dtype": "float32"}
CONFIG = BASE | {"model_type": "llama", "tie_word_embeddings": False}
ADAPTED = {"method": "lora", "lora_rank": 8, "lora_targets": ("q_proj",), "trained_ends": True}


def held(framework: str) -> dict[str, int]:
    """Bytes of the weights of a rank by line."""
    asked = TrainingResolved(framework=framework, sharding="none", **ADAPTED | STATES)
    model = build(CONFIG, "small", "test")
    stage = stages(len(model.layers), Mesh())[0]
    found = states(portions(model, Mesh(dp=1), stage, asked), Mesh(dp=1), asked)
    return {line.key: line.bytes for line in found.lines if line.category == "weights"}


def test_weights_are_those_of_peft() -> None:
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**CONFIG)
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
        ends = ["embed_tokens", "lm_head"]
        adapters = peft.LoraConfig(r=8, target_modules=["q_proj"], modules_to_save=ends)
        found = peft.get_peft_model(model, adapters)
    sizes = {True: 0, False: 0}
    for each in found.parameters():
        sizes[each.requires_grad] += each.numel() * each.element_size()
    assert held("peft") == {"weights.trained": sizes[True], "weights.frozen": sizes[False]}


def test_who_has_no_peft_holds_the_ends_once() -> None:
    ends = 2 * 2 * CONFIG["vocab_size"] * CONFIG["hidden_size"]
    assert held("peft")["weights.frozen"] - held("torchtune")["weights.frozen"] == ends


def test_a_step_makes_square_roots_in_the_type_of_each_moment() -> None:
    """Moments of the ends are as wide as their weights, those of adapters in F32 are not."""
    asked = {"framework": "peft", "optimizer": "adamw", "precision": "bf16", "seq_len": 128, "lora_rank": 64}
    found = train("qwen3-8b", "h100", **ADAPTED | asked)
    (group,) = found.groups
    (part,) = (
        part for phase in group.phases for part in phase.parts if part.key == "temporaries.optimizer_step"
    )
    assert 2 * part.bytes == group.states.optimizer
