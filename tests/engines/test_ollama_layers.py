"""The layers that Ollama counts by its estimate, beside the counts of its logs."""

from typing import Any

import pytest

from oomless import infer
from oomless.engines.llamacpp.builds import dated
from oomless.engines.llamacpp.ollama_layers import counted, sizes_of
from oomless.engines.llamacpp.release import rules_of
from oomless.model.load import load
from oomless.run.serving import Resolved
from oomless.units import GIB

LOGGED = [  # issue, release, model, type, GiB free, tokens, slots, layers of each card, GiB of the graph
    (5913, "0.2.8", "qwen2-72b-instruct", "Q4_K_S", [24.0], 2048, 1, [43], 1.3),
    (9181, "0.5.11", "deepseek-r1-distill-llama-70b", "Q8_0", [22.0] * 4, 64000, 1, [11] * 4, 8.2),
    (5136, "0.1.47", "deepseek-coder-v2-lite", "Q6_K", [16.0], 16384, 1, [23], 0.74),
    (8667, "0.5.11", "deepseek-r1", "Q4_K_M", [6.9], 2048, 1, [3], 1.0),
    (9818, "0.6.2", "gemma-3-27b", "Q4_K_M", [11.0], 2048, 1, [28], 1.6),
    (9031, "0.5.7", "qwen2.5-0.5b", "Q4_0", [139.2], 2048, 4, [25], 0.40),
]


@pytest.mark.parametrize("logged", LOGGED, ids=[str(each[0]) for each in LOGGED])
def test_layers_are_those_of_the_log(logged: tuple) -> None:  # type: ignore[type-arg]
    _, release, name, kind, free, tokens, slots, layers, graph = logged
    asked = Resolved(
        engine="ollama", engine_version=dated("ollama", release), quantization=kind, context=tokens
    )
    sizes = sizes_of(load(name), asked, slots)
    forwards = rules_of(asked).counts_from_front
    assert counted(sizes, [int(each * GIB) for each in free], False, forwards) == layers
    assert sizes.partial / GIB == pytest.approx(graph, abs=0.05)


def test_memory_of_all_cards_was_one_until_each_was_counted() -> None:
    """ollama#3711, DBRX on an A6000 and a 3090 with a desktop: 39 of 41 layers, which run out."""
    said: dict[str, Any] = {"engine": "ollama", "quantization": "Q4_0", "reserve": "0.5GiB"}
    found = {
        release: infer("dbrx", "rtx-a6000+rtx-3090", engine_version=release, **said)
        for release in ("0.1.32", "0.1.45")
    }
    counts = [each.request.n_gpu_layers or 0 for each in found.values()]
    assert counts[0] == 39 > counts[1]
    assert found["0.1.32"].verdict != "fits" == found["0.1.45"].verdict


def test_mixtral_was_estimated_as_llama_until_its_experts_were_weighed() -> None:
    """A log of 0.1.32 (ollama#3683): 47 of 57 layers, 79,522.36 MiB and 1,766.75 of a graph: one too many."""
    said: dict[str, Any] = {"engine": "ollama", "quantization": "Q5_K_M", "context": 2048}
    found = [
        infer("mixtral-8x22b", "a100-80gb-pcie", engine_version=release, **said)
        for release in ("0.1.32", "0.1.34")
    ]
    assert [each.request.n_gpu_layers for each in found] == [47, 45]
    assert [each.verdict for each in found] == ["does_not_fit", "fits"]
    lines = {line.key: line.bytes / 2**20 for line in found[0].ledger.lines}
    assert lines["activations.compute_buffer"] == pytest.approx(1766.75, rel=0.12)


def test_an_estimate_that_is_too_low_runs_out_of_memory() -> None:
    """ollama#9782: a card of 4 GB; the graph of the output that stays on the host is twice what is taken."""
    found = infer("qwen3-8b", "4GiB", engine="ollama", engine_version="0.6.6", context=4096, offline=True)
    assert found.verdict == "does_not_fit"
    assert any("of 37 layers on the cards" in note for note in found.warnings)


@pytest.mark.parametrize(
    ("release", "model", "length"), [("0.12.7", "qwen3-vl-30b-a3b", 8192), ("0.24.0", "qwen3.6-27b", 131072)]
)
def test_its_own_engine_takes_layers_away_until_its_largest_graph_is_there(
    release: str, model: str, length: int
) -> None:
    """ollama#12846: 23 % of qwen3-vl:30b on the host; 70 % of qwen3.6:27b with 131,072 tokens on a card of
    24 GB (bric.pe.kr): whether the scores of a picture of 2048 x 2048 are held, it has seen."""
    said: dict[str, Any] = {"engine": "ollama", "quantization": "Q4_K_M", "context": length}
    found = infer(model, "rtx-3090", engine_version=release, offline=True, **said)
    assert found.verdict == "fits"
    assert any("layers on the cards; the rest is on the host" in note for note in found.warnings)


def test_one_card_is_filled_where_all_fits_it() -> None:
    found = infer("qwen2.5-7b", "rtx-4090:4", engine="ollama", engine_version="0.9.0", offline=True)
    assert (found.verdict, found.request.layout.pp) == ("fits", 1)


def test_gpt_oss_of_its_library_keeps_16_bit_beside_experts() -> None:
    sizes = [
        sum(
            line.bytes
            for line in infer("gpt-oss-20b", "h100", engine=engine, offline=True).ledger.lines
            if line.category == "weights"
        )
        for engine in ("ollama", "llamacpp")
    ]
    assert sizes[0] - sizes[1] > 0.7 * GIB


def test_a_file_that_drafts_is_on_the_card_whole() -> None:
    """Its MTP layer is counted by llama.cpp: 47 of 48 would leave one to the host."""
    found = [
        infer("glm-4.5-air", "h200", engine=engine, context=8192, quantization="Q4_K_M", engine_version=when)
        for engine, when in (("ollama", "2025-10"), ("ollama", "2026-03"), ("llamacpp", "2026-03"))
    ]
    assert len({each.ram_bytes for each in found}) == 1
    assert {each.request.n_gpu_layers for each in found} == {48}


def test_until_2024_metal_took_all_layers() -> None:
    """A log of December 2023 (magicoder#19): 3,648.58 and 8,192 MiB on an M1 that gives 10,922.67."""
    words: dict[str, Any] = {"engine": "ollama", "quantization": "Q4_0", "context": 16384}
    found = infer("deepseek-coder-6.7b", "m1-16gb", engine_version="2023-12", **words)
    assert (found.verdict, found.request.n_gpu_layers) == ("does_not_fit", 33)
    (ledger,) = found.ledgers
    sizes = [
        sum(x.bytes for x in ledger.lines if x.category == each) / 2**20 for each in ("weights", "kv_cache")
    ]
    assert sizes == pytest.approx([3648.58, 8192], abs=1)
    later = infer("deepseek-coder-6.7b", "m1-16gb", engine_version="2024-06", **words)
    assert (later.request.n_gpu_layers or 0) < 33


def test_an_overhead_is_not_given_to_layers() -> None:
    """OLLAMA_GPU_OVERHEAD (ollama#8447): 4 layers of V3 in place of 5."""
    words: dict[str, Any] = {
        "engine": "ollama",
        "engine_version": "0.5.5",
        "quantization": "Q4_K_M",
        "context": 2048,
    }
    found = [
        infer("deepseek-v3", "24GiB", gpu_overhead=overhead, **words).request.n_gpu_layers
        for overhead in (0, 8032385536)
    ]
    assert found == [5, 4]


@pytest.mark.parametrize(("release", "on_card"), [("2025-08", 7.08), ("2026-07", 2.71)])
def test_the_embedding_of_each_layer_lies_where_its_engine_puts_it(release: str, on_card: float) -> None:
    """gemma3n:e4b has 7.5 GB: quantization.go leaves the table in 16 bit, ggml.go puts it on the card."""
    found = infer("gemma-3n-e4b", "rtx-3060", quantization="Q4_K_M", engine="ollama", engine_version=release)
    held = sum(line.bytes for line in found.ledger.lines if line.category == "weights")
    assert held / GIB == pytest.approx(on_card, abs=0.02)


def test_a_graph_that_it_did_not_know_left_layers_too_many() -> None:
    """ollama#5359, Gemma 2 on 4 GiB: 0.1.47 ran out, 0.1.48 knew its graph."""
    words: dict[str, Any] = {"engine": "ollama", "quantization": "Q4_0", "context": 2048}
    before, after = (
        infer("gemma-2-27b", "4GiB", engine_version=release, **words) for release in ("0.1.47", "0.1.48")
    )
    assert (before.request.n_gpu_layers or 0) > (after.request.n_gpu_layers or 0)
    assert before.headroom_bytes < 0 < after.headroom_bytes


@pytest.mark.parametrize(("release", "graph"), [("0.11.3", 9.1), ("0.11.5", 4.6)])
def test_sinks_were_joined_to_the_scores(release: str, graph: float) -> None:
    """ollama#11753, 36,864 tokens: its log says a graph of 9.0 GiB, and flash attention is not there."""
    words: dict[str, Any] = {"engine": "ollama", "engine_version": release, "context": 36864}
    for flash in (None, True)[: 2 if graph > 5 else 1]:
        found = infer("gpt-oss-20b", "rtx-3090", flash_attn=flash, offline=True, **words)
        (line,) = (each for each in found.ledger.lines if each.what == "compute buffer")
        assert line.bytes / GIB == pytest.approx(graph, abs=0.1)


def test_releases_of_early_2024_share_the_file() -> None:
    """llm/llm.go, New: mixtral:8x7b ran on an RX 7900 XTX by 0.1.31 and ran out by 0.1.32 (ollama#3693)."""
    layers = [
        infer(
            "mixtral-8x7b",
            gpu="rx-7900-xtx",
            engine="ollama",
            engine_version=release,
            quantization="Q4_0",
            context=2048,
        ).request.n_gpu_layers
        for release in ("0.1.31", "0.1.32")
    ]
    assert layers == [28, 30]
