"""An address is answered with the bytes of the command line, and a wrong one with its error."""

import json

import pytest
from web_questions import drawn, pairs_of

from command import call
from oomless.facts.options import Option
from oomless.run.options import TABLES
from oomless.web.openapi import openapi
from oomless.web.question import ASKED, COMMANDS, names_of, reply, table_of
from oomless.web.sent import NAMES


def same(words: list[str]) -> None:
    """The command line and an address say the same, whether it is an answer or an error."""
    printed = call(*words, "--json")
    found = reply(words[0], pairs_of(words))
    if printed.out:
        assert (found.status, found.content.decode()) == (200, printed.out), words
    else:
        assert found.status in (400, 422, 424), words
        assert json.loads(found.content) == json.loads(printed.err), words


@pytest.mark.parametrize("part", range(6))
def test_the_same_bytes_as_the_command_line(part: int) -> None:
    for words in drawn(20, f"web {part}"):
        same(words)


@pytest.mark.parametrize(
    "words",
    [
        ["infer", "deepseek-r1", "--gpu", "h20:8", "--engine", "trt"],
        ["infer", "deepseek-r1", "--gpu", "h20:8", "--tp", "eight"],
        ["infer", "deepseek-r1", "--gpu", "h20:8", "--max-model-len", "auto"],
        ["infer", "deepseek-r2", "--gpu", "h20:8"],
        ["infer", "deepseek-r1"],
        ["infer", "deepseek-r1", "--gpu", "h20:8", "--speculative-config", "mtp"],
        ["infer", "--command", "vllm serve deepseek-ai/DeepSeek-R1 -tp 8", "--gpu", "h200:8"],
        ["speed", "deepseek-r1", "--gpu", "h200:8", "--requests", "5"],
        ["train", "deepseek-v2-lite", "--gpu", "a100-80gb", "--offload", "params,optimizer"],
        ["plan", "deepseek-r1", "--gpu", "h200", "--gpu", "b200", "--fastest", "--disaggregate"],
        ["plan", "--largest-model", "--gpu", "rtx-4090:2"],
        ["plan", "deepseek-r1", "--for", "train", "--longest-context"],
        ["cost"],
        ["cost", "--gpu", "h100:8", "--list-prices"],
    ],
    ids=" ".join,
)
def test_what_people_mistype_and_mean(words: list[str]) -> None:
    same(words)


@pytest.mark.parametrize("command", ["models", "gpus", "engines", "claims", "accuracy"])
def test_lists_are_those_of_the_command_line(command: str) -> None:
    assert reply(command, []).content.decode() == call(command, "--json").out


def test_a_pattern_and_a_number_choose_from_lists() -> None:
    assert reply("models", [("pattern", "v3.2")]).content.decode() == call("models", "v3.2", "--json").out
    assert reply("claims", [("id", "c7")]).content.decode() == call("claims", "c7", "--json").out
    assert reply("gpus", [("pattern", "zz")]).status == 400


FILES = [
    ("infer", [("model", "/etc/passwd"), ("gpu", "h200")], "model"),
    ("infer", [("model", "./config.json"), ("gpu", "h200")], "model"),
    ("infer", [("command", "vllm serve /etc/passwd"), ("gpu", "h200")], "model"),
    ("infer", [("from", "answer.json")], "from"),
    ("speed", [("model", "deepseek-r1"), ("gpu", "h200:8"), ("workload", "w.csv")], "workload"),
    ("train", [("megatron-args", "run.sh")], "megatron-args"),
    ("train", [("model", "qwen3-8b"), ("gpu", "h100"), ("reward-model", "~/x")], "reward_model"),
    ("plan", [("model", "deepseek-r1"), ("prices", "me=/etc/passwd")], "prices"),
    ("cost", [("gpu", "h100"), ("prices", "gpuhunt")], "prices"),
]


@pytest.mark.parametrize(("command", "pairs", "field"), FILES, ids=[str(each[1][0]) for each in FILES])
def test_no_file_of_this_machine_is_read(command: str, pairs: list[tuple[str, str]], field: str) -> None:
    found = reply(command, pairs)
    error = json.loads(found.content)["error"]
    assert (found.status, error["field"]) == (400, field), error
    assert "POST" in error["hint"]


@pytest.mark.parametrize(
    "pairs",
    [
        [("model", "deepseek-r1"), ("gpu", "h200:8"), ("plot", "x.svg")],
        [("model", "deepseek-r1"), ("gpu", "h200:8"), ("json", "")],
        [("model", "deepseek-r1"), ("model", "deepseek-v3"), ("gpu", "h200:8")],
        [("model", "deepseek-r1"), ("gpu", "h200:8"), ("tp", "8"), ("tensor-parallel-size", "8")],
        [("model", "deepseek-r1"), ("gpu", "h200:8"), ("tp", "")],
        [("model", ""), ("gpu", "h200:8")],
        [("model", "deepseek-r1"), ("gpu", "h200:8"), ("nonsense", "1")],
    ],
)
def test_a_wrong_address_is_an_error_with_a_hint(pairs: list[tuple[str, str]]) -> None:
    found = reply("infer", pairs)
    error = json.loads(found.content)["error"]
    assert (found.status, error["code"]) == (400, 2)
    assert error["message"]
    assert error["hint"]


def test_every_table_has_an_address() -> None:
    assert set(TABLES) - set(ASKED) == {"trace"}


def test_openapi_lists_what_is_read() -> None:
    paths = openapi()["paths"]
    assert set(paths) == {f"/api/{command}" for command in COMMANDS}
    for command in COMMANDS:
        for operation in paths[f"/api/{command}"].values():
            names = [each["name"] for each in operation["parameters"]]
            assert len(set(names)) == len(names)
            known = {*names_of(command), "model", *NAMES}
            assert set(names) <= known
            assert {option.field for option in table_of(command)} <= {
                field_of(command, name) for name in names
            }


def field_of(command: str, name: str) -> str:
    option: Option | None = names_of(command).get(name)
    return option.field if option else name


def test_what_may_be_empty_is_said_so() -> None:
    """An empty pattern lists everything; the text of the interface said that it is refused."""
    (pattern,) = openapi()["paths"]["/api/gpus"]["get"]["parameters"]
    assert "minLength" not in pattern["schema"]
    assert reply("gpus", [("pattern", "")]).status == 200
