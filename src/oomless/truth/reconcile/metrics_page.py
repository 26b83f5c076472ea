"""An engine's /metrics page -> a run: the capacity that it was configured with, and how it is doing now."""

import re

from ...recording.log_lines import UNITS, LogReader, Said
from .logged_run import Label, LoggedRun

LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
RANKS = ("tp_rank", "dp_rank", "pp_rank")


def is_metrics(head: str) -> bool:
    """Return whether a text begins like a page that Prometheus scrapes.

    >>> is_metrics("# HELP vllm:num_requests_running Number"), is_metrics("INFO 01-01 started")
    (True, False)
    """
    first = next((line for line in head.splitlines() if line.strip()), "")
    return first.startswith(("# HELP ", "# TYPE ")) or bool(re.match(r"(?:vllm|sglang):\w+[{ ]", first))


def read_metrics(text: str, name: str, readers: tuple[LogReader, ...]) -> tuple[LoggedRun, ...]:
    """Return a run an engine that the page has figures of."""
    runs: dict[str, LoggedRun] = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = LINE.match(line)
        if found is None:
            continue
        labels = dict(LABEL.findall(found[2] or ""))
        for reader in readers:
            for metric, label, word, unit in reader.metrics:
                value = labels.get(label, "") if label else found[3]
                if metric != found[1] or not value or value in ("None", "NaN"):
                    continue
                run = runs.setdefault(reader.name, LoggedRun(reader, f"{name}:{number}"))
                run.state = "ready"
                if unit == "live":
                    run.peaks[word] = max(run.peaks.get(word, 0.0), _figure(value))
                    continue
                plain = value if unit == "text" else f"{_figure(value):.6f}"
                where = " ".join(f"{each[:2].upper()}{labels[each]}" for each in RANKS if each in labels)
                said = Said(word, unit if unit in (*UNITS, "text") else "count")
                run.add((said,), (plain,), Label(where), f"{name}:{number}")
    return tuple(runs.values())


def _figure(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if value == value and abs(value) < 1e30 else 0.0
