"""Models beside each other: a byte of the text is what counts, and the smallest of equal ones is named."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from command import call
from oomless.compress.calibration.sample import sample
from oomless.compress.checkpoint.run import Writing
from oomless.compress.checkpoint.source import read_source
from oomless.compress.quality.language import token_ids
from oomless.compress.quality.side_by_side import Weighed, judged_pieces, least_memory, side_by_side
from oomless.compress.weights import CompressRequest, compress, plan

pytestmark = pytest.mark.torch
TOKENS = 512


@pytest.fixture(scope="module")
def smaller(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smaller") / "llama-int8"
    compress(plan(CompressRequest(str(checkpoints["llama"]), "int8")), out, writing=Writing(durable=False))
    return out


def test_bits_a_byte_are_those_of_the_whole_model(checkpoints: dict[str, Path], smaller: Path) -> None:
    """The streamed loss is that of the whole class, over the bytes that the judged tokens stand for."""
    sources = [(path.name, read_source(str(path))) for path in (checkpoints["llama"], smaller)]
    before, after = side_by_side(sources, sample(), TOKENS)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(checkpoints["llama"], dtype=torch.float32)
    sequences = token_ids(sources[0][1], sample(), TOKENS)
    loss = 0.0
    with torch.no_grad():
        for ids in sequences:
            logits = model(ids).logits[0, :-1]
            loss += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
    assert before.loss == pytest.approx(loss, rel=1e-4)
    assert before.num_tokens == sum(ids.shape[1] - 1 for ids in sequences)
    assert before.bits_per_byte == pytest.approx(loss / math.log(2) / before.text_bytes)
    assert (after.num_tokens, after.text_bytes) == (before.num_tokens, before.text_bytes)
    assert after.loss == pytest.approx(before.loss, rel=1e-2)


def test_bytes_are_those_of_the_judged_tokens(checkpoints: dict[str, Path]) -> None:
    source = read_source(str(checkpoints["llama"]))
    sequences, text_bytes = judged_pieces(source, sample())
    assert 0.9 * len(sample().encode()) < text_bytes <= len(sample().encode())
    assert {ids.shape[1] for ids in sequences} == {256}


sizes = st.lists(st.tuples(st.integers(1, 10**6), st.floats(1.0, 100.0)), min_size=1, max_size=8)


@given(rows=sizes, within=st.floats(0, 0.2))
def test_the_least_is_as_good_and_no_larger(rows: list[tuple[int, float]], within: float) -> None:
    models = [Weighed(str(number), *row[:1], 10, 40, row[1]) for number, row in enumerate(rows)]
    for model in models:
        found = least_memory(model, models, within)
        assert found.num_bytes <= model.num_bytes
        assert found.bits_per_byte <= model.bits_per_byte * (1 + within)
        assert not any(
            other.num_bytes < found.num_bytes and other.bits_per_byte <= model.bits_per_byte * (1 + within)
            for other in models
        )


def test_the_command_names_the_smallest_of_equal_ones(checkpoints: dict[str, Path], smaller: Path) -> None:
    words = ("compare-models", str(checkpoints["llama"]), str(smaller))
    shown = call(*words)
    assert shown.code == 0, shown.err
    assert "llama-int8" in shown.out.splitlines()[1].rpartition("  ")[2]
    assert "nothing smaller here" in shown.out.splitlines()[2]
    document = json.loads(call(*words, "--json", "--within", "5").out)
    assert document["schema"] == "oomless/compared-models/1"
    assert [row["equal_quality"]["model"] for row in document["models"]] == ["llama-int8", "llama-int8"]


def test_what_cannot_be_compared_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("too short")
    llama, bert = str(checkpoints["llama"]), str(checkpoints["bert"])
    for words, message in (
        ([llama], "two models or more"),
        ([bert, bert], "an encoder gives no text"),
        ([llama, str(tmp_path / "none")], "no such file or folder"),
        ([llama, llama, "--text", str(tmp_path / "short.txt")], "the least"),
    ):
        answer = call("compare-models", *words)
        assert answer.code in (1, 2, 4)
        assert message in answer.err
