"""What nvidia-smi prints, as a table or as CSV -> the cards and what is used of them."""

import csv
import re

from ...recording.log_lines import LogReader, Said, says
from .logged_run import Label, LoggedRun

READER = LogReader("nvidia-smi", ())
CARD = re.compile(r"^\|\s+(\d+)\s+\S[^|]*\|\s+[0-9A-Fa-f]{8}:")
NAME = re.compile(
    r"^\|\s+\d+\s+((?:NVIDIA|Tesla|Quadro|GeForce|GRID|A100|H100)[\w -]*?)\s+(?:On|Off|N/A|WDDM|TCC|MCDM)\s"
)
"""A name that the table cuts ("RTX 5090 ...") is none: a laptop's card has other memory."""
MEMORY = re.compile(r"\|\s+(\d+)MiB\s*/\s*(\d+)MiB\s*\|")
PROCESS = re.compile(r"^\|\s+(\d+)\s+(?:\S+\s+\S+\s+)?(\d+)\s+[CG+]+\s+(\S.*?)\s+(\d+)MiB\s*\|")
COLUMNS = {
    "name": ("gpu", "text"),
    "memory.total": ("gpu_memory_bytes", "MiB"),
    "memory.used": ("used_bytes", "MiB"),
    "memory.free": ("gpu_free_bytes", "MiB"),
}


def is_nvidia_smi(head: str) -> bool:
    """Return whether a text is a table or CSV of nvidia-smi.

    >>> is_nvidia_smi("index, name, memory.total [MiB]"), is_nvidia_smi("| NVIDIA-SMI 550.54 ")
    (True, True)
    """
    return "| NVIDIA-SMI " in head[:2000] or "memory.total" in head[:500] or "memory.used" in head[:500]


def read_nvidia_smi(text: str, name: str) -> LoggedRun:
    """Return the cards of a text as a run without an engine."""
    run = LoggedRun(READER, f"{name}:1")
    run.engine = READER.name
    first = text.lstrip().splitlines()[0] if text.strip() else ""
    if "memory." in first:
        _csv(run, text, name)
    else:
        _table(run, text, name)
    return run


def _table(run: LoggedRun, text: str, name: str) -> None:
    card = ""
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{name}:{number}"
        if found := CARD.search(line):
            card = f"GPU {found[1]}"
            if named := NAME.search(line):
                run.add(says("gpu text"), (named[1],), Label(card), place)
        elif found := MEMORY.search(line):
            run.add(says("used_bytes MiB", "gpu_memory_bytes MiB"), found.groups(), Label(card), place)
        elif found := PROCESS.search(line):
            run.add((Said("process_bytes", "MiB", "sum"),), (found[4],), Label(f"GPU {found[1]}"), place)


def _csv(run: LoggedRun, text: str, name: str) -> None:
    rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    header = [re.sub(r"\s*\[.*\]", "", cell).strip() for cell in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        cells = dict(zip(header, row, strict=False))
        label = Label(f"GPU {cells.get('index', number - 2)}".strip())
        for column, (word, unit) in COLUMNS.items():
            value = cells.get(column, "").removesuffix("MiB").strip()
            if value:
                run.add((Said(word, unit),), (value,), label, f"{name}:{number}")
