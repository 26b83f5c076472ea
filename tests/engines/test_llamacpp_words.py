"""Words of llama-server that change memory: what drafts, which cards, where the cache lies."""

import json
from typing import Any

import pytest

from command import call

START = "llama-server -m x/Qwen3.8-27B-Q4_K_M.gguf -c 65536 -fit off "


def ranks(flags: str, gpu: str = "rtx-4090") -> list[dict[str, Any]]:
    found = call("infer", "--gpu", gpu, "--engine-version", "b10825", "--command", START + flags, "--json")
    assert found.code in (0, 3), found.err
    said: dict[str, Any] = json.loads(found.out)
    assert not [each for each in said["warnings"] if "flags not known" in each]
    answered: list[dict[str, Any]] = said["ranks"]
    return answered


def total(flags: str) -> int:
    return sum(line["bytes"] for line in ranks(flags)[0]["lines"])


def test_the_own_layer_drafts_three_tokens_unasked_and_ngrams_load_nothing() -> None:
    plain, drafting = total(""), total("--spec-type draft-mtp")
    assert drafting == total("--spec-type draft-mtp --spec-draft-n-max 3") > plain
    assert total("--spec-type ngram-simple --spec-draft-n-max 16") == plain
    assert total("--spec-type ngram-mod,draft-mtp --spec-draft-n-max 1") < drafting


def test_named_cards_are_those_that_are_used() -> None:
    assert [len(ranks(flags, "rtx-4090:2")) for flags in ("", "-dev CUDA1")] == [2, 1]
    first, second = ranks("-dev CUDA2,CUDA1 -ts 0,1,1", "rtx-4090:3")
    held = [
        sum(line["bytes"] for line in rank["lines"] if line["key"] == "weights.layers")
        for rank in (first, second)
    ]
    assert held[0] == 0 < held[1]


def test_a_cache_on_the_host_takes_nothing_of_the_card() -> None:
    lines = ranks("-nkvo")[0]["lines"]
    assert not sum(line["bytes"] for line in lines if line["key"].startswith("kv_cache"))
    assert total("-nkvo") < total("")


def test_a_picture_takes_more_than_the_first_one_for_which_a_tower_is_tried() -> None:
    """home-ops at e3e175a6: a card that holds all, the tower too, has no room for a picture; llama.cpp#13414:
    builds without flash attention there keep the scores of all pairs of patches."""

    def beyond(more: str, build: str = "b10825") -> int:
        words = f"{START} --mmproj mmproj-F16.gguf {more}"
        found = call("infer", "--gpu", "rtx-4090", "--engine-version", build, "--command", words, "--json")
        lines = json.loads(found.out)["ranks"][0]["lines"]
        return sum(each["high_bytes"] for each in lines if each["key"] == "activations.running")

    assert 200 << 20 < beyond("") < 250 << 20
    assert beyond("--image-max-tokens 2048") == beyond("--no-mmproj-offload") == 0
    assert beyond("", "2025-09") > 1 << 30


def test_llama_cli_has_one_slot() -> None:
    """llama.cpp#21514, Gemma 4 31B on an RTX 3090: 22.3 GB of llama-cli, 23.5 of llama-server."""
    windows = []
    for program in ("llama-cli", "llama-server"):
        words = f"{program} -m gemma-4-31B-it-Q4_K_M.gguf -c 64000 -ngl 99"
        found = call("infer", "--gpu", "a6000", "--engine-version", "b8668", "--command", words, "--json")
        windows.append(json.loads(found.out)["request"]["max_num_seqs"])
    assert windows == [1, 4]


def test_turboquant_of_a_fork_is_a_type_of_the_cache() -> None:
    """TheTom/llama-cpp-turboquant: 14 bytes of 32 values, 66 of 128; copies in F16 come of the pool."""

    def lines(kind: str) -> dict[str, int]:
        found = ranks(f"-ctk {kind} -ctv {kind}")[0]["lines"]
        return {each["key"]: each["bytes"] for each in found}

    plain, narrow = lines("f16"), lines("turbo3")
    assert plain["kv_cache.needed"] - narrow["kv_cache.needed"] == (4 << 30) * 25 // 32
    assert narrow["temporaries.running"] > plain.get("temporaries.running", 0)


def test_a_context_that_nobody_sets_goes_by_the_build() -> None:
    """llama.cpp#7675, #10136, #16653; of 0, by hand, the model's own."""

    def length(build: str, more: str = "") -> int:
        words = f"llama-server -m x/Qwen3-8B-Q8_0.gguf {more}"
        found = call("infer", "--gpu", "rtx-4090", "--engine-version", build, "--command", words, "--json")
        return int(json.loads(found.out)["request"]["max_model_len"])

    assert [length(build) for build in ("2024-03", "2024-08", "b5331", "b10825")] == [512, 40960, 4096, 40960]
    assert length("b5331", "-c 0") == 40960


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("llama-bench -m x/Qwen3-8B-Q8_0.gguf -d 16384 -p 2048 -fa 1", (18432, True)),
        ("llama-bench -m x/Qwen3-8B-Q8_0.gguf", (512, False)),
        ("koboldcpp --model x/MythoMax-L2-13B.Q4_K_M.gguf --usecublas rowsplit", (8192, False)),
        ("llama-perplexity -m x/Nous-Hermes-2-Mixtral-8x7B-DPO.Q4_K_M.gguf -c 512", (512, False)),
    ],
)
def test_other_programs_of_llamacpp_are_read(command: str, expected: tuple[int, bool]) -> None:
    found = call(
        "infer", "--gpu", "rtx-4090:2", "--engine-version", "2025-05", "--command", command, "--json"
    )
    request = json.loads(found.out)["request"]
    assert (request["max_model_len"], request["flash_attn"]) == expected
    assert (request["split_mode"] == "row") == ("rowsplit" in command)
