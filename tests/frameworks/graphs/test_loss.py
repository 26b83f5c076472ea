"""The loss graphs: every row of the table, and laws that no shape breaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless import facts
from oomless.errors import UsageError
from oomless.frameworks.graphs.graph import walk
from oomless.frameworks.graphs.loss import loss_graph
from oomless.frameworks.graphs.loss_kinds import LossShape, chunk_tokens, loss_kind

ROWS = [(row["loss"], row["framework"]) for row in facts.table("losses")]


@pytest.mark.parametrize(("name", "framework"), ROWS)
def test_every_row_is_a_graph_whose_fused_forms_take_less(name: str, framework: str) -> None:
    shape = LossShape(8192, 4096, 128256)
    mine = walk(loss_graph(loss_kind(name, framework), shape))
    plain = walk(loss_graph(loss_kind("plain", "fsdp-qlora"), shape))
    most = max(plain.forward_peak, plain.backward_peak) + 16 * shape.tokens  # labels, and sums of tokens
    assert 0 < max(mine.forward_peak, mine.backward_peak) <= most


@given(st.sampled_from(ROWS), st.integers(1, 4096), st.integers(1, 4096), st.integers(1, 300_000))
def test_more_tokens_never_need_less(row: tuple[str, str], tokens: int, more: int, vocab: int) -> None:
    loss = loss_kind(*row)
    small, large = (walk(loss_graph(loss, LossShape(n, 2048, vocab))) for n in (tokens, tokens + more))
    assert small.saved_bytes <= large.saved_bytes
    assert small.forward_peak <= large.forward_peak
    assert small.backward_peak <= large.backward_peak


def test_ligers_chunks_are_a_power_of_two() -> None:
    assert [chunk_tokens(loss_kind("fused"), LossShape(n, 4096, 128256)) for n in (4096, 8192, 32768)] == [
        128,
        256,
        1024,
    ]


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(UsageError, match="unknown loss 'plane'"):
        loss_kind("plane")
