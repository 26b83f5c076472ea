"""Verdicts beside what happened: budgets that only shrink, and tables of any kind of row.

Each table of cases under tests/tables is a row of verdict_budgets.csv, or one a kind: its budget, why that is
what it is, and the file of tables/blind with the predictions as they were made before any rule saw the cases.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from command import call
from oomless.truth.verdicts import of_its_day, read_cases
from tables.score import TABLES, records

TABLE = TABLES / "verdicts.csv"


class Confusion(NamedTuple):
    """The cases of one kind in a table. The least share of right verdicts among firm ones; the most wrong
    "fits" and wrong "does not fit"; the most cases that are tight or without an answer."""

    table: str
    predictions: str
    """A file of tables/blind; "" where rules were made on the cases."""
    kind: str
    right: float
    wrong_fits: int
    wrong_does_not_fit: int
    tight: int
    none: int
    why: str


def budgets() -> list[Confusion]:
    return [
        Confusion(
            row["table"],
            row["predictions"],
            row["kind"],
            float(row["right"]),
            int(row["wrong_fits"]),
            int(row["wrong_does_not_fit"]),
            int(row["tight"]),
            int(row["none"]),
            row["why"],
        )
        for row in records(Path(__file__).with_name("verdict_budgets.csv"))
    ]


BUDGETS = budgets()
BLIND = {each.predictions: each.table for each in BUDGETS if each.predictions}


@cache
def validated(path: Path) -> dict[str, Any]:
    found = call("validate", str(path), "--json")
    assert found.code == 0, found.err
    document: dict[str, Any] = json.loads(found.out)
    return document


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return validated(TABLE)


SETTLED = {"serve": 36, "train": 24}
"""Rounds before these are slow: together they take a tenth of the time of all tests."""


def is_settled(budget: Confusion) -> bool:
    number = re.search(r"_(\d+)$", budget.predictions)
    return number is not None and int(number[1]) < SETTLED[budget.kind]


@pytest.mark.parametrize(
    "budget",
    [
        pytest.param(each, id=f"{each.table}-{each.kind}", marks=pytest.mark.slow if is_settled(each) else ())
        for each in BUDGETS
    ],
)
def test_verdicts_keep_their_budget(budget: Confusion) -> None:
    found = validated(TABLES / f"{budget.table}.csv")["summary"][budget.kind]
    assert found["num_right"] >= budget.right * found["num_firm"], found
    assert len(found["wrong_fits"]) <= budget.wrong_fits, found
    assert len(found["wrong_does_not_fit"]) <= budget.wrong_does_not_fit, found
    assert found["num_tight"] <= budget.tight, found
    assert found["num_none"] <= budget.none, found


def test_every_blind_round_has_a_budget() -> None:
    """A new one is a row of verdict_budgets.csv, one a kind."""
    assert {path.stem for path in TABLES.glob("blind/verdicts*.jsonl")} == set(BLIND)
    assert len({(each.table, each.kind) for each in BUDGETS}) == len(BUDGETS)


def test_the_counts_add_up(document: dict[str, Any]) -> None:
    assert document["schema"] == "oomless/verdicts/1"
    assert len(document["rows"]) == sum(each["num_rows"] for each in document["summary"].values()) == 99
    for each in document["summary"].values():
        assert each["num_firm"] + each["num_tight"] + each["num_none"] == each["num_rows"]
        wrong = len(each["wrong_fits"]) + len(each["wrong_does_not_fit"])
        assert each["num_right"] + wrong == each["num_firm"]
    for row in document["rows"]:
        assert (row["verdict"] is None) == (row["status"] != "scored") == bool(row["reason"])


def test_a_case_is_asked_as_on_the_command_line(document: dict[str, Any]) -> None:
    cases = {case.id: case.arguments for case in read_cases(TABLE)}
    for row in [row for row in document["rows"] if row["verdict"]][::12]:
        answer = json.loads(call(*cases[row["id"]]).out)
        assert (answer["verdict"], answer["headroom_bytes"]) == (row["verdict"], row["headroom_bytes"])


def test_the_text_names_what_was_wrong(document: dict[str, Any], tmp_path: Path) -> None:
    wrong = {each for found in document["summary"].values() for each in found["wrong_fits"]}
    wrong |= {row["id"] for row in document["rows"] if not row["verdict"]} | {document["rows"][0]["id"]}
    head, *lines = TABLE.read_text(encoding="utf-8").splitlines(keepends=True)
    few = tmp_path / "few.csv"
    few.write_text(
        head + "".join(line for line in lines if line.partition(",")[0] in wrong), encoding="utf-8"
    )
    document, text = validated(few), call("validate", str(few)).out
    assert wrong == {row["id"] for row in document["rows"]}
    for kind, found in document["summary"].items():
        assert (f"{kind}: wrong fits: {', '.join(found['wrong_fits'])}" in text) == bool(found["wrong_fits"])
    for row in document["rows"]:
        assert row["verdict"] or f"{row['id']}: {row['status']}: " in text


@pytest.mark.parametrize("predictions", BLIND)
def test_blind_predictions_name_the_fresh_cases(predictions: str) -> None:
    """As they were made; the wrong ones with a guess of their cause."""
    lines = (TABLES / "blind" / f"{predictions}.jsonl").read_text(encoding="utf-8").splitlines()
    header, *made = map(json.loads, lines)
    happened = {row["id"]: row["outcome"] for row in records(TABLES / f"{BLIND[predictions]}.csv")}
    assert header["num_rows"] == len(made)
    assert [row["id"] for row in made] == list(happened)
    for row in made:
        wrong = (row["verdict"], happened[row["id"]]) in {("fits", "oom"), ("does_not_fit", "ran")}
        assert bool(row.get("hypothesis")) == wrong, row["id"]


@pytest.mark.parametrize(("day", "made_by"), [("2024-01-02", "adamw"), ("2026-08-01", "adamw-fused")])
def test_a_case_of_training_is_of_its_day(tmp_path: Path, day: str, made_by: str) -> None:
    """What somebody met in 2024 is no question about releases of 2026; what the case says itself stays."""
    words = "train qwen2.5-0.5b --gpu h100 --framework transformers"
    table = tmp_path / "cases.csv"
    table.write_text(f"id,date,kind,outcome,args\na,{day},train,ran,{words}\n", encoding="utf-8")
    (case,) = read_cases(table)
    assert json.loads(call(*case.arguments, "--json").out)["request"]["optimizer"] == made_by
    said = (*words.split(), "--framework-version", "transformers 4.48")
    assert of_its_day(said, day)[-1].endswith("transformers 4.48")


def test_a_case_before_fused_attention_keeps_its_scores(tmp_path: Path) -> None:
    """transformers has sdpa from 4.36 on; what ran in October 2023 kept eager scores (FastChat 2556)."""
    table = tmp_path / "cases.csv"
    words = "train vicuna-7b-v1.5 --gpu v100-32gb --framework peft --method lora --recompute none"
    table.write_text(f"id,date,kind,outcome,args\na,2023-10-13,train,oom,{words}\n", encoding="utf-8")
    (case,) = read_cases(table)
    assert json.loads(call(*case.arguments, "--json").out)["request"]["attention"] == "eager"


@pytest.mark.parametrize("framework", ["nobody", "torchtune"])
def test_what_has_no_releases_is_asked_as_it_stands(framework: str) -> None:
    asked = ("train", "qwen3-8b", "--framework", framework)
    assert of_its_day(asked, "2024-01-02") == asked


BAD = {
    "of a kind that is not known": "speed,ran,infer deepseek-v2-lite --gpu h100",
    "with an outcome that is none": "serve,maybe,infer deepseek-v2-lite --gpu h100",
    "that asks another command": "serve,ran,models",
    "that asks for training under serve": "serve,ran,train deepseek-v2-lite --gpu h100",
    "that writes a file": "serve,ran,infer deepseek-v2-lite --gpu h100 --plot=FILE",
    "with an open quotation mark": "serve,ran,infer 'deepseek",
    "with too few cells": "serve,ran",
    "without anything": ",,",
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_loses_no_table(tmp_path: Path, what: str) -> None:
    table, file = tmp_path / "cases.csv", tmp_path / "plot.svg"
    good = "good,serve,ran,infer deepseek-v2-lite --gpu h100\n"
    table.write_text(f"id,kind,outcome,args\n{good}bad,{BAD[what]}\n".replace("FILE", str(file)))
    rows = validated(table)["rows"]
    assert [row["status"] for row in rows] == ["scored", "unreadable"]
    assert rows[1]["verdict"] is None
    assert "line 3" in rows[1]["reason"]
    assert not file.exists()


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    asked = ("--gpu h999", "--gpu h100 --kv-cache-dtype nvfp4")
    lines = [f"{number},serve,ran,infer deepseek-v2-lite {words}" for number, words in enumerate(asked)]
    table.write_text("\n".join(["id,kind,outcome,args", *lines]))
    rows = validated(table)["rows"]
    assert [row["status"] for row in rows] == ["incomplete", "unsupported"]
    assert "h999" in rows[0]["reason"]
    assert "does not run" in rows[1]["reason"]
