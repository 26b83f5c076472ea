"""Write what the page says of its own accuracy: `python -m bench.accuracy`.

`facts/accuracy.csv` has the errors of each table of measured rows, as they were predicted blind and as they
are predicted now; `facts/accuracy_verdicts.csv` the verdicts beside what ran; `facts/measured_runs.csv` the
measured runs that an answer is shown beside. tests/test_docs.py holds the files to what this prints.
"""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from oomless import facts
from oomless.api.nearest_runs import trained_as
from oomless.cli.validate import answered
from oomless.errors import OomlessError
from oomless.estimate.training.estimate import job_of
from oomless.truth.engine_rows import engine_of
from oomless.truth.row_models import named_model
from oomless.truth.serving_rows import question
from oomless.truth.tables import Incomplete, MeasuredRow, read_table
from oomless.truth.training_rows import question as training_question
from oomless.truth.validate import Scored, Summary, score, summarize, validate_table
from oomless.truth.verdicts import JudgedCase, judge_table, read_cases, summarize_verdicts

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "src" / "oomless" / "facts"
TABLES = ROOT / "tests" / "tables"
NOW = (
    ("serving", "inference.csv"),
    ("serving", "inference_fresh.csv"),
    ("serving", "inference_round3.csv"),
    ("serving", "inference_round4.csv"),
    ("serving", "inference_round5.csv"),
    ("serving", "inference_round6.csv"),
    ("serving", "inference_round7.csv"),
    ("serving", "inference_round8.csv"),
    ("serving", "inference_round9.csv"),
    ("serving", "inference_round10.csv"),
    ("serving", "inference_round11.csv"),
    ("llamacpp", "inference_fresh_llamacpp.csv"),
    ("training", "training.csv"),
    ("training", "training_fresh.csv"),
    ("training", "training_round3.csv"),
    ("training", "training_round4.csv"),
    ("training", "training_round5.csv"),
    ("training", "training_round6.csv"),
    ("training", "training_round7.csv"),
    ("training", "training_round8.csv"),
    ("training", "training_round9.csv"),
    ("megatron", "megatron.jsonl"),
    ("megatron", "megatron_fresh.jsonl"),
    ("speed", "perf.csv"),
    ("speed", "perf_fresh.csv"),
    ("speed", "perf_round3.csv"),
    ("speed", "perf_round4.csv"),
    ("speed", "perf_round5.csv"),
    ("files", "gguf_sizes.csv"),
    ("files", "gguf_sizes_fresh.csv"),
)
"""What a table is about, and the table."""
RUNS = (
    "inference.csv",
    "inference_fresh.csv",
    "inference_round3.csv",
    "inference_round4.csv",
    "inference_round5.csv",
    "inference_round6.csv",
    "inference_round7.csv",
    "inference_round8.csv",
    "inference_round9.csv",
    "inference_round10.csv",
    "inference_round11.csv",
    "inference_fresh_llamacpp.csv",
)
SHOWN = ("weights_per_gpu", "kv_bytes_per_gpu", "kv_tokens")
STEPS = (
    "training.csv",
    "training_fresh.csv",
    "training_round3.csv",
    "training_round4.csv",
    "training_round5.csv",
    "training_round6.csv",
    "training_round7.csv",
    "training_round8.csv",
    "training_round9.csv",
)
PEAKS = ("peak_allocated", "peak_reserved")
Rows = list[dict[str, str]]


def blind(path: Path) -> tuple[str, tuple[Scored, ...]]:
    """Return the table of a stored round and its rows: predicted as it was then, measured as it says."""
    head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    measured = {row.id: row for row in read_table(TABLES / head["table"])}
    rows = []
    for line in lines:
        row = measured.get(line["id"])
        if row is None:
            continue
        value = line["predicted"]
        error = None if value is None or not row.value else value / row.value - 1
        unit = line["unit"]
        rows.append(
            Scored(
                row.id,
                row.quantity,
                row.value,
                value,
                line["low"],
                line["high"],
                unit,
                error,
                line["status"],
                "",
            )
        )
    return head["table"], tuple(rows)


def share(value: float | None) -> str:
    """Return a share as the tables keep it."""
    return "" if value is None else f"{value:.5f}"


def rows_of(about: str, made: str, table: str, summary: dict[str, Summary]) -> Iterator[dict[str, str]]:
    """Give a row for each quantity of which anything was predicted."""
    for quantity, each in summary.items():
        if each.num_scored:
            yield {
                "about": about,
                "made": made,
                "table": table,
                "quantity": quantity,
                "num_rows": str(each.num_rows),
                "num_scored": str(each.num_scored),
                "median": share(each.median_abs_rel_error),
                "p90": share(each.p90_abs_rel_error),
                "max": share(each.max_abs_rel_error),
                "inside": share(each.share_inside),
                "width": share(each.median_width),
            }


def accuracy_rows() -> Rows:
    """Return the errors of every blind round, then of every table as it is predicted now."""
    found: Rows = []
    for path in sorted((TABLES / "blind").glob("*.jsonl")):
        about, _, number = path.stem.rpartition("_")
        if about.startswith("verdicts"):
            continue
        table, rows = blind(path)
        found += rows_of(about, f"blind {number}", table, summarize(rows))
    for about, name in NOW:
        found += rows_of(about, "now", name, summarize(validate_table(TABLES / name)))
    return found


def verdict_rows() -> Rows:
    """Return how many verdicts were right, by kind of case: as they were blind, then as they are now."""
    rounds: dict[str, list[tuple[str, JudgedCase]]] = {}
    for path in sorted((TABLES / "blind").glob("verdicts_*.jsonl")):
        rounds.setdefault(f"blind {path.stem.rpartition('_')[2]}", []).extend(blind_cases(path))
    tables = sorted(TABLES.glob("verdicts*.csv"))
    now = [case for table in tables for case in judge_table(table, answered, None)]
    return [row for made, cases in (*rounds.items(), ("now", now)) for row in counted(made, cases)]


def blind_cases(path: Path) -> list[tuple[str, JudgedCase]]:
    """Return the cases of a stored round with the verdicts that were given then."""
    head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    cases = {case.id: case for case in read_cases(TABLES / head["table"])}
    return [
        (
            cases[line["id"]].kind,
            JudgedCase(line["id"], cases[line["id"]].outcome, line["verdict"], line["status"], ""),
        )
        for line in lines
        if line["id"] in cases
    ]


def counted(made: str, cases: list[tuple[str, JudgedCase]]) -> Rows:
    """Return a row for each kind of case."""
    found = summarize_verdicts(cases)
    return [
        {
            "made": made,
            "kind": kind,
            "num_rows": str(each.num_rows),
            "num_firm": str(each.num_firm),
            "num_right": str(each.num_right),
            "wrong_fits": " ".join(each.wrong_fits),
            "wrong_does_not_fit": " ".join(each.wrong_does_not_fit),
            "num_tight": str(each.num_tight),
            "num_none": str(each.num_none),
        }
        for kind, each in found.items()
    ]


def run_rows() -> Rows:
    """Return the measured runs of serving, a row for each quantity that was scored."""
    found: Rows = []
    for name in RUNS:
        for row in read_table(TABLES / name):
            if row.quantity not in SHOWN or row.confidence != "A":
                continue
            scored = score(row)
            if scored.predicted is not None and (said := described(row)) is not None:
                run = {
                    **said,
                    **figures(scored),
                    "unit": plain(row.unit),
                    "source": row.configuration["source"],
                }
                if run not in found:  # a source may print a run twice
                    found.append(run)
    in_tokens = {setting(run) for run in found if run["quantity"] == "kv_tokens"}
    return [run for run in found if run["quantity"] != "kv_bytes_per_gpu" or setting(run) not in in_tokens]


def setting(run: dict[str, str]) -> tuple[str, ...]:
    """Return what a run is, but for its quantity."""
    return (
        *(run[name] for name in ("model", "engine", "engine_version", "stored", "card")),
        *(run[name] for name in ("tp", "pp", "length", "source")),
    )


def step_rows() -> Rows:
    """Return the measured training steps, one of each setting, the best known first."""
    rows = [(row, cells) for name in STEPS for row, cells in with_cells(TABLES / name)]
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row, cells in sorted(rows, key=lambda each: each[0].confidence):
        if row.quantity not in PEAKS or row.confidence not in "AB" or cells["kind"] != "measured":
            continue
        scored = score(row)
        said = None if scored.predicted is None else stepped(row)
        if said is not None:
            key = tuple(said[name] for name in ("model", "engine", "stored", "card", "tp", "pp"))
            more = {"unit": plain(row.unit).rstrip("?"), "source": cells["source"]}
            found.setdefault(key, {**said, **figures(scored), **more})
    return [*found.values()]


def with_cells(path: Path) -> Iterator[tuple[MeasuredRow, dict[str, str]]]:
    """Give each row with all its cells, those for readers too."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from zip(read_table(path), csv.DictReader(file), strict=True)


def stepped(row: MeasuredRow) -> dict[str, str] | None:
    """Return what a step trained; None where that is no model of the catalogue on a card of it."""
    try:
        asked = training_question(row.configuration, row.quantity)
        job = job_of(asked.model, asked.asked, asked.hardware)
    except (OomlessError, Incomplete):
        return None
    request, mesh = job.request, job.mesh
    if not row.configuration["gpu"] or asked.model.name not in {
        each["model"] for each in facts.table("models_index")
    }:
        return None
    return {
        "model": asked.model.name,
        "engine": request.framework,
        "engine_version": row.configuration["framework_version"].partition(" / ")[0],
        "stored": trained_as(request),
        "card": asked.hardware.card.name,
        "tp": str(mesh.tp),
        "pp": str(mesh.pp),
        "length": str(request.seq_len),
        "quantity": row.quantity,
    }


def figures(scored: Scored) -> dict[str, str]:
    """Return what was measured beside what is predicted."""
    values = {name: getattr(scored, name) or 0.0 for name in ("measured", "predicted", "low", "high")}
    return {name: f"{value:.4g}" if value < 1e4 else f"{value:.6g}" for name, value in values.items()}


def described(row: MeasuredRow) -> dict[str, str] | None:
    """Return what a row ran: model, engine, card and layout by their names here; None: a name is unknown."""
    cells = row.configuration
    rules = engine_of(cells["engine"])
    model = named_model(cells["model"], bool(cells["quant"]))
    if rules is None or model is None:
        return None
    card = plain(cells["gpu"])
    if not rules.file_types:
        try:
            card = question(cells, row.quantity).hardware.card.name
        except (OomlessError, Incomplete):
            return None
    return {
        "model": model,
        "engine": rules.name,
        "engine_version": cells["engine_version"],
        "stored": cells["quant"],
        "card": card,
        "tp": cells["tp"],
        "pp": cells["pp"],
        "length": cells["context_len"],
        "quantity": row.quantity,
    }


def plain(text: str) -> str:
    """Return a text without the remark in brackets at its end."""
    return text.partition(" (")[0]


def text_of(rows: Rows) -> str:
    """Return rows as a table."""
    buffer = StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def tables() -> dict[str, str]:
    """Return the text of each table by its name."""
    return {
        "accuracy": text_of(accuracy_rows()),
        "accuracy_verdicts": text_of(verdict_rows()),
        "measured_runs": text_of([*run_rows(), *step_rows()]),
    }


def main() -> None:
    """Write them."""
    for name, text in tables().items():
        (FACTS / f"{name}.csv").write_text(text, encoding="utf-8")
        print(f"{name}: {len(text.splitlines()) - 1} rows")
    facts.table.cache_clear()


if __name__ == "__main__":
    main()
