"""guide: compress, fit, monitor, reconcile for a model on cards, as commands that exist and run."""

import json
import shlex

import click
import pytest

import oomless
from command import call
from oomless.cli.app import app

QUESTIONS = (
    ("deepseek-r1", "--gpu", "h200:8"),
    ("deepseek-r1-distill-qwen-32b", "--gpu", "rtx-4090:2", "--context", "16384", "--concurrency", "4"),
    ("qwen3-30b-a3b", "--gpu", "rtx-4090:1", "--engine", "llamacpp"),
    ("deepseek-v3.2", "--gpu", "h200:8", "--engine", "sglang", "--concurrency", "32"),
)
RUN = ("tune", "infer", "speed", "plan")
"""Commands that answer without files, cards or a running server."""


def steps(*words: str) -> dict[str, dict[str, object]]:
    found = call("guide", *words, "--json")
    assert found.code == 0, found.err
    return {step["name"]: step for step in json.loads(found.out)["steps"]}


@pytest.mark.parametrize("words", QUESTIONS, ids=lambda words: words[0])
def test_every_command_exists_and_takes_its_options(words: tuple[str, ...]) -> None:
    found = steps(*words)
    assert list(found) == ["compress", "fit", "monitor", "reconcile"]
    for step in found.values():
        for line in step["commands"]:  # type: ignore[attr-defined]  # a list of texts
            asked = shlex.split(line.partition(" -- ")[0].partition(" 2>")[0])
            if asked[0] != "oomless":
                assert asked[:2] == ["hf", "download"]
                continue
            known = app.get_command(click.Context(app), asked[1])
            assert known is not None, line
            names = {name for param in known.params for name in param.opts}
            assert {word for word in asked if word.startswith("--")} <= names, line
            assert call(asked[1], "--help").code == 0
            if asked[1] in RUN:
                assert call(*asked[1:]).code == 0, line


@pytest.mark.parametrize("words", QUESTIONS, ids=lambda words: words[0])
def test_its_numbers_are_those_of_the_commands(words: tuple[str, ...]) -> None:
    fit = steps(*words)["fit"]
    asked = [shlex.split(line)[1:] for line in fit["commands"]]  # type: ignore[attr-defined]  # a list of texts
    numbers = fit["numbers"]
    assert isinstance(numbers, dict)
    inferred = next(json.loads(call(*each, "--json").out) for each in asked if each[0] == "infer")
    served = next(json.loads(call(*each, "--json").out) for each in asked if each[0] == "speed")
    for name in ("verdict", "starts", "at_once", "headroom_bytes"):
        assert inferred[name] == numbers[name]
    assert served["tokens_per_s"] == numbers["tokens_per_s"]


def test_what_must_be_compressed_is_compressed_and_the_rest_is_not() -> None:
    whole = steps("deepseek-r1", "--gpu", "h200:8")["compress"]
    assert whole["commands"] == []
    assert "nothing has to be compressed" in whole["says"]  # type: ignore[operator]  # a list of texts
    small = steps("deepseek-r1-distill-qwen-32b", "--gpu", "rtx-4090:2", "--context", "16384")["compress"]
    assert [line.split()[:2] for line in small["commands"]] == [  # type: ignore[attr-defined]  # a list of texts
        ["hf", "download"],
        ["oomless", "compress"],
    ]


def test_of_two_forms_on_the_host_the_faster_one_is_taken() -> None:
    found = steps("qwen3-235b-a22b", "--gpu", "rtx-3090", "--engine", "llamacpp")["compress"]
    assert "take or make a file in q4_k_m" in found["says"]  # type: ignore[operator]  # a list of texts


def test_the_engine_is_the_one_that_holds_it_on_the_card() -> None:
    words = ("qwen3-8b", "--gpu", "rtx-4060")
    found = steps(*words)
    assert found["fit"]["numbers"]["verdict"] == "fits"  # type: ignore[index]  # figures by name
    assert [each["engine"] for each in found["compress"]["numbers"]["forms"]] == [  # type: ignore[index]  # forms
        *(["vllm"] * 3),
        *(["llamacpp"] * 2),
    ]
    planned = json.loads(call("plan", *words, "--context", "8192", "--json").out)["rows"][0]
    assert f"--engine {planned['engine']} " in str(found["fit"]["commands"])
    named = steps(*words, "--engine", "vllm")
    assert "--engine vllm" in str(named["fit"]["commands"])


def test_where_nothing_starts_other_cards_are_named_and_the_code_is_three() -> None:
    found = call("guide", "deepseek-r1", "--gpu", "t4:1", "--engine", "vllm")
    assert found.code == 3
    assert "oomless plan deepseek-r1" in found.out
    assert "fits with --gpu" in found.out


def test_python_has_the_same() -> None:
    answer = oomless.guide("deepseek-r1", "h200:8", context=16384)
    words = ("guide", "deepseek-r1", "--gpu", "h200:8", "--context", "16384", "--json")
    assert json.loads(call(*words).out) == answer.to_json()
    assert repr(answer).startswith("deepseek-r1 on h200:8")
