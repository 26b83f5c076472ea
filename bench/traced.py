"""Renew facts/traced.csv: each row's question is traced again, and its bytes are written. `python -m
bench.traced [CLAIM]`."""

import csv
import io
import json
import shlex
import sys
from contextlib import redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path

import oomless
from oomless.cli import main as oomless_main

TABLE = Path(oomless.__file__).parent / "facts" / "traced.csv"
CATEGORIES = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "kv_cache",
    "communication",
    "temporaries",
    "inputs",
    "runtime",
)
PEAK = ("requested_bytes", "allocated_bytes", "reserved_bytes", "smallest_capacity_bytes")


def traced(command: str) -> dict[str, str]:
    """What a command's answer says about its peak; within this process, so that torch is loaded once."""
    words = shlex.split(command)
    assert words[0] == "oomless"
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        oomless_main([*words[1:], "--json"])
    document = json.loads(out.getvalue())
    peak, phases = document["peak"], document["phases"]
    forward = max(
        (phase["peak_requested_bytes"] for phase in phases if phase["name"] == "forward"), default=0
    )
    found = {name: str(peak[name]) for name in PEAK} | {"forward_bytes": str(forward)}
    return found | {name: str(peak["by_category"].get(name, 0)) for name in CATEGORIES}


def main() -> None:
    """Trace the rows of one claim, or all."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    made = f"torch {version('torch')}, transformers {version('transformers')}"
    for row in rows:
        if len(sys.argv) < 2 or row["claim"] == sys.argv[1]:
            row |= {**traced(row["command"]), "made_with": made}
            print(row["claim"], row["key"], row["requested_bytes"], flush=True)
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file,
            ["claim", "key", "command", *PEAK, "forward_bytes", *CATEGORIES, "made_with"],
            lineterminator="\n",
        )
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
