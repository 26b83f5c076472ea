"""Mixes that were chosen by hand: each sums to the size that the loader of the published file printed."""

import pytest

from command import call
from oomless import facts
from oomless.model.gguf_mixes import REPACKED
from oomless.model.gguf_model import as_gguf, file_bytes
from oomless.model.load import load
from oomless.units import GIB


@pytest.mark.parametrize("row", facts.table("gguf_mixes"), ids=lambda row: f"{row['model']} {row['word']}")
def test_a_published_mix_weighs_what_its_loader_printed(row: dict[str, str]) -> None:
    assert as_gguf(load(row["model"]), row["word"]).checkpoint_bytes / GIB == pytest.approx(
        float(row["published_gib"]), abs=0.6 * 0.1 ** len(row["published_gib"].partition(".")[2])
    )


@pytest.mark.parametrize(("word", "plain"), REPACKED.items())
def test_rows_laid_out_anew_weigh_the_same(word: str, plain: str) -> None:
    model = load("deepseek-v2-lite")
    assert as_gguf(model, word).checkpoint_bytes == as_gguf(model, plain).checkpoint_bytes


def test_a_mix_of_no_known_type_is_refused_with_those_that_are() -> None:
    answer = call(
        "infer", "deepseek-r1", "--engine", "llamacpp", "--quantization", "UD-Q9_K_XL", "--gpu", "rtx-4090"
    )
    assert (answer.code, answer.out) == (2, "")
    assert "'UD-Q9_K_XL' is no GGUF file type" in answer.err


@pytest.mark.parametrize(("word", "gib"), [("F16", 8.67), ("Q8_0", 4.63), ("Q6_K", 3.58), ("Q4_K_M", 3.19)])
def test_gemma_4_e2b_files_that_were_published(word: str, gib: float) -> None:
    """dahus/gemma-4-e2b-it-GGUF: the embedding for each layer takes the type of the tied output."""
    assert file_bytes(load("gemma-4-e2b"), word) / GIB == pytest.approx(gib, rel=0.005)


@pytest.mark.parametrize(
    ("name", "word", "gigabytes"),
    [("gemma-3n-e4b", "Q8_0", 7.353), ("gemma-3n-e2b", "Q8_0", 4.79), ("gemma-3n-e4b", "Q4_K_M", 4.237)],
)
def test_gemma_3n_files_that_were_published(name: str, word: str, gigabytes: float) -> None:
    """ggml-org's Q8_0 have 7,353,292,256 B and 4.79 GB, bartowski's Q4_K_M 3.94 GiB of 847 tensors."""
    assert file_bytes(load(name), word) / 1e9 == pytest.approx(gigabytes, rel=0.002)
