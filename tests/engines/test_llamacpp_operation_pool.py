"""What ggml's operations take while they run: which cards and builds need it, and a verdict of it."""

from typing import Any

import pytest

import oomless
from oomless.engines.llamacpp.operation_pool import kept_bytes, multiplies_in_16_bit
from oomless.ledger import Line
from oomless.run.cards import Card, synthetic
from oomless.run.serving import Resolved
from oomless.units import GIB

RUNNING = "temporaries.running"


def lines(model: str, gpu: str, key: str = RUNNING, **flags: Any) -> list[Line]:
    found = oomless.infer(model, gpu=gpu, engine="llamacpp", **flags)
    return [line for line in found.ledger.lines if line.key == key]


def test_scores_of_all_heads_are_copied_to_16_bit_without_flash_attention() -> None:
    """Qwen2-72B on three cards of 24 GiB ran out at more than 10,000 of 32,000 tokens (llama.cpp#8766)."""
    asked: dict[str, Any] = {"quantization": "Q4_K_M", "engine_version": "2024-07", "context": 32000, "pp": 3}
    (line,) = lines("qwen2-72b-instruct", "24GiB:3", flash_attn=False, **asked)
    assert line.bytes == 32000 * 512 * 64 * 2 + 64 * 128 * 512 * 2
    assert oomless.infer("qwen2-72b-instruct", gpu="24GiB:3", engine="llamacpp", **asked).verdict == (
        "does_not_fit"
    )
    assert not lines("qwen2-72b-instruct", "24GiB:3", flash_attn=True, **asked)


@pytest.mark.parametrize(("build", "flash"), [("2024-07", False), ("2025-07", False), ("2025-09", True)])
def test_old_builds_have_no_flash_attention_unless_asked(build: str, flash: bool) -> None:
    found = oomless.infer("qwen3-8b", gpu="rtx-4090", engine="llamacpp", engine_version=build, context=8192)
    assert found.estimate.request.flash_attn is flash
    asked = oomless.infer(
        "qwen3-8b", gpu="rtx-4090", engine="llamacpp", engine_version=build, context=8192, flash_attn=True
    )
    assert asked.estimate.request.flash_attn is True


def test_a_quantised_cache_is_copied_into_the_pool_and_later_into_the_graph() -> None:
    asked: dict[str, Any] = {
        "quantization": "Q8_0",
        "context": 131072,
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
    }
    (line,) = lines("qwen3-8b", "rtx-4090", engine_version="2025-12", **asked)
    assert line.bytes == 131072 * 2 * 8 * 128 * 2
    assert not lines("qwen3-8b", "rtx-4090", engine_version="2026-06", **asked)
    buffers = {
        build: lines("qwen3-8b", "rtx-4090", "activations.compute_buffer", engine_version=build, **asked)[0]
        for build in ("2025-12", "2026-06")
    }
    grown = buffers["2026-06"].bytes - buffers["2025-12"].bytes
    assert 0.3 * line.bytes < grown <= line.bytes  # other tensors give way to it


def card(vendor: str, capability: str) -> Card:
    return synthetic(24 * GIB, "a card")._replace(vendor=vendor, compute_capability=capability)


@pytest.mark.parametrize(
    ("vendor", "capability", "build", "kind", "tokens", "copies"),
    [
        ("NVIDIA", "7.0", "2025-03", "Q4_K", 512, True),
        ("NVIDIA", "7.0", "2025-03", "Q4_K", 32, False),
        ("NVIDIA", "8.6", "2025-03", "Q4_K", 512, False),
        ("NVIDIA", "6.1", "2025-03", "Q4_K", 512, False),
        ("AMD", "gfx1100", "2025-03", "Q4_K", 512, True),
        ("AMD", "gfx1100", "2026-02", "Q4_K", 512, False),
        ("AMD", "gfx1100", "2026-02", "Q6_K", 512, True),
        ("AMD", "gfx1030", "2025-03", "Q4_K", 512, False),
        ("AMD", "gfx942", "2025-03", "Q4_K", 512, True),
        ("AMD", "gfx942", "2026-02", "Q4_K", 512, False),
        ("AMD", "gfx90a", "2026-02", "Q4_K", 512, True),
        ("AMD", "gfx1201", "2026-02", "Q4_K", 512, False),
    ],
)
def test_who_multiplies_quantised_matrices_in_16_bit(
    vendor: str, capability: str, build: str, kind: str, tokens: int, copies: bool
) -> None:
    asked = Resolved(engine="llamacpp", engine_version=build)
    assert multiplies_in_16_bit(card(vendor, capability), asked, tokens, kind) is copies


def test_the_old_pool_keeps_every_buffer_that_was_outgrown() -> None:
    assert kept_bytes(0, [(size,) for size in (100, 200, 300)]) == 105 + 210 + 315
    assert kept_bytes(0, [(300,), (200,), (100,)]) == 315
    assert kept_bytes(0, [(100, 100), (105, 105)]) == 210


def test_buffers_that_are_kept_on_rocm_are_a_range() -> None:
    asked: dict[str, Any] = {
        "quantization": "Q4_K_M",
        "engine_version": "2024-07",
        "context": 16384,
        "flash_attn": False,
    }
    (line,) = lines("qwen3-8b", "mi210", **asked)
    (plain,) = lines("qwen3-8b", "a100", **asked)
    assert line.low_bytes >= plain.bytes
    assert line.bytes == line.high_bytes > 2 * line.low_bytes


def test_metal_reads_every_type() -> None:
    """The pool is ggml-cuda's: on Metal nothing is copied to 16 bit."""
    asked: dict[str, Any] = {"quantization": "Q4_K_M", "engine_version": "2024-07", "context": 8192}
    assert lines("qwen2-7b", "24GiB", flash_attn=False, **asked)
    assert not lines("qwen2-7b", "m3-max-64gb", flash_attn=False, **asked)


def test_until_june_2024_matrix_units_were_used_through_cublas() -> None:
    """Gemma-7B on a card of 8 GB under Ollama 0.1.29 ran out once a prompt was long (ollama#3232): its output
    matrix in F16, for every token until llama.cpp#6122, was not counted."""
    asked: dict[str, Any] = {"quantization": "Q4_0", "context": 2048}

    def copies(build: str, gpu: str = "rtx-3070-8gb") -> int:
        return max(line.bytes for line in lines("gemma-7b", gpu, engine_version=build, **asked))

    vocab, hidden, wide, tokens = 256000, 3072, 24576, 512
    assert copies("2024-03") == 2 * (vocab * hidden + tokens * (vocab + hidden))
    assert copies("2024-05") == 2 * (wide * hidden + tokens * (wide + hidden))  # no row but the last is asked
    scores = 2048 * 512 * 16 * 2 + 16 * 256 * 512 * 2
    assert copies("2024-07") == scores  # kernels of its own since llama.cpp#8075
    assert copies("2024-05", "p40") == scores  # has no matrix units
    ran_out = oomless.infer("gemma-7b", "rtx-3070-8gb", engine="ollama", engine_version="2024-03", **asked)
    assert ran_out.verdict == "does_not_fit"


def test_an_amd_card_may_be_driven_over_vulkan_which_copies_no_cache() -> None:
    """Two RX 9070 of 16 GB hold Qwen3.8-27B with 262,144 cells of 8 bit over Vulkan (sudoingX/qwen38-mtp)."""
    asked: dict[str, Any] = {"quantization": "Q4_K_M", "engine_version": "2026-07", "context": 262144}
    asked |= {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "max_num_seqs": 1}
    buffer = "activations.compute_buffer"
    (amd,) = lines("qwen3.8-27b", "w7900", buffer, **asked)
    (nvidia,) = lines("qwen3.8-27b", "rtx-6000-ada", buffer, **asked)
    assert amd.bytes == nvidia.bytes
    assert nvidia.low_bytes - amd.low_bytes >= GIB
    assert "982.00 MiB less over Vulkan" in amd.formula
    (plain,) = lines(
        "qwen3.8-27b", "w7900", buffer, **{**asked, "cache_type_k": "f16", "cache_type_v": "f16"}
    )
    assert "Vulkan" not in plain.formula
