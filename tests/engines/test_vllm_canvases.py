"""A model that denoises blocks: eight sequences where nobody says more, logits of every token of a block."""

import pytest

from oomless import infer

NAME = "diffusiongemma-26b-a4b"


@pytest.mark.parametrize(("seqs", "rows"), [(None, 8 * 256), (4, 4 * 256)])
def test_logits_of_canvases_are_beside_the_pool(seqs: int | None, rows: int) -> None:
    answer = infer(NAME, "h200", max_num_seqs=seqs, concurrency=64, max_model_len=8192)
    lines = [line for line in answer.ledger.lines if "canvases" in line.what]
    assert [line.bytes for line in lines] == [rows * 262144 * 6]


def test_others_have_no_canvas() -> None:
    answer = infer("gemma-4-26b-a4b", "h200", max_model_len=8192)
    assert not [line for line in answer.ledger.lines if "canvases" in line.what]
