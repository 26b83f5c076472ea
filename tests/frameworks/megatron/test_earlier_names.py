"""Arguments of Megatron-LM before 2.0, and a tokenizer of one vocabulary."""

import json

from command import call

LINES = (
    "--num-layers 60 --hidden-size 6144 --num-attention-heads 32 --seq-length 1024 --fp16 "
    "--tokenizer-type GPT2BPETokenizer"
)
OLD = f"{LINES} --model-parallel-size 8 --batch-size 8 --checkpoint-activations"
NEW = (
    f"{LINES} --tensor-model-parallel-size 8 --micro-batch-size 8 --recompute-granularity full "
    "--recompute-method uniform --recompute-num-layers 1 --vocab-size 50257 "
    "--transformer-impl local --attention-backend unfused"
)


def test_they_are_what_they_are_called_now() -> None:
    answers = []
    for line in (OLD, NEW):
        found = call(
            "train", "--gpu", "v100-32gb:8", "--command", f"deepspeed pretrain_gpt2.py {line}", "--json"
        )
        assert found.code in (0, 3), found.err
        answers.append(json.loads(found.out))
    assert answers[0]["ranks"] == answers[1]["ranks"]
    assert not any("was not read" in each for each in answers[0]["warnings"])


def test_zero_divides_the_optimizer() -> None:
    sizes = []
    for more in ("--zero-stage 0", "--zero-stage 1", "--zero-stage 2"):
        line = f"{LINES} --model-parallel-size 1 --batch-size 1 {more}"
        found = call(
            "train", "--gpu", "v100-32gb:8", "--command", f"deepspeed pretrain_gpt2.py {line}", "--json"
        )
        answer = json.loads(found.out)
        sizes.append(answer["ranks"][0]["by_category"]["optimizer"])
        assert any("--zero-stage" in each for each in answer["warnings"]) is (more[-1] != "1")
    assert sizes[0] > 7 * sizes[1]
    assert sizes[1] == sizes[2]
