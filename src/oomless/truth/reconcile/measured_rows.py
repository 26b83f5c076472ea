"""A run of a log -> measured rows as `validate` reads them, without the names of users and hosts."""

from ...estimate.serving.estimate import Estimate
from ...units import GIB, MIB
from .log_facts import facts_of
from .log_question import LogQuestion
from .log_row import COLUMNS, QUANTITIES
from .logged_run import LoggedRun
from .scrub import scrub

PRINTED = {"GiB": ("GiB", GIB), "MiB": ("MiB", MIB), "B": ("bytes", 1), "count": ("tokens", 1)}
"""Unit of a log's figure -> unit of the row and its bytes."""


def measured_rows(run: LoggedRun, asked: LogQuestion, estimate: Estimate | None) -> list[dict[str, str]]:
    """Return a row for each quantity that the log measured. A share that the printed arguments leave to the
    engine is the release's own, as the estimate has it."""
    share = asked.row["gpu_mem_util"]
    if not share and estimate is not None:
        own = estimate.request.gpu_memory_utilization or estimate.request.mem_fraction_static
        share = f"{own:g}" if own else ""
    found = facts_of(run)
    rows: list[dict[str, str]] = []
    for word, quantity in QUANTITIES.items():
        value = found.get(word)
        if not isinstance(value, int):
            continue
        values = run.on_cards(word) or run.of_ranks(word)
        said = next(iter(values.values()), None)
        unit, factor = PRINTED.get(said.unit if said else "B", ("bytes", 1))
        if word == "kv_tokens":
            unit, factor = "tokens", 1
        if run.names_devices:
            value = _of_all_devices(run, word) or value
        amount = value / factor
        row = {**dict.fromkeys(COLUMNS, ""), **asked.row}
        row |= {
            "id": f"{run.source.rpartition(':')[0]}-{len(rows) + 1}",
            "source": scrub(run.source),
            "quantity": quantity,
            "value": f"{amount:.4f}".rstrip("0").rstrip(".") if factor > 1 else str(value),
            "unit": unit,
            "gpu_mem_util": share,
            "verbatim_log_line": scrub(run.wordings.get(said.source, "")) if said else "",
            "confidence": "A",
            "other_flags": scrub(row["other_flags"]),
            "model": scrub(row["model"]),
        }
        rows.append(row)
    return rows


def _of_all_devices(run: LoggedRun, word: str) -> int:
    """What llama.cpp's tables count: the weights of all cards together, the cache of cards and host with its
    states, the buffer of the first card. 0: the log names no device."""
    match word:
        case "kv_bytes":
            parts = [*run.of_ranks(word).values(), *run.of_ranks("state_bytes").values()]
        case "weights_bytes":
            parts = list(run.on_cards(word).values())
        case _:
            parts = list(run.on_cards(word).values())[:1]
    return round(sum(each.value for each in parts if isinstance(each.value, float)))
