"""A pasted command line means what the engine would take it to mean."""

import pytest

from oomless.errors import UsageError
from oomless.run.command import read_command


def test_spellings_of_one_question_are_equal() -> None:
    long = read_command("vllm serve m --tensor-parallel-size 8 --max-model-len 32768 --gpu-memory-utilization 0.9")
    short = read_command(
        "CUDA_VISIBLE_DEVICES=0,1 python3 -m vllm.entrypoints.openai.api_server --model m -tp=8 --max_model_len 32K "
        "--gpu_memory_utilization=.9"
    )

    assert long.flags == short.flags == {"tp": 8, "max_model_len": 32768, "gpu_memory_utilization": 0.9}
    assert long.model == short.model == "m"


def test_harmless_and_unknown_flags_are_told_apart() -> None:
    found = read_command("vllm serve m --port 8000 --enable-auto-tool-choice --kv-transfer-config '{\"a\": 1}' --new-thing")

    assert found.ignored == ("--port 8000", "--enable-auto-tool-choice")
    assert found.unknown == ('--kv-transfer-config {"a": 1}', "--new-thing")


def test_lines_joined_by_backslashes_are_one_command() -> None:
    assert read_command("vllm serve m \\\n  -tp 2 \\\n  --enforce-eager").flags == {"tp": 2, "enforce_eager": True}


@pytest.mark.parametrize("text", ["", "ls -l", "vllm", "vllm serve m -tp", "vllm serve m -tp many", "vllm serve 'm"])
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_command(text)
