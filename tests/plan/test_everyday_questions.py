"""Thirty questions that people ask of a plan: its first row is known to run, and of cards that nobody named
no unmeasured one stands before a measured one."""

import json

import pytest

from command import call

QUESTIONS = (
    "deepseek-r1",
    "deepseek-r1 --context 32768 --concurrency 64",
    "deepseek-v3.2 --context 65536 --concurrency 32",
    "deepseek-v4-flash --context 32768 --concurrency 16",
    "deepseek-v4-pro --context 32768 --concurrency 8",
    "deepseek-v4-pro --vendor AMD --context 32768",
    "deepseek-v4-flash --vendor AMD --engine sglang",
    "deepseek-v4.1-flash --context 16384",
    "deepseek-ocr --context 8192 --concurrency 32",
    "deepseek-v2-lite --context 32768 --concurrency 8",
    "deepseek-coder-33b --context 16384",
    "deepseek-r1 --fastest --context 16384 --concurrency 16",
    "deepseek-r1 --fewest --context 16384",
    "deepseek-r1 --engine sglang --context 32768 --concurrency 32",
    "deepseek-r1 --engine trtllm --context 16384",
    "deepseek-r1-distill-qwen-32b --context 16384 --concurrency 8",
    "deepseek-r1-distill-qwen-7b --gpu rtx-4090 --context 16384",
    "deepseek-r1 --gpu a100-80gb --context 16384 --concurrency 8",
    "deepseek-v3.2 --gpu a100-80gb --gpu h200 --context 16384",
    "deepseek-v4-flash --gpu h20 --gpu h200 --context 32768",
    "deepseek-r1 --vendor Huawei --context 16384",
    "qwen3-8b --context 32768 --concurrency 4",
    "qwen3-235b-a22b --context 32768 --concurrency 16",
    "qwen3-coder-next --context 65536 --concurrency 4",
    "qwen3.5-27b --context 32768",
    "gpt-oss-120b --context 32768 --concurrency 16",
    "gpt-oss-20b --vendor NVIDIA --context 16384",
    "llama-3.3-70b --context 32768 --concurrency 32",
    "glm-5 --context 65536 --concurrency 16",
    "kimi-k2-instruct --context 32768 --concurrency 32",
)


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(question, marks=[pytest.mark.slow] if number % 3 else [])
        for number, question in enumerate(QUESTIONS)
    ],
)
def test_the_first_row_is_known_to_run(question: str) -> None:
    found = call("plan", *question.split(), "--rows", "40", "--json")
    assert found.code in (0, 3, 4), found.err
    rows = json.loads(found.out)["rows"] if found.out else []
    known = [row["support"] == "runs" for row in rows]
    assert known == sorted(known, reverse=True)
    named = "--gpu" in question
    if rows and not named:
        order = [(not known[n], row["verdict"] != "fits", not is_measured(row)) for n, row in enumerate(rows)]
        assert order == sorted(order)


def is_measured(row: dict[str, dict[str, str] | None]) -> bool:
    speed = row["tokens_per_s"]
    return speed is not None and speed["kind"] == "fitted"
