"""The guide's numbers: all are listed, some are settled, and what stands behind each can be run again."""

import json
import shlex
from importlib.util import find_spec

import pytest
from _pytest.mark import ParameterSet

from command import call
from oomless import facts
from oomless.claims import (
    claim,
    claims,
    comparisons,
    compressed,
    compressing,
    money,
    parallel,
    serving,
    speed,
    training,
)

SETTLED = tuple("C01 C02 C03 C04 C06 C07 C08 C09 C10 C12 C13 C14 C20 C21 C28 C29 C33 C35 C17 C36".split())
VERDICTS = ("holds", "depends", "does not hold", "not settled")


def test_all_claims_of_the_guide_are_listed_in_order() -> None:
    found = claims()
    assert [each.id for each in found] == [f"C{number:02}" for number in range(1, 37)]
    assert [each.statement for each in found] == [row["claim"] for row in facts.table("guide_claims")]
    assert {each.evidence.verdict for each in found} <= set(VERDICTS)


def test_the_list_has_a_line_a_claim() -> None:
    lines = call("claims").out.splitlines()
    assert [line.split()[0] for line in lines] == [each.id for each in claims()]


@pytest.mark.parametrize("name", SETTLED)
def test_a_settled_claim_has_verdict_figures_and_commands(name: str) -> None:
    found = claim(name)
    assert found.evidence.verdict != "not settled"
    assert found.evidence.because
    assert found.evidence.figures
    assert found.evidence.commands


def commands() -> list[ParameterSet]:
    """The command behind each claim; those that run a model without memory, or train small ones, need torch
    and half a minute or more."""
    needs = {
        "oomless trace": (pytest.mark.torch, pytest.mark.slow),
        "oomless compress --compare": (pytest.mark.torch, pytest.mark.slow),
        "oomless compress": (pytest.mark.torch,),
    }
    every = [command for each in claims() for command in each.evidence.commands]
    marks = [next((needs[each] for each in needs if command.startswith(each)), ()) for command in every]
    return [pytest.param(command, marks=mark) for command, mark in zip(every, marks, strict=True)]


@pytest.mark.parametrize("command", commands())
def test_the_command_behind_a_claim_runs(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "python":  # a benchmark of this repository: its run is that of `make bench`
        flag, module = words[:2]
        assert flag == "-m"
        assert find_spec(module) is not None
        return
    assert program == "oomless"
    answer = call(*words)
    assert answer.code in (0, 3), answer.err
    assert answer.out


def test_all_claims_are_settled() -> None:
    assert [each.id for each in claims() if each.evidence.verdict == "not settled"] == []
    assert [each.id for each in claims() if not each.evidence.figures or not each.evidence.because] == []


@pytest.mark.parametrize("name", SETTLED)
def test_one_claim_is_shown_with_its_numbers(name: str) -> None:
    found, shown = claim(name), call("claims", name.lower()).out
    assert found.statement in shown
    assert found.evidence.verdict in shown
    assert all(figure.what in shown for figure in found.evidence.figures)
    assert all(command in shown for command in found.evidence.commands)


def test_json_holds_what_the_text_holds() -> None:
    document = json.loads(call("claims", "--json").out)
    assert document["schema"] == "oomless/claims/1"
    assert [row["id"] for row in document["claims"]] == [each.id for each in claims()]
    (one,) = json.loads(call("claims", "C02", "--json").out)["claims"]
    assert one["evidence"]["figures"] == [figure._asdict() for figure in claim("C02").evidence.figures]


def figures(name: str) -> dict[tuple[str, str], float]:
    return {(figure.what, figure.unit): figure.value for figure in claim(name).evidence.figures}


def test_1_3b_takes_2_69_gb() -> None:
    found = figures("C01")
    assert found["parameters of deepseek-coder-1.3b", ""] == 1_346_471_936
    assert found["checkpoint", "GB"] == pytest.approx(2.692943872)
    assert found["checkpoint", "GiB"] == pytest.approx(2_692_943_872 / 2**30)


def test_13b_takes_26_gb_and_24_gib() -> None:
    found = figures("C02")
    assert found["weights in 16 bit", "GB"] == pytest.approx(26.04, abs=0.005)
    assert found["weights in 16 bit", "GiB"] == pytest.approx(24.25, abs=0.005)


def test_fp8_halves_the_weights_and_saves_ever_less_in_all() -> None:
    found = [value for (what, _), value in figures("C07").items() if "saving" in what]
    weights, *in_all = found
    assert 40 < weights <= 50
    assert in_all == sorted(in_all, reverse=True)
    assert in_all[0] < weights


def test_24_gib_are_less_than_serving_13b_takes() -> None:
    weights, in_all, *_ = figures("C13").values()
    assert 24.2 < weights < in_all


def test_a_measured_claim_names_what_measured_it() -> None:
    """Help says nothing of a measurement: a figure that was measured names the run that gives it again."""
    names = "C05 C11 C14 C16 C17 C23 C24 C30 C31 C32 C34".split()
    shown = {name: claim(name).evidence.commands for name in names}
    assert [name for name, each in shown.items() if all(command.endswith("--help") for command in each)] == []
    assert not any("compress --help" in command for each in shown.values() for command in each)


def test_every_claim_is_settled_in_one_place() -> None:
    """A module that adds to another's evidence calls it; what hides another's entry calls it too."""
    rooms = (comparisons, compressed, money, parallel, serving, speed, training)
    names = [name for room in rooms for name in room.SETTLERS]
    beside = [name for name in compressing.SETTLERS if name in names]
    assert sorted(beside) == ["C05", "C11", "C30"], "bytes and prices with measured quality beside them"
    assert len(names) == len(set(names))
