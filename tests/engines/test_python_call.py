"""Engines that a script starts in Python, as people paste them: `infer --command`."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command import call
from oomless.engines.command_line import read_command
from oomless.engines.python_call import of_python
from oomless.errors import OomlessError

SCRIPT = """
import os
os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
from vllm import LLM, SamplingParams
path = "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4"  # from the hub
llm = LLM(model=path,
          max_model_len=4096,
          # enforce_eager=True,
          tensor_parallel_size=2, enable_prefix_caching=False, dtype=torch.float16,
          limit_mm_per_prompt={"image": 2}, gpu_memory_utilization=0.80)
print(llm.generate("LLM(model=1)"))
"""


def asked(command: str, *words: str, gpu: str = "rtx-3090:2") -> dict[str, Any]:
    found = call("infer", *words, "--gpu", gpu, "--command", command, "--json", "--offline")
    assert found.code in (0, 3), found.err
    answer: dict[str, Any] = json.loads(found.out)
    return answer


def test_a_script_asks_what_its_call_says() -> None:
    """It "starts no engine that is known here", and issues are full of it."""
    command = read_command(SCRIPT)
    assert (command.model, command.visible) == ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", 2)
    wanted = {"tp": 2, "max_model_len": 4096, "gpu_memory_utilization": 0.8, "dtype": "float16"}
    assert wanted.items() <= command.flags.items()
    assert command.unknown == ()


@pytest.mark.parametrize(
    ("gpu", "release", "tokens"),
    [("rtx-3090:2", None, 8192), ("h100:2", "0.11.0", 16384), ("a100-80gb:2", "0.8.5", 16384)],
)
def test_steps_of_llm_are_larger_than_a_servers(gpu: str, release: str | None, tokens: int) -> None:
    """arg_utils.py of 0.8 and later, UsageContext.LLM_CLASS."""
    words = ("--engine-version", release) if release else ()
    assert asked(SCRIPT, *words, gpu=gpu)["request"]["max_num_batched_tokens"] == tokens


def test_what_only_a_run_names_is_asked_for() -> None:
    open_ = "llm = vllm.LLM(model=args.model, tensor_parallel_size=2)"
    assert "MODEL is missing" in call("infer", "--gpu", "h100:2", "--command", open_).err
    assert asked(open_, "qwen3-8b", gpu="h100:2")["model"]["name"] == "qwen3-8b"
    size = 'LLM("Qwen/Qwen3-8B", tensor_parallel_size=size)'
    assert "$size" in call("infer", "--gpu", "h100:2", "--command", size).err


def test_sglangs_engine_is_its_server() -> None:
    script = 'llm = sgl.Engine(model_path="Qwen/Qwen3-8B", tp_size=2, context_length=8192)'
    found = asked(script, gpu="h100:2")["request"]
    assert (found["engine"], found["layout"]["tp"], found["max_model_len"]) == ("sglang", 2, 8192)


def test_llama_cpp_pythons_class_is_its_server() -> None:
    script = 'llm = Llama(model_path="llama-2-13b.Q4_K_M.gguf", n_gpu_layers=-1, n_ctx=4096, verbose=False)'
    found = asked(script, gpu="rtx-3060-12gb")["request"]
    assert (found["engine"], found["n_gpu_layers"], found["max_num_seqs"]) == ("llamacpp", 41, 1)
    assert asked(script.replace("n_gpu_layers=-1, ", ""), gpu="rtx-3060-12gb")["request"]["n_gpu_layers"] == 0


def test_other_packages_are_left_alone() -> None:
    script = 'from tensorrt_llm import LLM\nLLM(model="Qwen/Qwen3-8B")'
    assert of_python(script) == script


@given(st.text(alphabet="LM(){}[]'\"\\=,.:$\n ab1", max_size=80))
def test_any_text_behind_a_call_is_answered_or_refused(text: str) -> None:
    with suppress(OomlessError):
        read_command(f"LLM({text})")
