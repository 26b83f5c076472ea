"""Rows of the ninth blind round (tests/tables/inference_round9.csv): public logs of vLLM 0.2 to 0.29, of
SGLang and of llama.cpp, whose sources no other table and no fact has."""

import json

from command import call
from tables.score import TABLES

MOST = {"weights_per_gpu": 0.003, "kv_bytes_per_gpu": 0.012, "kv_tokens": 0.025, "activation_peak": 0.01}
"""The median error."""
INSIDE = {"weights_per_gpu": 0.8, "kv_bytes_per_gpu": 0.75, "kv_tokens": 0.65, "cuda_graph": 0.8}
UNSUPPORTED = {"b9-084"}
"""Jamba on vLLM before 0.10.2."""


def test_pools_are_near_and_inside() -> None:
    document = json.loads(call("validate", str(TABLES / "inference_round9.csv"), "--json").out)
    assert len(document["rows"]) == 121
    assert {row["id"] for row in document["rows"] if row["status"] != "scored"} == UNSUPPORTED
    for quantity, most in MOST.items():
        assert document["summary"][quantity]["median_abs_rel_error"] <= most, quantity
    for quantity, share in INSIDE.items():
        assert document["summary"][quantity]["share_inside"] >= share, quantity
