"""Embedding models: what they are asked that only decoders have, and how a contrastive loss is counted."""

from typing import Any

import pytest

import oomless
from oomless.errors import OomlessError
from oomless.model.families import build
from oomless.model.load import config_document, load
from oomless.model.model import headless


def trained(model: str = "bge-m3", **flags: Any) -> Any:
    return oomless.train(model, "a100-80gb", **{"seq_len": 512, "micro_batch": 8, **flags})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"task": "dpo"}, "needs logits"),
        ({"loss": "fused"}, "needs logits"),
        ({"loss": "contrastive", "task": "grpo"}, "needs logits"),
        ({"task": "reward", "negatives": 2}, "--loss contrastive"),
    ],
)
def test_what_only_a_decoder_has_is_refused(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(OomlessError, match=words):
        trained(**flags)


def test_a_decoder_says_that_it_is_trained_by_contrast() -> None:
    with pytest.raises(OomlessError, match="--loss contrastive"):
        trained("qwen3-0.6b", negatives=1)
    plain = trained("qwen3-8b", loss="contrastive", method="lora").estimate
    assert plain.model.num_parameters == headless(load("qwen3-8b")).num_parameters
    assert plain.model.pooled


def test_an_encoder_is_not_asked_for_tokens_a_second() -> None:
    for ask in (oomless.plan, oomless.tune, oomless.speed):
        with pytest.raises(OomlessError, match="decodes nothing"):
            ask("bge-m3", gpu="l4")


def test_an_encoder_has_no_cache_and_its_batch_grows() -> None:
    few, many = (
        oomless.infer("bge-m3", "l4", engine="transformers", context=512, concurrency=number)
        for number in (1, 64)
    )
    for answer in (few, many):
        assert answer.kv_cache.needed_bytes == 0
        assert not [line for line in answer.ledger.lines if line.category == "logits" and line.bytes]
    assert many.ledger.total_bytes > few.ledger.total_bytes
    with pytest.raises(OomlessError, match="encoder"):
        oomless.infer("bge-m3", "l4", engine="sglang")


def test_negatives_and_lengths_say_how_many_sequences_run() -> None:
    def peak(**flags: Any) -> int:
        total: int = trained(**flags).estimate.groups[0].ledger.total_bytes
        return total

    assert (
        peak(micro_batch=4)
        < peak(micro_batch=4, query_len=64, negatives=1)
        < peak(micro_batch=4, negatives=2)
    )
    assert peak(micro_batch=16, negatives=1) == peak(micro_batch=16, negatives=1, query_len=512)
    assert peak(micro_batch=1024, grad_cache=32) < peak(micro_batch=64)


def test_weights_are_trained_as_the_checkpoint_stores_them() -> None:
    """transformers takes the type of the file: F32 of BERT and its like, bfloat16 of Qwen3-Embedding."""
    assert trained("bge-m3").estimate.request.precision == "fp32"
    assert trained("qwen3-embedding-0.6b").estimate.request.precision == "bf16"


def test_attention_was_eager_until_its_release() -> None:
    def kernel(model: str, version: str) -> str:
        attention: str = trained(model, framework_version=version).estimate.request.attention
        return attention

    bert, roberta = "bge-base-en-v1.5", "bge-m3"
    assert [kernel(bert, each) for each in ("4.40", "4.41")] == ["eager", "auto"]
    assert [kernel(roberta, each) for each in ("4.44", "4.45")] == ["eager", "auto"]


def test_a_published_head_is_named_by_its_class() -> None:
    config = config_document("bge-m3")[1]
    masked = build({**config, "architectures": ["XLMRobertaForMaskedLM"]}, "m3", "m3")
    assert masked.num_parameters - load("bge-m3").num_parameters == 2 * 1024 + 250_002
