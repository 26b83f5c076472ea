"""Values from Python: a wrong type is an OomlessError that names the flag, and every name of a flag is a
keyword."""

from pathlib import Path
from typing import Any

import pytest

import oomless
from oomless.api.serving import LAYOUT_FLAGS, serving_request
from oomless.api.serving import SPELLINGS as SERVING_SPELLINGS
from oomless.api.training import MESH_FLAGS
from oomless.api.training import SPELLINGS as TRAINING_SPELLINGS
from oomless.cli.flags import INFER, OUTPUT_FIELDS, Flag
from oomless.cli.flags_train import OUTPUT, TRAIN
from oomless.run.serving import Serving
from oomless.run.training import BESIDE, Training

ASKED_ELSEWHERE = {
    "gpu",
    "from",
    "from_file",
    "command",
    "megatron_args",
    "world_size",
    "offline",
    "revision",
}
SERVING = {*Serving._fields, *LAYOUT_FLAGS, "speculative_config", "limit_mm_per_prompt"}
TRAINING = {*Training._fields, *MESH_FLAGS, *BESIDE, "zero", "fsdp", "no_bucket_view", "global_batch"}

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


@pytest.mark.parametrize(
    ("flag", "spellings", "fields"),
    [(flag, SERVING_SPELLINGS, SERVING) for flag in INFER if flag.field not in OUTPUT_FIELDS]
    + [(flag, TRAINING_SPELLINGS, TRAINING) for flag in TRAIN if flag.field not in OUTPUT],
    ids=lambda value: value.field if isinstance(value, Flag) else "",
)
def test_every_long_name_of_a_flag_is_a_keyword(
    flag: Flag, spellings: dict[str, str], fields: set[str]
) -> None:
    names = [name.removeprefix("--").replace("-", "_") for name in flag.names if name.startswith("--")]
    homes = {spellings.get(name, name) for name in names}
    assert len(homes) == 1, homes
    assert homes <= fields | ASKED_ELSEWHERE


def test_other_names_ask_the_same() -> None:
    first = serving_request(tp=2, max_model_len=4096, max_num_seqs=8, block_size=32, enforce_eager=True)
    assert first == serving_request(
        tp_size=2, context_length=4096, parallel=8, page_size=32, disable_cuda_graph=True
    )


def test_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that is called as a model of the catalogue."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(oomless.OomlessError, match="no such file"):
        oomless.load(Path("deepseek-v3"))
