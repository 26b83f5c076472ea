"""What runs at all (facts/support.csv): words of the table, the cases that people met, and refusals."""

import json
from itertools import product

import pytest

from command import call
from oomless import facts, infer
from oomless.engines.sglang.cache import BLOCK_SCALED
from oomless.engines.support import (
    CACHE_WORDS,
    FAMILIES_OF_KINDS,
    FORM_WORDS,
    METHOD_WORDS,
    PARTICULAR,
    SupportQuestion,
    card_word,
    model_words,
    support,
    support_rows,
    weights_word,
)
from oomless.engines.vllm.cache import SLOTS
from oomless.errors import UnsupportedError
from oomless.facts.options import ENGINE_NAMES
from oomless.model.load import load
from oomless.report.messages import in_chinese, is_english
from oomless.run.cards import cards

DOES_NOT_RUN, RUNS, UNKNOWN = "does_not_run", "runs", "unknown"

CASES = (
    ("deepseek-v4-pro --gpu mi300x:8 --engine sglang", DOES_NOT_RUN),
    ("deepseek-v3.2 --gpu a100-80gb:8x2 --engine sglang", DOES_NOT_RUN),
    ("deepseek-r1 --gpu a100-80gb:8x2 --engine sglang", DOES_NOT_RUN),
    ("deepseek-r1 --gpu a100-80gb:8x2", RUNS),
    ("deepseek-r1 --gpu a100-80gb:8x2 --engine-version 0.8.5", DOES_NOT_RUN),
    ("deepseek-v4-flash --gpu gaudi-3:8 --engine vllm-hpu", DOES_NOT_RUN),
    ("deepseek-v4-flash --gpu tpu-v6e:8", UNKNOWN),
    ("deepseek-ocr --gpu h100 --engine-version 0.10.0", DOES_NOT_RUN),
    ("deepseek-ocr --gpu h100 --engine-version 0.11.1", RUNS),
    ("deepseek-ocr-2 --gpu h100 --engine-version 0.15.0", DOES_NOT_RUN),
    ("qwen3-vl-235b-a22b --gpu h20:8 --engine-version 0.10.2", DOES_NOT_RUN),
    ("qwen3-vl-235b-a22b --gpu h100:8 --engine-version 0.11.0", RUNS),
    ("deepseek-ocr --gpu h100 --engine trtllm", DOES_NOT_RUN),
    ("qwen3-8b --gpu b200 --engine trtllm --quantization nvfp4", RUNS),
    ("qwen3-8b --gpu a100-80gb --engine trtllm --quantization nvfp4", DOES_NOT_RUN),
    ("deepseek-v4-flash --gpu a100-80gb:8", DOES_NOT_RUN),
    ("deepseek-v4-flash --gpu h200:8", RUNS),
    ("deepseek-v4-flash --gpu h100:8 --engine trtllm", DOES_NOT_RUN),
    ("deepseek-v3.2 --gpu rtx-pro-6000:8 --engine-version 0.22.0", DOES_NOT_RUN),
    ("deepseek-v3.2 --gpu h200:8", RUNS),
    ("deepseek-v3.2 --gpu h200:8 --engine sglang", RUNS),
    ("deepseek-r1 --gpu h200:8 --engine trtllm", RUNS),
    ("deepseek-r1 --gpu mi300x:8", RUNS),
    ("deepseek-r1 --gpu ascend-910b:16 --engine vllm-ascend", DOES_NOT_RUN),
    ("deepseek-v2-lite --gpu ascend-910b:8 --engine vllm-ascend", RUNS),
    ("deepseek-v2-lite --gpu 910b4:8 --engine vllm-ascend", RUNS),
    ("qwen3-8b --gpu v100-32gb", DOES_NOT_RUN),
    ("qwen3-8b --gpu v100-32gb --engine-version 0.17.0", RUNS),
    ("qwen3-8b --gpu t4 --engine sglang", RUNS),
    ("qwen3-8b --gpu tesla-p40", DOES_NOT_RUN),
    ("qwen3-8b --gpu tesla-p40 --engine llamacpp", RUNS),
    ("qwen3-8b --gpu h100 --kv-cache-dtype nvfp4 --engine-version 0.19.0", DOES_NOT_RUN),
    ("gpt-oss-120b --gpu h100 --engine-version 0.10.0", DOES_NOT_RUN),
    ("gpt-oss-120b --gpu h100 --engine-version 0.10.1", RUNS),
    ("kimi-k3 --gpu h200:8x4", UNKNOWN),
    ("gemma-4-31b --gpu rtx-3090:4 --kv-cache-dtype fp8", DOES_NOT_RUN),
    ("gemma-4-31b --gpu rtx-3090:4 --kv-cache-dtype fp8_per_token_head", DOES_NOT_RUN),
    ("gemma-4-31b --gpu rtx-4090:4 --kv-cache-dtype fp8", RUNS),
    ("qwen3-8b --gpu h100 --engine sglang --engine-version 0.4.6 --kv-cache-dtype fp8_e5m2", RUNS),
    ("qwen3-8b --gpu b200 --engine sglang --kv-cache-dtype nvfp4", RUNS),
    ("deepseek-v3.2-exp --gpu b200:8 --engine sglang --engine-version 0.5.3 --kv-cache-dtype fp8", RUNS),
    ("deepseek-v3.2-exp --gpu b200:8 --engine sglang --kv-cache-dtype nvfp4", DOES_NOT_RUN),
    ("deepseek-math-7b --gpu ascend-910b:8 --engine vllm-ascend --quantization fp8", DOES_NOT_RUN),
    ("glm-4.6 --gpu 80GiB:16 --engine-version 0.6.6", DOES_NOT_RUN),
    ("deepseek-v3 --gpu l40:8x2 --tp 8 --pp 2 --engine-version 0.8.0 --kv-cache-dtype fp8", DOES_NOT_RUN),
)
"""Questions of `infer`, and what is known of them."""


@pytest.mark.parametrize(("question", "runs"), CASES)
def test_what_is_known_not_to_run_is_refused(question: str, runs: str) -> None:
    found = call("infer", *question.split(), "--max-model-len", "4096", "--json")
    if runs == DOES_NOT_RUN:
        assert found.code == 4
        assert json.loads(found.err)["error"]["hint"], "what to do"
        return
    assert found.code in (0, 3), found.err
    said = [line for line in json.loads(found.out)["warnings"] if "is not known" in line and "runs" in line]
    assert bool(said) == (runs == UNKNOWN)


def test_a_form_that_nobody_reads_is_not_taken_for_the_checkpoints() -> None:
    """vllm-ascend serves V4-Flash in w4a8, and not as it was published."""
    words = ("infer", "deepseek-v4-flash", "--gpu", "ascend-910b:8", "--quantization")
    assert "--quantization w4a4 on deepseek-v4-flash is not known" in call(*words, "w4a4").err
    assert "deepseek-v4-flash, 284.3B parameters (13.3B active), w4a8" in call(*words, "w4a8").out
    assert "original weights" in call(*words[:-1]).err


FAMILIES = {load(row["name"]).family for row in facts.table("catalogue")}
MODEL_WORDS = {word for row in facts.table("catalogue") for word in model_words(load(row["name"]))}
WEIGHTS = {*METHOD_WORDS.values(), *(word for _, word in FORM_WORDS), "gguf"}
"""Forms that a model of ours can have."""
OTHER_WEIGHTS = {"w4afp8", "int8_block", "mxfp8"}
"""Forms of checkpoints that the table knows of, and no reader here."""
CACHES = {
    *SLOTS,
    *("auto 16-bit fp8_e4m3 fp8_e5m2 fp8_ds_mla nvfp4_ds_mla int8 fp4").split(),
    *BLOCK_SCALED,
    *("q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl bf16 f32").split(),
    *("int6 int4 int3 int2").split(),
    *CACHE_WORDS.values(),
}
CARDS = {card_word(card) for card in cards().values()} | {"sm50", "sm60"}


def test_the_table_has_known_words_alone() -> None:
    for row in facts.table("support"):
        assert row["runs"] in (DOES_NOT_RUN, RUNS, UNKNOWN), row
        assert {word.lstrip("!") for word in row["model"].split()} <= MODEL_WORDS, row
        assert {*row["weights"].split()} <= WEIGHTS | OTHER_WEIGHTS, row
        assert {*row["cache"].split()} <= CACHES, row
        assert {*row["cards"].split()} <= CARDS, row
        assert row["runs"] != UNKNOWN or row["how"] or row["source"], row


def test_families_and_kinds_are_of_the_catalogue() -> None:
    assert FAMILIES_OF_KINDS | PARTICULAR <= MODEL_WORDS


def test_no_row_that_runs_says_what_one_that_does_not_denies() -> None:
    """Of two such rows one would be wrong: a release, a form, a cache and a card that both name."""
    for name in ENGINE_NAMES:
        rows = support_rows(name)
        refused, good = ([row for row in rows if row.runs == kind] for kind in (DOES_NOT_RUN, RUNS))
        for one, other in product(refused, good):
            particular = other.first and other.models and other.weights and other.cards
            if not particular or not one.models <= other.models or one.unless or other.unless:
                continue
            same = (
                (not one.weights or one.weights & other.weights)
                and (not one.caches or one.caches & other.caches)
                and (not one.cards or one.cards & other.cards)
                and one.first <= (other.last or (9999,))
                and other.first <= (one.last or (9999,))
            )
            assert not same, (name, one, other)


def test_a_card_that_is_only_a_size_is_not_asked_about() -> None:
    words = model_words(load("deepseek-v4-flash"))
    assert support(SupportQuestion("vllm", (0, 33, 0), words, "mxfp4", "auto", "")).runs == RUNS


def test_every_model_and_form_has_words() -> None:
    for row in facts.table("catalogue"):
        model = load(row["name"])
        assert weights_word(model, None) in WEIGHTS, model.name
        assert model.family in model_words(model)
    assert len(FAMILIES) > 60


@pytest.mark.parametrize(
    ("model", "card", "engine", "said"),
    [
        ("deepseek-coder-33b", "v100-32gb", "vllm", "no release from 0.20.0 on runs there"),
        ("qwen3-8b", "v100-32gb", "sglang", "no release runs there"),
    ],
)
def test_a_refusal_says_what_does_not_run_and_not_only_where_it_was_read(
    model: str, card: str, engine: str, said: str
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        infer(model, card, engine=engine)
    assert said in caught.value.message
    assert not is_english(in_chinese(caught.value.message))


def test_llamacpp_runs_a_plain_model_on_every_amd_card_of_the_catalogue() -> None:
    """ggml/src/ggml-cuda/vendors/hip.h names them all, from gfx906 to GFX12."""
    words = {row["compute_capability"] for row in facts.table("hardware")}
    for card in sorted(word for word in words if word.startswith("gfx")):
        question = SupportQuestion("llamacpp", (2026, 8), frozenset(["llama", "gqa"]), "gguf", "auto", card)
        assert support(question).runs == "runs", card


def test_a_card_that_no_source_names_is_not_said_by_its_cache() -> None:
    question = SupportQuestion("llamacpp", (2026, 8), frozenset(["llama", "gqa"]), "gguf", "auto", "gfx803")
    assert support(question).reason == "no source says that this kind of model runs on gfx803"
