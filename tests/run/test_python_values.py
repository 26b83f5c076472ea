"""Values from Python: a wrong type is an OomlessError that names the flag, and every name of a flag is a
keyword."""

from pathlib import Path
from typing import Any

import pytest

import oomless

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("infer", {"tp": "8"}, "--tp is '8'"),
    ("infer", {"tp": 2.5}, "--tp is 2.5"),
    ("infer", {"tp": True}, "--tp is True"),
    ("infer", {"gpu": 8}, "gpu is 8"),
    ("infer", {"gpu": ["h200:8"]}, "gpu is"),
    ("infer", {"model": None}, "a model is no NoneType"),
    ("infer", {"gpu_memory_utilization": "0.9"}, "--gpu-memory-utilization is '0.9'"),
    ("infer", {"reserve": 5}, "--reserve is 5"),
    ("infer", {"engine": 5}, "--engine is 5"),
    ("infer", {"engine_version": 0.19}, "--engine-version is 0.19"),
    ("infer", {"context": 1e3}, "--context is 1000.0"),
    ("infer", {"tp": 8, "tensor_parallel_size": 8}, "another name"),
    ("train", {"tp": "2"}, "--tp is '2'"),
    ("train", {"micro_batch": 1.5}, "--micro-batch is 1.5"),
    ("train", {"optimizer": 5}, "--optimizer is 5"),
    ("train", {"zero": "3"}, "--zero is '3'"),
    ("train", {"lora_targets": 5}, "--lora-targets is 5"),
    ("train", {"global_batch": "64"}, "--global-batch is '64'"),
    ("train", {"reserve": 1}, "--reserve is 1"),
    ("train", {"reference_model": "other", "task": "dpo"}, "--reference-model is 'other'"),
    (
        "train",
        {"rollout_gpu_memory_utilization": "0.3", "task": "grpo"},
        "--rollout-gpu-memory-utilization is '0.3'",
    ),
]


@pytest.mark.parametrize(("command", "given", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_type_names_the_flag(command: str, given: dict[str, Any], message: str) -> None:
    question = {"model": "deepseek-v2-lite", "gpu": "h200:8", **given}
    with pytest.raises(oomless.OomlessError) as caught:
        getattr(oomless, command)(**question)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that is called as a model of the catalogue."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(oomless.OomlessError, match="no such file"):
        oomless.load(Path("deepseek-v3"))
