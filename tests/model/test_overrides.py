"""A config with other values: longer sequences by YaRN, as the cards of Qwen3 tell people to serve them."""

import json
from pathlib import Path

import pytest

import oomless
from command import call
from oomless.engines.command_line import read_command
from oomless.errors import OomlessError, UsageError

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
SPOKEN = (
    f"vllm serve Qwen/Qwen3-8B --rope-scaling '{json.dumps(YARN)}' --max-model-len 131072",
    "vllm serve Qwen/Qwen3-8B --hf-overrides "
    f"'{json.dumps({'rope_parameters': YARN})}' --max-model-len 131072",
    "python -m sglang.launch_server --model-path Qwen/Qwen3-8B --context-length 131072 "
    f"--json-model-override-args '{json.dumps({'rope_scaling': YARN})}'",
)


@pytest.mark.parametrize("spoken", SPOKEN)
def test_a_longer_rope_admits_longer_sequences(spoken: str, tmp_path: Path) -> None:
    found = call("infer", "--command", spoken, "--gpu", "h100", "--json")
    assert found.code == 0
    answer = json.loads(found.out)
    assert answer["request"]["max_model_len"] == 131072
    assert not [note for note in answer["warnings"] if "not known" in note]
    saved = tmp_path / "answer.json"
    saved.write_text(found.out)
    assert json.loads(call("infer", "--from", str(saved), "--json").out)["ranks"] == answer["ranks"]


def test_without_it_the_length_is_refused() -> None:
    with pytest.raises(UsageError, match="40960 positions"):
        oomless.infer("qwen3-8b", "h100", max_model_len=131072)


@pytest.mark.parametrize(
    "overrides", ["", "[1]", "7", '{"a":', "[" * 99999, '{"num_hidden_layers": -1}', '{"rope_scaling": 7}']
)
def test_what_is_no_config_is_refused(overrides: str) -> None:
    with pytest.raises(OomlessError):
        oomless.infer("qwen3-8b", "h100", hf_overrides=overrides)


def test_both_flags_together_and_a_broken_one() -> None:
    found = read_command(
        f"vllm serve M --hf-overrides '{{\"a\": 1}}' --rope-scaling '{json.dumps(YARN)}'"
    ).flags
    assert json.loads(found["hf_overrides"]) == {"a": 1, "rope_scaling": YARN}
    with pytest.raises(UsageError, match="rope-scaling"):
        read_command("vllm serve M --rope-scaling {factor")


def test_the_copy_that_a_checkpoint_stores_twice_stays() -> None:
    model = "deepseek-v3"
    plain, same = (
        oomless.infer(model, "h200:8", hf_overrides=text) for text in (None, '{"rope_theta": 10000}')
    )
    assert plain.ledgers == same.ledgers
    assert plain.model.checkpoint_bytes == same.model.checkpoint_bytes


@pytest.mark.parametrize("engine", ["llamacpp", "trtllm"])
def test_an_engine_that_cuts_off_says_so(engine: str) -> None:
    found = oomless.infer("qwen3-8b", "h200", engine=engine, max_model_len=131072)
    assert any("cuts a sequence off at the 40,960 positions" in note for note in found.warnings)
    assert not any("cuts" in note for note in oomless.infer("qwen3-8b", "h200", engine=engine).warnings)


def test_a_scaled_length_that_nobody_asked_for_is_cut_off_too() -> None:
    found = oomless.infer("deepseek-coder-1.3b", "h100", engine="trtllm")
    (note,) = (each for each in found.warnings if "cuts" in each)
    assert "16,384 positions" in note
    assert "65,536 are not served" in note


def test_a_plan_has_no_row_that_cuts_the_load_off() -> None:
    document = oomless.plan("qwen3-8b", gpu=["h200:1"], context=131072).to_json()
    assert document["rows"] == []
    assert "longer than the model or the engine admits" in document["excluded"]


def test_a_config_inside_of_a_config_is_changed_key_by_key() -> None:
    found = oomless.infer(
        "qwen3.8-27b",
        "h200",
        hf_overrides='{"text_config": {"max_position_embeddings": 1010000}}',
        max_model_len=1010000,
    )
    assert found.model.num_parameters == oomless.infer("qwen3.8-27b", "h200").model.num_parameters
