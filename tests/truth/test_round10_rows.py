"""Rows of the tenth blind round (tests/tables/inference_round10.csv): public logs of vLLM 0.7 to 0.27, of its
Ascend plugin and of llama.cpp, whose sources no other table and no fact has."""

import json

from command import call
from tables.score import TABLES

MOST = {"weights_per_gpu": 0.001, "kv_bytes_per_gpu": 0.03, "kv_tokens": 0.03, "activation_peak": 0.005}
"""The median error."""
INSIDE = {"weights_per_gpu": 0.82, "kv_bytes_per_gpu": 0.8, "kv_tokens": 0.72, "activation_peak": 1.0}
UNSUPPORTED = {f"b10-{number}" for number in range(113, 119)}
"""GLM-5.1 on RTX PRO 6000: the logs are of a patched build, no release has kernels for it there."""


def test_pools_are_near_and_inside() -> None:
    document = json.loads(call("validate", str(TABLES / "inference_round10.csv"), "--json").out)
    assert len(document["rows"]) == 113
    assert {row["id"] for row in document["rows"] if row["status"] != "scored"} == UNSUPPORTED
    for quantity, most in MOST.items():
        assert document["summary"][quantity]["median_abs_rel_error"] <= most, quantity
    for quantity, share in INSIDE.items():
        assert document["summary"][quantity]["share_inside"] >= share, quantity
