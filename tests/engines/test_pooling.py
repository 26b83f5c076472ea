"""Models that give vectors or scores: what their commands say, and what then is not there."""

import json

import pytest

from command import call
from oomless.api.serving import infer
from oomless.engines.command_line import command_words
from oomless.run.serving import Asked


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("0.9.2", "vllm serve Qwen/Qwen3-8B --task embed"),
        ("0.19.0", "vllm serve Qwen/Qwen3-8B --runner pooling"),
        ("0.19.0", "vllm serve Qwen/Qwen3-8B --convert classify"),
        ("0.5.9", "python -m sglang.launch_server --model-path Qwen/Qwen3-8B --is-embedding"),
    ],
)
def test_what_gives_vectors_has_no_logits(release: str, command: str) -> None:
    words = ("--gpu", "a100-80gb", "--engine-version", release, "--command", command, "--json", "--offline")
    answer = json.loads(call("infer", *words).out)
    assert answer["request"]["pooling"]
    assert not [
        line for line in answer["ranks"][0]["lines"] if line["category"] == "logits" and line["bytes"]
    ]
    assert not [note for note in answer["warnings"] if "not known" in note]


def test_vllm_drops_the_head_and_sglang_keeps_it() -> None:
    def weights(engine: str, release: str, pooling: bool) -> int:
        found = infer("qwen3-8b", "a100-80gb", engine=engine, engine_version=release, pooling=pooling)
        return sum(line.bytes for line in found.ledger.lines if line.key.startswith("weights."))

    head = 151936 * 4096 * 2
    assert weights("vllm", "0.19.0", False) - weights("vllm", "0.19.0", True) == head
    assert weights("sglang", "0.5.9", False) == weights("sglang", "0.5.9", True)


def test_no_whole_step_is_captured() -> None:
    def graphs(engine: str, release: str, pooling: bool) -> int:
        found = infer("qwen3-8b", "a100-80gb", engine=engine, engine_version=release, pooling=pooling)
        return sum(line.bytes for line in found.ledger.lines if line.key == "runtime.cuda_graphs")

    assert 0 < graphs("vllm", "0.19.0", True) < graphs("vllm", "0.19.0", False)
    assert graphs("vllm", "0.10.2", True) == graphs("vllm", "0.10.2", False)
    assert graphs("sglang", "0.5.9", True) == 0 < graphs("sglang", "0.5.9", False)


@pytest.mark.parametrize(
    ("release", "words"),
    [("0.19.0", ["--runner", "pooling"]), ("0.9.2", ["--task", "embed"])],
)
def test_it_is_written_as_the_release_has_it(release: str, words: list[str]) -> None:
    assert command_words(Asked(engine_version=release, pooling=True))[:2] == words
