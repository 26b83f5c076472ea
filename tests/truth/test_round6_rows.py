"""Rows of the sixth blind round (tests/tables/inference_round6.csv): starts with MTP on two consumer cards,
vLLM 0.20 to 0.25."""

import json

from command import call
from tables.score import TABLES

MOST = {"kv_bytes_per_gpu": 0.05, "kv_tokens": 0.035}
"""The largest error; at first 11 and 75 %: 0.20.1 prints tokens by concurrency already, and two cards before
Hopper take less outside of torch."""


def test_pools_are_inside_and_near() -> None:
    document = json.loads(call("validate", str(TABLES / "inference_round6.csv"), "--json").out)
    assert len(document["rows"]) == 11
    assert all(row["status"] == "scored" for row in document["rows"])
    for quantity, most in MOST.items():
        assert document["summary"][quantity]["max_abs_rel_error"] <= most, quantity
        assert document["summary"][quantity]["share_inside"] == 1, quantity
