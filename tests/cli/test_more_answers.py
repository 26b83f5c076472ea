"""Comparisons, pictures, saved answers, and the changes that would make it fit."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import oomless
from oomless.cli.answer import answer_infer
from oomless.estimate.changes import changes_that_fit


def answer(capsys: pytest.CaptureFixture[str], model: str | None, **options: object) -> tuple[int, str]:
    code = answer_infer(model, {name: value for name, value in options.items() if value is not None})
    return code, capsys.readouterr().out


def test_a_saved_answer_asks_the_same_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, first = answer(capsys, "deepseek-v3.2", gpu="h200:8", kv_cache_dtype="fp8", context=4096, concurrency=7, json=True)
    saved = tmp_path / "answer.json"
    saved.write_text(first)

    code, second = answer(capsys, None, from_file=str(saved), json=True)

    assert (code, json.loads(second)) == (0, json.loads(first))


def test_a_comparison_has_a_column_for_each_variant(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = answer(capsys, "deepseek-r1", gpu="h200:8", compare="kv-cache-dtype=auto,fp8", json=True)

    answers = json.loads(text)["answers"]
    assert code == 0
    assert [each["kv_cache"]["bytes_per_token"] for each in answers] == [70272, 35136]


def test_a_picture_is_well_formed_and_shows_every_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "answer.svg"

    answer(capsys, "deepseek-r1", gpu="h100:16", plot=str(target), json=True)

    words = " ".join(element.text or "" for element in ElementTree.parse(target).iter())
    assert "pipeline stage 0" in words
    assert "pipeline stage 1" in words
    assert list(tmp_path.iterdir()) == [target]


def test_every_change_that_is_offered_fits() -> None:
    estimate = oomless.infer("deepseek-r1-distill-qwen-7b", "rtx-4090")

    changes = changes_that_fit(estimate)

    assert estimate.verdict == "does_not_fit"
    assert {change.flag.split(" ")[0] for change in changes} >= {"--kv-cache-dtype", "--quantization", "--max-model-len", "--tp"}
    shorter = next(int(change.flag.split(" ")[1]) for change in changes if change.flag.startswith("--max-model-len"))
    assert oomless.infer("deepseek-r1-distill-qwen-7b", "rtx-4090", max_model_len=shorter).verdict == "fits"


def test_what_fits_needs_no_change() -> None:
    assert changes_that_fit(oomless.infer("deepseek-r1", "h200:8")) == ()


def test_instances_divide_a_card() -> None:
    one = oomless.infer("profile-deepseek-lite-0.7b", "jetson-agx-orin-32gb", max_num_seqs=16)
    three = oomless.infer("profile-deepseek-lite-0.7b", "jetson-agx-orin-32gb", max_num_seqs=16, instances=3)

    assert three.hardware.card.memory_bytes == one.hardware.card.memory_bytes // 3
    assert three.kv_cache.pool_bytes < one.kv_cache.pool_bytes / 3
