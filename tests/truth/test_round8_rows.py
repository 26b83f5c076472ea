"""Rows of the eighth blind round (tests/tables/inference_round8.csv): public logs of vLLM 0.6 to 0.29 and of
SGLang 0.5, whose sources no other table and no fact has."""

import json

from command import call
from tables.score import TABLES

MOST = {"weights_per_gpu": 0.006, "kv_bytes_per_gpu": 0.015, "kv_tokens": 0.015}
"""The median error."""
INSIDE = {"weights_per_gpu": 0.95, "kv_bytes_per_gpu": 0.8, "kv_tokens": 0.8, "cuda_graph": 0.6}


def test_pools_are_near_and_inside() -> None:
    document = json.loads(call("validate", str(TABLES / "inference_round8.csv"), "--json").out)
    assert len(document["rows"]) == 56
    assert not any(row["status"] == "incomplete" for row in document["rows"])
    for quantity, most in MOST.items():
        assert document["summary"][quantity]["median_abs_rel_error"] <= most, quantity
    for quantity, share in INSIDE.items():
        assert document["summary"][quantity]["share_inside"] >= share, quantity
