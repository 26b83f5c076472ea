"""A saved answer of `train --json` is asked again: the same ledgers, other cards, and what is no such
answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import call

QUESTIONS = (
    (
        "deepseek-v3",
        "--gpu",
        "h100:256",
        "--framework",
        "fsdp",
        "--pp",
        "8",
        "--ep",
        "16",
        "--recompute",
        "full",
        "--method",
        "lora",
    ),
    (
        "deepseek-coder-1.3b",
        "--gpu",
        "a100-80gb:8",
        "--zero",
        "2",
        "--framework",
        "deepspeed",
        "--offload",
        "optimizer",
        "--global-batch",
        "64",
    ),
    ("llama-3.1-8b", "--gpu", "h100:8", "--framework", "torchtitan", "--dropout", "0.1"),
    ("qwen2.5-7b", "--gpu", "h100:8", "--task", "dpo", "--zero", "3", "--micro-batch", "2"),
    (
        "qwen2.5-7b",
        "--gpu",
        "h100:8",
        "--task",
        "grpo",
        "--zero",
        "3",
        "--rollout-engine",
        "vllm",
        "--rollout-sleep",
    ),
    (
        "qwen2.5-7b",
        "--gpu",
        "h100:8",
        "--task",
        "ppo",
        "--zero",
        "3",
        "--rollout-gpu",
        "h100:4",
        "--reward-model",
        "qwen2.5-3b",
    ),
)


def saved(folder: Path, *words: str) -> tuple[Path, dict[str, Any]]:
    file = folder / "answer.json"
    file.write_text(call("train", *words, "--json").out, encoding="utf-8")
    return file, json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
def test_the_same_question_has_the_same_answer(words: tuple[str, ...], tmp_path: Path) -> None:
    file, before = saved(tmp_path, *words)
    after = json.loads(call("train", "--from", str(file), "--json").out)
    assert after["ranks"] == before["ranks"]
    assert after["request"] == before["request"]


def test_other_cards_take_what_filled_the_first(tmp_path: Path) -> None:
    file, _ = saved(tmp_path, *QUESTIONS[2])
    after = json.loads(call("train", "--from", str(file), "--gpu", "h100:16", "--json").out)
    assert after["request"]["mesh"]["dp"] == 16


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("micro_batch", "two"),
        ("offload", [1]),
        ("sharding", "zero9"),
        ("beside", {"rollout_sleep": 1}),
        ("beside", {"wheel": "a"}),
        ("beside", []),
        ("mesh", {"tp": 1.5}),
    ],
)
def test_damaged_answers_are_refused(key: str, value: object, tmp_path: Path) -> None:
    file, answer = saved(tmp_path, *QUESTIONS[2])
    answer["request"][key] = value
    file.write_text(json.dumps(answer), encoding="utf-8")
    found = call("train", "--from", str(file))
    assert found.code == 1
    assert "wrong type" in found.err or "--sharding is 'zero9'" in found.err
    assert not found.out


def test_each_command_sends_the_others_answer_back(tmp_path: Path) -> None:
    file, _ = saved(tmp_path, *QUESTIONS[2])
    found = call("infer", "--from", str(file))
    assert found.code == 1
    assert "`train --from` asks it again" in found.err
    served = tmp_path / "served.json"
    served.write_text(call("infer", "deepseek-v3", "--gpu", "h200:8", "--json").out, encoding="utf-8")
    found = call("train", "--from", str(served))
    assert found.code == 1
    assert "`infer --from`" in found.err
