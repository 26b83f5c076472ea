"""Kept traces: they survive being kept; a damaged one, a newer one or no trace at all is a clear error, and
views open in their tools."""

import gzip
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from command import call
from oomless.api.trace import replay_file
from oomless.errors import OomlessError
from oomless.recording.file import packed, read_trace
from oomless.recording.recording import peak, phase_peaks

KEPT = Path(__file__).parents[2] / "docs" / "traces" / "coder-1.3b.trace"


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(KEPT.read_bytes()))
    return found


def test_a_trace_survives_being_kept(tmp_path: Path) -> None:
    recording = read_trace(KEPT)
    (tmp_path / "again").write_bytes(packed(recording))
    assert read_trace(tmp_path / "again") == recording


def test_lines_sum_up_to_the_peak() -> None:
    traced = replay_file(str(KEPT))
    assert sum(line.bytes for line in traced.lines) == traced.peak.bytes == sum(traced.by_category().values())
    last = max(phase.step for phase, _ in traced.phases)
    assert traced.peak.bytes == max(
        num_bytes for phase, num_bytes in phase_peaks(traced.recording) if phase.step == last
    )
    assert traced.peak == peak(traced.recording)
    assert (
        traced.peak.bytes
        <= traced.replayed.peak_allocated
        <= traced.smallest_capacity_bytes
        <= traced.replayed.peak_reserved
    )


def newer(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "schema": "oomless/trace-file/9"}


def freed_twice(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "events": [0, ~0, ~0]}


def out_of_range(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "events": [len(content["tensors"]["sizes"])]}


def negative(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "tensors": {**content["tensors"], "sizes": [-1, *content["tensors"]["sizes"][1:]]}}


def short_column(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "tensors": {**content["tensors"], "lines": []}}


def without_phases(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "phases"}


@pytest.mark.parametrize("change", [newer, freed_twice, out_of_range, negative, short_column, without_phases])
def test_a_damaged_trace_is_an_error(change: Any, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(gzip.compress(json.dumps(change(document())).encode()))
    with pytest.raises(OomlessError, match=r"damaged|version 9"):
        read_trace(tmp_path / "bad")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        KEPT.read_bytes()[:2000],
        gzip.compress(b"[]", mtime=0),
        gzip.compress(b"{", mtime=0),
        b"\x1f\x8b\x08",
    ],
)
def test_what_is_no_trace_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(content)
    answer = call("trace", "--from", str(tmp_path / "bad"), "--json")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith('{"error": ')


def test_views_are_written(tmp_path: Path) -> None:
    files = {
        name: str(tmp_path / f"run.{ending}")
        for name, ending in (("plot", "svg"), ("chrome", "json"), ("snapshot", "pickle"))
    }
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert call("trace", "--from", str(KEPT), *words).code == 0
    assert ElementTree.parse(files["plot"]).getroot().tag.endswith("svg")
    entries = json.loads(Path(files["chrome"]).read_text())["traceEvents"]
    assert {entry["ph"] for entry in entries} == {"M", "X", "C", "i"}


@pytest.mark.torch
@pytest.mark.parametrize("settings", ["", "expandable_segments:True"])
def test_the_snapshot_opens_in_torchs_viewer(settings: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import pickle
    from importlib import import_module

    viewer = import_module("torch.cuda._memory_viz")
    path = tmp_path / "run.pickle"
    assert call("trace", "--from", str(KEPT), "--snapshot", str(path), "--allocator", settings).code == 0
    data = pickle.loads(path.read_bytes())
    held = sum(
        block["size"]
        for segment in data["segments"]
        for block in segment["blocks"]
        if block["state"] == "active_allocated"
    )
    assert held == sum(segment["allocated_size"] for segment in data["segments"])
    assert "MODEL" not in viewer.segsum(data)
    assert len(viewer.trace(data)) > 0
    assert "viz" in viewer.trace_plot(data).lower()
    assert "viz" in viewer.segment_plot(data).lower()


def test_a_card_that_is_too_small_says_where() -> None:
    answer = call("trace", "--from", str(KEPT), "--card", "24GiB", "--json")
    assert answer.code == 3
    failure = json.loads(answer.out)["runs_out"]
    assert failure["size_bytes"] > 0
    assert failure["module"].startswith("model.layers.")


def test_a_kept_trace_takes_no_other_question() -> None:
    assert call("trace", "deepseek-v3", "--from", str(KEPT)).code == 2
    assert call("trace", "--from", str(KEPT), "--seq-len", "5").code == 2
    assert call("trace").code == 2
