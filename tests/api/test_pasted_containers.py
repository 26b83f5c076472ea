"""Parts of manifests, variables that are flags, and what a server takes of the cards that it sees."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import call


def asked(command: str, gpu: str = "rtx-4090:1") -> dict[str, Any]:
    found = call("infer", "--gpu", gpu, "--command", command, "--json")
    assert found.code in (0, 3), found.err
    answer: dict[str, Any] = json.loads(found.out)
    return answer


LLAMA = "-m Qwen3-8B-Q4_K_M.gguf"
COMPOSED = """services:
  llama:
    image: ghcr.io/ggml-org/llama.cpp:server-cuda
    environment:
      LLAMA_ARG_MODEL: /models/Qwen3-8B-Q4_K_M.gguf
      LLAMA_ARG_CTX_SIZE: 8192
      LLAMA_ARG_N_GPU_LAYERS: 99
      LLAMA_ARG_N_PARALLEL: 2
      LLAMA_ARG_NO_MMAP: 1
      GGML_CUDA_ENABLE_UNIFIED_MEMORY: 1
"""


def test_variables_of_llama_cpp_are_its_flags(tmp_path: Path) -> None:
    typed = asked(f"llama-server {LLAMA} -c 8192 -ngl 99 -np 2 --no-mmap")
    whole = tmp_path / "compose.yaml"
    whole.write_text(COMPOSED)
    found = asked(f"@{whole}")
    assert found["request"] == typed["request"]
    assert any("GGML_CUDA_ENABLE_UNIFIED_MEMORY=1" in note for note in found["warnings"])
    over = asked(f"docker run -e LLAMA_ARG_CTX_SIZE=512 ghcr.io/ggml-org/llama.cpp:server {LLAMA} -c 8192")
    assert over["request"]["max_model_len"] == 8192, "what is typed wins"


ONE_OF_TWO = """services:
  node0:
    image: vllm/vllm-openai:v0.11.0
    command: >
      --model Qwen/Qwen3-235B-A22B-Instruct-2507-FP8 --tensor-parallel-size 4 --data-parallel-size 4
      --data-parallel-size-local 2 --enable-expert-parallel --max-model-len 65536
    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 8, capabilities: [gpu]}]}}}
"""


def test_a_container_has_cards_on_each_machine() -> None:
    """One of two machines with eight cards each was refused: eight visible, sixteen ranks."""
    found = asked(ONE_OF_TWO, "h100:8x2")
    assert found["request"]["layout"]["dp"] == 4
    assert found["ranks"][0]["num_ranks"] == 16
    few = call(
        "infer", "--gpu", "h100:8", "--command", "CUDA_VISIBLE_DEVICES=0,1 vllm serve Qwen/Qwen3-8B -tp 4"
    )
    assert few.code == 2
    assert "leaves 2 cards visible" in few.err


def test_variables_that_nobody_reads_are_named() -> None:
    found = asked(
        "VLLM_LOGGING_LEVEL=DEBUG VLLM_USE_V1=1 "
        "VLLM_ALL2ALL_BACKEND=deepep_low_latency vllm serve Qwen/Qwen3-8B"
    )
    unknown = [note for note in found["warnings"] if note.startswith("flags not known")]
    assert unknown == ["flags not known, which may change memory: VLLM_ALL2ALL_BACKEND=deepep_low_latency"]


PARTS = (
    "llm:\n  image: vllm/vllm-openai:v0.11.0\n  command: --model Qwen/Qwen3-8B --max-model-len 4096\n",
    "image: vllm/vllm-openai:v0.11.0\ncommand: --model Qwen/Qwen3-8B --max-model-len 4096\n",
    "- name: llm\n  image: vllm/vllm-openai:v0.11.0\n"
    "  args: [--model, Qwen/Qwen3-8B, --max-model-len, '4096']\n",
    "containers:\n- image: vllm/vllm-openai:v0.11.0\n"
    "  command:\n"
    "  - python3 -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-8B --max-model-len 4096\n",
    "containers:\n- image: vllm/vllm-openai:v0.11.0\n"
    "  command: [sh, -c]\n  args:\n  - vllm serve Qwen/Qwen3-8B --max-model-len 4096\n",
)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_manifest_is_read_as_the_whole(part: str, tmp_path: Path) -> None:
    file = tmp_path / "part.yaml"
    file.write_text(part)
    request = asked(f"@{file}")["request"]
    assert (request["model"], request["max_model_len"]) == ("qwen3-8b", 4096)
    assert request["engine_version"].startswith("0.11.0")


def test_a_server_of_llama_cpp_takes_all_cards_that_it_sees() -> None:
    words = f"llama-server {LLAMA} -c 8192 -ngl 99"
    assert asked(words, gpu="rtx-3090:2")["request"]["layout"]["pp"] == 2
    assert asked(f"{words} -sm none", gpu="rtx-3090:2")["request"]["layout"]["pp"] == 1
    assert asked("ollama run qwen3:8b", gpu="rtx-3090:2")["request"]["layout"]["pp"] == 1


AS_TYPED = (
    "> vllm serve Qwen/Qwen3-8B \\\n> --max-model-len 4096",
    "!vllm serve Qwen/Qwen3-8B --max-model-len 4096",
    "# vllm serve Qwen/Qwen3-8B --max-model-len 4096",
    "vllm serve Qwen/Qwen3-8B --max-model-len 4096 \\\n  > server.log 2>&1 &",
    "C:\\work> vllm serve Qwen/Qwen3-8B --max-model-len 4096",
    'subprocess.Popen(\n    ["vllm", "serve", "Qwen/Qwen3-8B", "--max-model-len", "4096"],\n)',
    "['vllm', 'serve', 'Qwen/Qwen3-8B', '--max-model-len', '4096']",
    'FROM vllm/vllm-openai:latest\nCMD ["--model", "Qwen/Qwen3-8B", "--max-model-len", "4096"]',
    'FROM a\nENTRYPOINT ["vllm", "serve"]\nCMD ["Qwen/Qwen3-8B", "--max-model-len", "4096"]',
)


@pytest.mark.parametrize("text", AS_TYPED)
def test_prompts_and_lists_of_words_are_no_part_of_a_command(text: str) -> None:
    found = asked(text)
    assert (found["request"]["model"], found["request"]["max_model_len"]) == ("qwen3-8b", 4096)
    assert not [note for note in found["warnings"] if "flags not known" in note]


def test_the_negative_of_a_flag_without_memory_has_none_either() -> None:
    found = asked("vllm serve Qwen/Qwen3-8B --no-enable-log-requests --no-such-flag")
    unknown = [note for note in found["warnings"] if note.startswith("flags not known")]
    assert unknown == ["flags not known, which may change memory: --no-such-flag"]


@pytest.mark.parametrize("text", ['["\\x", "vllm"]', 'CMD ["a\\N{x}"]', "run(['vllm', '\\u12'])"])
def test_a_list_with_an_escape_that_no_string_has_is_refused(text: str) -> None:
    found = call("infer", "--gpu", "l40s", "--command", text, "--json")
    assert found.code == 2
    assert "starts no engine" in json.loads(found.err)["error"]["message"]


def test_a_command_without_a_model_is_told_so() -> None:
    found = call("infer", "--gpu", "l40s", "--command", "ollama serve", "--json")
    assert json.loads(found.err)["error"]["hint"] == "--command names no model: give one beside it"
