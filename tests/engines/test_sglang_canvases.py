"""SGLang serves a model that denoises blocks from 0.5.21 on: one request where nobody says more, prompts
that are not cut, logits of every token of a block."""

import pytest

from oomless import UnsupportedError, infer

NAME = "diffusiongemma-26b-a4b"


@pytest.mark.parametrize(("seqs", "rows"), [(None, 256), (4, 4 * 256)])
def test_logits_of_canvases_are_beside_the_pool(seqs: int | None, rows: int) -> None:
    answer = infer(NAME, "h200", engine="sglang", max_num_seqs=seqs, concurrency=64, max_model_len=8192)
    (line,) = (line for line in answer.ledger.lines if "canvases" in line.what)
    assert line.bytes == rows * 262144 * 14
    assert answer.request.max_num_batched_tokens >= 8192


def test_releases_before_have_no_such_model() -> None:
    with pytest.raises(UnsupportedError, match=r"before 0\.5\.21"):
        infer(NAME, "h200", engine="sglang", engine_version="0.5.20")


def test_others_have_no_canvas() -> None:
    answer = infer("gemma-4-26b-a4b", "h200", engine="sglang", max_model_len=8192)
    assert not [line for line in answer.ledger.lines if "canvases" in line.what]
