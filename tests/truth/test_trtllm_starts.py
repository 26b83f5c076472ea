"""Starts of TensorRT-LLM's servers as public logs have them, predicted by the command alone: few such logs
are stored, so the table is short."""

import csv
import json
import shlex

from command import call
from oomless.units import GIB
from tables.score import TABLES

TABLE, FIRST = TABLES / "starts" / "trtllm.csv", TABLES / "starts" / "trtllm_first.jsonl"
HELD_BY_FILES = {"t-01"}
"""The host's own files held 49 of the 120 GiB that the card shares."""


def test_weights_peaks_and_pools_are_inside() -> None:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = [json.loads(line) for line in FIRST.read_text(encoding="utf-8").splitlines()]
    assert [each["id"] for each in first[1:]] == [row["id"] for row in rows]
    for row in rows:
        answer = json.loads(call(*shlex.split(row["args"])).out)
        lines, pool = answer["ranks"][0]["lines"], answer["kv_cache"]
        if row["weights_gib"]:
            kept = sum(line["bytes"] for line in lines if line["key"].startswith("weights")) / GIB
            assert abs(kept / float(row["weights_gib"]) - 1) < 0.005
        if row["activations_gib"]:
            (peak,) = (line for line in lines if line["key"] == "activations.profile_run")
            assert peak["low_bytes"] <= float(row["activations_gib"]) * GIB <= peak["high_bytes"]
        inside = pool["max_tokens_low"] <= int(row["kv_tokens"]) <= pool["max_tokens_high"]
        assert inside or row["id"] in HELD_BY_FILES
