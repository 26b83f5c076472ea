"""Rows of the seventh blind round (tests/tables/inference_round7.csv): public logs of vLLM 0.10 to 0.31 and
of SGLang 0.5, whose sources no other table has."""

import json

from command import call
from tables.score import TABLES

MOST = {"weights_per_gpu": 0.005, "kv_bytes_per_gpu": 0.06, "kv_tokens": 0.045}
"""The median error; at first, of a fifth fewer rows, 0.5, 7.9 and 7.6 %."""
INSIDE = {"weights_per_gpu": 0.7, "kv_bytes_per_gpu": 0.8, "kv_tokens": 0.75, "cuda_graph": 0.9}


def test_pools_are_near_and_inside() -> None:
    document = json.loads(call("validate", str(TABLES / "inference_round7.csv"), "--json").out)
    assert len(document["rows"]) == 86
    assert not any(row["status"] == "incomplete" for row in document["rows"])
    for quantity, most in MOST.items():
        assert document["summary"][quantity]["median_abs_rel_error"] <= most, quantity
    for quantity, share in INSIDE.items():
        assert document["summary"][quantity]["share_inside"] >= share, quantity
