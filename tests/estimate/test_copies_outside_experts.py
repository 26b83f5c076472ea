"""Transformers' expert parallelism: what is no expert lies whole on all of its ranks (transformers, pull
request 48516)."""

import pytest

from oomless.api.training import train

STATES = 6
"""Bytes of BF16 weight and two moments."""


@pytest.mark.parametrize(("framework", "ranks"), [("trl", 2), ("automodel", 64)])
def test_fsdp_divides_over_what_is_left_of_the_ranks(framework: str, ranks: int) -> None:
    found = train(
        "glm-4.5-air",
        "h100:8x8",
        framework=framework,
        precision="bf16",
        optimizer="adamw-fused",
        sharding="fsdp2",
        ep=32,
        seq_len=2048,
        recompute="full",
    )
    lines = found.groups[0].ledger.lines
    held = sum(each.bytes for each in lines if each.category in ("weights", "optimizer"))
    experts = 45 * 128 * 3 * 4096 * 1408
    outside = 106_852_245_504 - experts
    assert held == pytest.approx(STATES * (experts / 64 + outside / ranks), rel=0.03)


def test_ranks_of_the_same_batch_reduce_in_no_buckets() -> None:
    found = train("qwen3-30b-a3b", "h100:8", framework="trl", precision="bf16", ep=8, seq_len=2048)
    assert all("bucket" not in each.what for each in found.groups[0].ledger.lines)
