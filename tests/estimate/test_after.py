"""Preference and reinforcement learning: who stands beside the policy, and which moment sets the peak."""

from typing import Any

import pytest

from command import call
from oomless.api.training import train
from oomless.errors import UsageError
from oomless.ledger import chosen, sums
from oomless.units import GIB

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


@pytest.mark.parametrize(
    ("framework", "lies"), [("trl", False), ("llama-factory", False), ("openrlhf", True)]
)
def test_a_reference_is_offloaded_as_the_policy_is(framework: str, lies: bool) -> None:
    """TRL copies the policy's DeepSpeed configuration, offloaded weights too; OpenRLHF has a flag for it."""
    asked: dict[str, Any] = {"framework": framework, "task": "dpo", "zero": 3, "offload": "optimizer,params"}
    found: Any = train("llama-3.1-70b", "h100:8", seq_len=1024, recompute="full", **asked)
    assert found.after.peak.name == "score" or not lies
    assert (
        any(line.owner == "reference" and line.category == "weights" for line in found.ledger.lines) == lies
    )


@pytest.mark.parametrize(
    ("version", "method", "states"),
    [("trl 0.11", "lora", 0), ("trl 0.12", "lora", 12), ("trl 0.18", "full", 12)],
)
def test_the_critic_of_trl_is_a_head_until_it_is_a_model(version: str, method: str, states: int) -> None:
    """Its PPOTrainer gives adapters to the policy alone; before 0.12 one model had both."""
    asked: dict[str, Any] = {"framework": "trl", "framework_version": version, "precision": "amp-bf16"}
    asked["optimizer"] = "adamw"
    found: Any = train("qwen2.5-0.5b", "h100", task="ppo", method=method, seq_len=512, **asked)
    lines = [line for line in found.after.moments[0].ledger.lines if line.owner == "value"]
    held = sum(line.bytes for line in lines if line.category in ("weights", "optimizer"))
    backbone = found.model.num_parameters
    assert held == pytest.approx(states * backbone, rel=0.01)


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


def test_cards_that_share_an_engines_weights_hold_a_part_of_them() -> None:
    share = {"rollout_engine": "vllm", "rollout_gpu_memory_utilization": 0.6}
    whole, part = (
        sum(
            line.bytes
            for line in ask(task="grpo", rollout_tp=tp, **share).after.moments[-1].ledger.lines
            if (line.owner, line.category) == ("engine", "weights")
        )
        for tp in (1, 4)
    )
    assert 0.2 * whole < part < 0.3 * whole


def test_verl_before_0_4_keeps_the_logits_of_entropies() -> None:
    """They were computed whatever their coefficient (dp_actor.py of 0.3): 24,000 tokens of 14B on 8 x H100
    ran out (verl 855)."""
    asked: dict[str, Any] = {"framework": "verl", "task": "grpo", "seq_len": 8192}
    earlier, today = (
        train("qwen2.5-0.5b", "h100", framework_version=version, **asked).groups[0].peaks.allocated_bytes
        for version in ("verl 0.3.0", "verl 0.4.0")
    )
    assert earlier - today > 8192 * 151936 * 2


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


def test_a_policy_of_openrlhf_has_wide_logits_and_their_gradient() -> None:
    """10 B a logit at the end of the loss's backward, 6 B where log-probabilities alone are asked."""
    asked: dict[str, Any] = {
        "task": "grpo",
        "zero": 3,
        "seq_len": 8192,
        "recompute": "full",
        "precision": "deepspeed-bf16",
    }
    found: Any = train(QWEN, "h200:8", framework="deepspeed", **asked)
    logits = 8192 * found.model.vocab_size
    update, score = (
        sums(chosen(each.ledger.lines, ("logits.loss",)))[0] / logits for each in found.after.moments[:2]
    )
    assert (round(update), round(score)) == (10, 6)


def test_a_prompt_has_no_logits_where_answers_alone_do() -> None:
    """Unsloth cuts what the layers give (unsloth_zoo/rl_replacements.py, logits_to_keep); verl makes them."""

    def logits(framework: str, **more: Any) -> tuple[int, str]:
        found: Any = train(QWEN, "h200", framework=framework, task="grpo", seq_len=2048, **more)
        lines = found.after.moments[0].ledger.lines
        return sums(chosen(lines, ("logits.loss",)))[0], " ".join(found.warnings)

    assert logits("unsloth", method="lora", query_len=1025)[0] < logits("unsloth", method="lora")[0] * 0.6
    whole, said = logits("verl", query_len=1025)
    assert whole == logits("verl")[0]
    assert "--query-len changes nothing: verl makes logits of prompts" in said
    with pytest.raises(UsageError, match="need --loss contrastive"):
        logits("trl", query_len=1024, negatives=2)


@pytest.mark.parametrize(
    ("framework", "task", "sharding", "width"),
    [
        ("trl", "grpo", "zero3", 6),
        ("trl", "grpo", "ddp", 12),
        ("ms-swift", "grpo", "ddp", 16),
        ("ms-swift", "grpo", "zero2", 8),
        ("ms-swift", "dpo", "zero2", 6),
        ("llama-factory", "dpo", "zero2", 12),
    ],
)
def test_logits_beside_deepspeed_stay_in_16_bits(
    framework: str, task: str, sharding: str, width: int
) -> None:
    """Of TRL's selective_log_softmax; LLaMA-Factory makes them F32 by itself. Logits that GRPO divides in
    place, as TRL does since 1.0, have one more copy in the backward."""
    asked: dict[str, Any] = {"framework": framework, "task": task, "recompute": "full", "seq_len": 2048}
    asked |= {"framework_version": "trl 0.17"} if framework == "trl" else {}
    pairs = 1 if task == "dpo" else 2
    found: Any = train(QWEN, "h200:8", sharding=sharding, micro_batch=pairs, **asked)
    phases = found.groups[0].phases
    logits = max(part.bytes for each in phases for part in each.parts if part.key == "logits.loss")
    assert logits / (2 * 2048 * found.model.vocab_size) == pytest.approx(width, rel=0.05)


def test_on_ascend_cards_the_plugin_of_vllm_generates() -> None:
    asked: dict[str, Any] = {"framework": "ms-swift", "task": "grpo", "rollout_gpu_memory_utilization": 0.2}
    named, plugin = (
        train("qwen3-4b", "ascend-910b:2", rollout_engine=name, **asked) for name in ("vllm", "vllm-ascend")
    )
    assert named.ledger == plugin.ledger


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


def rollout(**flags: Any) -> Any:
    return train(QWEN, "h100:8", task="grpo", zero=3, seq_len=2048, grad_accum=4, **flags)


@pytest.mark.parametrize(
    ("framework", "method", "moment"),
    [
        ("trl", "full", None),
        ("trl", "lora", "sync"),
        ("ms-swift", "full", "sync"),
        ("fsdp", "full", None),
    ],
)
def test_an_engine_is_given_whole_weights(framework: str, method: str, moment: str | None) -> None:
    """TRL gathers all parameters to merge adapters, ms-swift always (split_batches without batches)."""
    found = rollout(framework=framework, method=method, rollout_engine="vllm", rollout_gpu="h100")
    names = [each.name for each in found.after.moments]
    assert [name for name in names if name == "sync"] == ([moment] if moment else [])


def test_a_trainer_that_generates_has_the_whole_policy() -> None:
    """32B on 8 x 96 GB ran out of memory (ms-swift 3871): each rank gathers 61 GiB beside its states."""
    found = rollout(framework="ms-swift")
    assert found.after.peak.name == "generate"
    whole, cache = (
        next(line for line in found.after.peak.ledger.lines if line.key == key)
        for key in ("communication.gathered", "activations.cache")
    )
    assert whole.bytes == 2 * found.model.num_parameters
    assert cache.high_bytes == 4 * cache.bytes


@pytest.mark.parametrize(("release", "compares"), [("trl 0.18", True), ("trl 0.19", False), (None, False)])
def test_grpo_had_a_reference_until_its_weight_became_zero(release: str | None, compares: bool) -> None:
    found = rollout(framework="trl", framework_version=release)
    assert any("reference" in each.ledger.by_owner() for each in found.after.moments) == compares


def test_the_headline_is_as_wide_as_all_moments() -> None:
    """What generates holds more here, and the update reserves more; any moment may be the one that fails."""
    found: Any = train(QWEN, "h200:8", framework="trl", task="ppo", zero=3, seq_len=8192)
    ledgers = [each.ledger for each in found.after.moments]
    for name in ("total_bytes", "low_bytes", "high_bytes"):
        assert getattr(found.ledger, name) == max(getattr(each, name) for each in ledgers)
    update = found.after.moments[0]
    line = update.ledger.lines[0]._replace(high_bytes=2 * update.ledger.capacity_bytes)
    wide = update._replace(ledger=update.ledger._replace(lines=(line,)))
    assert found.after._replace(moments=(wide, *found.after.moments[1:])).ledger.verdict == "tight"


@pytest.mark.parametrize("flags", [{"zero": 3}, {"fsdp": True}, {"zero": 2}])
def test_what_several_models_cannot_give_back_is_bounded(flags: dict[str, Any]) -> None:
    """An allocator gives idle segments back before it fails, whatever it holds without a limit."""
    flags |= {"framework": "trl", "task": "dpo", "seq_len": 2048, "micro_batch": 4}
    without: Any = train(QWEN, "2000GiB:8", **flags)
    less: Any = train(QWEN, f"{without.ledger.high_bytes // GIB - 2}GiB:8", **flags)
    assert less.verdict == "fits"


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


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_each_engine_takes_its_share_in_its_own_words(engine: str) -> None:
    found = rollout(framework="verl", rollout_engine=engine, rollout_gpu_memory_utilization=0.5, rollout_tp=2)
    generate = next(each for each in found.after.moments if each.name == "generate")
    owned = sum(line.bytes for line in generate.ledger.lines if line.owner == "engine")
    assert 0.4 < owned / generate.ledger.capacity_bytes < 0.7


@pytest.mark.parametrize(("release", "width"), [("0.29", 12), ("1.0", 16), ("1.6", 16), ("1.14", 16)])
def test_logits_divided_in_place_are_copied_in_the_backward(release: str, width: int) -> None:
    """GRPOTrainer's logits.div_ of a view: 16 B a logit of two answers in F32 (a CPU run of its lines)."""
    asked: dict[str, Any] = {"framework": "trl", "task": "grpo", "recompute": "full", "seq_len": 2048}
    found: Any = train(QWEN, "h200", micro_batch=2, framework_version=f"trl {release}", **asked)
    phases = found.groups[0].phases
    logits = max(part.bytes for each in phases for part in each.parts if part.key == "logits.loss")
    assert logits / (2 * 2048 * found.model.vocab_size) == pytest.approx(width, rel=0.05)


@pytest.mark.parametrize(
    ("release", "model", "phase"),
    [
        ("2024-03-30", "llama-2-70b", "backward"),
        ("2024-04-17", "llama-2-70b", "load"),
        ("2024-04-17", "qwen2-72b", "backward"),
        ("2024-07-13", "llama-2-70b", "backward"),
        ("0.9.1", "llama-2-70b", "backward"),
    ],
)
def test_axolotl_moved_packed_llamas_to_each_card(release: str, model: str, phase: str) -> None:
    """Axolotl of April to July 2024: 70B on 2 x 24 GB had trained in March with 14 GB (pull request 1428),
    and ran out of memory in April (issue 1522)."""
    asked: dict[str, Any] = {
        "framework": "axolotl",
        "method": "qlora",
        "sharding": "fsdp1",
        "recompute": "full",
    }
    asked |= {"offload": "params", "seq_len": 512, "optimizer": "paged-adamw-8bit"}
    found: Any = train(model, "rtx-3090:2", **asked, framework_version=f"axolotl {release}")
    assert found.peaks.phase == phase
    assert (found.verdict == "does_not_fit") == (phase == "load")


def test_the_engine_of_nemo_rl_sleeps_and_its_reference_is_swapped_in() -> None:
    """grpo.py: offload_before_refit, finish_generation; use_reference_model copies from host memory."""
    asked: dict[str, Any] = {
        "framework": "nemo-rl",
        "task": "grpo",
        "rollout_engine": "vllm",
        "seq_len": 1024,
    }
    found: Any = train("qwen2.5-1.5b", "h100:8", rollout_gpu_memory_utilization=0.6, **asked)
    moments = {each.name: each.ledger for each in found.after.moments}
    assert "score" in moments
    assert not any(line.owner == "reference" for each in moments.values() for line in each.lines)
    assert not any(line.owner == "engine" and line.category == "kv_cache" for line in moments["update"].lines)
    awake: Any = train(
        "qwen2.5-1.5b", "h100:8", rollout_gpu_memory_utilization=0.6, **asked | {"framework": "fsdp"}
    )
    beside = {each.name: each.ledger for each in awake.after.moments}
    assert beside["update"].total_bytes > moments["update"].total_bytes + 20 * GIB


def test_grpo_of_trl_scored_after_its_forward() -> None:
    """To 0.14 compute_loss runs the reference while the policy's graph waits, and the weights that vLLM was
    sent; 0.15 scores and sends before, still all at once; 0.16 parameter by parameter."""
    asked: dict[str, Any] = {"framework": "trl", "task": "grpo", "zero": 3, "precision": "deepspeed-bf16"}
    asked |= {"recompute": "none", "micro_batch": 2, "seq_len": 2048}
    asked |= {"rollout_engine": "vllm", "rollout_gpu": "h100"}
    moments, names, policy = [], [], []
    for release in ("0.14", "0.15", "0.16"):
        found: Any = train(QWEN, "h100:8", framework_version=f"trl {release}", **asked)
        moments.append({each.name: each.ledger for each in found.after.moments})
        names.append(list(moments[-1]))
        policy.append(2 * found.model.num_parameters)
    assert names == [["update", "score", "sync"]] * 2 + [["update", "score"]]
    kept = [chosen(each["score"].lines, ("activations",)) for each in moments]
    assert [bool(each) for each in kept] == [True, False, False]
    lines = [[line for line in each["score"].lines if "whole weights" in line.what] for each in moments]
    assert [sum(line.bytes for line in each) for each in lines] == [policy[0], 0, 0]
