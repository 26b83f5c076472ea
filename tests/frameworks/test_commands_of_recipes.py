"""Commands of torchtune and llama-recipes, and names of files that say what DeepSpeed offloads."""

import json
from pathlib import Path

import pytest

from oomless import facts
from oomless.facts.tables import config_names
from oomless.frameworks.deepspeed.configuration import by_name
from oomless.frameworks.torchtune import own_configuration
from oomless.frameworks.training_command import read_training_command


def test_a_configuration_of_torchtune_is_known_by_its_name() -> None:
    """`tune run` was sent away to flags."""
    found = read_training_command(
        "tune run --nproc_per_node 2 lora_finetune_distributed --config recipes/configs/mistral/7B_lora.yaml"
        " batch_size=1 tokenizer.max_seq_len=2048"
    )
    asked = found.training
    assert (found.framework, found.model, found.num_gpus) == ("torchtune", "mistral-7b", 2)
    assert (asked.method, asked.lora_rank, asked.sharding) == ("lora", 64, "fsdp2")
    assert (asked.micro_batch, asked.seq_len, asked.recompute) == (1, 2048, "full")
    assert {"gate_proj", "o_proj"} < {*asked.lora_targets}  # torchtune's output_proj
    assert found.warnings == ()


def test_a_full_recipe_of_one_card_has_its_optimizer_in_the_backward() -> None:
    asked = read_training_command(
        "tune run full_finetune_single_device --config llama3_1/8B_full_single_device"
    ).training
    assert (asked.method, asked.optimizer, asked.optimizer_in_backward) == ("full", "paged-adamw-8bit", True)


def test_a_file_of_torchtune_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "model:\n  _component_: torchtune.models.qwen2_5.qlora_qwen2_5_7b_instruct\n  lora_rank: 16\n"
        "batch_size: 3\nenable_activation_checkpointing: false\ndataset:\n  packed: true\n"
    )
    found = read_training_command(f"tune run lora_finetune_single_device --config {path}")
    asked = found.training
    assert (found.model, asked.method, asked.lora_rank) == ("qwen2.5-7b", "qlora", 16)
    assert (asked.micro_batch, asked.recompute, asked.packed) == (3, "none", True)


def test_models_of_torchtune_are_in_the_catalogue() -> None:
    known = set(config_names())
    for row in facts.table("torchtune_configs"):
        assert row["model"] in known
        assert own_configuration(row["config"]) is not None


def test_finetuning_of_llama_recipes_is_read() -> None:
    found = read_training_command(
        "torchrun --nnodes 1 --nproc_per_node 4 examples/finetuning.py --enable_fsdp --use_peft "
        "--peft_method lora --model_name meta-llama/Llama-2-7b-hf --fsdp_config.pure_bf16 --output_dir out"
    )
    asked = found.training
    assert (found.framework, found.num_gpus, asked.method) == ("llama-recipes", 4, "lora")
    assert (asked.precision, asked.sharding, asked.recompute) == ("bf16", "fsdp1", "full")
    assert (asked.micro_batch, asked.seq_len, asked.packed) == (4, 4096, True)
    assert found.warnings == ()


def test_the_first_weeks_of_llama_recipes_had_other_defaults() -> None:
    asked = read_training_command(
        "torchrun --nproc_per_node 8 llama_finetuning.py --enable_fsdp --model_name x --micro_batch_size 1"
    ).training
    assert (asked.precision, asked.seq_len) == ("bf16", 2048)
    one = read_training_command("python finetuning.py --model_name x --use_peft --quantization").training
    assert (one.method, one.quantization, one.sharding) == ("qlora", "int8", "none")


@pytest.mark.parametrize("name", ["ds_zero2_no_offload.json", "zero2-without-offload.json"])
def test_a_name_that_says_no_offload_offloads_nothing(name: str) -> None:
    """Its states were counted in host memory."""
    found = by_name(name)
    assert found is not None
    assert found.offload == ()


def test_a_script_whose_model_stands_beside_it_is_read() -> None:
    """A script with the Trainer's arguments and no --model_name_or_path was no script of training."""
    asked = read_training_command(
        "torchrun --nproc_per_node 1 run_clm_sft_with_peft.py --per_device_train_batch_size 1 "
        "--gradient_accumulation_steps 8 --lora_rank 64 --trainable q_proj,down_proj "
        "--modules_to_save embed_tokens,lm_head --max_seq_length 512"
    ).training
    assert (asked.method, asked.lora_targets, asked.trained_ends) == ("lora", ("q_proj", "down_proj"), True)
    assert json.dumps(asked.lora_rank) == "64"


@pytest.mark.parametrize(
    ("model", "ends"),
    [("Qwen/Qwen-14B", True), ("Qwen/Qwen-14B-Chat", False), ("Qwen/Qwen-7B --q_lora", False)],
)
def test_the_script_of_qwen_has_adapters_of_its_own(model: str, ends: bool) -> None:
    """They were counted as 16 ranks beside queries and values, and a base model's ends as frozen."""
    asked = read_training_command(
        f"torchrun --nproc_per_node 2 finetune.py --model_name_or_path {model} --use_lora "
        "--per_device_train_batch_size 2 --model_max_length 512 --lazy_preprocess True"
    ).training
    assert (asked.lora_rank, asked.lora_targets, asked.trained_ends) == (64, ("all-linear",), ends)


@pytest.mark.parametrize(
    ("start", "framework", "ranks"),
    [
        ("torchrun --nproc_per_node 8 -m open_r1.sft", "trl", 8),
        ("torchrun --nproc_per_node 2 -m mine.train", "transformers", 2),
        ("python -m torch.distributed.run --nproc_per_node 2 train.py", "transformers", 2),
        ("torchrun --nproc_per_node 4 -m swift.cli.sft", "ms-swift", 4),
    ],
)
def test_a_module_that_parses_the_trainers_arguments_is_a_script(
    start: str, framework: str, ranks: int
) -> None:
    """Behind -m none but TRL's own scripts trained."""
    model = "--model m/x" if framework == "ms-swift" else "--model_name_or_path m/x"
    found = read_training_command(f"{start} {model} --per_device_train_batch_size 1")
    assert (found.framework, found.model, found.num_gpus) == (framework, "m/x", ranks)


def test_megatron_swift_names_its_model_by_the_folder_that_it_made() -> None:
    """A command with --load and no --model named none."""
    found = read_training_command(
        "megatron sft --load out/Qwen3-30B-A3B-mcore --expert_model_parallel_size 8"
    )
    assert found.model == "out/Qwen3-30B-A3B"
