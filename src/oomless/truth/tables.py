"""Tables of measured rows as they come: which kind of table a file is, and its rows with value and
configuration kept apart."""

import re
from collections.abc import Iterator, Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .. import limits
from ..errors import OomlessError
from ..files import read_whole_text, shown


class Incomplete(Exception):  # noqa: N818 - a status, not an error
    """The row leaves out something that the quantity depends on."""


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
    fault: str = ""
    """Why the row cannot be read; "" if it can. A bad row is a row: it never loses its table."""


def read_table(path: Path) -> list[MeasuredRow]:
    """Return the rows of a CSV table of a known kind, or of Megatron records (one JSON object a line)."""
    text = read_whole_text(
        path, limits.TABLE.num_bytes, "give a table of measured rows as CSV or JSON lines; split a larger one"
    )
    if path.suffix == ".jsonl" or text.lstrip().startswith("{"):
        return [row for number, line in enumerate(text.splitlines(), 1) for row in _records(number, line)]
    return list(_csv_rows(path, text))


def _csv_rows(path: Path, text: str) -> Iterator[MeasuredRow]:
    columns, rows = limits.read_table(text, str(path), limits.TABLE)
    kind = kind_of(path, {*columns})
    for line, cells, fault in rows:
        configuration = {name: cells.get(name, "") for name in COLUMNS[kind]}
        if kind == "speed":
            configuration["setting"] = said(cells.get("note", ""))
        confidence = cells.get("confidence") or cells.get("completeness") or cells.get("trust") or ""
        if kind == "training":
            configuration["completeness"] = confidence
        quantity = cells.get("kind" if kind == "speed" else "quantity", "")
        value = measured(cells.get("value", ""))
        if not fault and not isfinite(value):
            fault = f"has value {shown(cells['value'])}, which is no measured number"
        fault = fault or wrong_cell(configuration)
        name = cells.get("id") or f"line {line}"
        fault = fault and f"line {line} {fault}"
        yield MeasuredRow(
            name, kind, quantity, value, cells.get("unit", ""), configuration, confidence, fault
        )


SETTING = re.compile(
    r"uniformly random lengths|ShareGPT lengths|mean output length|half of the memory|MLPerf Offline"
    r"|selective recomputation of [\w ]+|(?:full|selective) (?:checkpointing|recompute)|compile|\d+ W\b"
    r"|(?:activations of \d+ layers|optimizer(?: and params)?) on the host|moments in BF16|\d+ GB HBM"
    r"|(?<![\d.])\d+ (?:prompts|requests)(?! a second)|mem-fraction-static \d\.\d+"
    r"|max-(?:num-batched-tokens|num-seqs|model-len) \d+|max \d+ a rank"
)
"""Words of a note that are part of the setting; the others may be of what was measured."""


def said(note: str) -> str:
    """Return what a note says of the setting, and nothing else of it.

    >>> said("round 2; 94.91 requests a second; half of the memory; 80 prompts")
    'half of the memory; 80 prompts'
    """
    return "; ".join(SETTING.findall(note))


def wrong_cell(configuration: Mapping[str, str]) -> str:
    """Return what is wrong with the first cell that holds no number where one is needed, or a number beyond
    all sizes; "" if none does."""
    for column, cell in configuration.items():
        if column != "source" and LONG_NUMBER.search(cell):  # a source may be a record's number
            return f"has {column} {shown(cell)}, with a number of more than {MOST_DIGITS} digits"
        if cell and column in NUMBERS and not 0 < measured(cell) < MAX_MEASURED:
            return f"has {column} {shown(cell)}, which is no number above 0"
        if column in SIZES and NOTHING.match(cell):
            return f"has {column} {shown(cell)}, which is no size above 0"
        if column in LAYOUTS and (found := NO_RANKS.search(cell)):
            return f"has {column} {shown(cell)}, where {found[1]} has no ranks"
    return ""


MOST_DIGITS = 15
LONG_NUMBER = re.compile(rf"\d{{{MOST_DIGITS + 1}}}")
NUMBERS = ("params_b", "active_params_b", "weight_bytes_gb")
"""Columns whose cells are one number; others say several things in words."""
SIZES = ("dp", "tp", "pp", "cp", "ep", "seq_len", "micro_batch", "n_gpus", "num_gpus")
"""Columns whose cells begin with a count of at least one, whatever words follow."""
NOTHING = re.compile(r"\s*0+(?![\d.])")
LAYOUTS = ("parallelism",)
NO_RANKS = re.compile(r"\b(FSDP|[TPDECV]P)\s?=?0+(?!\d)")


def kind_of(path: Path, header: set[str]) -> TableKind:
    """Return what kind of table has these columns."""
    kind = min(COLUMNS, key=lambda name: len({"id", *COLUMNS[name]} - header) / len(COLUMNS[name]))
    quantity = "kind" if kind == "speed" else "quantity"
    if missing := {"id", quantity, "value", "unit", *COLUMNS[kind]} - header:
        raise OomlessError(
            f"{path}: not a table of measured rows: columns missing: `{'`, `'.join(sorted(missing))}`",
            "known are the columns of inference.csv, training.csv, perf.csv and gguf_sizes.csv; "
            "post_training.csv is scored by a test of the repository",
        )
    return kind


def measured(text: object) -> float:
    """Return a measured value; NaN: it is none. A difference of two readings may be below zero: logs print
    CUDA graphs of -0.45 GiB.

    >>> measured("12.5"), measured("-0.45"), measured("1e999")
    (12.5, -0.45, nan)
    """
    try:
        value = float(str(text))
    except ValueError:
        return nan
    return value if abs(value) < MAX_MEASURED else nan


MAX_MEASURED = 1e18
MEGATRON = ("framework", "case", "stack", "date", "world_size", "padded_vocab_size", "env", "args", "rank")


def _records(number: int, line: str) -> Iterator[MeasuredRow]:
    """Give the rows of one Megatron record: it measures a peak, and mostly a steady state too."""
    if not line.strip():
        return
    where = f"line {number}"
    name, record, fault = where, {}, ""
    try:
        record = limits.parse_json(line, where, limits.RECORD)
    except OomlessError as error:
        fault = error.message
    if not fault and not (isinstance(record, dict) and isinstance(record.get("args"), dict)):
        record, fault = {}, f"{where}: no Megatron record, which has an id and args"
    if not fault:
        name = str(record.get("id") or where)
    configuration = {key: record.get(key) for key in MEGATRON}
    found = [each for each in MEASURED if record.get(each[0]) is not None] or MEASURED[:1]
    for key, suffix, quantity in found:
        value = measured(record.get(key))
        if not fault and not isfinite(value):
            fault = f"{where}: {key} {shown(record.get(key))} is no measured number"
        yield MeasuredRow(name + suffix, "megatron", quantity, value, "bytes", configuration, "A", fault)


MEASURED = (
    ("peak_allocated_bytes", "", "peak_allocated"),
    ("steady_allocated_bytes", "/steady", "model_states"),
)
