"""What infer offers where a load does not fit: one to three flags that an engineer would try, then less
quality, another load, more cards, other cards - each of which fits when it is asked for."""

from random import Random
from typing import Any

import pytest

import oomless
from oomless.api.serving import ServingAnswer
from oomless.engines.command_line import own_flags
from oomless.errors import OomlessError
from oomless.run.option_values import read
from oomless.run.options import by_flag


def flags(found: ServingAnswer) -> list[str]:
    return [change.flags for change in found.changes]


def asked_with(words: str) -> dict[str, Any]:
    """The keywords of a change; `on N cards` and `without FLAG` are its own."""
    known, found = by_flag("infer"), dict[str, Any]()
    parts = words.split()
    while parts:
        word = parts.pop(0)
        if word == "on":
            found["cards"], parts = int(parts[0]), parts[2:]
        elif word == "without":
            found[known[parts.pop(0)].field] = None
        elif known[word].kind == "switch":
            found[known[word].field] = True
        else:
            found[known[word].field] = read(known[word], parts.pop(0), word)
    return found


def test_r1_on_eight_h20_is_helped_by_flags_and_not_by_a_second_machine() -> None:
    found = oomless.infer("deepseek-r1", "h20:8", max_model_len=32768)
    assert found.verdict != "fits"
    first = flags(found)[0]
    assert first.startswith("--gpu-memory-utilization 0.95 ")
    assert "--max-num-seqs " in first
    assert not any("--max-model-len" in each for each in flags(found))


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_one_rank_is_helped_by_its_whole_node_before_other_cards(engine: str) -> None:
    """`--gpu b300-sxm:4` was offered for R1 on eight H200 whose command says no --tp."""
    found = oomless.infer("deepseek-r1", "h200", engine=engine, tp=1)
    assert flags(found)[0] == "--tp 8 on 8 cards"


def test_no_second_memory_is_offered_to_a_machine_of_one() -> None:
    """`--pp 2 on 2 cards` was offered to a MacBook."""
    found = oomless.infer("deepseek-r1-distill-llama-70b", "m3-max-64gb", engine="ollama")
    assert found.verdict == "does_not_fit"
    assert flags(found)
    assert not [each for each in flags(found) if "cards" in each or "--gpu" in each]


def test_no_length_is_offered_that_nobody_wants() -> None:
    """It was `--max-model-len 75` once, and 82."""
    for model, asked in (
        ("deepseek-r1", {"gpu": "h20:8", "max_model_len": 32768, "max_num_seqs": 64}),
        (
            "deepseek-v4-pro",
            {"gpu": "h200:8", "dp": 8, "enable_expert_parallel": True, "max_model_len": 200000},
        ),
        ("deepseek-v4-flash", {"gpu": "h20:2"}),
        ("deepseek-r1-distill-qwen-7b", {"gpu": "rtx-4090"}),
    ):
        for each in flags(oomless.infer(model, **asked)):
            assert asked_with(each).get("max_model_len", 4096) >= 4096
            assert "max_model_len" not in asked or "--max-model-len" not in each


def test_an_engine_is_offered_its_own_flags() -> None:
    layout: dict[str, Any] = {"engine": "sglang", "tp": 8, "dp": 8, "enable_dp_attention": True}
    found = oomless.infer("deepseek-v3.2", "h200:8", concurrency=16, **layout)
    first = flags(found)[0]
    assert first == "--mem-fraction-static 0.9"
    known = {*own_flags("sglang")}
    assert all(asked_with(each).keys() <= {*known, "cards"} for each in flags(found))


def test_a_share_that_a_long_chunk_makes_small_is_raised() -> None:
    """SGLang keeps 1.5 MiB for each token of a chunk, 192 GiB for the one of AMD's recipes for R1."""
    found = oomless.infer("deepseek-r1", "mi325x:8", engine="sglang", tp=8, max_num_batched_tokens=131072)
    assert flags(found)[0] == "--mem-fraction-static 0.7"


def test_adapters_are_sharded_before_a_rank_is_added() -> None:
    found = oomless.infer(
        "deepseek-r1", "h200:8", enable_lora=True, max_loras=4, max_lora_rank=32, max_model_len=32768
    )
    assert flags(found)[0] == "--fully-sharded-loras"


@pytest.mark.parametrize(("model", "gpu"), [("deepseek-r1", "rtx-4090:4"), ("deepseek-r1", "t4:1")])
def test_where_nothing_helps_the_nearest_cards_are_named(model: str, gpu: str) -> None:
    found = flags(oomless.infer(model, gpu))
    assert found
    for each in found:
        asked = asked_with(each)
        assert oomless.infer(model, **asked).verdict == "fits"


def test_more_of_the_same_cards_come_before_others_if_a_flag_makes_room_beside_the_pool() -> None:
    """vllm#15983: graphs pass four cards of 40 GB, and one B200 was all that was offered."""
    words = asked_with("--gpu-memory-utilization 0.95 --max-num-seqs 2 --max-model-len 8192")
    found = oomless.infer("qwen2.5-vl-72b", "a100-40gb:4", tp=4, engine_version="0.8.2", **words)
    assert [each.flags for each in found.changes] == ["--enforce-eager --tp 8 on 8 cards"]


def test_a_narrower_cache_is_marked() -> None:
    found = oomless.infer("deepseek-r1-distill-qwen-7b", "rtx-4090").changes
    marked = {change.flags.split()[0] for change in found if change.costs_quality}
    assert marked == {"--kv-cache-dtype", "--quantization"}


@pytest.mark.parametrize(
    ("model", "gpu", "asked"),
    [
        ("qwen3-30b-a3b", "a10:4", {"tp": 4, "max_model_len": 8192, "gpu_memory_utilization": 0.7}),
        ("mistral-7b-v0.3", "l4", {"engine_version": "0.9.1"}),
        ("llama-3.1-nemotron-nano-4b", "a10:8", {"engine": "sglang", "tp": 8}),
        ("glm-4.1v-9b", "a10:4", {"engine_version": "0.8.5", "max_model_len": 65536, "context": 2000}),
    ],
)
def test_nothing_is_offered_with_more_beside_it_than_it_needs(
    model: str, gpu: str, asked: dict[str, Any]
) -> None:
    """`--gpu-memory-utilization 0.85 --enforce-eager` was offered again with a narrower cache, and with a
    second card."""
    found = oomless.infer(model, gpu, **asked)
    assert found.changes
    words = [asked_with(each.flags).items() for each in found.changes]
    assert not [(one, two) for one in words for two in words if one < two]


@pytest.mark.parametrize(
    ("model", "gpu", "asked"),
    [
        ("llama-3.1-405b", "v100:2", {"max_model_len": 16384, "context": 2000}),
    ],
)
def test_what_llamacpp_let_go_to_start_is_not_held_fast(model: str, gpu: str, asked: dict[str, Any]) -> None:
    """`--pp 4 on 4 cards` was offered with the layers of two, 12 GiB to spare; asked for, llama.cpp
    fills the cards and it is tight."""
    asked = {"engine": "llamacpp", "quantization": "q8_0", **asked}
    found = oomless.infer(model, gpu, **asked)
    assert found.changes
    for each in found.changes:
        more = asked_with(each.flags)
        cards = more.pop("cards", None)
        there = f"{gpu.partition(':')[0]}:{cards}" if cards else gpu
        again = oomless.infer(model, there, **{**asked, **more})
        assert (again.verdict, again.headroom_bytes) == ("fits", each.headroom_bytes), each.flags


def test_a_machine_without_cards_is_helped_without_more_of_them() -> None:
    """Two of them, none with a layer on a card, were asked for the first card that has one."""
    load: dict[str, Any] = {"engine_version": "2026-06", "max_model_len": 131072, "concurrency": 64}
    found = oomless.infer("deepseek-moe-16b", "cpu:512GiB", engine="llamacpp", quantization="q4_k_m", **load)
    assert flags(found) == ["--concurrency 17"]


MODELS = "deepseek-r1 deepseek-v3.2 deepseek-v2-lite qwen3-8b gpt-oss-120b deepseek-v4-flash".split()
CARDS = "h20:8 h200:4 h100:2 a100-80gb:4 rtx-4090:2 l40s:8 b200:1".split()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_offered_fits_with_the_headroom_that_is_said(seed: int) -> None:
    random = Random(seed)
    model, gpu = random.choice(MODELS), random.choice(CARDS)
    asked: dict[str, Any] = {
        "engine": random.choice(("vllm", "vllm", "sglang", "trtllm")),
        "max_model_len": random.choice((None, 8192, 32768)),
        "context": random.choice((None, 4096)),
        "concurrency": random.choice((1, 16, 256)),
    }
    try:
        found = oomless.infer(model, gpu, **asked)
    except OomlessError:
        return
    assert len(found.changes) <= 5
    for change in found.changes:
        more = asked_with(change.flags)
        if cards := more.pop("cards", None):
            more["gpu"] = f"{gpu.partition(':')[0]}:{cards}"
        again = oomless.infer(model, **{"gpu": gpu, **asked, **more})
        assert again.verdict == "fits", change.flags
        assert again.headroom_bytes == change.headroom_bytes, change.flags
        assert sum(flag in change.flags for flag in ("--gpu-memory", "--max-num", "--enforce")) <= 3


@pytest.mark.parametrize("split_mode", ["layer", "tensor"])
def test_a_machine_of_unlike_cards_is_helped_without_more_of_them(split_mode: str) -> None:
    """A third card had no place in the list of the two that are there: an IndexError (llama.cpp#21947)."""
    asked: dict[str, Any] = {"engine": "llamacpp", "engine_version": "2026-04", "split_mode": split_mode}
    asked |= {"quantization": "q4_k_m", "n_gpu_layers": 99, "max_model_len": 131072}
    found = oomless.infer("gemma-4-26b-a4b", "rtx-3060-12gb+8GiB", **asked)
    assert found.verdict == "does_not_fit"
    assert flags(found)
    assert not [each for each in flags(found) if "cards" in each]
