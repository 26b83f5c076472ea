"""What watched runs of a machine teach later answers about training, and what they may not."""

from pathlib import Path
from typing import Any

import pytest
from test_measured_runs import ASKED, run_of
from written_runs import MIB, leak, step, write

from command import call
from oomless.api.calibrations import watched
from oomless.api.monitored import show
from oomless.api.training import train
from oomless.api.training_answer import TrainingAnswer
from oomless.truth.calibration import Calibration, Seen

CARD = "h100"
FLAGS = {name: value for name, value in ASKED.items() if name != "config"}
WORDS = ["qwen2.5-0.5b", "--gpu", CARD] + [
    word for name, value in FLAGS.items() for word in (f"--{name.replace('_', '-')}", str(value))
]


def asked(calibration: Calibration | None = None, **flags: Any) -> TrainingAnswer:
    more = {"gpu": CARD, **FLAGS, **flags}
    return train(
        more.pop("model", "qwen2.5-0.5b"), adjust=calibration.of_training if calibration else None, **more
    )


def ran(folder: Path, beyond_bytes: int, **more: Any) -> Path:
    """A run whose allocator took so much more than predicted."""
    run_of(folder, ASKED)
    write(folder, step(3, reserved_bytes=asked().peaks.reserved_bytes + beyond_bytes, **more))
    return folder


def taught(folder: Path, *beyond: int) -> Calibration:
    found: list[Seen] = []
    for number, each in enumerate(beyond):
        found += watched(show(ran(folder / str(number), each)))
    assert len(found) == len(beyond)
    return Calibration(tuple(found))


def total(answer: TrainingAnswer) -> tuple[int, int, int]:
    ledger = answer.ledger
    return ledger.total_bytes, ledger.low_bytes, ledger.high_bytes


def test_a_run_that_took_more_makes_its_answer_larger(tmp_path: Path) -> None:
    calibration = taught(tmp_path, 300 * MIB)
    before, behind = asked(), asked(calibration)
    assert [b - a for a, b in zip(total(before), total(behind), strict=True)] == [300 * MIB] * 3
    assert behind.peaks.reserved_bytes - before.peaks.reserved_bytes == 300 * MIB
    assert behind.peaks.allocated_bytes == before.peaks.allocated_bytes
    assert "logs of this machine: 1, the latest of 2026-11-26" in calibration.note()


def test_one_run_that_took_less_changes_nothing(tmp_path: Path) -> None:
    calibration = taught(tmp_path, -300 * MIB)
    assert total(asked(calibration)) == total(asked())
    assert calibration.note() == ""


def test_three_runs_shift_narrow_and_lie_inside(tmp_path: Path) -> None:
    beyond = (-80 * MIB, -100 * MIB, -20 * MIB)
    before, behind = total(asked()), total(asked(taught(tmp_path, *beyond)))
    assert before[0] - behind[0] == 80 * MIB
    assert behind[2] - behind[1] < before[2] - before[1]
    for each in beyond:
        assert behind[1] <= before[0] + each <= behind[2]


@pytest.mark.parametrize(
    "flags",
    [
        {"gpu": "h200"},
        {"model": "qwen2.5-1.5b"},
        {"micro_batch": 4},
        {"seq_len": 2048},
        {"recompute": "full"},
        {"optimizer": "adamw-fused"},
        {"framework": "deepspeed"},
        {"framework_version": "4.50"},
    ],
)
def test_nothing_crosses_a_case(flags: dict[str, Any], tmp_path: Path) -> None:
    assert total(asked(taught(tmp_path, 300 * MIB), **flags)) == total(asked(None, **flags))


def test_a_reserve_is_no_other_case(tmp_path: Path) -> None:
    calibration = taught(tmp_path, 300 * MIB)
    assert total(asked(calibration, reserve="2GiB"))[0] == total(asked())[0] + 300 * MIB


def test_what_teaches_nothing(tmp_path: Path) -> None:
    assert watched(show(run_of(tmp_path / "cpu", ASKED, "cpu"))) == ()
    assert watched(show(ran(tmp_path / "full", MIB, retries=1))) == ()
    grown = ran(tmp_path / "grown", MIB)
    write(grown, leak(4))
    assert watched(show(grown)) == ()
    cut = ASKED | {"config": {**ASKED["config"], "num_hidden_layers": 4}}
    unnamed = run_of(tmp_path / "unnamed", cut)
    write(unnamed, step(3, reserved_bytes=MIB))
    assert watched(show(unnamed)) == ()


def test_the_command_keeps_it_and_train_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    before = call("train", *WORDS)
    kept = call("monitor", "show", str(ran(tmp_path / "run", 300 * MIB)), "--calibrate")
    assert kept.code == 0
    assert "kept what 1 runs teach" in kept.err
    behind = call("train", *WORDS)
    assert "calibrated by" in behind.out
    assert before.out != behind.out
    listed = call("config", "calibrations")
    assert "qwen2.5-0.5b" in listed.out.replace("\n", "")
    nothing = call("monitor", "show", str(run_of(tmp_path / "cpu", ASKED, "cpu")), "--calibrate")
    assert "nothing to learn" in nothing.err
