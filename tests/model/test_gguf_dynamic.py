"""Dynamic mixes: the size as published, or a spread that held the published sizes of other models."""

import json

import pytest

from command import call
from oomless import facts
from oomless.model import gguf_dynamic
from oomless.model.gguf_dynamic import dynamic_size, experts_of, is_dynamic
from oomless.model.gguf_model import as_gguf, file_bytes
from oomless.model.load import load

PUBLISHED = (
    ("deepseek-v3.1", "UD-Q2_K_XL", 255.75),
    ("deepseek-r1", "UD-IQ2_XXS", 196.2),
    ("deepseek-v4-flash-0731", "UD-Q4_K_XL", 155.05),
    ("glm-4.6", "UD-Q2_K_XL", 135.0),
    ("qwen3.8-27b", "UD-IQ3_XXS", 10.93),
    ("qwen3.6-27b", "UD-Q4_K_XL", 17.602),
    ("qwen3.6-27b", "UD-Q3_K_XL", 14.462),
    ("gemma-4-26b-a4b", "UD-IQ2_XXS", 9.88),
    ("qwen3.6-35b-a3b", "UD-IQ3_XXS", 13.2),
    ("llama-4-scout", "UD-Q2_K_XL", 42.58),
)
"""Decimal GB that others than the table's source say of unsloth's files."""
LEAST_INSIDE = 0.9


@pytest.mark.parametrize(("name", "word", "size"), PUBLISHED)
def test_a_file_has_its_published_size(name: str, word: str, size: float) -> None:
    file = as_gguf(load(name), word)
    assert file.checkpoint_bytes / 1e9 == pytest.approx(size, rel=0.008)
    assert any(word in note for note in file.warnings)


@pytest.mark.parametrize("row", facts.table("gguf_dynamic"), ids=lambda row: row["model"])
def test_a_row_says_how_its_experts_are_published(row: dict[str, str]) -> None:
    assert experts_of(load(row["model"]).tensors) == row["experts"]


def test_sizes_of_a_model_that_is_left_out_lie_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    every = gguf_dynamic._rows()
    inside = 0
    for model in {row.model for row in every}:
        others = tuple(each for each in every if each.model != model)
        monkeypatch.setattr(gguf_dynamic, "_rows", lambda others=others: others)
        for row in (each for each in every if each.model == model):
            size = dynamic_size("another", row.word, row.experts)
            inside += size.plain == row.plain and size.low <= row.share <= size.high
    assert inside / len(every) >= LEAST_INSIDE


def test_a_name_of_no_type_is_not_taken_for_4_bit_experts() -> None:
    """Unsloth's DeepSeek-V4-Flash-0731 in UD-IQ2_M has about 90 GB, its experts as published 155."""
    file = as_gguf(load("deepseek-v4-flash-0731"), "UD-IQ2_M")
    assert file.size_spread is not None
    low, high = (file.checkpoint_bytes / 1e9 * share for share in file.size_spread.experts)
    assert low < 90 < high < 105


@pytest.mark.parametrize("name", ["deepseek-r1", "deepseek-v3.1", "qwen3-8b"])
def test_a_tag_may_leave_the_first_letters_out(name: str) -> None:
    """llama.cpp's -hf REPO:Q2_K_XL takes the file whose name holds the tag."""
    short, whole = (as_gguf(load(name), word) for word in ("q2_k_xl", "UD-Q2_K_XL"))
    assert (short.tensors, short.size_spread) == (whole.tensors, whole.size_spread)


def test_experts_that_are_published_in_4_bit_stay_so() -> None:
    file = as_gguf(load("gpt-oss-120b"), "UD-Q8_K_XL")
    assert {tensor.format.name for tensor in file.tensors if tensor.role == "expert"} - {"float32"} == {
        "MXFP4"
    }


def test_what_stands_beside_experts_has_more_bits() -> None:
    """The loader of R1's UD-Q2_K_XL counted attention in Q4_K, the rest beside experts in Q6_K."""
    known = as_gguf(load("deepseek-r1"), "UD-Q2_K_XL")
    guessed = as_gguf(load("deepseek-r1-0528"), "UD-Q2_K_XL")
    held = [
        sum(tensor.num_bytes for tensor in file.tensors if tensor.role != "expert")
        for file in (known, guessed)
    ]
    assert held[1] == pytest.approx(held[0], rel=0.06)
    assert guessed.size_spread is not None
    assert guessed.size_spread.others[1] > 1.3


@pytest.mark.parametrize(
    "word", ["UD-Q4_K_XL", "ud_iq1_s", "UD-TQ1_0", "UD-Q6_K_XL", "UD-Q8_K_XL", "UD-IQ2_M"]
)
@pytest.mark.parametrize(
    "name", ["deepseek-v3.1", "kimi-k2-instruct", "qwen3-8b", "gpt-oss-20b", "gemma-3-4b"]
)
def test_every_model_has_an_answer(name: str, word: str) -> None:
    assert is_dynamic(word)
    file = as_gguf(load(name), word)
    assert file.size_spread is not None
    assert file.checkpoint_bytes > 0
    for low, high in file.size_spread[:2]:
        assert 0 < low <= 1 <= high < 3


def test_an_answer_has_the_spread_and_says_where_the_size_is_from() -> None:
    answer = json.loads(
        call(
            "infer",
            "deepseek-v3.1",
            "--gpu",
            "h200:8",
            "--engine",
            "llamacpp",
            "--quantization",
            "UD-Q4_K_XL",
            "--json",
        ).out
    )
    weights = [
        line for rank in answer["ranks"] for line in rank["lines"] if line["key"].startswith("weights.")
    ]
    assert {line["kind"] for line in weights} == {"fitted"}
    assert all(line["low_bytes"] <= line["high_bytes"] for line in weights)
    assert any("as published, 0.956 times that of Q4_K_M" in note for note in answer["warnings"])


@pytest.mark.parametrize(
    ("name", "word", "num_bytes"),
    [
        ("qwen3.8-27b", "UD-Q6_K_M", 23_088_409_504),
        ("qwen3.6-35b-a3b", "UD-IQ4_NL_XL", 19_500_506_080),
    ],
)
def test_words_of_the_third_generation_have_the_sizes_of_downloaded_files(
    name: str, word: str, num_bytes: int
) -> None:
    assert file_bytes(load(name), word) == pytest.approx(num_bytes, rel=0.003)
