"""What a run holds in memory, all its processes together: as little for twenty gigabytes as for one tensor of
three."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy")

from bench.compress import RUN, make, shard, watched

from command import environment
from oomless.compress.checkpoint.crew import MAX_WORKERS

MOST_BYTES = 160 << 20


def peak_bytes(source: Path, word: str, out: Path, workers: int = 2) -> float:
    """The most memory of a run and of the processes that it starts."""
    words = [sys.executable, "-c", RUN, str(source), word, str(out), "no", str(workers)]
    return watched(words, env=environment())["peak"]


def one_tensor(folder: Path, num_bytes: int) -> Path:
    """A folder whose one matrix has so many bytes."""
    folder.mkdir()
    columns = 16384
    shard(
        folder / "model.safetensors",
        {"model.layers.0.mlp.up_proj": (num_bytes // 2 // columns, columns)},
        True,
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "torch_dtype": "bfloat16"}))
    return folder


@pytest.mark.parametrize("word", ["int8", "int4", "nvfp4", "mxfp8"])
def test_one_tensor_is_never_whole_in_memory(word: str, tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "source", 300_000_000)
    assert 40 << 20 <= peak_bytes(source, word, tmp_path / "out") <= MOST_BYTES


@pytest.mark.parametrize("word", ["int8", "nvfp4"])
def test_nor_is_it_with_the_most_workers(word: str, tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "source", 300_000_000)
    assert peak_bytes(source, word, tmp_path / "out", MAX_WORKERS) <= MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("word", ["int4", "nvfp4", "fp8-block"])
def test_a_tensor_of_three_gigabytes(word: str, tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "source", 3_000_000_000)
    assert peak_bytes(source, word, tmp_path / "out") <= MOST_BYTES


@pytest.mark.slow
def test_twenty_gigabytes(tmp_path: Path) -> None:
    make(tmp_path / "source", 20_000_000_000, hollow=True)
    assert sum(path.stat().st_size for path in (tmp_path / "source").iterdir()) >= 19.8e9
    assert peak_bytes(tmp_path / "source", "int4", tmp_path / "out") <= MOST_BYTES
