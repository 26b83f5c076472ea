"""Law: infer, speed and plan give one answer to one question: verdict, start, sequences at once, room and
layout.

`--concurrency` is over all cards in each of them. Questions are drawn by a seed: models, cards, engines,
layouts and loads that people ask about.
"""

from random import Random
from typing import Any

import pytest

from command import call
from oomless.api.serving import infer
from oomless.api.speed import speed
from oomless.engines import engine
from oomless.errors import OomlessError, UnsupportedError, UsageError
from oomless.plan.request import plan

MODELS = (
    "deepseek-r1 deepseek-v2-lite deepseek-v3.2 deepseek-v4-flash deepseek-r1-distill-qwen-7b "
    "deepseek-r1-distill-llama-70b qwen3-30b-a3b qwen3-8b gpt-oss-20b llama-3.1-8b mixtral-8x7b"
).split()
CARDS = "h200:8 h100:8 h100:2 a100-80gb:4 l40s:8 rtx-4090:1 b200:8 h20:16 mi300x:8".split()
ENGINES = "vllm vllm vllm sglang sglang trtllm llamacpp".split()
LENGTHS = ((1024, 256), (2000, 500), (8192, 1024), (28672, 4096), (60000, 4000))
LAYOUTS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"tp": 1},
    {"tp": 2},
    {"tp": 8},
    {"tp": 2, "pp": 2},
    {"tp": 1, "dp": 8, "enable_expert_parallel": True},
)


def drawn(seed: int) -> tuple[str, str, dict[str, Any], tuple[int, int], int]:
    """Return (model, cards, flags, lengths of prompt and answer, sequences over all cards)."""
    one = Random(seed)
    flags = {"engine": one.choice(ENGINES), **one.choice(LAYOUTS)}
    if one.random() < 0.3:
        flags["max_model_len"] = one.choice((16384, 40000, 131072))
    if one.random() < 0.2 and flags["engine"] == "vllm":
        flags["gpu_memory_utilization"] = one.choice((0.5, 0.8, 0.95))
    return one.choice(MODELS), one.choice(CARDS), flags, one.choice(LENGTHS), one.choice((1, 3, 16, 64, 500))


def said(document: dict[str, Any]) -> dict[str, Any]:
    """Return what each of them must say alike."""
    layout = document["request"]["layout"] if "ranks" in document else document["layout"]
    return {
        **{name: document[name] for name in ("verdict", "starts", "at_once", "headroom_bytes")},
        "layout": layout,
    }


def outcome(ask: Any, *words: Any, **flags: Any) -> dict[str, Any] | str:
    """Return what an answer says, or that it is refused."""
    try:
        return said(ask(*words, **flags).to_json())
    except (UsageError, UnsupportedError) as error:
        return type(error).__name__


def one_answer(seed: int) -> None:
    """Ask infer and speed the same, and each row of a plan on the same cards of both."""
    model, gpu, flags, (prompt, output), concurrency = drawn(seed)
    load: dict[str, Any] = {"context": prompt + output, "concurrency": concurrency}
    lengths: dict[str, Any] = {
        "input_len": str(prompt),
        "output_len": str(output),
        "concurrency": concurrency,
    }
    asked = outcome(infer, model, gpu, **flags, **load)
    assert outcome(speed, model, gpu, **flags, **lengths) == asked, seed
    if isinstance(asked, dict):
        assert asked["at_once"] <= concurrency
        assert asked["verdict"] != "fits" or (asked["starts"] and asked["at_once"] == concurrency), seed
    try:
        found: Any = plan(model, gpu=gpu, engine=flags["engine"], rows=3, **load)
    except OomlessError:
        return
    for planned, row in zip(found.rows, found.to_json()["rows"], strict=True):
        own = {name: value for name, value in planned.row.asked._asdict().items() if name in ASKED and value}
        own |= {name: value for name, value in planned.row.asked.sizes._asdict().items() if value}
        again = outcome(infer, model, planned.row.gpu, **own, **load)
        assert isinstance(again, dict), (seed, again)
        assert {name: row[name] for name in again} == again, seed
        assert outcome(speed, model, planned.row.gpu, **own, **lengths) == again, seed


SHARES = ("gpu_memory_utilization", "mem_fraction_static", "free_gpu_memory_fraction")
ASKED = ("engine", "quantization", "kv_cache_dtype", "max_model_len", "max_num_seqs", *SHARES)
"""What a plan sets beside the layout."""


def test_infer_speed_and_plan_give_one_answer() -> None:
    for seed in range(10):
        one_answer(seed)


@pytest.mark.slow
def test_infer_speed_and_plan_give_one_answer_to_300_questions() -> None:
    for seed in range(10, 310):
        one_answer(seed)


def test_a_replica_has_its_share_of_the_load() -> None:
    """Eight cards, a small model: each replica takes eight of 64, and the smallest layout is one card."""
    found = infer("deepseek-r1-distill-qwen-7b", "h100:8", context=32768, concurrency=64)
    assert (found.request.layout.tp, found.replicas, found.request.concurrency) == (1, 8, 8)
    assert (found.verdict, found.at_once) == ("fits", 64)
    request = found.to_json()["request"]
    assert (request["concurrency"], request["concurrency_per_replica"]) == (64, 8)


def test_the_fullest_replica_decides() -> None:
    nine, sixteen = (infer("qwen3-8b", "h100:8", tp=1, concurrency=n, context=8192) for n in (9, 16))
    assert nine.ledger == sixteen.ledger
    assert (nine.at_once, sixteen.at_once) == (9, 16)


def test_every_engine_counts_over_all_cards() -> None:
    for name in ("vllm", "sglang", "trtllm", "transformers"):
        if engine(name).axis == "tp":
            found = infer("qwen3-8b", "h100:4", engine=name, tp=1, concurrency=8, context=4096)
            assert found.request.concurrency == 2, name


def test_a_cache_for_more_than_the_context_is_said() -> None:
    """vLLM asks room for one sequence of --max-model-len before it starts, whatever the load is."""
    notes = [
        [
            note
            for note in infer("deepseek-r1", "h200:8", context=context).warnings
            if "--max-model-len" in note
        ]
        for context in (32768, 163840)
    ]
    assert [len(each) for each in notes] == [1, 0]
    assert "10.72 GiB" in notes[0][0]
    assert "2.15 GiB" in notes[0][0]


def test_a_load_that_waits_is_a_load_that_does_not_fit_but_has_a_speed() -> None:
    load = ("deepseek-r1", "--gpu", "h200:8", "--concurrency", "64")
    waits = call("speed", *load, "--input-len", "28672", "--output-len", "4096")
    asked = call("infer", *load, "--context", "32768")
    assert (waits.code, asked.code) == (0, 3)
    assert waits.out.splitlines()[0] == asked.out.splitlines()[0]


@pytest.mark.parametrize("flag", ["--gpu h100:8", "--explain kv_cache --explain logits"])
def test_a_flag_of_one_value_is_not_dropped(flag: str) -> None:
    found = call("infer", "deepseek-r1", "--gpu", "h200:8", *flag.split())
    assert (found.code, found.out) == (2, "")
    assert "is given twice" in found.err
