"""The command and its text: what is asked is what is done, and the report can be read."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from command import call

pytestmark = pytest.mark.torch


def test_bytes_are_predicted_without_a_folder(checkpoints: dict[str, Path]) -> None:
    answer = call("compress", str(checkpoints["llama"]), "--to", "int4")
    assert answer.code == 0, answer.err
    assert "to write:" in answer.out
    assert "int4-g128" in answer.out


def test_everything_at_once_in_one_object_and_a_page(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    answer = call(
        "compress", str(checkpoints["llama"]), "--to", "int4", "--calibrate", "diagonal", "--quality",
        "--report", str(tmp_path / "report.html"), "--out", str(tmp_path / "out"), "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["schema"] == "oomless/compress/1"
    assert found["predicted_bytes"] == found["written_bytes"]
    assert found["quality"]["kl_per_token"] > 0
    assert len(found["quality"]["layers"]) == 3
    assert {each["name"] for each in found["files"]} >= {"config.json", "README.md", "tokenizer.json"}
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "down_proj" in page


def test_a_budget_takes_the_place_of_a_format(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    source = str(checkpoints["llama"])
    answer = call("compress", source, "--budget", "1500KiB", "--out", str(tmp_path / "out"))
    assert answer.code == 0, answer.err
    assert "mix under 1.46 MiB" in answer.out
    for words in (("--to", "int4", "--budget", "1GiB"), ()):
        refused = call("compress", source, *words)
        assert refused.code == 2
        assert "either --to or --budget" in refused.err


def test_ways_to_keep_activations_are_compared() -> None:
    answer = call("compress", "--compare")
    assert answer.code == 0, answer.err
    assert "checkpointing, each layer" in answer.out
    assert "no attribute 'train'" in answer.out
    assert call("compress", "model", "--compare").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "int5"), "int5"),
        (("--to", "q4_0", "--skip", "lm_head"), "GGUF"),
        (("--to", "int4", "--keep", "nothing.like.it"), "names no weight"),
        (("--to", "int4", "--part", "3/2", "--out", "out"), "--part 3/2"),
        (("--to", "int8", "--calibrate", "gptq"), "gains from gptq"),
    ],
)
def test_wrong_questions_are_refused(
    checkpoints: dict[str, Path],
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call("compress", str(checkpoints["llama"]), *words)
    assert answer.code in (2, 4)
    assert said in answer.err
    assert not list(tmp_path.iterdir())
