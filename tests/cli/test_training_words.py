"""Lines of a training answer that a reader takes one way."""

import pytest

from command import call

QUESTION = (
    "train qwen-14b --gpu v100-16gb:8 --framework transformers-2023 --method lora --lora-rank 64 --zero 3 "
    "--lora-targets c_attn,c_proj --precision deepspeed-fp16 --seq-len 512 --micro-batch 2 --recompute full"
)


@pytest.mark.parametrize(
    ("language", "line", "method"),
    [
        ("en", "no micro-batch of this length fits, and sequences of", "lora r64 on q_proj+k_proj+v_proj+"),
        ("zh", "这个长度下没有放得下的微批", "down_proj 上的 lora r64，"),
    ],
)
def test_no_batch_of_zero_is_offered_and_targets_are_one_word(language: str, line: str, method: str) -> None:
    text = call(*QUESTION.split(), "--lang", language).out
    assert line in text
    assert method in text
    assert "micro-batch 0" not in text


@pytest.mark.parametrize(
    ("language", "hint"),
    [
        ("en", "take transformers or deepspeed: h2o-llmstudio runs on other trainers"),
        ("zh", "用 transformers 或 deepspeed：h2o-llmstudio 建立在其他训练框架上"),
    ],
)
def test_a_program_that_trains_through_others_is_answered_by_their_names(language: str, hint: str) -> None:
    found = call("train", "qwen2.5-7b", "--gpu", "h100", "--framework", "h2o-llmstudio", "--lang", language)
    assert found.code == 2
    assert hint in found.err


@pytest.mark.parametrize(
    ("language", "words"), [("en", "mixed-bf16 with products in fp8"), ("zh", "mixed-bf16（乘积用 fp8）")]
)
def test_products_in_fp8_are_said_where_the_states_are_wider(language: str, words: str) -> None:
    question = ("train", "llama-3.1-8b", "--gpu", "h100:8", "--framework", "torchtitan", "--lang", language)
    assert words in call(*question, "--precision", "fp8").out
    assert words not in call(*question).out
