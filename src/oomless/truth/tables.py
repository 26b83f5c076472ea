"""Tables of measured rows as they come: which kind of table a file is, and its rows with value and
configuration kept apart."""

import csv
import io
import json
from math import isfinite, nan
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import OomlessError
from ..model.local_file import read_whole_text
from ..units import MIB

MAX_TABLE_BYTES = 64 * MIB

TableKind = Literal["serving", "training", "speed", "files", "megatron"]

SERVING = (
    "source date engine engine_version model quant kv_dtype tp pp dp ep context_len "
    "batch_or_parallel gpu gpu_mem_util other_flags"
).split()
TRAINING = (
    "date framework framework_version model params arch_if_not_public precision optimizer "
    "micro_batch seq_len grad_accum recompute "
    "attention_impl loss_impl zero_stage_or_fsdp dp tp sp pp pp_schedule cp ep offload lora gpu kind setting"
).split()
SPEED = (
    "date engine model params_b active_params_b weight_bytes_gb quant gpu n_gpus "
    "parallelism input_len output_len "
    "concurrency_or_batch metric"
).split()
FILES = ["model", "quant", "source"]

COLUMNS: dict[TableKind, list[str]] = {
    "serving": SERVING,
    "training": TRAINING,
    "speed": SPEED,
    "files": FILES,
}
"""The configuration columns of each kind of CSV table: the only ones that a prediction may see."""


class MeasuredRow(NamedTuple):
    """One measured value, and the configuration that it was measured under."""

    id: str
    kind: TableKind
    quantity: str
    value: float
    unit: str
    configuration: dict[str, Any]
    confidence: str


def read_table(path: Path) -> list[MeasuredRow]:
    """The rows of a CSV table of a known kind, or of Megatron records (one JSON object a line)."""
    text = read_whole_text(
        path, MAX_TABLE_BYTES, "give a table of measured rows as CSV or JSON lines; split a larger one"
    )
    if path.suffix == ".jsonl" or text.lstrip().startswith("{"):
        return _records(path, text)
    return _csv_rows(path, text)


MAX_CELL = 4000
"""More than any configuration says, and fewer digits than Python refuses to read as a number."""


def _csv_rows(path: Path, text: str) -> list[MeasuredRow]:
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        rows = list(reader)
    except csv.Error as error:
        raise OomlessError(f"{path}: not valid CSV ({error})", "check the quoting") from None
    header = set(reader.fieldnames or ())
    kind = min(COLUMNS, key=lambda name: len({"id", *COLUMNS[name]} - header) / len(COLUMNS[name]))
    quantity = "kind" if kind == "speed" else "quantity"
    missing = {"id", quantity, "value", "unit", *COLUMNS[kind]} - header
    if missing:
        raise OomlessError(
            f"{path}: not a table of measured rows: columns missing: {', '.join(sorted(missing))}",
            "known are the columns of inference.csv, training.csv, perf.csv and gguf_sizes.csv",
        )
    found = []
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise OomlessError(
                f"{path}: line {number} has another number of cells than the header", "check the quoting"
            )
        configuration = {name: row[name] for name in COLUMNS[kind]}
        if any(len(cell) > MAX_CELL for cell in configuration.values()):
            raise OomlessError(
                f"{path}: line {number} has a cell of more than {MAX_CELL:,} characters", "check the quoting"
            )
        confidence = row.get("confidence") or row.get("completeness") or row.get("trust") or ""
        value = _value(path, row["id"], row["value"])
        found.append(
            MeasuredRow(row["id"], kind, row[quantity], value, row["unit"], configuration, confidence)
        )
    return found


def _value(path: Path, row_id: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise OomlessError(f"{path}: row {row_id}: value {text!r} is no number", "correct the table")
    return value


MEGATRON = ("framework", "case", "stack", "date", "world_size", "padded_vocab_size", "env", "args", "rank")


def _records(path: Path, text: str) -> list[MeasuredRow]:
    """Megatron records: each measures a peak, and most a steady state too."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise OomlessError(
                f"{path}: line {number} is no JSON object", "one record a line is expected"
            ) from None
        if not isinstance(record, dict) or "id" not in record or not isinstance(record.get("args"), dict):
            raise OomlessError(f"{path}: line {number} is no Megatron record", "id and args are needed")
        configuration = {name: record.get(name) for name in MEGATRON}
        for key, suffix, quantity in (
            ("peak_allocated_bytes", "", "peak_allocated"),
            ("steady_allocated_bytes", "/steady", "model_states"),
        ):
            if record.get(key) is not None:
                value = _value(path, record["id"], str(record[key]))
                found.append(
                    MeasuredRow(
                        record["id"] + suffix, "megatron", quantity, value, "bytes", configuration, "A"
                    )
                )
    return found
