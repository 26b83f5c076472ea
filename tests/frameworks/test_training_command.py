"""Commands that start training, as people paste them: `train --command`."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oomless
from command import call
from oomless.errors import OomlessError
from oomless.frameworks.training_command import read_training_command
from oomless.units import GIB
from oomless.web.question import reply


def asked(command: str, *words: str, gpu: str = "a100-80gb:8") -> dict[str, Any]:
    found = call("train", *words, "--gpu", gpu, "--command", command, "--json", "--offline")
    assert found.code in (0, 3), found.err
    answer: dict[str, Any] = json.loads(found.out)
    return answer


def refused(command: str, *words: str) -> str:
    found = call("train", *words, "--gpu", "h100:1", "--command", command, "--json")
    assert found.code in (1, 2, 4)
    error: dict[str, str] = json.loads(found.err)["error"]
    return f"{error['message']} {error['hint']}"


COMMANDS: dict[str, dict[str, Any]] = {
    "deepspeed src/train.py --stage sft --model_name_or_path Qwen/Qwen2.5-7B --finetuning_type full "
    "--cutoff_len 128000 --bf16 --sequence_parallel_size 8": {  # of 360-LLaMA-Factory
        "framework": "llama-factory",
        "mesh": {"cp": 8},
        "packed": True,
    },
    "accelerate launch open_instruct/finetune.py --model_name_or_path meta-llama/Llama-2-7b-hf "
    "--use_qlora --use_lora --lora_rank 64 --per_device_train_batch_size 1": {
        "method": "qlora",
        "lora_rank": 64,
    },
    "torchrun finetune.py --model_name_or_path openbmb/MiniCPM-V-2_6 --llm_type qwen --tune_llm false "
    "--use_lora true --per_device_train_batch_size 1": {
        "method": "lora",
        "lora_rank": 64,
        "trained_ends": True,
    },
    "torchrun supervised-fine-tune.py --model_name_or_path meta-llama/Llama-2-7b-hf --use_flash_attn True "
    "--low_rank_training True --per_device_train_batch_size 1": {  # of LongLoRA
        "method": "lora",
        "lora_rank": 8,
        "lora_targets": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "trained_ends": True,
        "attention": "flash",
        "recompute": "full",
    },
    "deepspeed fastchat/train/train_mem.py --model_name_or_path lmsys/vicuna-7b-v1.5 "
    "--per_device_train_batch_size 1": {"attention": "flash"},
    "deepspeed main.py --model_name_or_path facebook/opt-1.3b --lora_dim 128 --zero_stage 2 --offload": {
        "framework": "deepspeed",  # DeepSpeed-Chat, step 1
        "task": "sft",
        "method": "lora",
        "lora_rank": 128,
        "trained_ends": True,
        "precision": "deepspeed-fp16",
        "sharding": "zero2",
        "offload": ["optimizer"],
        "micro_batch": 16,
        "seq_len": 512,
    },
    "deepspeed main.py --actor_model_name_or_path facebook/opt-1.3b --critic_model_name_or_path "
    "facebook/opt-350m --actor_zero_stage 3 --critic_zero_stage 3 --per_device_mini_train_batch_size 4": {
        "task": "ppo",
        "sharding": "zero3",
        "micro_batch": 4,
        "seq_len": 512,
    },
    "deepspeed ../train_rm.py --pretrain meta-llama/Meta-Llama-3-8B --zero_stage 3 --max_len 2048": {
        "framework": "openrlhf",  # of 2024, as a script
        "task": "reward",
        "seq_len": 2048,
    },
    "trl sft --model_name_or_path Qwen/Qwen2.5-7B --per_device_train_batch_size 2 --use_peft": {
        "framework": "trl",
        "task": "sft",
        "method": "lora",
        "lora_rank": 16,
        "lora_targets": ["q_proj", "v_proj"],
        "micro_batch": 2,
        "seq_len": 1024,
    },
    "accelerate launch --config_file examples/accelerate_configs/deepspeed_zero3.yaml trl/scripts/dpo.py "
    "--model_name_or_path=Qwen/Qwen2.5-7B-Instruct --max_length 2048 --gradient_checkpointing --bf16": {
        "task": "dpo",
        "method": "full",
        "sharding": "zero3",
        "recompute": "full",
        "seq_len": 2048,
        "micro_batch": 8,
    },
    "accelerate launch --use_fsdp --fsdp_version 2 --num_processes 8 sft.py --model_name_or_path "
    "meta-llama/Llama-3.1-8B --load_in_4bit --use_peft --lora_target_modules all-linear": {
        "method": "qlora",
        "sharding": "fsdp2",
        "quantization": "nf4",
        "lora_targets": ["all-linear"],
    },
    "deepspeed --num_gpus 8 fastchat/train/train.py --deepspeed ds_config_zero2_offload.json "
    "--model_name_or_path meta-llama/Llama-2-13b-hf --per_device_train_batch_size 4 --bf16 True "
    "--model_max_length 2048 --gradient_checkpointing True --lazy_preprocess True": {
        "framework": "transformers",
        "sharding": "zero2",
        "offload": ["optimizer"],
        "micro_batch": 4,
        "seq_len": 2048,
        "recompute": "full",
    },
    "torchrun --nproc_per_node=8 run_clm.py --model_name_or_path Qwen/Qwen2.5-0.5B --block_size 512 --bf16 "
    "--per_device_train_batch_size 4 --fsdp 'full_shard auto_wrap offload'": {
        "framework": "transformers",
        "task": "pretrain",
        "sharding": "fsdp1",
        "offload": ["params"],
        "recompute": "none",
    },
    "CUDA_VISIBLE_DEVICES=0 llamafactory-cli train --stage sft --model_name_or_path Qwen/Qwen2.5-7B-Instruct "
    "--finetuning_type lora --lora_rank 64 --cutoff_len 4096 --per_device_train_batch_size 1 --bf16 true": {
        "framework": "llama-factory",
        "method": "lora",
        "lora_rank": 64,
        "seq_len": 4096,
    },
    "python src/train_sft.py --model_name_or_path huggyllama/llama-7b --finetuning_type lora --fp16 "
    "--max_source_length 512 --max_target_length 256 --per_device_train_batch_size 4": {
        "framework": "llama-factory",
        "method": "lora",
        "seq_len": 768,
        "recompute": "full",
    },
    "PYTHONPATH=../.. CUDA_VISIBLE_DEVICES=0 python llm_sft.py --model_type qwen1half-7b-chat --sft_type "
    "lora --lora_target_modules DEFAULT --batch_size 2 --use_flash_attn false --quantization_bit 4": {
        "framework": "ms-swift",
        "method": "qlora",
        "lora_targets": ["q_proj", "k_proj", "v_proj"],
        "micro_batch": 2,
        "seq_len": 2048,
        "attention": "eager",
    },
    "swift dpo --model_id_or_path qwen/Qwen2-7B-Instruct --sft_type full --max_length 1024": {
        "framework": "ms-swift",
        "task": "dpo",
        "seq_len": 1024,
    },
    "deepspeed --module openrlhf.cli.train_ppo --pretrain meta-llama/Meta-Llama-3-8B --zero_stage 2 "
    "--reward_pretrain meta-llama/Meta-Llama-3-8B --adam_offload --gradient_checkpointing": {
        "framework": "openrlhf",
        "task": "ppo",
        "sharding": "zero2",
        "beside": {"score_tokens": 2048, "reference_model": "same", "reward_model": "llama-3-8b"},
    },
    # the figures are those that its authors wrote over these scripts: 8 x 80 GiB, and 2 x 76
    "PYTORCH_CUDA_ALLOC_CONF='expandable_segments:True' NPROC_PER_NODE=8 swift sft --model Qwen/Qwen2.5-32B "
    "--tuner_type full --per_device_train_batch_size 1 --packing true --max_length 8192 "
    "--gradient_accumulation_steps $(expr 16 / 8) --deepspeed zero3 --use_liger_kernel true": {
        "framework": "ms-swift",
        "method": "full",
        "sharding": "zero3",
        "expandable_segments": True,
        "packed": True,
        "seq_len": 8192,
        "grad_accum": 2,
        "loss": "fused",
    },
    "CUDA_VISIBLE_DEVICES=0,1 swift sft --model Qwen/Qwen2.5-72B-Instruct --train_type lora --max_length "
    "2048 --per_device_train_batch_size 1": {
        "method": "lora",
        "lora_rank": 8,
        "lora_targets": ["all-linear"],
        "recompute": "full",
        "mesh": {"pp": 2},
    },
    "NPROC_PER_NODE=4 swift rlhf --rlhf_type dpo --model Qwen/Qwen2.5-7B-Instruct --tuner_type full "
    "--packing true --max_length 8192 --deepspeed zero3_offload --quant_bits 4": {
        "task": "dpo",
        "method": "full",
        "seq_len": 4096,
        "offload": ["optimizer", "params"],
    },
    "trl grpo --model_name_or_path Qwen/Qwen2.5-1.5B --max_prompt_length 256 --max_completion_length 768": {
        "task": "grpo",
        "seq_len": 1024,
    },
    "torchrun --standalone --nproc_per_node=8 -m verl.trainer.fsdp_sft_trainer data.max_length=2048 "
    "data.micro_batch_size_per_gpu=2 model.partial_pretrain=Qwen/Qwen2.5-7B +model.lora_rank=32 "
    "ulysses_sequence_parallel_size=2": {
        "framework": "verl",
        "task": "sft",
        "method": "lora",
        "lora_rank": 32,
        "sharding": "fsdp2",
        "seq_len": 2048,
        "micro_batch": 2,
        "mesh": {"cp": 2},
    },
    "deepspeed --module openrlhf.cli.train_sft --max_len 4096 --pretrain meta-llama/Meta-Llama-3-8B "
    "--train_batch_size 256 --micro_train_batch_size 2 --zero_stage 3 --bf16 --flash_attn --packing_samples "
    "--gradient_checkpointing --adam_offload": {
        "framework": "openrlhf",
        "method": "full",
        "sharding": "zero3",
        "offload": ["optimizer"],
        "packed": True,
        "recompute": "full",
        "micro_batch": 2,
        "grad_accum": 16,
        "seq_len": 4096,
    },
    "deepspeed --module openrlhf.cli.train_dpo --model.model_name_or_path Qwen/Qwen2.5-7B --ds.lora.rank 16 "
    "--ds.zero_stage 2 --data.max_len 2048 --train.micro_batch_size 1": {
        "framework": "openrlhf",
        "task": "dpo",
        "method": "lora",
        "lora_rank": 16,
        "sharding": "zero2",
        "recompute": "none",
        "seq_len": 2048,
    },
    "torchrun --nproc_per_node=8 -m verl.trainer.sft_trainer model.path=Qwen/Qwen2.5-7B model.lora_rank=16 "
    "model.target_modules=[q_proj,v_proj]": {
        "framework": "verl",
        "lora_targets": ["q_proj", "v_proj"],
    },
    "torchrun --nproc_per_node=8 -m verl.trainer.sft_trainer model.path=Qwen/Qwen2.5-7B": {
        "framework": "verl",
        "packed": True,
        "seq_len": 8192,
        "micro_batch": 1,
    },
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_people_paste(command: str) -> None:
    request, expected = asked(command)["request"], COMMANDS[command]
    sizes = expected.get("mesh", {})
    found = {name: request[name] for name in expected if name != "mesh"}
    assert found == {name: expected[name] for name in found}
    assert {name: request["mesh"][name] for name in sizes} == sizes


FACTORY = """
model_name_or_path: Qwen/Qwen2.5-7B-Instruct
stage: sft
finetuning_type: lora
cutoff_len: 2048
per_device_train_batch_size: 2
bf16: true
"""


def test_a_command_that_names_a_file_is_the_file_with_its_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lora.yaml").write_text(FACTORY)
    plain, file = (
        asked("llamafactory-cli train lora.yaml"),
        call("train", "--from", "lora.yaml", "--gpu", "a100-80gb:8", "--json", "--offline"),
    )
    assert plain["request"] == json.loads(file.out)["request"]
    changed = asked("FORCE_TORCHRUN=1 llamafactory-cli train lora.yaml cutoff_len=8192 lora_rank=32")
    assert (changed["request"]["seq_len"], changed["request"]["lora_rank"]) == (8192, 32)
    flags = " ".join(f"--{line.replace(': ', ' ')}" for line in FACTORY.strip().splitlines())
    assert asked(f"llamafactory-cli train {flags}")["request"] == plain["request"]


def test_a_file_that_the_script_writes_is_read() -> None:
    script = (
        "cat > qlora.yml <<EOF\nbase_model: meta-llama/Llama-3.1-8B\nadapter: qlora\nload_in_4bit: true\n"
        "sequence_len: 4096\nmicro_batch_size: 2\nlora_r: 32\nlora_target_linear: true\nEOF\n"
        "accelerate launch -m axolotl.cli.train qlora.yml --micro_batch_size 4"
    )
    request = asked(script, gpu="rtx-4090")["request"]
    assert (request["framework"], request["method"], request["micro_batch"]) == ("axolotl", "qlora", 4)


def test_ms_swift_reads_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sft.yaml").write_text("model: Qwen/Qwen2.5-7B-Instruct\nmax_length: 4096\nlora_rank: 32\n")
    for command in ("swift sft sft.yaml --lora_rank 64", "swift sft --config sft.yaml --lora_rank 64"):
        request = asked(command)["request"]
        assert (request["framework"], request["seq_len"], request["lora_rank"]) == ("ms-swift", 4096, 64)


def test_accelerates_own_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "distributed_type: FSDP\nnum_processes: 4\nmixed_precision: bf16\n"
        "fsdp_config:\n  fsdp_version: 2\n  fsdp_activation_checkpointing: true\n"
        "  fsdp_offload_params: true\n"
    )
    found = asked("accelerate launch --config_file mine.yaml sft.py --model_name_or_path Qwen/Qwen2.5-7B")
    request = found["request"]
    assert (request["sharding"], request["offload"], request["recompute"]) == ("fsdp2", ["params"], "full")
    assert any("the command is for 4 cards" in note for note in found["warnings"])
    assert "not on this machine" in refused(
        "accelerate launch --config_file no.yaml sft.py --model_name_or_path m"
    )


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("src/train.py lf.yaml", "model_name_or_path: Qwen/Qwen2.5-7B\nstage: sft\nbf16: true\n"),
        ("-m axolotl.cli.train ax.yaml", "base_model: Qwen/Qwen2.5-7B\nsequence_len: 1024\nbf16: auto\n"),
        ("swift/cli/sft.py --model Qwen/Qwen2.5-7B --max_length 1024 --train_type full", ""),
    ],
)
def test_accelerates_file_counts_for_every_trainer(
    program: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(program.split()[-1] if file else "unused").write_text(file)
    Path("deep.yaml").write_text(
        "distributed_type: DEEPSPEED\nnum_processes: 4\ndeepspeed_config:\n  zero_stage: 3\n"
        "  offload_optimizer_device: cpu\n  offload_param_device: none\n"
    )
    found = asked(f"accelerate launch --config_file deep.yaml {program}")
    request = found["request"]
    assert (request["sharding"], request["offload"]) == ("zero3", ["optimizer"])
    assert any("the command is for 4 cards" in note for note in found["warnings"])
    found = asked(f"accelerate launch --config_file fsdp2_offload.json {program}")
    assert (found["request"]["sharding"], found["request"]["offload"]) == ("fsdp2", ["params"])
    assert any("its name says FSDP2 with offload" in note for note in found["warnings"])


def test_a_strategy_of_fsdp_is_read(tmp_path: Path) -> None:
    file = tmp_path / "ax.yaml"
    words = "base_model: Qwen/Qwen2.5-7B\nsequence_len: 1024\nbf16: auto\nfsdp: [auto_wrap]\nfsdp_config:\n"
    file.write_text(f"{words}  fsdp_sharding_strategy: SHARD_GRAD_OP\n")
    found = asked(f"axolotl train {file}")
    assert found["request"]["sharding"] == "fsdp1"
    assert found["request"]["keep_gathered"]
    file.write_text(f"{words}  fsdp_sharding_strategy: NO_SHARD\n")
    assert asked(f"axolotl train {file}")["request"]["sharding"] == "ddp"


def test_an_engine_on_the_training_cards_is_read() -> None:
    command = (
        "NPROC_PER_NODE=4 swift rlhf --rlhf_type grpo --model Qwen/Qwen2.5-72B-Instruct --tuner_type lora "
        "--use_vllm true --vllm_mode colocate --vllm_gpu_memory_utilization 0.55 --vllm_max_model_len 2048 "
        "--max_length 2048 --max_completion_length 1024 --deepspeed zero3_offload --sleep_level 1 "
        "--vllm_tensor_parallel_size 4"
    )
    whole, parts = (asked(command + more, gpu="a100-80gb:4") for more in ("", " --move_model_batches 16"))
    assert whole["request"]["beside"] == {
        "rollout_engine": "vllm",
        "rollout_gpu_memory_utilization": 0.55,
        "rollout_sleep": True,
        "rollout_tp": 4,
    }
    assert (whole["verdict"], parts["verdict"]) == ("does_not_fit", "fits")  # it ran on 4 cards of 80 GB
    assert parts["request"]["beside"]["rollout_sync_batches"] == 16


def test_an_engine_stands_where_the_release_of_its_words_has_it() -> None:
    trl = "trl grpo --model_name_or_path Qwen/Qwen2.5-7B --use_vllm true --max_completion_length 1024"
    assert asked(trl)["request"]["beside"]["rollout_gpu_memory_utilization"] == 0.3
    swift = (
        "NPROC_PER_NODE=8 python3 -m swift.cli.main rlhf --rlhf_type grpo --model Qwen/Qwen2.5-7B "
        "--train_type full --deepspeed zero3 --max_length 2048 --use_vllm true "
    )
    older = asked(swift + "--tensor_parallel_size 4 --offload_model true --sleep_level 1", gpu="h100:8")
    assert older["request"]["beside"]["rollout_tp"] == 4
    assert older["request"]["beside"]["park"] == ["params"]
    elsewhere = asked(swift + "--vllm_server_host 10.0.0.1", gpu="h100:8")
    names = [[each["name"] for each in found["after"]["moments"]] for found in (older, elsewhere)]
    assert names == [["update", "score", "generate", "sync"], ["update", "score", "sync"]]
    assert asked(trl)["request"]["query_len"] == 512
    assert older["request"]["query_len"] == 2048
    flat = asked(swift + "--padding_free true", gpu="h100:8")
    assert flat["request"]["query_len"] is None  # rows lie one after the other: answers are not the end


VERL = (
    "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo data.max_prompt_length=1024 "
    "data.max_response_length=1024 actor_rollout_ref.model.path=Qwen/Qwen2.5-7B trainer.n_gpus_per_node=2 "
    "actor_rollout_ref.rollout.gpu_memory_utilization=0.6 actor_rollout_ref.actor.use_kl_loss=True "
)
ACTOR = "actor_rollout_ref.actor."
AWAY = f"{ACTOR}fsdp_config.param_offload=True {ACTOR}fsdp_config.optimizer_offload=True "
AT_ONCE = f"{ACTOR}ppo_micro_batch_size_per_gpu=16 "


def moments(command: str, *words: str) -> dict[str, dict[str, Any]]:
    found = asked(command, *words, gpu="h100:2")
    assert not any("may change memory" in note for note in found["warnings"])
    return {each["name"]: each for each in found["after"]["moments"]}


def policy(moment: dict[str, Any], category: str) -> int:
    return sum(
        line["bytes"]
        for line in moment["lines"]
        if line["category"] == category and line["owner"] == "policy"
    )


def test_verl_parks_between_updates_what_it_offloads() -> None:
    """Its offload is not FSDP's: weights and moments come back for each update (fsdp_workers.py)."""
    on_card, away = moments(VERL + AT_ONCE), moments(VERL + AT_ONCE + AWAY)
    for category in ("weights", "optimizer"):
        assert policy(away["update"], category) == policy(on_card["update"], category) > 0
        assert policy(away["generate"], category) == 0 < policy(on_card["generate"], category)
    assert policy(away["score"], "weights") == policy(on_card["score"], "weights")
    assert policy(away["score"], "optimizer") == 0


@pytest.mark.parametrize("engine", ["critic.model.fsdp_config", "critic.fsdp"])
def test_a_critic_leaves_the_cards_for_an_engine(engine: str) -> None:
    """Its weights and states were counted beside an engine of nine tenths of a card."""
    command = (
        "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=gae trainer.n_gpus_per_node=8 "
        "actor_rollout_ref.model.path=Qwen/Qwen3-8B critic.model.path=Qwen/Qwen3-8B "
        f"{ACTOR}ppo_micro_batch_size_per_gpu=1 "
    )
    words = [f"{engine}.{name}_offload=True" for name in ("param", "optimizer")]
    kept, parked = (
        {each["name"]: each for each in asked(command + " ".join(more), gpu="h100:8")["after"]["moments"]}
        for more in ((), words)
    )

    def critic(moment: dict[str, Any]) -> int:
        lines = moment["lines"]
        return sum(line["bytes"] for line in lines if line["owner"] == "value")

    assert critic(kept["generate"]) > critic(parked["generate"]) == critic(parked["update"]) == 0
    assert critic(parked["update_value"]) == critic(kept["update_value"]) > critic(kept["update"])


def test_verl_by_megatron() -> None:
    """Its buffers of gradients stay between updates unless they are parked, too."""
    sizes = {"tensor": 2, "pipeline": 2, "expert": 4}
    command = (
        "python3 -m verl.trainer.main_ppo --config-path=config --config-name='ppo_megatron_trainer.yaml' "
        "algorithm.adv_estimator=grpo actor_rollout_ref.model.path=Qwen/Qwen3-30B-A3B "
        f"trainer.n_gpus_per_node=8 trainer.nnodes=2 {ACTOR}ppo_micro_batch_size_per_gpu=1 "
        + " ".join(f"{ACTOR}megatron.{name}_model_parallel_size={size}" for name, size in sizes.items())
        + f" +{ACTOR}megatron.override_transformer_config.recompute_granularity=full"
        f" {ACTOR}megatron.param_offload=True {ACTOR}megatron.optimizer_offload=True "
    )
    found = asked(command, gpu="h100:16")
    request = found["request"]
    assert (request["framework"], request["recompute"]) == ("megatron-bridge", "full")
    assert [request["mesh"][name] for name in ("tp", "pp", "ep", "sequence_parallel")] == [2, 2, 4, True]
    kept, parked = (
        {each["name"]: each for each in asked(command + more, gpu="h100:16")["after"]["moments"]}
        for more in ("", f"{ACTOR}megatron.grad_offload=True")
    )
    assert policy(kept["generate"], "gradients") == policy(kept["update"], "gradients") > 0
    assert policy(parked["generate"], "gradients") == policy(kept["generate"], "weights") == 0


MCORE = (
    "python3 -m verl.trainer.main_ppo --config-name=ppo_megatron_trainer.yaml algorithm.adv_estimator=grpo "
    "actor_rollout_ref.model.path=Qwen/Qwen2.5-7B trainer.n_gpus_per_node=8 "
    f"{ACTOR}ppo_micro_batch_size_per_gpu=1 "
)


def test_verl_of_2026_calls_megatron_its_model_engine() -> None:
    """verl/trainer/config/ppo_trainer.yaml since pull request 5848; its examples also say it of the actor."""
    by_file = asked(MCORE, gpu="h100:8")
    plain = MCORE.replace("--config-name=ppo_megatron_trainer.yaml ", "")
    for word in ("model_engine", f"{ACTOR}model_engine"):
        found = asked(f"{plain} {word}=megatron", gpu="h100:8")
        assert found["ranks"] == by_file["ranks"]


def test_verl_by_megatron_may_write_no_logits_and_step_on_the_host() -> None:
    """models/mcore/model_forward_fused.py; Megatron's hybrid optimizer by override_optimizer_config."""
    hybrid = f"+{ACTOR}optim.override_optimizer_config.optimizer_"
    told = MCORE + "actor_rollout_ref.model.use_fused_kernels=True "
    told += f"{hybrid}cpu_offload=True {hybrid}offload_fraction=1."
    plain, more = (asked(command, gpu="h100:8") for command in (MCORE, told))
    assert [each["request"]["loss"] for each in (plain, more)] == ["vocab-parallel-scored-0.9", "cut"]
    assert more["request"]["offload"] == ["optimizer"]
    assert not any("may change memory" in note for note in more["warnings"])


def test_verl_by_megatron_scores_entropies_too() -> None:
    """workers/actor/megatron_actor.py, logits_processor: F32 logits and probabilities, and since pull request
    2484 a copy of the logits; 1,024 tokens of 152,064 words."""
    for version, size in (("0.5.0", 8), ("0.6.0", 12)):
        found = asked(MCORE, "--framework-version", f"verl {version}", gpu="h100:8")
        score = next(each for each in found["after"]["moments"] if each["name"] == "score")
        assert policy(score, "logits") == pytest.approx(1024 * 152_064 * size, rel=0.01)


def test_segments_of_verl_grow_beside_an_engine_since_august_2025() -> None:
    """workers/fsdp_workers.py and megatron_workers.py, trainer_mode: set_expandable_segments(True)."""
    for command in (VERL + AT_ONCE, MCORE):
        found = [
            asked(command, *words, gpu="h100:8")["request"]["expandable_segments"]
            for words in ((), ("--framework-version", "verl 0.6.0"), ("--framework-version", "verl 0.5.0"))
        ]
        assert found == [True, True, False]
    alone = VERL + AT_ONCE + "actor_rollout_ref.rollout.name=hf"
    assert not asked(alone)["request"]["expandable_segments"]


def test_verl_scores_more_at_a_time() -> None:
    wide = " ".join(
        f"actor_rollout_ref.{who}.log_prob_micro_batch_size_per_gpu={{}}" for who in ("rollout", "ref")
    )
    usual, more = (moments(VERL + AT_ONCE + wide.format(each, each)) for each in (16, 64))
    assert policy(more["score"], "logits") == pytest.approx(4 * policy(usual["score"], "logits"))
    assert more["update"] == usual["update"]


def test_verl_packs_where_batches_are_dynamic() -> None:
    request = asked(VERL + f"{ACTOR}use_dynamic_bsz=True {ACTOR}ulysses_sequence_parallel_size=2")["request"]
    assert (request["micro_batch"], request["seq_len"], request["packed"]) == (1, 32768, True)
    assert request["mesh"]["cp"] == 2


@pytest.mark.parametrize(("tokens", "packed"), [(2048, True), (2047, False)])
def test_samples_fill_a_dynamic_batch_as_long_as_the_longest(tokens: int, packed: bool) -> None:
    """utils/seqlen_balancing.py, rearrange_micro_batches: the same for a limit of 1,024 + 1,024 tokens, which
    was taken for single samples of every length; below that each is a batch of its own."""
    words = f"{ACTOR}use_dynamic_bsz=True {ACTOR}ppo_max_token_len_per_gpu={tokens}"
    request = asked(VERL + words)["request"]
    assert (request["seq_len"], request["packed"]) == (2048, packed)


def test_dapo_of_verl_reads_its_trainers_file() -> None:
    """recipe/dapo/config/dapo_trainer.yaml includes ppo_trainer.yaml; main_dapo was no program known here."""
    dapo = VERL.replace("verl.trainer.main_ppo", "recipe.dapo.main_dapo")
    assert asked(dapo)["ranks"] == asked(VERL)["ranks"]


EVALUATES = (
    "llamafactory-cli train --stage sft --model_name_or_path Qwen/Qwen2.5-7B --finetuning_type lora "
    "--cutoff_len 2048 --per_device_train_batch_size 1 --bf16 true "
)
UNEVALUATED = (
    "--val_size 0.1",
    "--eval_strategy steps",
    "--eval_strategy no --val_size 0.1",
    "--eval_strategy steps --val_size 0.1 --per_device_eval_batch_size 1",
)


@pytest.mark.parametrize("more", UNEVALUATED)
def test_what_is_not_evaluated_takes_nothing(more: str) -> None:
    assert "after" not in asked(EVALUATES + more)


@pytest.mark.parametrize(
    "program", [EVALUATES + "--val_size 0.1", "trl sft --model_name_or_path Qwen/Qwen2.5-7B"]
)
def test_a_batch_that_is_evaluated_is_as_large_as_is_usual(program: str) -> None:
    """Eight samples, of which a forward makes all logits (LLaMA-Factory 1408 runs out where 1 trains)."""
    words = f"{program} --per_device_train_batch_size 1 --eval_strategy steps"
    found = {each["name"]: each for each in asked(words)["after"]["moments"]}
    assert policy(found["evaluate"], "logits") > 2 * policy(found["update"], "logits")
    assert policy(found["evaluate"], "gradients") == 0


SWIFT = "swift sft --model Qwen/Qwen2.5-7B --use_liger_kernel true --max_length 2048"
LIGER_EVALUATES = {
    EVALUATES + "--val_size 0.1 --enable_liger_kernel true": ({}, True),
    "trl sft --model_name_or_path Qwen/Qwen2.5-7B --use_liger_kernel": (
        {"trl 0.28.0": True, "trl 0.29.0": False},
        False,
    ),
    SWIFT: (
        {"ms-swift 3.5.0": True, "ms-swift 3.6.0": False},
        False,
    ),
    f"{SWIFT} --split_dataset_ratio 0.01": ({}, True),
}


@pytest.mark.parametrize("program", LIGER_EVALUATES)
def test_liger_makes_logits_where_it_evaluates(program: str) -> None:
    """Its models leave them out while they train, not beyond (TRL's pull request 5069)."""
    words = f"{program} --per_device_train_batch_size 1 --per_device_eval_batch_size 1 --eval_strategy steps"
    by_release, newest = LIGER_EVALUATES[program]
    for release, evaluates in {**by_release, "": newest}.items():
        found = asked(words, *(("--framework-version", release) if release else ()))
        assert ("after" in found) == evaluates, release
        if evaluates:
            moment = {each["name"]: each for each in found["after"]["moments"]}["evaluate"]
            assert policy(moment, "logits") >= 10 * found["request"]["seq_len"] * 152_064


def test_losses_of_ms_swift_take_labels_from_liger() -> None:
    """Where tokens are weighed or a sequence is divided, the model is not given labels."""
    found = {
        more: asked(f"{before} NPROC_PER_NODE=8 {SWIFT} {more}", gpu="h100:8")["request"]["loss"]
        for before, more in (
            ("", "--loss_scale ignore_empty_think"),
            ("", "--loss_scale last_round+hermes"),
            ("", "--sequence_parallel_size 8"),
            ("CELOSS_PARALLEL_SIZE=2048", "--sequence_parallel_size 4"),
            ("CELOSS_PARALLEL_SIZE=2048", "--sequence_parallel_size 2 --deepspeed zero3"),
        )
    }
    assert list(found.values()) == ["fused", "plain", "plain", "chunked", "chunked-half-0"]


def test_the_optimizer_of_ms_swift_is_the_trainers() -> None:
    command = "swift sft --model Qwen/Qwen2.5-7B"
    found = [
        asked(command, "--framework-version", f"transformers {release}")["request"]["optimizer"]
        for release in ("4.51", "4.56")
    ]
    assert found == ["adamw", "adamw-fused"]
    old = asked(command, "--framework-version", "transformers 4.31, torch 2.1")["request"]["optimizer"]
    assert old == "adamw"  # not transformers' own of the time: llm_sft.py of 2023 says adamw_torch


def test_early_qwen_vl_makes_logits_of_prompts() -> None:
    """modeling_qwen2_5_vl.py has logits_to_keep from 4.54 on."""
    command = (
        "swift rlhf --rlhf_type grpo --model Qwen/Qwen2.5-VL-3B-Instruct --train_type full --max_length 2048 "
        "--max_completion_length 1024 --per_device_train_batch_size 8"
    )
    whole, answers = (
        policy(moments(command, "--framework-version", f"transformers {release}")["update"], "logits")
        for release in ("4.53", "4.54")
    )
    assert whole - answers == 8 * 2047 * 151_936 * 2


def test_a_batch_of_early_grpo_counts_prompts() -> None:
    """TRL to 0.14 runs each prompt with all its answers (open-r1 100), and 0.15 does not."""
    command = "trl grpo --model_name_or_path Qwen/Qwen2.5-7B --per_device_train_batch_size 2"
    found = {
        release: asked(command, "--framework-version", f"trl {release}")["request"]["micro_batch"]
        for release in ("0.14.0", "0.15.0")
    }
    assert found == {"0.14.0": 16, "0.15.0": 2}
    four = asked(f"{command} --num_generations 4", "--framework-version", "trl 0.14.0")
    assert four["request"]["micro_batch"] == 8


def test_swift_loads_two_models_for_ppo() -> None:
    """The reward model and the value model, which begins as it (swift/pipelines/train/rlhf.py)."""
    command = (
        "NPROC_PER_NODE=4 swift rlhf --rlhf_type ppo --model LLM-Research/Meta-Llama-3.1-8B-Instruct "
        "--reward_model AI-ModelScope/Skywork-Reward-Llama-3.1-8B-v0.2 --tuner_type lora"
    )
    found = asked(command, gpu="a100-80gb:4")
    assert found["model"]["name"] == "llama-3.1-8b"
    held = {line["owner"] for line in found["ranks"][0]["lines"] if line["category"] == "weights"}
    assert {"reward", "value"} <= held


DEFAULTS = {
    "deepseek-v2-chat": ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"],
    "qwen1half-7b-chat": ["q_proj", "k_proj", "v_proj"],
}


@pytest.mark.parametrize("model", DEFAULTS)
def test_usual_targets_of_swift_2_go_by_the_model(model: str) -> None:
    """LoRATM of swift/llm/utils/model.py, 2.2."""
    words = ("--framework-version", "transformers 4.41")
    command = f"swift sft --model_type {model} --sft_type lora --lora_target_modules DEFAULT"
    assert asked(command, *words)["request"]["lora_targets"] == DEFAULTS[model]


CHECKPOINTS = {
    "Qwen/Qwen2.5-VL-72B-Instruct-GPTQ-Int4": ("qwen2.5-vl-72b", "qlora", "gptq-int4"),
    "unsloth/Qwen3-8B-bnb-4bit": ("qwen3-8b", "qlora", "nf4-dq"),
    "unsloth/DeepSeek-R1-0528-BF16": ("deepseek-r1-0528", "lora", None),
    "OpenRLHF/Llama-3-8b-sft-mixture": ("llama-3-8b", "lora", None),
    "ZhipuAI/glm-4-9b-chat": ("glm-4-9b-chat", "lora", None),
    "Qwen/Qwen2-57B-A14B": ("qwen2-57b-a14b-instruct", "lora", None),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_a_training_run_loads_is_read_by_its_name(name: str) -> None:
    """Where no hub answers; adapters stand on a packed checkpoint as it is."""
    found = asked(f"swift sft --model {name} --tuner_type lora", gpu="h200:16")
    request = found["request"]
    assert (found["model"]["name"], request["method"], request["quantization"]) == CHECKPOINTS[name]
    words = ("--method", "lora", "--framework", "ms-swift", "--gpu", "h200:16", "--json", "--offline")
    alone = json.loads(call("train", name, *words).out)
    request = alone["request"]
    assert (alone["model"]["name"], request["method"], request["quantization"]) == CHECKPOINTS[name]


def test_earlier_names_count_what_all_ranks_take() -> None:
    """actor.ppo_micro_batch_size is divided by the ranks (fsdp_workers.py: normalize config)."""
    assert asked(VERL + f"{ACTOR}ppo_micro_batch_size=64")["request"]["micro_batch"] == 32


OPENRLHF = (
    "ARGS=(\n   --actor.num_gpus_per_node 8  # cards\n   --train.colocate_all\n   --ds.zero_stage 3\n"
    "   --vllm.gpu_memory_utilization 0.5\n   --vllm.enable_sleep\n   --ds.enable_sleep\n"
    "   --vllm.tensor_parallel_size 2\n   --data.max_len $((1024 * (1 + 1)))\n)\n"
    "python3 -m openrlhf.cli.train_ppo_ray --actor.model_name_or_path meta-llama/Meta-Llama-3-8B ${ARGS[@]} "
)


@pytest.mark.parametrize(
    "command",
    [
        "NPROC_PER_NODE=4 swift rlhf --rlhf_type %s --model Qwen/Qwen2.5-7B-Instruct --tuner_type full",
        "llamafactory-cli train --stage dpo --pref_loss %s --model_name_or_path Qwen/Qwen2.5-7B --bf16 true",
        "axolotl train --base-model Qwen/Qwen2.5-7B --rl %s --sequence-len 2048 --micro-batch-size 1",
    ],
)
@pytest.mark.parametrize("loss", ["orpo", "simpo"])
def test_preferences_without_a_reference_run_pairs(command: str, loss: str) -> None:
    """Chosen and rejected go through the policy together, whose F32 logits those of one sequence are half of
    (Llama3-Chinese-Chat 6: ORPO of 8B at 8,192 tokens runs out of 8 x 40 GiB)."""
    request = asked(command % loss)["request"]
    assert (request["task"], request["beside"]["reference_model"]) == ("dpo", "none")
    of_trl = loss == "orpo" and "llamafactory" not in command  # its ORPO has no cross-entropy of its own
    assert (request["loss"] == "orpo") == of_trl


@pytest.mark.parametrize(
    ("command", "precision"),
    [
        ("llamafactory-cli train --model_name_or_path Qwen/Qwen2.5-7B %s --bf16", "deepspeed-bf16"),
        ("llamafactory-cli train --model_name_or_path Qwen/Qwen2.5-7B %s --fp16", "deepspeed-fp16"),
        ("swift sft --model Qwen/Qwen2.5-7B --tuner_type lora %s", "deepspeed-bf16"),
        ("axolotl train --base-model Qwen/Qwen2.5-7B --sequence-len 2048 %s", "deepspeed-bf16"),
        ("trl sft --model_name_or_path Qwen/Qwen2.5-7B %s --bf16", "deepspeed-bf16"),
    ],
)
def test_a_file_of_stage_0_is_still_the_engines(command: str, precision: str) -> None:
    """LLaMA-Factory's ds_z0_config.json: 16-bit weights and F32 masters, not autocast over F32 weights."""
    assert asked(command % "--deepspeed configs/ds_z0_config.json")["request"]["precision"] == precision


def test_an_engine_may_bound_answers_below_their_own_limit() -> None:
    """Question and answer share the 1,024 tokens that vLLM takes, so that an answer has at most all but one
    (ms-swift 6209)."""
    command = (
        "swift rlhf --rlhf_type grpo --model Qwen/Qwen3-8B --max_length 1024 --max_completion_length 1024 "
        "--use_vllm true --vllm_max_model_len 1024"
    )
    request = asked(command)["request"]
    assert (request["seq_len"], request["query_len"]) == (1024, 1)


def test_an_optimizer_that_nobody_names_goes_by_the_release() -> None:
    """transformers before 4.54 took AdamW's foreach, whose step makes temporaries of all weights."""
    command = "llamafactory-cli train --model_name_or_path Qwen/Qwen2.5-1.5B --finetuning_type full --bf16"
    words = ("train", "--gpu", "h100", "--command", command, "--json", "--framework-version")
    found = [json.loads(call(*words, version).out) for version in ("transformers 4.40", "transformers 5.5")]
    assert [each["request"]["optimizer"] for each in found] == ["adamw", "adamw-fused"]


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("trl sft --model_name_or_path google/gemma-2-9b --bf16 true", "--attn_implementation sdpa"),
        ("swift sft --model google/gemma-2-9b --max_length 2048", "--attn_impl sdpa"),
    ],
)
def test_attention_that_nobody_names_goes_by_release_and_family(command: str, flag: str) -> None:
    """Gemma 2 computed scores eagerly from transformers 4.45 to 4.47, and readers of commands said auto."""
    words = ("train", "--gpu", "h200", "--json", "--framework-version")
    found = [
        json.loads(call(*words, f"transformers {version}", "--command", each).out)["request"]["attention"]
        for version, each in (("4.46", command), ("4.50", command), ("4.46", f"{command} {flag}"))
    ]
    assert (found[0], found[1] == "eager", found[2] == "eager") == ("eager", False, False)


@pytest.mark.parametrize(
    ("said", "attention"),
    [("", "eager"), ("sdp_attention: true\n", "auto"), ("attn_implementation: flash_attention_2\n", "flash")],
)
def test_axolotl_leaves_attention_to_transformers(tmp_path: Path, said: str, attention: str) -> None:
    path = tmp_path / "axolotl.yaml"
    path.write_text(f"base_model: google/gemma-2-9b\nadapter: lora\nsequence_len: 2048\n{said}")
    words = ("train", "--gpu", "h200", "--json", "--framework-version", "transformers 4.46")
    request = json.loads(call(*words, "--framework", "axolotl", "--from", str(path)).out)["request"]
    assert request["attention"] == attention


def test_a_length_that_nobody_says_goes_by_the_release() -> None:
    """LLaMA-Factory cut at 1,024 tokens up to 0.9.0."""
    command = "llamafactory-cli train --model_name_or_path Qwen/Qwen2.5-1.5B --finetuning_type lora --bf16"
    words = ("train", "--gpu", "h100", "--command", command, "--json", "--framework-version")
    found = [json.loads(call(*words, f"llamafactory {version}").out) for version in ("0.9.0", "0.9.3")]
    assert [each["request"]["seq_len"] for each in found] == [1024, 2048]


def test_models_that_share_cards_stand_beside_the_actor() -> None:
    request = asked(OPENRLHF + "--critic.model_name_or_path meta-llama/Meta-Llama-3-8B")["request"]
    assert (request["task"], request["sharding"], request["seq_len"]) == ("ppo", "zero3", 2048)
    assert request["beside"] == {
        "score_tokens": 2048,
        "reference_model": "same",
        "value_model": "llama-3-8b",
        "rollout_engine": "vllm",
        "rollout_gpu_memory_utilization": 0.5,
        "rollout_tp": 2,
        "rollout_sleep": True,
        "park": ["optimizer", "gradients"],
    }
    alone = asked(OPENRLHF.replace("--train.colocate_all", "") + "--algo.advantage.estimator reinforce")
    assert alone["request"]["task"] == "grpo"
    assert any("cards of their own" in note for note in alone["warnings"])
    assert "rollout_engine" not in alone["request"]["beside"]


@pytest.mark.parametrize(("framework", "models"), [("openrlhf", 1), ("trl", 0)])
def test_openrlhf_loads_a_reference_beside_adapters(framework: str, models: int) -> None:
    """TRL's reference is the policy without its adapters."""
    words = ("train", "qwen2.5-0.5b", "--gpu", "h100", "--method", "lora", "--task", "dpo", "--json")
    lines = json.loads(call(*words, "--framework", framework).out)["after"]["moments"][-1]["lines"]
    assert sum(line["owner"] == "reference" for line in lines) == models


def test_a_second_copy_over_one_rank_is_none() -> None:
    """OpenRLHF's --zpg is 1 by itself."""
    words = ("train", "qwen2.5-0.5b", "--gpu", "h100:2", "--framework", "openrlhf", "--zero", "3", "--json")
    found = [json.loads(call(*words, *more).out) for more in ((), ("--zero-hpz-partition-size", "1"))]
    assert found[0]["headroom_bytes"] == found[1]["headroom_bytes"]


def test_a_function_of_rewards_trains_nothing() -> None:
    assert "trains nothing" in refused("python examples/python/reward_func.py --port 5000")


def test_entropies_keep_the_logits() -> None:
    usual, kept = (moments(VERL + AT_ONCE + more) for more in ("", f"{ACTOR}entropy_coeff=0.001"))
    logits = 16 * 2048 * 152064
    assert policy(kept["update"], "logits") - policy(usual["update"], "logits") >= 2 * logits


def test_a_launcher_alone_divides_nothing() -> None:
    """LLaMA-Factory's issue 1936: its log shows that no DeepSpeed file was named, and each card ran full."""
    words = "src/train_bash.py --stage rm --model_name_or_path meta-llama/Llama-2-13b-hf --lora_target q_proj"
    alone = read_training_command(f"deepspeed --num_gpus 5 {words}")
    assert alone.training.sharding is None
    assert "no DeepSpeed file" in alone.warnings[-1]
    for other in (
        f"torchrun --nproc_per_node 5 {words}",
        "deepspeed --module openrlhf.cli.train_sft --max_len 4",
        "deepspeed main.py --model_name_or_path gpt2 --per_device_train_batch_size 1 --zero_stage 2",
    ):
        assert "no DeepSpeed file" not in " ".join(read_training_command(other).warnings)


def test_a_flag_that_nobody_knows_is_named() -> None:
    found = asked("trl sft --model_name_or_path Qwen/Qwen2.5-7B --learning_rate 1e-5 --frobnicate 3")
    assert [note for note in found["warnings"] if "may change memory" in note] == [
        "frobnicate = 3 is not understood and may change memory"
    ]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("xtuner train llama3_8b_full", "--framework xtuner"),
        ("tune run ppo_full_finetune_single_device --config x.yaml", "--framework torchtune"),
        ("tune run lora_finetune_single_device --config llama9/8B_lora", "called llama9/8B_lora"),
        ("torchrun pretrain_gpt.py --num-layers 4", "--hidden-size is not given"),
        ("python -m openrlhf.cli.train_kd --pretrain Qwen/Qwen2.5-7B", "--framework openrlhf"),
        ("python -m verl.trainer.main_ppo actor_rollout_ref.actor.strategy=veomni", "fsdp and fsdp2"),
        (
            "CUDA_VISIBLE_DEVICES=0,1 swift sft --model Qwen/Qwen2.5-7B --deepspeed zero2",
            "NPROC_PER_NODE=2",
        ),
        ("echo hello", "trains nothing that is known here"),
        ("llamafactory-cli train", "names no configuration file"),
        ("axolotl train gone.yml", "gone.yml"),
        ("trl sft --model_name_or_path 'x", "quot"),
        ("trl sft --per_device_train_batch_size 2 --config", "names no configuration file"),
        ("trl sft --model_name_or_path Qwen/Qwen2.5-7B --load_in_4bit", "without adapters"),
    ],
)
def test_what_is_not_read_says_what_to_do(command: str, told: str) -> None:
    assert told in refused(command)


def test_a_script_of_megatron_is_read_as_its_arguments_are(tmp_path: Path) -> None:
    """It was sent away to --megatron-args."""
    script = (
        "GPT=(\n --num-layers 32 --hidden-size 4096 --num-attention-heads 32 --vocab-size 128256\n)\n"
        "torchrun --nproc_per_node 8 pretrain_gpt.py ${GPT[@]} --seq-length 4096 --max-position-embeddings "
        "4096 --micro-batch-size 1 --global-batch-size 128 --bf16 --tensor-model-parallel-size 2"
    )
    (tmp_path / "run.sh").write_text(script)
    by_file = oomless.train(megatron_args=str(tmp_path / "run.sh"), gpu="h100:8")
    assert oomless.train(command=script, gpu="h100:8").ledger == by_file.ledger
    assert oomless.train(command=f"@{tmp_path / 'run.sh'}", gpu="h100:8").ledger == by_file.ledger
    assert "say the same thing" in refused(script, "--zero", "3")


def test_a_tower_that_stays_frozen_is_what_is_counted() -> None:
    """LLaMA-Factory and ms-swift freeze it by themselves: what says so again was not understood."""
    command = (
        "swift sft --model Qwen/Qwen2.5-VL-7B-Instruct --max_length 2048 --train_type {} --freeze_vit {}"
    )
    notes = [
        asked(command.format(kind, word))["warnings"]
        for kind, word in (("full", "true"), ("full", "false"), ("lora", "false"))
    ]
    assert [[each for each in found if "freeze_vit" in each] for found in notes] == [
        [],
        [],
        ["freeze_vit = false: gradients and states of what is not the language model are not counted"],
    ]


VISION = "--model_name_or_path Qwen/Qwen2.5-VL-3B-Instruct --per_device_train_batch_size 1 --bf16 true"
TOWERS = {
    f"torchrun src/open_r1/grpo.py {VISION}": True,
    f"torchrun src/open_r1/grpo_jsonl.py {VISION} --freeze_vision_modules true": False,
    f"torchrun qwenvl/train/train_qwen.py {VISION} --tune_mm_llm True --tune_mm_mlp True": False,
    f"torchrun qwenvl/train/train_qwen.py {VISION} --tune_mm_vision True": True,
    f"deepspeed llava/train/train_mem.py {VISION} --vision_tower openai/clip-vit-large-patch14": False,
    f"deepspeed llava/train/train_mem.py {VISION} --vision_tower google/siglip-so400m-patch14-384 "
    "--mm_tunable_parts=mm_vision_tower,mm_mlp_adapter,mm_language_model": True,
    "swift sft --model Qwen/Qwen2.5-VL-3B-Instruct --train_type full": False,
    "swift sft --model Qwen/Qwen2.5-VL-3B-Instruct --train_type full --freeze_vit false": True,
}


@pytest.mark.parametrize("command", TOWERS)
def test_a_tower_is_trained_where_its_script_has_it_so(command: str) -> None:
    """0.67B values of 3.75B had no gradients and moments under trainers that freeze nothing by themselves."""
    found, frozen = (
        asked(command, "--zero", "0", *more, gpu="h200:1") for more in ([], ["--train-tower", "off"])
    )
    assert found["request"]["trained_tower"] is TOWERS[command]
    moments, those_of_text = (each["ranks"][0]["by_category"]["optimizer"] for each in (found, frozen))
    assert moments / those_of_text == pytest.approx(3.755 / 3.086 if TOWERS[command] else 1, rel=0.01)


def test_a_tower_beside_adapters_is_trained_where_that_is_said() -> None:
    wanted: dict[str, Any] = {"trained_tower": True}
    beside, alone = (oomless.train("qwen2.5-vl-3b", "h100", method="lora", **each) for each in (wanted, {}))
    assert beside.request.trained_tower
    assert not alone.request.trained_tower
    moments = [each.to_json()["ranks"][0]["by_category"]["optimizer"] for each in (beside, alone)]
    assert moments[0] - moments[1] == pytest.approx(0.669e9 * 4, rel=0.01)
    found = oomless.train("qwen2.5-vl-3b", "h100", method="full", trained_layers=4, **wanted)
    assert not found.request.trained_tower


OF_SWIFT = "swift sft --model Qwen/Qwen2.5-VL-7B-Instruct --max_length 2048 --tuner_type"
IMAGES = {
    f"MAX_PIXELS=1003520 {OF_SWIFT} lora": 1003520,
    f"IMAGE_MAX_TOKEN_NUM=1024 {OF_SWIFT} lora": 1024 * 28 * 28,
    f"VIDEO_MAX_PIXELS=50176 FPS_MAX_FRAMES=12 {OF_SWIFT} lora": 6 * 50176,
    "IMAGE_MAX_TOKEN_NUM=1024 swift sft --model Qwen/Qwen3-VL-4B-Instruct": 1 << 20,
    f"{OF_SWIFT} lora": None,
    f"llamafactory-cli train {VISION} --image_max_pixels 262144": 262144,
    f"llamafactory-cli train {VISION} --image_resolution 448": 448 * 448,
    f"llamafactory-cli train {VISION}": 768 * 768,
    f"torchrun qwenvl/train/train_qwen.py {VISION} --tune_mm_llm True": 576 * 28 * 28,
    f"torchrun src/open_r1/grpo.py {VISION} --max_pixels 401408": 401408,
}


@pytest.mark.parametrize("command", IMAGES)
def test_pixels_of_an_image_are_read(command: str) -> None:
    assert asked(command)["request"]["max_pixels"] == IMAGES[command]


def test_a_tower_whole_beside_adapters_of_ms_swift() -> None:
    """A tuner_type of its own was refused."""
    found = asked(f"{OF_SWIFT} lora_llm")["request"]
    assert (found["method"], found["trained_tower"]) == ("lora", True)


def test_what_is_read_twice_is_said_once() -> None:
    found = oomless.train(command="swift sft --model Qwen/Qwen2.5-7B-Instruct --max_length 2048", gpu="h100")
    assert found.origin is not None
    assert len(found.origin.read) == len({*found.origin.read})


def test_a_run_is_said_once() -> None:
    assert "say the same thing" in refused("trl sft --model_name_or_path m", "--from", "x.yaml")


def test_a_page_reads_no_files_of_its_machine() -> None:
    found = reply("train", [("command", "axolotl train /etc/passwd.yml"), ("gpu", "h100:1")])
    assert (found.status, b"unknown option" in found.content) == (400, True)


WORDS = st.sampled_from(
    "trl sft axolotl train --config x.yaml --lora_r 8 = a=b -- -m $( ' llamafactory-cli @x <<EOF accelerate "
    "launch --model_name_or_path --config_file".split()
)


@given(st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=60))
def test_any_text_is_answered_or_refused(text: str) -> None:
    with suppress(OomlessError):
        read_training_command(text)


EXPANDS = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
QWEN_7B = "NPROC_PER_NODE=4 swift sft --model Qwen/Qwen2.5-7B --tuner_type full --packing true --max_length"
PUBLISHED = {
    # GiB that a card showed, as the authors of ms-swift wrote it over their scripts (examples/train, 2026-08;
    # 22 and 36 GB are 20.5 and 33.5): packed ones, whose samples are as long as they say
    "cached_dataset/sft": (44, 4, f"{EXPANDS} {QWEN_7B} 8192 --deepspeed zero3 --use_liger_kernel true"),
    "flash_attention_3": (
        43,
        4,
        f"{EXPANDS} {QWEN_7B} 16384 --deepspeed zero3 --use_liger_kernel true",
    ),
    "liger/sft": (42, 4, f"{QWEN_7B} 8192 --deepspeed zero3 --use_liger_kernel true"),
    "packing/liger_kernel": (42, 4, f"{QWEN_7B} 16384 --deepspeed zero3 --use_liger_kernel true"),
    "packing/llm": (20.5, 1, "swift sft --model Qwen/Qwen2.5-7B-Instruct --packing true --max_length 2048"),
    "packing/qwen2_5_vl": (
        33.5,
        4,
        "NPROC_PER_NODE=4 swift sft --model Qwen/Qwen2.5-VL-7B-Instruct --packing true --max_length 8192 "
        "--deepspeed zero2",
    ),
    "full/qwen2_5_32b": (
        80,
        8,
        f"{EXPANDS} NPROC_PER_NODE=8 swift sft --model Qwen/Qwen2.5-32B --tuner_type full --packing true "
        "--max_length 8192 --deepspeed zero3 --use_liger_kernel true",
    ),
    "sequence_parallel_512k": (
        80,
        8,
        "NPROC_PER_NODE=8 CELOSS_PARALLEL_SIZE=2048 swift sft --model Qwen/QwQ-32B --packing true "
        "--max_length 512000 --use_liger_kernel true --deepspeed zero3_offload --sequence_parallel_size 8",
    ),
    "agent/qwen2_5": (
        35,
        1,
        "swift sft --model Qwen/Qwen2.5-3B --tuner_type full --packing true --max_length 8192 "
        "--use_liger_kernel true --split_dataset_ratio 0.01",
    ),
    "packing/dpo": (
        50,
        4,
        f"{EXPANDS} NPROC_PER_NODE=4 swift rlhf --rlhf_type dpo --model Qwen/Qwen2.5-7B-Instruct "
        "--tuner_type full --packing true --max_length 8192 --deepspeed zero3",
    ),
}


def test_published_scripts_take_what_their_authors_saw() -> None:
    outside = set()
    for name, (seen, cards, command) in PUBLISHED.items():
        estimate = oomless.train(command=command, gpu=f"a100-80gb:{cards}", offline=True).estimate
        ledger = estimate.groups[estimate.worst_rank].ledger
        if not ledger.low_bytes <= seen * GIB <= ledger.high_bytes:
            outside.add(name)
    assert not outside


MEGATRON_SWIFT = (
    "PYTORCH_CUDA_ALLOC_CONF='expandable_segments:True' NPROC_PER_NODE=8 megatron sft "
    "--model Qwen/Qwen3-30B-A3B-Instruct-2507 "
    "--pipeline_model_parallel_size 2 --expert_model_parallel_size 4 "
    "--micro_batch_size 1 --global_batch_size 16 --packing true --max_length 8192 --lr 1e-5 --min_lr 1e-6 "
    "--recompute_granularity full --recompute_method uniform --recompute_num_layers 1 "
)


def test_megatron_swift_by_its_own_words() -> None:
    found = asked(MEGATRON_SWIFT, gpu="h100:8")
    request = found["request"]
    assert (request["framework"], request["method"], request["recompute"]) == (
        "megatron-swift",
        "full",
        "full",
    )
    assert (request["sharding"], request["grad_accum"], request["seq_len"]) == ("distopt", 4, 8192)
    assert [request["mesh"][name] for name in ("pp", "ep", "etp")] == [2, 4, 1]
    assert not any("not understood" in note for note in found["warnings"])
    by_flags = asked(MEGATRON_SWIFT.replace("megatron sft", "megatron pt"), gpu="h100:8")["request"]
    assert by_flags["task"] == "pretrain"
    scored = asked(MEGATRON_SWIFT + "--task_type seq_cls --num_labels 2", gpu="h100:8")
    assert scored["request"]["task"] == "reward"
    assert "not modelled" in refused(MEGATRON_SWIFT + "--task_type embedding")
    without = asked(MEGATRON_SWIFT.replace("NPROC_PER_NODE=8 ", ""), gpu="h100:8")
    assert any("--grad-accum" in note for note in without["warnings"])


def test_megatron_swift_adapts_each_expert_and_keeps_masters() -> None:
    """128 experts of 2,048 and 768, rank 8: 51,200 values an expert and layer, 18 B each, an eighth of them
    on a rank."""
    lora = MEGATRON_SWIFT.replace("--pipeline_model_parallel_size 2 --expert_model_parallel_size 4", "{}")
    lora += "--tuner_type lora --lora_rank 8 "
    experts, attention = (
        asked(
            lora.format("--expert_model_parallel_size 8") + f"--target_modules linear_qkv {more}",
            gpu="h100:8",
        )
        for more in ("linear_fc1 linear_fc2", "")
    )
    states = [
        sum(found["ranks"][0]["by_category"].get(name, 0) for name in ("weights", "gradients", "optimizer"))
        for found in (experts, attention)
    ]
    assert states[0] - states[1] == pytest.approx(51_200 * 16 * 48 * 18, rel=0.001)


def test_the_loss_of_megatron_swift_goes_by_its_release() -> None:
    """swift/megatron/arguments/megatron_args.py: unfused to 3.12, of Transformer Engine from 4.0.1 to 4.3."""
    found = {
        version: asked(MEGATRON_SWIFT, "--framework-version", f"ms-swift {version}", gpu="h100:8")
        for version in ("3.12.0", "4.0.0", "4.1.3", "4.3.1")
    }
    assert {version: each["request"]["loss"] for version, each in found.items()} == {
        "3.12.0": "vocab-parallel",
        "4.0.0": "vocab-parallel-fused",
        "4.1.3": "vocab-parallel-te",
        "4.3.1": "vocab-parallel-fused",
    }
    told = MEGATRON_SWIFT + "--cross_entropy_loss_fusion true"
    older = asked(told, "--framework-version", "ms-swift 3.12.0", gpu="h100:8")
    assert older["request"]["loss"] == "vocab-parallel-fused"


def test_gradients_of_megatron_swift_go_by_its_release() -> None:
    """swift/megatron/utils/megatron_lm_utils.py, wrap_model: grad_reduce_in_fp32 is passed from 4.3.2 on."""
    versions = ("3.12.0", "4.0.0", "4.3.1", "4.3.2")
    found = {
        version: asked(MEGATRON_SWIFT, "--framework-version", f"ms-swift {version}", gpu="h100:8")
        for version in versions
    }
    gradients = [found[version]["ranks"][0]["by_category"]["gradients"] for version in versions]
    assert gradients == [gradients[0], gradients[0] // 2, gradients[0] // 2, gradients[0]]


@pytest.mark.parametrize(
    "starts",
    [
        "python3 -m torch.distributed.run --nproc_per_node 8 train.py --job.config_file {}",
        "torchrun --nproc_per_node=8 my_train.py --job.config_file={}",
        "CONFIG_FILE={} ./run_llama_train.sh",
    ],
)
def test_scripts_of_torchtitan_are_known_by_their_flag(tmp_path: Path, starts: str) -> None:
    path = tmp_path / "llama3_8b.toml"
    path.write_text('[model]\nname = "llama3"\nflavor = "8B"\n[training]\nbatch_size = 1\nseq_len = 4096\n')
    found = read_training_command(starts.format(path))
    assert (found.training.framework, found.training.seq_len) == ("torchtitan", 4096)
