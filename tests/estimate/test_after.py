"""Preference and reinforcement learning: who stands beside the policy, and which moment sets the peak."""

from typing import Any

import pytest

from command import call
from oomless.api.training import train
from oomless.ledger import chosen, sums

QWEN = "deepseek-r1-distill-qwen-7b"


def ask(**flags: Any) -> Any:
    return train(QWEN, "h200:8", framework="fsdp", fsdp=True, recompute="full", seq_len=2048, **flags)


def test_dpo_holds_a_frozen_copy_and_runs_pairs() -> None:
    found = ask(task="dpo", micro_batch=2)
    assert found.request.micro_batch == 4
    assert "--micro-batch 2 counts pairs: 4 sequences run at once" in found.warnings
    frozen = sums(chosen(found.after.peak.ledger.lines, ("weights.frozen",), "reference"))[0]
    assert (
        frozen == -(-found.model.num_parameters // 8) * 2
        or abs(frozen - found.model.num_parameters * 2 // 8) < 4096
    )
    assert found.ledger.total_bytes == found.after.peak.ledger.total_bytes


def test_adapters_need_no_reference() -> None:
    found: Any = train(QWEN, "h200", framework="peft", method="lora", task="dpo", seq_len=1024)
    assert "reference" not in found.after.peak.ledger.by_owner()
    update, score = found.after.moments
    assert (update.name, score.name) == ("update", "score")
    assert not [line for line in score.ledger.lines if line.owner == "reference"]


def test_simpo_scores_nothing() -> None:
    found = ask(task="dpo", reference_model="none")
    assert [each.name for each in found.after.moments] == ["update"]


def test_the_reference_runs_beside_what_the_policy_keeps() -> None:
    """Recomputation leaves less of it; a cache that a trainer lets the frozen forward fill comes on top."""
    scores = []
    for recompute in ("full", "none"):
        found: Any = train(
            QWEN, "h200:8", framework="fsdp", task="dpo", seq_len=2048, micro_batch=2, recompute=recompute
        )
        scores.append(next(each.ledger.total_bytes for each in found.after.moments if each.name == "score"))
    assert scores[0] < scores[1]
    chat: Any = train(QWEN, "h200:8", framework="colossalai", task="dpo", seq_len=2048, micro_batch=2)
    cached = [line.bytes for line in chat.after.moments[1].ledger.lines if line.key == "activations.cache"]
    assert cached == [28 * 2 * 4 * 128 * 4 * 2048 * 2]


def test_a_sleeping_engine_moves_the_peak() -> None:
    """Awake it lies beside the update; asleep its weights and cache are there while it generates alone."""
    share = {"rollout_engine": "vllm", "rollout_gpu_memory_utilization": 0.6}
    awake, asleep = ask(task="grpo", **share), ask(task="grpo", rollout_sleep=True, **share)
    assert awake.after.peak.name == "update"
    assert asleep.after.peak.name == "generate"
    totals = [
        {each.name: each.ledger.total_bytes for each in found.after.moments} for found in (awake, asleep)
    ]
    assert totals[0]["generate"] == totals[1]["generate"]
    assert totals[1]["update"] < totals[0]["update"]


def test_an_engine_on_cards_of_its_own() -> None:
    found = ask(task="grpo", rollout_engine="vllm", rollout_gpu="h100:2")
    assert found.after.engine.verdict == "fits"
    assert all("vllm" not in each.ledger.by_owner() for each in found.after.moments)


def test_ppo_has_four_models() -> None:
    found = ask(task="ppo", reward_model="deepseek-coder-1.3b", rollout_engine="vllm", rollout_sleep=True)
    update = next(each for each in found.after.moments if each.name == "update")
    assert {"policy", "reference", "reward", "value", "engine", "process"} == set(update.ledger.by_owner())
    assert (
        update.ledger.by_owner()["value"]
        > update.ledger.by_owner()["reference"]
        > update.ledger.by_owner()["reward"]
    )
    more = ask(task="ppo", reward_model="deepseek-coder-1.3b", reference_model="none")
    assert "reference" not in more.after.peak.ledger.by_owner()


def test_pretraining_has_one_moment() -> None:
    assert ask().after is None
    assert ask(task="sft", packed=True).after is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--rollout-engine", "vllm", "--rollout-gpu-memory-utilization", "1.5"],
            "--rollout-gpu-memory-utilization is 1.5",
        ),
        (["--reward-model", "deepseek-v33"], "deepseek-v3"),
        (["--rollout-engine", "vlm"], "vlm"),
        (["--rollout-gpu", "h1000"], "h1000"),
    ],
)
def test_bad_questions(words: list[str], message: str) -> None:
    answer = call("train", QWEN, "--gpu", "h200:8", "--fsdp", "--task", "grpo", *words)
    assert answer.code == 2
    assert message in answer.err
    assert not answer.out


def test_the_text_names_the_peak() -> None:
    shown = call(
        "train",
        QWEN,
        "--gpu",
        "h200:8",
        "--fsdp",
        "--task",
        "grpo",
        "--rollout-engine",
        "vllm",
        "--rollout-sleep",
    ).out
    assert shown.count("<- the peak") == 1
    assert "generate: " in shown
