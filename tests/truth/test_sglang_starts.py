"""Starts of SGLang servers as public logs have them, predicted by the command alone: weights and tokens of
the pool stay within their budgets, and what lies outside of its interval is known by name."""

import csv
import json
import shlex
from functools import cache
from statistics import median

import pytest

from command import call
from oomless.units import GIB
from tables.score import TABLES

STARTS = TABLES / "starts"
NAMES = ("sglang", "sglang_2", "sglang_3")
QUANTITIES = ("weights_gib", "kv_tokens", "graphs_gib", "workspace_gib")
ROUNDED_GIB = 0.006
NOT_YET = {
    "s-04 weights_gib": "what the host's free memory lost, on memory that both share",
    "s-04 kv_tokens": "states have 4.5 times the cache's part, 0.9 being the default: a flag not shown",
    "s-03 weights_gib": "as s-04",
    "s-06 weights_gib": "as s-04",
    "s-24 weights_gib": "as s-04",
    "s-07 kv_tokens": "136 GiB of weights: scales in F32, no padding: fp8.py of 0.5.13 without aiter",
    "s-08 kv_tokens": "as s-07",
    "g-11 workspace_gib": "0.09 GiB at the start of FlashAttention 3, for which nothing is said",
    "g-08 kv_tokens": "a fork: SGLang refuses this type of cache for V4, and here it is that of s-08",
    "g-14 weights_gib": "1.1 GiB more: whose 8 bit is not said",
    "g-15 weights_gib": "7.5, rounded by a hand",
    "g-16 weights_gib": "17 GiB more: whose 4 bit is not said",
    "g-17 weights_gib": "0.5 GiB more of one more expert's layers on Ascend",
    "s-10 weights_gib": "0.6 GiB more of packed sparse MLA on SM120",
    "s-19 kv_tokens": "1.7 % less on two MI355X",
    "g-18 graphs_gib": "20 with DeepEP's buffers, made at the first capture, which are a line apart",
    "g-21 graphs_gib": "17.4 of a new model on MI355X, which is known since",
    "h-03 kv_tokens": "a checkpoint whose config is not known says an FP8 cache",
    "h-15 kv_tokens": "1.1 GiB more of experts in MXFP4 on Hopper, which a kernel puts into its own order",
    "h-36 kv_tokens": "2.9 GiB more of a draft of many layers",
    "h-43 kv_tokens": "3 GiB more of V4-Pro's experts and draft on GB300",
    "h-44 kv_tokens": "as h-43, with the buffers of DeepEP",
    "h-48 kv_tokens": "1.7 GiB less: another publisher's NVFP4",
    "h-50 weights_gib": "as s-04",
    "h-50 graphs_gib": "prefills beside states took 3.3 GiB",
}
SHARED = {
    "s-21": "another server held half of the card",
    "g-06": "its length is not said, and tables and their copies go by it",
}


@cache
def rows() -> tuple[dict[str, str], ...]:
    found: list[dict[str, str]] = []
    for name in NAMES:
        with (STARTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            found.extend(csv.DictReader(file))
    return tuple(found)


@cache
def predicted(row_id: str) -> dict[str, tuple[float, float, float]]:
    (row,) = (each for each in rows() if each["id"] == row_id)
    answer = json.loads(call(*shlex.split(row["args"])).out)
    lines, pool = answer["ranks"][0]["lines"], answer["kv_cache"]

    def total(*keys: str, named: str = "") -> tuple[float, float, float]:
        found = [each for each in lines if each["key"].startswith(keys) or each["what"] == named]
        value, low, high = (sum(e[c] for e in found) / GIB for c in ("bytes", "low_bytes", "high_bytes"))
        return value, low - ROUNDED_GIB, high + ROUNDED_GIB

    return {
        "weights_gib": total("weights", "fragmentation.weights"),
        "kv_tokens": (pool["max_tokens"], pool["max_tokens_low"], pool["max_tokens_high"]),
        "graphs_gib": total("runtime.cuda_graphs", named="tables of captured batches"),
        "workspace_gib": total("runtime.workspaces"),
    }


@cache
def scored() -> dict[str, dict[str, tuple[float, bool]]]:
    """Quantity -> row -> relative error, and whether the measured value is inside."""
    found: dict[str, dict[str, tuple[float, bool]]] = {each: {} for each in QUANTITIES}
    for row in rows():
        if row["id"] in SHARED:
            continue
        for name in QUANTITIES:
            if row.get(name):
                value, low, high = predicted(row["id"])[name]
                measured = float(row[name])
                found[name][row["id"]] = (value / measured - 1, low <= measured <= high)
    return found


@pytest.mark.parametrize(
    ("quantity", "least_rows", "typical"),
    [
        ("weights_gib", 28, 0.004),
        ("kv_tokens", 80, 0.01),
        ("graphs_gib", 24, 0.35),
        ("workspace_gib", 6, 0.21),
    ],
)
def test_starts_stay_within_their_budgets(quantity: str, least_rows: int, typical: float) -> None:
    """First 0.25 and 3.0 % off in the middle (tests/tables/starts/sglang_first.jsonl), and graphs 0.7 of
    what they were; nothing was said of workspaces. A head of DFlash (s-09) is answered since, 5 % off
    with the head, which the log leaves out; its 278,000 tokens are 2 % off."""
    errors = [abs(error) for error, _ in scored()[quantity].values()]
    assert len(errors) >= least_rows
    assert median(errors) <= typical


def test_what_lies_outside_is_known() -> None:
    outside = {
        f"{each} {name}"
        for name, found in scored().items()
        for each, (_, inside) in found.items()
        if not inside
    }
    assert outside == set(NOT_YET)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_was_first_predicted_before_it_was_scored(name: str) -> None:
    lines = (STARTS / f"{name}_first.jsonl").read_text(encoding="utf-8").splitlines()
    header, *first = (json.loads(line) for line in lines)
    with (STARTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert header["num_rows"] == len(first) == len(ids)
    assert header["table"] == f"{name}.csv"
    assert [each["id"] for each in first] == ids
