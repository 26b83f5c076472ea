"""What logs of a machine teach later answers, and what they may not."""

from pathlib import Path

import pytest

from oomless.api.serving import infer
from oomless.errors import OomlessError
from oomless.truth.calibration import Calibration, Seen, as_document, learned, read_calibrations, with_new
from oomless.units import GIB, MIB

SEEN = Seen("vllm", "0.10", "H100 80GB SXM5", "tp8 pp1 dp1 dcp1", GIB, "qwen3-32b", "a.log", "2026-11-26")


def asked(calibration: Calibration | None, **flags: object):  # type: ignore[no-untyped-def]
    flags = {"gpu": "h100:8", "tp": 8, "engine_version": "0.10.0", "max_model_len": 32768, **flags}
    return infer("qwen3-32b", adjust=calibration, **flags).estimate  # type: ignore[arg-type]


def logs(*missing: int) -> Calibration:
    return Calibration(tuple(SEEN._replace(missing_bytes=each, source=str(each)) for each in missing))


def width(estimate: object) -> int:
    return estimate.pools_high[0] - estimate.pools_low[0]  # type: ignore[attr-defined,no-any-return]


def test_a_log_that_held_more_makes_the_pool_smaller() -> None:
    calibration = logs(GIB)
    before, behind = asked(None), asked(calibration)
    assert before.pools[0] - behind.pools[0] == pytest.approx(GIB, abs=MIB)
    assert "1, the latest of 2026-11-26" in calibration.note()


def test_one_log_never_makes_an_answer_less_careful() -> None:
    calibration = logs(-GIB)
    assert asked(calibration).pools == asked(None).pools
    assert calibration.note() == ""


def test_two_logs_teach_what_both_say() -> None:
    """Half of what one of two held more was taken from every answer: 18 GiB, in the tables."""
    plain = asked(None)
    assert asked(logs(36 * GIB, GIB)).pools[0] == pytest.approx(plain.pools[0] - GIB, abs=MIB)
    assert asked(logs(36 * GIB, -MIB)).pools == plain.pools
    both_less = asked(logs(-300 * MIB, -GIB))
    assert both_less.pools[0] == pytest.approx(plain.pools[0] + 300 * MIB, abs=MIB)
    assert width(both_less) == pytest.approx(width(plain), abs=MIB)


def test_three_logs_shift_and_narrow() -> None:
    found = asked(logs(-300 * MIB, -310 * MIB, -290 * MIB))
    assert found.pools[0] - asked(None).pools[0] == pytest.approx(300 * MIB, abs=MIB)
    assert width(found) < width(asked(None))


def test_the_interval_holds_every_log() -> None:
    missing = (-200 * MIB, 100 * MIB, 700 * MIB)
    plain, found = asked(None), asked(logs(*missing))
    for each in missing:
        assert found.pools_low[0] <= plain.pools[0] - each <= found.pools_high[0]


@pytest.mark.parametrize(
    "flags",
    [
        {"engine_version": "0.11.0"},
        {"gpu": "h200:8"},
        {"gpu": "a100-80gb:8"},
        {"gpu": "h100:4", "tp": 4},
        {"engine": "sglang", "engine_version": "0.5.3"},
    ],
)
def test_nothing_crosses_a_release_a_card_or_a_layout(flags: dict[str, object]) -> None:
    assert asked(logs(GIB), **flags).pools == asked(None, **flags).pools


def test_the_median_of_many_counts() -> None:
    seen = [SEEN._replace(missing_bytes=each * MIB) for each in (100, 110, 90, 5000)]
    found = learned(seen)
    assert found is not None
    assert found.shift_bytes == 105 * MIB
    assert found.spread_bytes > 5000 * MIB
    assert learned([]) is None


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "calibrations.json"
    assert read_calibrations(path) == ()
    path.write_text(as_document(with_new((SEEN,), (SEEN, SEEN._replace(model="other")))))
    assert len(read_calibrations(path)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "x", "logs": []}',
        '{"schema": "oomless/calibrations/1", "logs": [{"engine": 3}]}',
        "[" * 5000,
    ],
)
def test_a_broken_file_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibrations.json"
    path.write_text(text)
    with pytest.raises(OomlessError, match="no calibrations"):
        read_calibrations(path)


def test_another_model_shifts_within_the_interval() -> None:
    """A vision model's 30 GiB, of which no rule knew, were taken from every other model's pool."""
    other = Calibration(
        tuple(each._replace(model="other") for each in logs(30 * GIB, 31 * GIB, 32 * GIB).seen)
    )
    plain, found = asked(None), asked(other)
    assert asked(Calibration(other.seen[:1])).pools == plain.pools
    assert plain.pools_low[0] <= found.pools[0] < plain.pools[0]
    both = Calibration((*other.seen, *logs(GIB).seen))
    assert asked(both).pools == asked(logs(GIB)).pools
