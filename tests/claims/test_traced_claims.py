"""The kept numbers behind claims are what their commands print: rows of facts/traced.csv, traced again."""

import json
import shlex

import pytest

from command import call
from oomless import facts
from oomless.claims import claim

ROWS = facts.table("traced")


@pytest.mark.parametrize("name", ["C03", "C06", "C09", "C22"])
def test_a_claim_has_figures_from_traces(name: str) -> None:
    found = claim(name)
    assert found.evidence.verdict != "not settled"
    assert len(found.evidence.figures) >= 4
    assert any(command.startswith("oomless trace ") for command in found.evidence.commands)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=[f"{row['claim']} {row['key']}" for row in ROWS])
def test_a_kept_row_is_what_its_command_prints(row: dict[str, str]) -> None:
    pytest.importorskip("torch")
    answer = call(*shlex.split(row["command"])[1:], "--json")
    assert answer.code == 0, answer.err
    peak = json.loads(answer.out)["peak"]
    assert peak["requested_bytes"] == pytest.approx(int(row["requested_bytes"]), rel=1e-3)
    assert peak["smallest_capacity_bytes"] == pytest.approx(int(row["smallest_capacity_bytes"]), rel=0.02)
