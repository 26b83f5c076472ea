"""Claims that watched runs settle. What tools said of planted leaks, and what a pipeline held, is kept as
rows of facts/watched.csv; `python -m bench.leaks` makes them again."""

from collections.abc import Callable

from .. import facts
from ..units import mb
from .evidence import Evidence, Finding

COMMAND = "python -m bench.leaks"
TOOLS = ("memory_profiler", "empty_cache", "monitor")


def leaks_found() -> Evidence:
    """C18: three planted leaks before each tool."""
    rows = [row for row in facts.table("watched") if row["claim"] == "C18"]
    found = {tool: sum(row["named_line"] == "1" for row in rows if row["tool"] == tool) for tool in TOOLS}
    freed = sum(int(row["bytes"]) for row in rows if row["tool"] == "empty_cache")
    num = len({row["key"] for row in rows})
    return Evidence(
        "does not hold",
        "memory_profiler measures the process's memory around each line: it names the one that allocates "
        "most, which is the forward of every step, and on a card it sees nothing; empty_cache gives back "
        "what nobody uses, and a leak is in use. `oomless monitor` names the line that keeps, its kind and "
        "its bytes a step",
        (
            Finding("planted leaks", num, ""),
            *(
                Finding(f"named by {tool} with their line", found[tool], "")
                for tool in TOOLS
                if tool != "empty_cache"
            ),
            Finding("bytes that empty_cache freed of them", mb(freed), "MB"),
        ),
        (COMMAND, "oomless monitor show tests/tables/runs/kept-logits"),
    )


def pipeline_peak() -> Evidence:
    """C19: what batches that wait on the device add to the peak."""
    held = {row["key"]: int(row["bytes"]) for row in facts.table("watched") if row["claim"] == "C19"}
    deep, bound, batch = held["12 batches ahead"], held["2 batches ahead"], held["one batch"]
    return Evidence(
        "depends",
        "a batch that waits on the device is memory: the peak falls by the batches that wait no more times "
        "the bytes of one. 3 GB are right for whoever had 3 GB of batches waiting; with token ids in place "
        "of images it is a few MB",
        (
            Finding("peak with 12 batches ahead", mb(deep), "MB"),
            Finding("peak with 2 batches ahead", mb(bound), "MB"),
            Finding("difference", mb(deep - bound), "MB"),
            Finding("10 batches", mb(10 * batch), "MB"),
        ),
        (f"{COMMAND} --pipeline 12", f"{COMMAND} --pipeline 2"),
    )


SETTLERS: dict[str, Callable[[], Evidence]] = {"C18": leaks_found, "C19": pipeline_peak}
