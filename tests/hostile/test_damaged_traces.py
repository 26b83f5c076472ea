"""Traces that are damaged or empty."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hostile_input import within, written
from oomless.ledger import CATEGORIES
from oomless.recording.recording import Tensors

EMPTY: dict[str, Any] = {
    "schema": "oomless/trace-file/1",
    "categories": list(CATEGORIES),
    "tensors": {name: [] for name in Tensors._fields},
    "events": [],
    "phases": [["forward", 0, 0, 0]],
    "request": {
        "for": "train",
        "model": "m",
        "attention": "auto",
        "world_size": 1,
        "rank": 0,
        "micro_batch": 1,
        "seq_len": 4,
    },
    "warnings": ["w"],
}


def test_an_empty_trace_is_shown(tmp_path: Path) -> None:
    answer = within(
        "trace", "--from", written(tmp_path, "a.trace", gzip.compress(json.dumps(EMPTY).encode()))
    )
    assert answer.code == 0
    assert "None" not in answer.out


@pytest.mark.parametrize(
    "change",
    [
        {"request": {}},
        {"request": {**EMPTY["request"], "seq_len": "\x1b[31m"}},
        {"request": {**EMPTY["request"], "world_size": None}},
        {"request": {**EMPTY["request"], "micro_batch": {"a": 1}}},
        {"request": {**EMPTY["request"], "model": 5}},
        {"schema": "oomless/trace-file/" + "1" * 5_000},
        {"events": ["0"]},
        {"events": [1.5]},
        {"events": [True]},
        {"phases": [[None, 0, 0, 0]]},
        {"warnings": [None]},
        {"tensors": {**EMPTY["tensors"], "sizes": [10**60]}},
    ],
)
def test_a_damaged_trace_is_refused_before_anything_is_shown(change: dict[str, Any], tmp_path: Path) -> None:
    file = written(tmp_path, "a.trace", gzip.compress(json.dumps({**EMPTY, **change}).encode()))
    answer = within("trace", "--from", file)
    assert (answer.code, answer.out) == (1, "")
    assert file in answer.err


def test_names_in_a_trace_are_text(tmp_path: Path) -> None:
    hostile = {**EMPTY, "warnings": ["\ud800\x1b]0;title\x07\nfits: 99 GiB to spare"]}
    file = written(tmp_path, "a.trace", gzip.compress(json.dumps(hostile).encode()))
    answer = within("trace", "--from", file)
    assert answer.code == 0
    assert r"note: \ud800\x1b]0;title\x07\nfits: 99 GiB to spare" in answer.out
