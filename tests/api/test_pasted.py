"""Commands as recipes have them: what they start is what is answered, and what is not known is said."""

import json
from typing import Any

import pytest

from command import call


def pasted(command: str, *words: str, gpu: str = "rtx-4090:1") -> dict[str, Any]:
    found = call("infer", *words, "--gpu", gpu, "--command", command, "--json")
    assert found.code in (0, 3), found.err
    answer: dict[str, Any] = json.loads(found.out)
    return answer


def refused(command: str, *words: str, gpu: str = "rtx-4090:1") -> str:
    found = call("infer", *words, "--gpu", gpu, "--command", command, "--json")
    assert found.code in (1, 2, 4)
    assert not found.out
    error: dict[str, str] = json.loads(found.err)["error"]
    return f"{error['message']} {error['hint']}"


FILES = {
    "DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf": ("deepseek-r1-distill-qwen-32b", "Q4_K_M"),
    "/models/DeepSeek-R1-Distill-Qwen-7B-Q8_0.gguf": ("deepseek-r1-distill-qwen-7b", "Q8_0"),
    "R1/DeepSeek-R1-UD-Q2_K_XL-00001-of-00005.gguf": ("deepseek-r1", "UD-Q2_K_XL"),
    "Qwen3-8B-BF16.gguf": ("qwen3-8b", "BF16"),
    "~/gguf/Qwen2.5-7B-Instruct.i1-IQ4_XS.gguf": ("qwen2.5-7b-instruct", "I1-IQ4_XS"),
    "gpt-oss-20b-mxfp4.gguf": ("gpt-oss-20b", "MXFP4"),
    "Qwen3-8B-F16.gguf": ("qwen3-8b", "F16"),
}


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_not_here_is_read_by_its_name(file: str) -> None:
    model, kind = FILES[file]
    alone = pasted(f"llama-server -m {file} -c 8192 -np 1")
    beside = pasted(f"llama-server -m {file} -c 8192 -np 1", model)
    assert alone["model"]["name"] == beside["model"]["name"] == model
    assert alone["request"]["quantization"].upper() == kind
    assert alone["ranks"] == beside["ranks"]
    assert any("file's name" in note for note in alone["warnings"])


def test_what_a_name_does_not_say_is_asked_for() -> None:
    assert "name MODEL beside it" in refused("llama-server -m /m/my-own-tune.gguf")
    assert "name MODEL beside it" in refused("vllm serve /m/DeepSeek-R1")
    assert "no type" in refused("llama-server -m /m/model.gguf", "qwen3-8b")
    said = pasted("llama-server -m /m/model.gguf -c 4096", "qwen3-8b", "--quantization", "q6_k")
    assert said["request"]["quantization"] == "q6_k"
    refused("llama-server -m DeepSeek-R1-0528-UD-Q4_K_XL.gguf")  # a mix whose types nobody wrote down


@pytest.mark.parametrize("place", ["/m/x", "./x", "someone/a-tune-of-it", "my-name"])
def test_model_beside_a_command_is_the_shape_of_what_nobody_knows(place: str) -> None:
    found = pasted(f"vllm serve {place} -tp 1 --max-model-len 4096", "qwen3-8b")
    assert found["model"]["name"] == "qwen3-8b"
    assert f"{place}: the shape of qwen3-8b is taken for it" in found["warnings"]


def test_two_models_that_are_known_contradict_each_other() -> None:
    assert "leave one of them out" in refused("vllm serve Qwen/Qwen3-8B", "qwen3-14b")
    assert pasted("vllm serve Qwen/Qwen3-8B --max-model-len 4096", "Qwen/Qwen3-8B", "--offline")


TAGS = {
    "deepseek-r1:7b": ("deepseek-r1-distill-qwen-7b", "Q4_K_M"),
    "deepseek-r1:8b": ("deepseek-r1-0528-qwen3-8b", "Q4_K_M"),
    "deepseek-r1": ("deepseek-r1-0528-qwen3-8b", "Q4_K_M"),
    "deepseek-r1:14b-qwen-distill-q8_0": ("deepseek-r1-distill-qwen-14b", "Q8_0"),
    "deepseek-r1:32b": ("deepseek-r1-distill-qwen-32b", "Q4_K_M"),
    "deepseek-r1:70b": ("deepseek-r1-distill-llama-70b", "Q4_K_M"),
    "deepseek-r1:671b": ("deepseek-r1-0528", "Q4_K_M"),
    "qwen3:8b": ("qwen3-8b", "Q4_K_M"),
    "gpt-oss:20b": ("gpt-oss-20b", "MXFP4"),
}


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_of_ollama_says_model_and_type(tag: str) -> None:
    found = pasted(f"ollama run {tag}", gpu="h200:8")
    assert (found["model"]["name"], found["request"]["quantization"]) == TAGS[tag]
    assert found["request"]["engine"] == "ollama"


def test_variables_of_ollama_are_its_flags() -> None:
    found = pasted(
        "docker run -d -e OLLAMA_CONTEXT_LENGTH=16384 -e OLLAMA_KV_CACHE_TYPE=q8_0 ollama run qwen3:8b 'why?'"
    )
    request = found["request"]
    assert (request["max_model_len"], request["cache_type_k"], request["cache_type_v"]) == (
        16384,
        "q8_0",
        "q8_0",
    )
    assert "qwen9:8b" in refused("ollama run qwen9:8b")


def test_ollama_holds_what_its_tags_hold() -> None:
    plain, asked = (
        json.loads(call("infer", *words, "--gpu", "rtx-4090", "--engine", "ollama", "--json").out)
        for words in (("qwen3-8b",), ("qwen3-8b", "--quantization", "Q4_K_M"))
    )
    assert plain["ranks"] == asked["ranks"]
    assert any("Q4_K_M" in note for note in plain["warnings"])
    stays = json.loads(call("infer", "gpt-oss-20b", "--gpu", "h100", "--engine", "ollama", "--json").out)
    assert stays["request"]["quantization"] == "MXFP4"
