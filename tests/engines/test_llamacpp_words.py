"""Words of llama-server that change memory: what drafts, which cards, where the cache lies."""

import json
from typing import Any

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
