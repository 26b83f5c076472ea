"""Bad questions about hardware and money: which flag, what to do, the right code, before anything is searched
or written."""

from pathlib import Path

import pytest

from command import run

BAD = {
    "cache type": (
        ["plan", "deepseek-v2-lite", "--gpu", "h100:8", "--kv-cache-dtype", "fp7"],
        2,
        "'fp7' is not known to any engine",
    ),
    "region of a plan": (
        ["plan", "deepseek-v2-lite", "--gpu", "h100:8", "--region", "mars-1"],
        2,
        "unknown region 'mars-1'",
    ),
    "region of a rent": (["cost", "--gpu", "h100:8", "--region", "mars-1"], 2, "unknown region 'mars-1'"),
    "form of weights": (
        ["plan", "deepseek-v2-lite", "--gpu", "h100:8", "--quantization", "q17"],
        2,
        "known are",
    ),
    "rate beyond all machines": (
        ["plan", "deepseek-v2-lite", "--gpu", "h100", "--min-tokens-per-s", "1e30"],
        2,
        "at most",
    ),
    "batch beyond all machines": (
        ["plan", "deepseek-v2-lite", "--for", "train", "--global-batch", "9" * 12],
        2,
        "between 1 and",
    ),
    "price of the cards": (["cost", "--gpu", "h100:8", "--buy-usd", "-5"], 2, "--buy-usd is -5"),
    "rent": (["cost", "--gpu", "h100:8", "--rent-usd-per-hour", "-1"], 2, "--rent-usd-per-hour is -1"),
    "resale": (["cost", "--gpu", "h100:8", "--resale", "-1"], 2, "--resale is -1"),
    "rent and region": (
        ["cost", "--gpu", "h100:8", "--rent-usd-per-hour", "5", "--region", "us-east-1"],
        2,
        "and --region contradict",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_question_is_answered(case: str) -> None:
    words, code, text = BAD[case]
    answer = run(*words)
    assert answer.code == code, answer.err
    assert text in answer.err
    assert not answer.out
    assert len(answer.err.splitlines()) == 2


@pytest.mark.parametrize("command", [["plan", "deepseek-r1"], ["trace", "deepseek-v3"]])
@pytest.mark.parametrize("place", ["picture.png", "missing/picture.svg"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    command: list[str], place: str, tmp_path: Path
) -> None:
    """These answers take seconds or minutes: what is to hold them is looked at first."""
    answer = run(*command, "--plot", str(tmp_path / place))
    assert answer.code == (2 if place.endswith(".png") else 1), answer.err
    assert place in answer.err
    assert not answer.out


def test_a_full_folder_for_launch_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    answer = run("plan", "deepseek-v2-lite", "--gpu", "h100", "--write", str(tmp_path))
    assert answer.code == 2
    assert "not empty" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_several_engines_on_a_card_are_started_with_their_share() -> None:
    """A plan of two copies on a card died of the first engine without a flag for it; vLLM's takes half of
    what one would."""
    answer = run("plan", "deepseek-v2-lite", "--gpu", "h100:1", "--instances", "2", "--context", "2048")
    assert answer.code == 0, answer.err
    vllm = run(
        "plan",
        "deepseek-v2-lite",
        "--gpu",
        "h100:1",
        "--instances",
        "2",
        "--context",
        "2048",
        "--engine",
        "vllm",
    )
    assert vllm.code == 0, vllm.err
    assert "--gpu-memory-utilization 0.46" in vllm.out
    other = run(
        "plan",
        "deepseek-v2-lite",
        "--gpu",
        "h100:1",
        "--instances",
        "2",
        "--context",
        "2048",
        "--engine",
        "sglang",
    )
    assert other.code == 3
    assert "several copies" in other.out


def test_a_cache_type_that_llama_does_not_take_by_this_flag_leaves_it_out() -> None:
    """--kv-cache-dtype fp8 came back with llama.cpp's f16 cache."""
    answer = run(
        "plan", "deepseek-v2-lite", "--gpu", "h100:1", "--kv-cache-dtype", "fp8", "--context", "2048"
    )
    assert answer.code == 0, answer.err
    assert "llama-server" not in answer.out
    assert "f16/f16" not in answer.out


WORKLOAD = "arrival_s,prompt_tokens,output_tokens\n"
PRICES = "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\n"
FILES = {
    "a row with too many cells": (
        ["speed", "deepseek-v2-lite", "--gpu", "h200", "--workload"],
        WORKLOAD + "1,2,3,4\n",
        "line 2 has 4 cells",
    ),
    "a price below nothing": (
        ["cost", "--gpu", "h100:8", "--prices"],
        PRICES + "a,H100,8,-5,,us\n",
        "no price is left",
    ),
    "a price beyond all": (
        ["cost", "--gpu", "h100:8", "--prices"],
        PRICES + "a,H100,8,1e300,,us\n",
        "no price is left",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_explained(case: str, tmp_path: Path) -> None:
    words, content, text = FILES[case]
    path = tmp_path / "table.csv"
    path.write_text(content)
    answer = run(*words, str(path))
    assert answer.code == 1, answer.err
    assert text in answer.err
    assert "internal error" not in answer.err
    assert not answer.out


def test_long_names_are_not_echoed_whole() -> None:
    for words in (("infer", "x" * 50_000, "--gpu", "h200"), ("infer", "deepseek-v3", "--gpu", "h" * 50_000)):
        answer = run(*words)
        assert answer.code == 2
        assert len(answer.err) < 1000
