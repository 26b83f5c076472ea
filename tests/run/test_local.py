"""`--gpu local` reads the driver's own tool."""

import os
from pathlib import Path

import pytest

import oomless
from oomless.errors import OomlessError, UsageError
from oomless.run.hardware import parse_gpu
from oomless.units import GIB, MIB


def fake_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_others_hold_is_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(
        tmp_path,
        monkeypatch,
        "NVIDIA GeForce RTX 4090, 24564, 1024, 8.9",
        "NVIDIA GeForce RTX 4090, 24564, 512, 8.9",
    )

    found = parse_gpu("local")

    assert found.num_gpus == 2
    assert found.card.name == "RTX 4090"
    assert found.card.memory_bytes == int(23.51 * GIB) - 1024 * MIB


def test_a_card_that_the_catalogue_lacks_still_has_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_driver(tmp_path, monkeypatch, "NVIDIA Imaginary 1, 10240, 0, 9.9")

    assert parse_gpu("local").card.memory_bytes == 10240 * MIB


def test_cards_of_two_kinds_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(tmp_path, monkeypatch, "NVIDIA A, 10240, 0, 8.0", "NVIDIA B, 20480, 1024, 8.0")

    found = parse_gpu("local")

    assert [card.name for card in found.mixed] == ["NVIDIA A", "NVIDIA B"]
    assert found.memories(2) == [10240 * MIB, 19456 * MIB]
    assert found.card.name == "NVIDIA A"


def test_slices_are_alone() -> None:
    found = parse_gpu("a100-80gb-mig-2g.20gb:3")
    assert (found.num_gpus, found.card.memory_bytes) == (3, int(19.5 * 1024) * MIB)
    answer = oomless.infer("deepseek-r1-distill-qwen-1.5b", found, max_model_len=8192)
    assert (answer.verdict, answer.replicas) == ("fits", 3)
    with pytest.raises(UsageError, match="cannot share a model"):
        oomless.infer("deepseek-r1-distill-qwen-7b", found, tp=2)


@pytest.mark.parametrize("gpu", ["h100-mig-9g.90gb", "rtx-4090-mig-1g.5gb", "h100-mig-", "nope-mig-1g.5gb"])
def test_slices_that_are_not_known_are_refused(gpu: str) -> None:
    with pytest.raises(UsageError):
        parse_gpu(gpu)


def test_a_machine_without_cards_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(OomlessError, match="no NVIDIA card"):
        parse_gpu("local")
