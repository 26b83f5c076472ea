"""DeepSpeed-Chat's commands: what has adapters, what the critic does, and what the hybrid engine takes."""

from typing import Any

import pytest

from oomless.api.training import train
from oomless.estimate.training.hybrid_engine import workspace_bytes
from oomless.frameworks.training_command import read_training_command
from oomless.model.load import load

CHAT = (
    "deepspeed main.py --actor_model_name_or_path facebook/{} --critic_model_name_or_path facebook/opt-350m "
    "--actor_zero_stage 3 --critic_zero_stage 3 --actor_lora_dim 128 --per_device_mini_train_batch_size 4 "
)


def asked(command: str) -> Any:
    return train(command=command, gpu="a100-80gb:8")


@pytest.mark.parametrize(
    ("words", "method", "critic"),
    [
        ("", "lora", "full"),
        ("--critic_lora_dim 64", "lora", "lora"),
        ("--actor_lora_module_name decoder.layers.", "lora", "full"),
        ("--actor_lora_module_name transformer.h.", "full", "full"),
    ],
)
def test_adapters_of_deepspeed_chat_are_where_a_linears_name_says_so(
    words: str, method: str, critic: str
) -> None:
    """DeepSpeed's issue 3671 trains GPT-J with OPT's names of layers: nothing was frozen."""
    found = read_training_command(CHAT.format("opt-1.3b") + words)
    assert (found.training.method, found.beside["value_method"]) == (method, critic)
    for name in ("bloom-7b1", "gpt-neo-1.3B"):
        other = read_training_command(CHAT.format(name) + words)
        assert other.training.method == ("lora" if "transformer" in words else "full")


@pytest.mark.parametrize(
    ("model", "part", "method"),
    [
        ("pythia-1b", "gpt_neox.layers.", "lora"),
        ("gpt-neox-20b", "gpt_neox.layers.", "lora"),
        ("Llama-2-7b-hf", "layers.", "lora"),
        ("Llama-2-7b-hf", "decoder.layers.", "full"),
    ],
)
def test_llama_and_neox_are_no_opt(model: str, part: str, method: str) -> None:
    found = read_training_command(f"{CHAT.format(model)} --actor_lora_module_name {part}")
    assert found.training.method == method


def test_the_hybrid_engine_of_deepspeed_chat_is_counted() -> None:
    """DeepSpeedExamples' issue 410: 32 questions at once do not run on eight cards of 80 GB, 16 do."""
    words = (
        CHAT.format("opt-13b") + "--enable_hybrid_engine --inference_tp_size 2 --actor_gradient_checkpointing"
    )
    sizes = {
        each.name: sum(line.bytes for line in each.ledger.lines if line.owner == "engine")
        for each in asked(words).after.moments
    }
    assert sizes == dict.fromkeys(("update", "update_value", "score", "generate"), sizes["generate"])
    assert sizes["generate"] == workspace_bytes(load("opt-13b"), 2 * 16, 512, 2)
    freed = read_training_command(f"{words} --release_inference_cache --unpin_actor_parameters").beside
    assert freed["rollout_sleep"]
    assert freed["rollout_sync_batches"] > 40


def test_a_critic_of_deepspeed_chat_recomputes_where_it_is_told() -> None:
    none, full = (
        next(each.ledger for each in asked(words).after.moments if each.name == "update_value")
        for words in (CHAT.format("opt-1.3b"), CHAT.format("opt-1.3b") + "--critic_gradient_checkpointing")
    )
    assert none.low_bytes > full.low_bytes


def test_step_2_of_deepspeed_chat_takes_sixteen_pairs() -> None:
    words = "deepspeed main.py --model_name_or_path facebook/opt-350m --num_padding_at_beginning 1"
    assert read_training_command(f"{words} --zero_stage 0").training.micro_batch == 16
