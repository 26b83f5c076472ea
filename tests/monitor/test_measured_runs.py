"""A watched run becomes rows that `validate` predicts as the run was predicted."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from written_runs import MIB, question, sample, start, step, write

from command import call
from oomless import facts
from oomless.api.monitored import show
from oomless.api.training import train
from oomless.api.watched_rows import COLUMNS, measured_rows
from oomless.errors import OomlessError
from oomless.truth.validate import validate_table

ASKED: dict[str, Any] = {
    "config": {**facts.model_config("qwen2.5-0.5b"), "_name_or_path": "Qwen/Qwen2.5-0.5B"},
    "micro_batch": 2,
    "seq_len": 1024,
    "optimizer": "adamw",
    "precision": "bf16",
}
PACKED = {"framework": "peft", "method": "qlora", "lora_rank": 8, "lora_targets": "q_proj,v_proj"}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "loop": {"optimizer": "adamw-loop", "precision": "fp32"},
    "autocast": {"precision": "amp-bf16", "recompute": "full"},
    "two ranks": {"sharding": "ddp", "dp": 2},
    "divided": {"sharding": "fsdp2", "dp": 4},
    "adapters": {"framework": "peft", "method": "lora", "lora_rank": 16, "lora_targets": "k_proj,q_proj"},
    "packed": {**PACKED, "quantization": "nf4"},
    "packed twice": {**PACKED, "quantization": "nf4-dq"},
}


def run_of(folder: Path, asked: dict[str, Any], device: str = "cuda:0") -> Path:
    name = "NVIDIA H100 80GB HBM3" if device != "cpu" else "CPU"
    begun = start()._replace(time=1795699527.0, device=device, device_name=name)
    write(
        folder,
        begun,
        question()._replace(question=asked, predicted=()),
        step(1, reserved_bytes=700 * MIB if device != "cpu" else 0),
        sample(2),
    )
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    return measured_rows(show(folder))


@pytest.mark.parametrize("name", CASES)
def test_a_row_asks_what_the_run_asked(name: str, tmp_path: Path) -> None:
    asked = ASKED | CASES[name]
    rows = rows_of(run_of(tmp_path / "run", asked))
    assert [row["quantity"] for row in rows] == ["model_states", "peak_allocated", "peak_reserved"]
    table = tmp_path / "rows.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    scored = {row.quantity: row for row in validate_table(table)}
    assert {row.status for row in scored.values()} == {"scored"}, scored
    assert scored["peak_allocated"].measured == 600 * MIB
    flags = {key: value for key, value in asked.items() if key != "config"}
    peaks = train("qwen2.5-0.5b", f"h100:{asked.get('dp', 1)}", **flags).peaks
    assert scored["peak_allocated"].predicted == peaks.allocated_bytes
    assert scored["peak_reserved"].predicted == peaks.reserved_bytes


def test_a_host_has_states_and_no_peaks(tmp_path: Path) -> None:
    (row,) = rows_of(run_of(tmp_path / "run", ASKED, "cpu"))
    assert (row["quantity"], row["gpu"], row["value"]) == ("model_states", "", str(100 * MIB))


def test_what_the_table_has_no_word_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(OomlessError, match="no word for optimizer sgd-of-mine"):
        rows_of(run_of(tmp_path / "a", ASKED | {"optimizer": "sgd-of-mine"}))
    with pytest.raises(OomlessError, match="no word for precision that is not known"):
        rows_of(run_of(tmp_path / "b", {**ASKED, "precision": ""}))
    with pytest.raises(OomlessError, match="did not say what it trains"):
        rows_of(write(tmp_path / "c" / "d", start(), step(1), sample(2)).parent)


def test_a_model_that_was_cut_is_not_called_by_its_old_name(tmp_path: Path) -> None:
    """A script that loads a name and drops layers wrote rows of the whole model."""
    cut = {**ASKED["config"], "num_hidden_layers": 4}
    assert rows_of(run_of(tmp_path / "run", ASKED | {"config": cut}))[0]["model"] == "LlamaForCausalLM"


def test_the_command_prints_the_table(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", ASKED)
    done = call("monitor", "show", str(folder), "--row")
    assert done.code == 0, done.err
    assert list(csv.DictReader(io.StringIO(done.out))) == rows_of(folder)
