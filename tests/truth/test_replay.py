"""`validate --replay`: the command behind a row asks what the row is predicted by."""

import json
import shlex
from pathlib import Path

import pytest

from command import call
from oomless.errors import OomlessError
from oomless.estimate.training.estimate import estimate_training
from oomless.truth.replay import command_of
from oomless.truth.tables import Incomplete, MeasuredRow, read_table
from oomless.truth.training_rows import question as training_question

TABLES = Path(__file__).parent.parent / "tables"


def with_commands(table: str, every: int) -> list[MeasuredRow]:
    """Return rows of a table that have a command, each of another question."""
    found: dict[str, MeasuredRow] = {}
    for row in read_table(TABLES / table):
        try:
            found.setdefault(command_of(row), row)
        except (OomlessError, Incomplete):
            continue
    return list(found.values())[::every]


def asked(row: MeasuredRow) -> dict[str, object]:
    """Return the answer to the command behind a row."""
    _, *words = shlex.split(command_of(row))
    answer: dict[str, object] = json.loads(call(*words, "--json").out)
    return answer


@pytest.mark.parametrize("row", with_commands("training_fresh.csv", 9), ids=lambda row: row.id)
def test_a_row_of_training_is_asked_as_it_is_predicted(row: MeasuredRow) -> None:
    of = training_question(row.configuration, row.quantity)
    groups = estimate_training(of.model, of.asked, of.hardware).groups
    expected = [[line.bytes for line in each.ledger.lines] for each in groups]
    assert [[line["bytes"] for line in each["lines"]] for each in asked(row)["ranks"]] == expected  # type: ignore[attr-defined]


def test_a_case_is_a_command_with_the_releases_of_its_day() -> None:
    found = call("validate", str(TABLES / "verdicts.csv"), "--replay", "v-160")
    assert found.out.startswith("oomless train deepseek-coder-33b --gpu a800:8 --framework deepspeed ")
    assert "--framework-version 'deepspeed 0.12.0'" in found.out
    assert "--json" not in found.out


def test_what_no_command_asks_is_said() -> None:
    unknown = call("validate", str(TABLES / "verdicts.csv"), "--replay", "v-16")
    assert (unknown.code, "has no row" in unknown.err, "did you mean" in unknown.err) == (2, True, True)
    speed = call("validate", str(TABLES / "perf.csv"), "--replay", read_table(TABLES / "perf.csv")[0].id)
    assert (speed.code, "no command asks them" in speed.err) == (4, True)
