"""The line of each measured row, read alone: what an engine printed gives its value and unit, and nothing
gives another value."""

import csv
import io
import re
from pathlib import Path

from oomless.truth.reconcile.log_facts import facts_of
from oomless.truth.reconcile.read_log import read_stream
from oomless.units import GIB, KIB, MIB

TABLES = Path(__file__).parents[2] / "tables"
UNITS = {"GiB": GIB, "GB": GIB, "MiB": MIB, "MB": MIB, "KiB": KIB, "tokens": 1, "bytes": 1}
"""GB that stands in these columns is GiB: the engines divide by 2^30."""
WORDS = {
    "weights_per_gpu": ("weights_bytes",),
    "activation_peak": ("activation_bytes", "compute_buffer_bytes"),
    "non_torch": ("non_torch_bytes", "distributed_bytes"),
    "cuda_graph": ("cuda_graph_bytes", "cuda_graph_estimate_bytes"),
    "kv_bytes_per_gpu": ("kv_bytes", "kv_total_bytes", "needed_bytes"),
    "kv_tokens": ("kv_tokens", "pool_tokens"),
    "compute_buffer": ("compute_buffer_bytes", "tried_bytes"),
    "output_buffer": ("output_bytes",),
}
V0_BLOCK = 16
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
NOT_PRINTED = {
    "a sum or a difference of several lines": "484 485 565 586 594 597 610 611 619 624 627 651 654 657 664 "
    "673 674 683 686 687 693 699 705 727",
    "a sentence of a person": "558 559 749 770",
    "a line without its middle": "745 746",
    "a cell of somebody's table": "752 753 754 755 756 757 758 759",
}
"""Rows whose column holds no line that an engine printed."""


def lines() -> list[dict[str, str]]:
    """Rows with a line in which their number may stand."""
    with (TABLES / "inference.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["quantity"] in WORDS and NUMBER.search(row["verbatim_log_line"])]


def values_of(row: dict[str, str]) -> list[float]:
    """What the reader finds for the quantity of a row in its line alone."""
    line = row["verbatim_log_line"].encode() + b"\n"
    found: list[float] = []
    for run in read_stream(io.BytesIO(line), "line"):
        for word in WORDS[row["quantity"]]:
            values = [each.value for each in run.values.get(word, ()) if isinstance(each.value, float)]
            found += [*values, *([sum(values)] if len(values) > 1 else [])]  # K and V of one rank
        stated = facts_of(run)
        found += [float(stated[word]) for word in WORDS[row["quantity"]] if word in stated]
        if row["quantity"] == "kv_tokens":
            blocks = [each.value for each in run.values.get("kv_blocks", ()) if isinstance(each.value, float)]
            found += [V0_BLOCK * each for each in blocks]
        found += [each.tried_bytes for each in run.ooms if each.tried_bytes]
    return found


def test_what_engines_printed_is_read_to_its_value() -> None:
    """98 of 100 were asked for; none wrong."""
    missed, wrong = [], []
    for row in lines():
        want = float(row["value"]) * UNITS[row["unit"].split(" ")[0]]
        found = values_of(row)
        said = f"{row['id']} {row['quantity']} {row['value']} {row['unit']}: {row['verbatim_log_line'][:120]}"
        if found and not any(abs(each - want) <= max(abs(want) * 2e-3, 6e-3 * MIB) for each in found):
            wrong.append(f"{said} -> {found}")
        if not found and row["id"] not in " ".join(NOT_PRINTED.values()).split():
            missed.append(said)
    assert wrong == []
    assert missed == []
