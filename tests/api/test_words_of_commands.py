"""A pasted command is answered in its own words, on the cards that it takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import call

FAULTS = {
    "trtllm-serve m/Qwen3-8B --free_gpu_memory_fraction 90": "--free_gpu_memory_fraction is 90.0",
    "lmdeploy serve api_server Qwen/Qwen3-8B --cache-max-entry-count 80": "--cache-max-entry-count is 80.0",
    "lmdeploy serve api_server Qwen/Qwen3-8B --cache-block-seq-len 0": "--cache-block-seq-len is 0",
    "trtllm-serve Qwen/Qwen3-8B --max_batch_size 0": "--max_batch_size is 0",
    "cat > x.yml <<E\nmax_batch_size: 0\nE\ntrtllm-serve m/Qwen3-8B --config x.yml": "max_batch_size is 0",
    "vllm serve Qwen/Qwen3-8B -tp 3": "-tp 3 does not divide",
    "OLLAMA_NUM_PARALLEL=-1 ollama run llama3.1:8b": "OLLAMA_NUM_PARALLEL is -1",
    "OLLAMA_CONTEXT_LENGTH=abc ollama run llama3.1:8b": "OLLAMA_CONTEXT_LENGTH takes a whole number",
    "llama-server -m Qwen3-8B-Q4_K_M.gguf -ngl abc": "-ngl takes a whole number, or all",
}


@pytest.mark.parametrize("command", FAULTS)
def test_a_fault_has_the_word_that_was_pasted(command: str) -> None:
    found = call("infer", "--gpu", "h100:4", "--command", command, "--json")
    error = json.loads(found.err)["error"]
    assert FAULTS[command] in f"{error['message']} {error['hint']}"


def test_what_stands_beside_a_command_keeps_our_word_and_chinese_has_both() -> None:
    words = ("infer", "--gpu", "h100:1", "--command", "trtllm-serve Qwen/Qwen3-8B --tp_size 2")
    assert "--tp_size 2 needs 2 cards, --gpu gives 1" in call(*words).err
    assert "--tp_size 2 需要 2 张卡" in call(*words, "--lang", "zh").err
    assert "--tp 3 needs 3 cards" in call(*words, "--tp", "3").err
    assert "--tp_size 2" in call("speed", *words[1:]).err


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("per_device_train_batch_size: 0", "per_device_train_batch_size is 0"),
        ("cutoff_len: -1", "cutoff_len is -1"),
    ],
)
def test_a_fault_of_a_run_has_the_key_of_its_file(size: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "sft.yaml"
    path.write_text(
        f"model_name_or_path: Qwen/Qwen3-8B\nstage: sft\nfinetuning_type: lora\nbf16: true\n{size}\n"
    )
    assert said in call("train", "--gpu", "h100", "--from", str(path)).err


def asked(gpu: str, command: str) -> dict[str, Any]:
    found = call("infer", "--gpu", gpu, "--command", command, "--json")
    answer: dict[str, Any] = json.loads(found.out)
    return answer


@pytest.mark.parametrize(
    ("command", "gpu"),
    [
        ("vllm serve deepseek-v2-lite -tp 4", "h100:4"),
        ("vllm serve deepseek-v2-lite -tp 2 -dp 4", "h100:8"),
        (
            "python -m sglang.launch_server --model deepseek-r1 --tp 16 --dp 16 --enable-dp-attention",
            "h100:16",
        ),
        ("llama-server -hf ggml-org/gpt-oss-20b-GGUF -c 8192 -ts 3,1", "h100:2"),
        ("vllm serve deepseek-v2-lite", "h100"),
    ],
)
def test_a_name_without_a_number_is_as_many_cards_as_a_command_takes(command: str, gpu: str) -> None:
    answer = asked("h100", command)
    assert answer["request"]["gpu"]["spec"] == gpu
    counted = [note for note in answer["warnings"] if "says no number of cards" in note]
    assert len(counted) == (gpu != "h100")


def test_a_number_that_is_given_counts_and_so_does_a_slice() -> None:
    command = "vllm serve deepseek-v2-lite -tp 4"
    assert "-tp 4 needs 4 cards, --gpu gives 1" in call("infer", "--gpu", "h100:1", "--command", command).err
    mig = call("infer", "--gpu", "h100-mig-3g.40gb", "--command", command)
    assert "cannot share a model" in mig.err
    tuned = call("tune", "--gpu", "h100", "--command", command, "--json", "--rows", "1")
    assert json.loads(tuned.out)["request"]["gpu"] == "h100:4"


def test_megatrons_launcher_says_how_many_cards_it_takes() -> None:
    script = (
        "N=4\ntorchrun --nproc_per_node 8 --nnodes $N pretrain_gpt.py --num-layers 32 --hidden-size 4096 "
        "--num-attention-heads 32 --seq-length 4096 --max-position-embeddings 4096 --micro-batch-size 1 "
        "--global-batch-size 64 --bf16 --tensor-model-parallel-size 4 --vocab-size 32000"
    )
    found = call("train", "--gpu", "h100", "--command", script, "--json")
    assert json.loads(found.out)["request"]["gpu"]["num_gpus"] == 32
    assert "16 is not divisible" not in call("train", "--gpu", "h100:16", "--command", script).err


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (
            "model:\n  _component_: torchtune.models.llama3_1.lora_llama3_1_8b\n",
            "tune run lora_finetune_single",
        ),
        ("model_name_or_path: Qwen/Qwen3-8B\nattn_implementation: sdpa\nnum_generations: 8\n", "trl grpo"),
    ],
)
def test_a_file_that_a_command_reads_says_which(text: str, command: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert f'--command "{command}' in call("train", "--gpu", "h100", "--from", str(path)).err


def test_sizes_that_want_more_cards_say_where_their_number_stands() -> None:
    assert "--gpu CARD:8" in call("train", "qwen3-8b", "--gpu", "h100", "--tp", "8").err


@pytest.mark.parametrize("compared", ["gpu=h100:1,l40s:2", "tp=1,2"])
def test_a_variant_of_a_command_is_answered_as_alone(compared: str) -> None:
    """One rank where the command says no size: cards that are free hold no second."""
    words = ("--command", "vllm serve Qwen/Qwen3-32B --max-model-len 16k")
    name, _, values = compared.partition("=")
    cards = () if name == "gpu" else ("--gpu", "l40s:2")
    beside = json.loads(call("infer", *words, *cards, "--compare", compared, "--json").out)["answers"]
    for answer, value in zip(beside, values.split(","), strict=True):
        alone = json.loads(call("infer", *words, *cards, f"--{name}", value, "--json").out)
        assert (answer["verdict"], answer["headroom_bytes"]) == (alone["verdict"], alone["headroom_bytes"])


def test_models_are_compared_without_one_beside_them() -> None:
    found = call("infer", "--gpu", "h100", "--compare", "model=qwen3-8b,qwen3-14b", "--json")
    assert [each["model"]["name"] for each in json.loads(found.out)["answers"]] == ["qwen3-8b", "qwen3-14b"]


@pytest.mark.parametrize(("gpu", "cards"), [("a100-80gb", "a100-80gb:2"), ("h100:4", "h100:4")])
def test_a_container_that_names_its_card_is_tuned_on_those_that_are_given(gpu: str, cards: str) -> None:
    model = (
        "apiVersion: kubeai.org/v1\nkind: Model\nmetadata: {name: m}\nspec:\n  url: hf://Qwen/Qwen3-8B\n"
        "  engine: VLLM\n  args: [--max-model-len=8192]\n  resourceProfile: nvidia-gpu-h100:2\n"
    )
    found = call("tune", "--gpu", gpu, "--command", model, "--json", "--rows", "1")
    assert json.loads(found.out)["request"]["gpu"] == cards


def test_a_file_of_containers_without_an_engine_is_told_what_is_looked_for() -> None:
    built = "services:\n  vllm:\n    build: .\n    command: --model Qwen/Qwen2.5-3B-Instruct\n"
    assert "image: vllm/vllm-openai" in call("infer", "--gpu", "h100", "--command", built).err


@pytest.mark.parametrize(("load", "noted"), [(("8192", "4"), True), (("8192", "2"), False)])
def test_a_load_that_a_context_does_not_hold_is_said(load: tuple[str, str], noted: bool) -> None:
    command = "llama-server -hf unsloth/Qwen3-32B-GGUF:Q4_K_M -c 16384"
    words = ("--command", command, "--context", load[0], "--concurrency", load[1])
    found = call("infer", "--gpu", "h100", *words).out
    assert ("context of 16,384 tokens is less than this load: answered for 32,768" in found) == noted
