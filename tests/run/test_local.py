"""`--gpu local` reads the driver's own tool."""

import os
from pathlib import Path

import pytest

from oomless.errors import OomlessError, UsageError
from oomless.run.hardware import parse_gpu
from oomless.units import GIB, MIB


def fake_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_others_hold_is_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(tmp_path, monkeypatch, "NVIDIA GeForce RTX 4090, 24564, 1024, 8.9", "NVIDIA GeForce RTX 4090, 24564, 512, 8.9")

    found = parse_gpu("local")

    assert found.num_gpus == 2
    assert found.card.name == "RTX 4090"
    assert found.card.memory_bytes == int(23.6 * GIB) - 1024 * MIB


def test_a_card_that_the_catalogue_lacks_still_has_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(tmp_path, monkeypatch, "NVIDIA Imaginary 1, 10240, 0, 9.9")

    assert parse_gpu("local").card.memory_bytes == 10240 * MIB


def test_cards_of_two_kinds_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(tmp_path, monkeypatch, "NVIDIA A, 10240, 0, 8.0", "NVIDIA B, 10240, 0, 8.0")

    with pytest.raises(UsageError, match="NVIDIA A, NVIDIA B"):
        parse_gpu("local")


def test_a_machine_without_cards_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(OomlessError, match="no NVIDIA card"):
        parse_gpu("local")
