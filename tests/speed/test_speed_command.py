"""`oomless speed`, as scripts meet it."""

import json

import pytest

from command import call

ASKED = ("speed", "deepseek-v2-lite", "--gpu", "a100-80gb", "--max-model-len", "4096")


def test_json_of_a_steady_load() -> None:
    answer = call(*ASKED, "--input-len", "1000", "--output-len", "100", "--concurrency", "8", "--json")
    assert answer.code == 0
    document = json.loads(answer.out)
    assert document["schema"] == "oomless/speed/1"
    for name in ("ttft_s", "tpot_s", "tokens_per_s"):
        assert document[name]["low"] <= document[name]["value"] <= document[name]["high"]
    assert {part["what"] for part in document["decode"]} >= {"weights", "kernels"}


def test_json_of_a_workload(tmp_path: "object") -> None:
    answer = call(*ASKED, "--arrival-rate", "2", "--requests", "50", "--json")
    assert answer.code == 0
    document = json.loads(answer.out)
    assert document["schema"] == "oomless/workload/1"
    assert document["num_requests"] == 50
    assert [each["what"] for each in document["spreads"]] == [
        "waiting for a place",
        "first token",
        "between tokens",
        "whole request",
    ]
    assert document["slices"]
    assert document["steady"]["saturated"] is False


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (("--input-len", "0"), 2, "--input-len"),
        (("--concurrency", "0"), 2, "concurrency"),
        (("--seed", "3"), 2, "simulation"),
        (("--arrival-rate", "-1"), 2, "--arrival-rate"),
        (("--arrival-rate", "1", "--concurrency", "4"), 2, "--concurrency"),
        (("--arrival-rate", "1", "--workload", "x.csv"), 2, "--workload"),
        (("--workload", "nowhere.csv"), 1, "nowhere.csv"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], code: int, word: str) -> None:
    answer = call(*ASKED, *words)
    assert (answer.code, answer.out) == (code, "")
    assert word in answer.err


def test_a_workload_with_negative_times_is_refused(tmp_path: "object") -> None:
    path = f"{tmp_path}/w.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("arrival_s,prompt_tokens,output_tokens\n-3,10,10\n")
    answer = call(*ASKED, "--workload", path)
    assert (answer.code, answer.out) == (1, "")
    assert "line 2" in answer.err


def test_a_card_of_unknown_speed_gets_a_bound_or_is_refused() -> None:
    bound = json.loads(
        call("speed", "deepseek-v2-lite", "--gpu", "gaudi-3", "--engine", "vllm-hpu", "--json").out
    )
    assert bound["tpot_s"]["kind"] == "bound"
    assert bound["tpot_s"]["value"] == bound["tpot_s"]["low"]
    refused = call("speed", "deepseek-v2-lite", "--gpu", "80GiB")
    assert (refused.code, refused.out) == (4, "")
    assert "bandwidth" in refused.err


PASTED = "vllm serve deepseek-ai/DeepSeek-V2-Lite --max-model-len 4096 --enforce-eager --port 1 --no-such 1"
LOAD = ("--input-len", "1000", "--output-len", "100")


def test_a_pasted_command_is_read_as_infer_reads_it() -> None:
    """It stood behind `infer --command` alone; a workload left out what is said of the question."""
    asked = (*LOAD, "--gpu", "a100-80gb", "--json")
    typed = call("speed", "deepseek-v2-lite", "--max-model-len", "4096", "--enforce-eager", *asked)
    wanted, found = (json.loads(each.out) for each in (typed, call("speed", "--command", PASTED, *asked)))
    for name in ("ttft_s", "tpot_s", "tokens_per_s", "decode", "layout", "headroom_bytes"):
        assert found[name] == wanted[name]
    said = "flags not known, which may change memory: --no-such 1"
    served = json.loads(
        call("speed", "--command", PASTED, *asked, "--arrival-rate", "2", "--requests", "9").out
    )
    infer = json.loads(call("infer", "--command", PASTED, "--gpu", "a100-80gb", "--json").out)
    for document in (found, served, infer):
        assert said in document["warnings"]
        assert any(each.startswith("flags that do not touch memory") for each in document["warnings"])


def test_a_load_over_all_cards_is_divided_by_copies_of_a_pasted_command() -> None:
    command = "python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-V2-Lite --tp 2"
    asked = ("speed", "--gpu", "h100:8", "--command", command, *LOAD, "--json")
    assert json.loads(call(*asked).out)["replicas"] == 1
    assert json.loads(call(*asked, "--concurrency", "16").out)["replicas"] == 4


def test_a_command_that_starts_no_engine_is_refused() -> None:
    answer = call("speed", "--command", "python train.py", "--gpu", "h100")
    assert (answer.code, answer.out) == (2, "")
    assert "starts no engine" in answer.err


def test_columns_of_a_prompt_read_in_steps_are_as_wide_as_their_words() -> None:
    """The heading stood in the first column, which it widened."""
    lines = call("speed", "qwen3-8b", "--gpu", "h100", "--input-len", "20000").out.splitlines()
    first = lines[lines.index("one prompt, read in 3 steps") + 1]
    assert first.startswith("  weights ")
    assert first.index("ms") < 28
