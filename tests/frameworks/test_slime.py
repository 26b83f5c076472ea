"""slime's commands: Megatron-Core's layers, SGLang beside them."""

import json
from typing import Any

import pytest

from command import call

SLIME = (
    "ray job submit --address=http://127.0.0.1:8265 -- python3 train.py --actor-num-nodes 1 "
    "--actor-num-gpus-per-node 8 --hf-checkpoint Qwen/Qwen3-4B --num-layers 36 --hidden-size 2560 "
    "--num-rollout 3000 --rollout-max-response-len 8192 --tensor-model-parallel-size 2 --sequence-parallel "
    "--recompute-granularity full --recompute-method uniform --recompute-num-layers 1 "
    "--use-dynamic-batch-size --max-tokens-per-gpu 9216 --optimizer adam --lr 1e-6 "
)
TOGETHER = "--colocate --rollout-num-gpus-per-engine 2 --sglang-mem-fraction-static 0.7 "


def asked(command: str) -> dict[str, Any]:
    found = call("train", "--gpu", "h100:8", "--command", command, "--json", "--offline")
    assert found.code in (0, 3), found.err
    answer: dict[str, Any] = json.loads(found.out)
    return answer


def test_slime_packs_to_what_a_card_may_have() -> None:
    found = asked(SLIME + TOGETHER)
    request = found["request"]
    assert (request["task"], request["sharding"], request["recompute"]) == ("grpo", "distopt", "full")
    assert (request["micro_batch"], request["seq_len"], request["packed"]) == (1, 9216, True)
    assert [request["mesh"][name] for name in ("tp", "sequence_parallel")] == [2, True]
    assert not any("not understood" in note for note in found["warnings"])
    divided = asked(SLIME + TOGETHER + "--context-parallel-size 2")["request"]
    assert (divided["seq_len"], divided["mesh"]["cp"]) == (18432, 2)


def test_slime_leaves_the_cards_to_its_engine() -> None:
    """backends/megatron_utils/actor.py: sleep pauses all of the trainer's memory; the reference is on the
    host."""
    moments = {each["name"]: each for each in asked(SLIME + TOGETHER)["after"]["moments"]}
    held = {
        name: sum(line["bytes"] for line in each["lines"] if line["owner"] == "policy")
        for name, each in moments.items()
    }
    assert held["generate"] == 0 < held["update"]
    assert not any(line["owner"] == "reference" for each in moments.values() for line in each["lines"])
    apart = asked(SLIME)
    assert {each["name"] for each in apart["after"]["moments"]} == {"update", "score"}
    assert any("cards of their own" in note for note in apart["warnings"])


def test_slime_keeps_f32_logits_and_probabilities() -> None:
    """utils/ppo_utils.py, _VocabParallelLogProbEntropy: 2 + 4 + 4 B a logit, and gradients in the backward;
    9,216 tokens of 151,936 words on two ranks."""
    logits = 9216 * 151_936 // 2
    found = asked(SLIME)["ranks"][0]["by_category"]["logits"]
    assert found == pytest.approx(14 * logits, rel=0.3)


def test_fine_tuning_by_slime_has_labels() -> None:
    request = asked(SLIME.replace("train.py", "train_async.py") + "--loss-type sft_loss")["request"]
    assert (request["task"], request["loss"]) == ("sft", "vocab-parallel-fused")
