"""Cells and states of llama.cpp that an option, a release or a card adds, and matrices of the host that a
card multiplies."""

from typing import Any

import pytest

import oomless
from oomless.engines.llamacpp.batch import Batch
from oomless.engines.llamacpp.graphs import buffer_bytes
from oomless.model.load import load
from oomless.units import GIB, MIB


def test_windows_may_cache_the_whole_context() -> None:
    """A log of gemma-4-E4B in a library: 512 MiB of full layers, 1,280 of 20 windows."""
    full = oomless.infer(
        "gemma-4-e4b", "rtx-4090", engine="llamacpp", context=32768, max_num_seqs=1, swa_full=True
    )
    assert full.kv_cache.needed_bytes == (512 + 1280) * MIB


def test_a_hybrid_keeps_a_state_for_each_drafted_token() -> None:
    """A log of Qwen3.8-27B with two drafted tokens: 448.88 MiB of states and 2,048 of keys and values."""
    card = "rtx-3090"
    asked: dict[str, Any] = {
        "engine": "llamacpp",
        "quantization": "q4_k_m",
        "context": 32768,
        "max_num_seqs": 1,
    }
    drafts = oomless.infer("qwen3.8-27b", card, spec_draft_n_max=2, **asked)
    alone = oomless.infer("qwen3.8-27b", card, **asked)
    assert drafts.kv_cache.needed_bytes / MIB == pytest.approx(2496.88, abs=0.01)
    more = [line for line in drafts.ledgers[0].lines if line.key == "activations.draft_context"]
    assert not [line for line in alone.ledgers[0].lines if line.key == "activations.draft_context"]
    assert more[0].bytes > 32768 * 4096  # the cache of one layer of 4 heads of 256, keys and values


@pytest.mark.parametrize(
    ("card", "file", "cache", "length", "mib"),
    [
        ("rtx-3090-ti", "Q4_K_M", "q4_0", 131_072, 20_134 - 18_842),
        ("rtx-3090-ti", "Q4_K_M", "q4_0", 262_144, 23_718 - 21_786),
        ("rtx-5090", "Q6_K", "q4_0", 131_072, 25_797 - 24_441),
        ("rtx-5090", "Q6_K", "q4_0", 262_144, 29_381 - 27_385),
        ("rtx-3080-10gb", "IQ2_XXS", "q8_0", 16_384, 580),
    ],
)
def test_drafting_takes_what_cards_showed(card: str, file: str, cache: str, length: int, mib: int) -> None:
    """Qwen3.8-27B with its own MTP layer and without it (sudoingX/qwen38-mtp#14 and #48): the layer itself is
    read, and its cache is in 16 bit whatever -ctk says."""
    asked: dict[str, Any] = {"engine": "llamacpp", "engine_version": "2026-08", "flash_attn": True}
    asked |= {"quantization": file, "cache_type_k": cache, "cache_type_v": cache}
    asked |= {"context": length, "max_num_seqs": 1}
    alone = oomless.infer("qwen3.8-27b", card, **asked).ledgers[0]
    drafts = oomless.infer("qwen3.8-27b", card, spec_draft_n_max=2, **asked).ledgers[0]
    assert (drafts.total_bytes - alone.total_bytes) / MIB == pytest.approx(mib, rel=0.05)


@pytest.mark.parametrize(
    ("gpu", "logged", "flags"),
    [
        ("rtx-5060-ti-16gb:2", 1024 + 613.03, {"context": 262_144, "ubatch_size": 256, "pp": 2}),
        ("rtx-3090", 520, {"context": 8192, "ubatch_size": 2048, "max_num_seqs": 4, "kv_unified": True}),
    ],
)
def test_what_drafts_has_the_buffer_of_its_own_graph(gpu: str, logged: float, flags: dict[str, Any]) -> None:
    """Logs of Qwen3.8-27B: 613.03 MiB beside a cache of 1,024; 520 with one of 32."""
    asked: dict[str, Any] = {"engine_version": "2026-08", "quantization": "Q4_K_M", "n_gpu_layers": 99}
    asked |= {"spec_draft_n_max": 3, "max_num_seqs": 1, "flash_attn": True, **flags}
    found = oomless.infer("qwen3.8-27b", gpu, engine="llamacpp", offline=True, **asked)
    lines = [line for led in found.ledgers for line in led.lines if line.key == "activations.draft_context"]
    assert sum(line.bytes for line in lines) / MIB == pytest.approx(logged, abs=0.1)


def test_ik_llama_cpp_once_kept_cells_for_layers_that_it_does_not_run() -> None:
    """#843: until then 47 layers of GLM-4.5-Air had cells, 46 run."""
    asked: dict[str, Any] = {
        "engine": "ik-llamacpp",
        "quantization": "q4_k_m",
        "context": 64000,
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
    }
    sizes = [
        oomless.infer("glm-4.5-air", "160GiB", engine_version=build, **asked).kv_cache.needed_bytes
        for build in ("2025-09", "2025-11")
    ]
    assert sizes[0] / sizes[1] == pytest.approx(47 / 46, rel=1e-6)


def test_one_memory_holds_the_whole_file() -> None:
    """A log of gpt-oss-20b on Apple's M5: 11,536.18 MiB are mapped, and 586.82 of them a second time for the
    host."""
    found = oomless.infer("gpt-oss-20b", "m3-ultra", engine="llamacpp", context=8192)
    assert sum(
        line.bytes for line in found.ledgers[0].lines if line.category == "weights"
    ) / MIB == pytest.approx(11536.18, abs=0.01)


def test_a_card_multiplies_the_output_that_lies_on_the_host() -> None:
    """A log of QwQ-32B with 29 of 65 layers: 916 MiB, of which 609 are the output matrix and 297 logits of a
    micro-batch."""
    asked: dict[str, Any] = {
        "engine": "llamacpp",
        "engine_version": "2025-11",
        "quantization": "q4_k_m",
        "context": 8192,
        "max_num_seqs": 1,
    }
    left = oomless.infer("qwq-32b", "rtx-3090", n_gpu_layers=29, **asked)
    buffer = next(line for line in left.ledgers[0].lines if line.key == "activations.compute_buffer")
    assert buffer.low_bytes <= 916.08 * MIB <= buffer.high_bytes
    assert buffer.bytes > (609 + 297) * MIB


def test_slots_with_caches_of_their_own_have_a_mask_of_one_length() -> None:
    """Qwen3.5-9B, four slots of 2,048 cells: the mask of a micro-batch spans one slot's cells, not all."""
    asked: dict[str, Any] = {
        "engine": "llamacpp",
        "quantization": "q4_k_m",
        "context": 2048,
        "concurrency": 4,
        "max_num_seqs": 4,
        "ubatch_size": 2048,
    }
    apart, shared = (
        next(
            line.bytes
            for line in oomless.infer("qwen3.5-9b", "rtx-3090", kv_unified=unified, **asked).ledgers[0].lines
            if line.key == "activations.compute_buffer"
        )
        for unified in (False, True)
    )
    assert shared - apart == (8192 - 2048) * 2048 * 2


def test_the_indexer_of_sparse_attention_grows_with_the_context_as_logged() -> None:
    """Cards of GLM-5.2 without outputs: from 524,288 to 768,000 cells 952 MiB more, two masks and a row of
    scores for each token."""
    model = load("glm-5.2")
    logged = {768000: 3252.07, 524288: 2300.07, 896000: 3752.07}
    found = {
        cells: buffer_bytes(
            tuple(model.layers[55:64]),
            model.hidden_size,
            model.vocab_size,
            Batch(cells, 512, num_outputs=1, index_heads=1, has_output=False),
        )
        / MIB
        for cells in logged
    }
    assert found[768000] - found[524288] == pytest.approx(952, abs=0.1)
    assert found == pytest.approx(logged, rel=0.022)
    assert max(found.values()) < 4 * GIB / MIB


@pytest.mark.parametrize(
    "name",
    [
        "falcon-mamba-7b",
        "nemotron-3-nano-30b-a3b",
        "granite-4.0-h-small",
        "jamba-v0.1",
        "lfm2-1.2b",
        "kimi-linear-48b-a3b",
    ],
)
def test_linear_attention_of_any_kind_takes_a_buffer(name: str) -> None:
    """falcon-mamba had none, since no layer of it was laid out: at least its inputs and one layer's inner
    tensors lie there."""
    found = oomless.infer(name, "h200", engine="llamacpp", quantization="q4_k_m", context=8192)
    buffer = next(line for line in found.ledgers[0].lines if line.key == "activations.compute_buffer")
    model = load(name)
    assert buffer.low_bytes > 512 * model.hidden_size * 4
    graph_is_known = name in ("nemotron-3-nano-30b-a3b", "granite-4.0-h-small")
    assert buffer.kind == ("fitted" if graph_is_known else "assumed")


def test_a_draft_of_some_families_has_cells_for_every_layer() -> None:
    """#28626 of September 2026: 93 layers of GLM-4.6 had cells in the context that drafts, and one is run."""
    asked: dict[str, Any] = {"engine": "llamacpp", "quantization": "q4_k_m", "context": 32768}
    asked |= {"max_num_seqs": 1, "spec_draft_n_max": 2}
    before, after = (
        sum(
            each.total_bytes
            for each in oomless.infer("glm-4.6", "b300:2", engine_version=build, **asked).ledgers
        )
        for build in ("2026-08", "2026-10")
    )
    assert before - after == 92 * 4096 * 32768  # 8 heads of 128, keys and values in F16


@pytest.mark.parametrize(
    ("engine", "version", "mib"),
    [("ollama", "2025-06", (796, 1024)), ("ollama", "2025-04", (796, 0)), ("llamacpp", "2025-06", (0, 0))],
)
def test_ollama_holds_the_tower_of_a_model_of_images(engine: str, version: str, mib: tuple[int, int]) -> None:
    """A log of gemma3:12b (ollama#12000): projector.weights 795.9 MiB, projector.graph 1.0 GiB, which a
    buffer has that the text's graph shares (0.7.1 on); both lie on the output's card."""
    words: dict[str, Any] = {"engine": engine, "engine_version": version, "quantization": "q8_0"}
    first, last = oomless.infer("gemma-3-27b", "rtx-4090:2", pp=2, context=2048, **words).ledgers
    here = {line.key: line for line in last.lines}
    tower, picture = here.get("weights.vision"), here.get("activations.running")
    assert (tower.bytes // MIB if tower else 0) == pytest.approx(mib[0], rel=0.03)
    both = picture.bytes + here["activations.compute_buffer"].bytes if picture else 0
    assert both / MIB == pytest.approx(mib[1], rel=0.15)
    assert not [line for line in first.lines if line.key in ("weights.vision", "activations.running")]


@pytest.mark.parametrize(
    ("version", "flash", "gib"), [("0.12.9", True, 3), ("0.13.2", True, 0), ("0.13.2", False, 3)]
)
def test_ollama_reserves_the_scores_of_a_picture(version: str, flash: bool, gib: int) -> None:
    """Qwen3-VL, 90 x 90 patches of 16 heads: flash attention spares them since 0.13.2 (1108d8b34)."""
    words: dict[str, Any] = {"engine": "ollama", "engine_version": version, "flash_attn": flash}
    lines = (
        oomless.infer("qwen3-vl-8b", "h100", context=8192, quantization="Q4_K_M", **words).ledgers[0].lines
    )
    assert sum(each.bytes for each in lines if each.key == "activations.running") // GIB == gib
