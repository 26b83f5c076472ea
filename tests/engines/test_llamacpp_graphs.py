"""Compute buffers of llama.cpp, ik_llama.cpp and Ollama against logged ones: the graph is replayed as ggml's
allocator serves it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oomless
from oomless.engines.llamacpp.batch import Batch
from oomless.engines.llamacpp.ggml import Graph, Node
from oomless.engines.llamacpp.graphs import buffer_bytes
from oomless.errors import OomlessError
from oomless.model.load import load
from oomless.units import MIB

LOGGED = [  # a log's MiB, and what its command line says
    (
        6081.00,
        "deepseek-r1",
        {"num_cells": 65536, "mla_mode": 2, "most_scores": 512, "key_type": "Q8_0", "host_experts": True},
    ),
    (
        3425.00,
        "deepseek-r1",
        {"num_cells": 32768, "mla_mode": 2, "most_scores": 512, "key_type": "Q8_0", "host_experts": True},
    ),
    (
        12400.02,
        "deepseek-r1",
        {"num_cells": 114688, "num_tokens": 4096, "mla_mode": 3, "most_scores": 256, "key_type": "Q8_0"},
    ),
    (
        20496.03,
        "deepseek-v3",
        {"num_cells": 98304, "num_tokens": 8192, "mla_mode": 3, "most_scores": 8192, "key_type": "Q8_0"},
    ),
    (
        7688.02,
        "deepseek-r1",
        {"num_cells": 65536, "num_tokens": 4096, "mla_mode": 3, "most_scores": 512, "key_type": "Q8_0"},
    ),
    (2872.02, "deepseek-r1", {"num_cells": 20480, "num_tokens": 4096, "mla_mode": 3, "most_scores": 512}),
    (6346.00, "deepseek-v2.5", {"num_cells": 32768, "mla_mode": 3}),
    (
        2662.01,
        "deepseek-v3",
        {"num_cells": 32768, "mla_mode": 3, "most_scores": 1024, "key_type": "Q8_0", "host": True},
    ),
    (3258.01, "deepseek-r1", {"num_cells": 16384, "mla_mode": 3, "host": True}),
    (283.01, "deepseek-v3", {"num_cells": 512, "mla_mode": 0, "flash": False, "host": True}),
    (379.01, "deepseek-v3", {"num_cells": 512, "flash": False, "host": True}),  # llama.cpp, absorbed
    (19857.00, "deepseek-r1", {"num_cells": 65536, "mla_mode": 2, "most_scores": 2048, "early": True}),
    (
        8470.00,
        "deepseek-r1",
        {"num_cells": 32768, "mla_mode": 2, "most_scores": 2048, "key_type": "Q8_0", "early": True},
    ),
    (
        263.00,
        "kimi-k2-instruct",
        {"num_cells": 2048, "mla_mode": 3, "most_scores": 512, "key_type": "Q8_0", "has_output": False},
    ),
    (
        5720.01,
        "deepseek-r1",
        {"num_cells": 20480, "mla_mode": 2, "flash": False, "num_copies": 4, "has_output": False},
    ),
    (368.01, "qwen3-30b-a3b", {"num_cells": 32768, "mla_mode": 0, "num_copies": 4, "has_output": False}),
    (312.75, "qwen3-235b-a22b", {"num_cells": 32768, "mla_mode": 0}),
    (5252.01, "qwen3-32b", {"num_cells": 40960, "mla_mode": 0, "flash": False, "host": True}),
    (495.00, "qwen3.6-27b", {"num_cells": 32768, "casts_mask": True}),
    (808.02, "qwen3.5-9b", {"num_cells": 262144, "casts_mask": True, "num_seqs": 2}),
    (613.01, "llama-3.1-8b", {"num_cells": 16384, "num_tokens": 1024, "casts_mask": True}),
    (3584.09, "glm-4.5-air", {"num_cells": 131072, "num_tokens": 4096, "casts_mask": True}),
    (
        2376,
        "deepseek-v2-lite",
        {"num_cells": 32768, "num_tokens": 1024, "flash": False, "split_kv_b": False, "num_outputs": 1},
    ),
]


@pytest.mark.parametrize(("logged", "name", "said"), LOGGED)
def test_buffers_are_what_logs_say(logged: float, name: str, said: dict[str, Any]) -> None:
    model = load(name)
    host_experts = frozenset(range(61 if said.get("host_experts") else 0))
    batch = Batch(
        **{"num_tokens": 512, **{name: value for name, value in said.items() if name != "host_experts"}}
    )
    found = buffer_bytes(tuple(model.layers), model.hidden_size, model.vocab_size, batch, host_experts)
    assert found / MIB == pytest.approx(logged, rel=3e-4)


def test_the_case_of_ollama_line_by_line() -> None:
    """ollama#5136 on an RTX 3090: 8,376 MiB of weights, 8,640 of cache, 2,376 of graph; Ollama said 15,405 in
    all."""
    found = oomless.infer("deepseek-v2-lite", "rtx-3090", engine="ollama", quantization="q4_0", context=32768)
    sums = {line.category: 0 for line in found.ledgers[0].lines}
    for line in found.ledgers[0].lines:
        sums[line.category] += line.bytes
    assert sums["weights"] / MIB == pytest.approx(8376, abs=0.5)
    assert sums["kv_cache"] / MIB == 8640
    assert sums["activations"] / MIB == pytest.approx(2376, abs=0.6)
    assert found.request.ubatch_size == 1024


def test_host_experts_are_copied_to_a_card_that_multiplies_them() -> None:
    """ggml's scheduler: a matrix of all 256 experts of a layer lies in the buffer for as long as it is
    read."""
    on_host = oomless.infer(
        "deepseek-r1", "rtx-4090", engine="llamacpp", quantization="q4_k_m", context=4096, cpu_moe=True
    )
    small = oomless.infer(
        "deepseek-r1",
        "rtx-4090",
        engine="llamacpp",
        quantization="q4_k_m",
        context=4096,
        cpu_moe=True,
        ubatch_size=16,
    )
    more = [
        sum(line.bytes for line in each.ledgers[0].lines if line.category == "activations")
        for each in (on_host, small)
    ]
    assert more[0] - more[1] > 256 * 7168 * 2048 * 210 // 256


def test_windows_and_states_have_caches_of_their_own() -> None:
    gemma = oomless.infer(
        "gemma-3-12b", "rtx-4090", engine="llamacpp", quantization="q4_0", context=32768, max_num_seqs=1
    )
    whole = oomless.infer(
        "gemma-3-12b",
        "rtx-4090",
        engine="llamacpp",
        quantization="q4_0",
        context=32768,
        engine_version="2025-03",
    )
    assert gemma.kv_cache.needed_bytes < whole.kv_cache.needed_bytes / 3
    assert gemma.kv_cache.fixed_bytes_per_sequence == 40 * 8 * 256 * 2 * 2 * (
        1024 + 512
    )  # 40 of 48 layers see 1,024 tokens
    four = oomless.infer(
        "gemma-3-12b", "rtx-4090", engine="llamacpp", quantization="q4_0", context=32768
    )  # llama-server's own number
    assert four.kv_cache.fixed_bytes_per_sequence * 4 == 40 * 8 * 256 * 2 * 2 * (4 * 1024 + 512)
    hybrid = oomless.infer("qwen3-next-80b-a3b", "h200", engine="llamacpp", quantization="q4_0", context=4096)
    assert hybrid.kv_cache.fixed_bytes_per_sequence == 36 * 2195456


def test_builds_before_april_2025_cache_every_head_of_mla() -> None:
    """ggml-org/llama.cpp#12801 of 2025-04-15; before, a log of 16 layers of R1 on a card with 163,840 cells
    says 204,800 MiB: 128 heads of 192 and 128 values."""
    before, after = (
        oomless.infer(
            "deepseek-r1",
            "h200:8",
            engine="llamacpp",
            quantization="q4_k_m",
            context=4096,
            engine_version=day,
        ).kv_cache.needed_bytes
        for day in ("2025-04-14", "2025-04-15")
    )
    assert before == 16 * 4096 * 128 * (192 + 128) * 2
    assert after < before / 25


def test_windows_that_llama_cpp_does_not_know_cache_the_whole_context() -> None:
    """Phi-3-mini-4k has a window of 2,047 tokens; a log of 4,096 cells says 1,536 MiB."""
    found = oomless.infer(
        "phi-3-mini-4k", "rtx-4090", engine="llamacpp", quantization="q4_k_m", context=4096, max_num_seqs=1
    )
    assert found.kv_cache.needed_bytes == 1536 * MIB


def buffer(name: str, gpu: str, **flags: Any) -> int:
    found: oomless.ServingAnswer = oomless.infer(name, gpu, engine="llamacpp", quantization="q4_k_m", **flags)
    return sum(line.bytes for line in found.ledgers[0].lines if line.key == "activations.compute_buffer")


def test_cut_rows_are_not_pipelined() -> None:
    rows, layers = (
        buffer("llama-3-8b", "rtx-3090:2", context=8192, pp=2, split_mode=each) for each in ("row", "layer")
    )
    assert rows < layers


def test_layers_of_the_host_are_sent_matrix_by_matrix_with_their_cache() -> None:
    """ggml's scheduler begins a split at each weight: one of ffn_down and the keys and values of 32,768
    cells, not the layer."""
    whole, left = (
        buffer("llama-3.1-8b", "rtx-3090", context=32768, max_num_seqs=1, n_gpu_layers=n) for n in (33, 20)
    )
    cache = 2 * 32768 * 8 * 128 * 2
    assert cache < left
    assert left - whole < cache + 4096 * 14336


def test_the_latent_was_cached_twice_until_2026() -> None:
    """ggml-org/llama.cpp#19067: 576 values a token and layer, and 512 more before."""
    flags: dict[str, Any] = {"engine": "llamacpp", "quantization": "q4_0", "context": 4096}
    before = oomless.infer("deepseek-v2-lite", "rtx-4090", engine_version="2025-07", **flags)
    after = oomless.infer("deepseek-v2-lite", "rtx-4090", **flags)
    assert (before.kv_cache.bytes_per_token, after.kv_cache.bytes_per_token) == (27 * 1088 * 2, 27 * 576 * 2)


@pytest.mark.parametrize("version", ["banana", "b1", "0.9", "2026"])
def test_builds_have_numbers_or_dates(version: str) -> None:
    with pytest.raises(OomlessError, match="is no build of llamacpp that is known"):
        oomless.infer("deepseek-v2-lite", "rtx-4090", engine="llamacpp", engine_version=version)


# ---------------------------------------------------------------- the allocator


@st.composite
def chains(draw: st.DrawFn) -> tuple[Graph, list[Node]]:
    graph = Graph()
    nodes = [graph.input(draw(st.integers(1, 4096)))]
    for _ in range(draw(st.integers(1, 25))):
        operands = draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=2, unique=True))
        if draw(st.booleans()):
            nodes.append(graph.op(draw(st.integers(1, 4096)), *operands, in_place=draw(st.booleans())))
        else:
            nodes.append(graph.view(operands[0]))
    for node in nodes:
        graph.expand(node)
    return graph, nodes


@given(chains())
def test_a_buffer_holds_its_largest_tensor_and_no_more_than_all(found: tuple[Graph, list[Node]]) -> None:
    graph, nodes = found
    sizes = [-(-node.size // 128) * 128 for node in nodes if node.base is None]
    assert max(sizes) <= graph.buffer_bytes() <= sum(sizes)


SLACK = 1.0001
"""Best fit may lose a few hundred bytes between tensors where smaller ones lay without a gap."""


@given(st.integers(1, 4), st.integers(256, 1024), st.integers(1, 8))
def test_longer_contexts_and_batches_never_take_less(copies: int, tokens: int, times: int) -> None:
    model = load("deepseek-v2-lite")

    def size(cells: int, batch: int) -> int:
        asked = Batch(cells, batch, num_copies=copies)
        return buffer_bytes(tuple(model.layers), model.hidden_size, model.vocab_size, asked)

    assert (
        size(4096, tokens) <= size(4096 * times, tokens) * SLACK <= size(4096 * times, 2 * tokens) * SLACK**2
    )


def test_the_main_card_holds_the_logits_where_rows_are_divided() -> None:
    asked: dict[str, Any] = {"engine": "llamacpp", "engine_version": "2026-02", "quantization": "q4_k_m"}
    asked |= {"context": 4096, "ubatch_size": 1024, "pp": 2}
    buffers = {
        mode: [
            line.bytes
            for ledger in oomless.infer("qwen3-32b", "rtx-3090:2", split_mode=mode, **asked).ledgers
            for line in ledger.lines
            if line.key == "activations.compute_buffer"
        ]
        for mode in ("layer", "row")
    }
    logits = 1024 * 151_936 * 4
    assert buffers["row"][0] >= logits > buffers["row"][1]
    assert buffers["layer"][1] >= logits


def test_an_activation_without_a_kernel_comes_back_from_the_host_in_every_copy() -> None:
    """Apertus-70B on two RX 7900 XTX (llama.cpp#16725): 14,136.04 MiB asked for on the first."""
    flags: dict[str, Any] = {
        "engine": "llamacpp",
        "quantization": "IQ4_XS",
        "flash_attn": "on",
        "n_gpu_layers": 99,
    }
    two, one = (
        oomless.infer("apertus-70b", gpu, engine_version="2025-10", context=20480, **flags).ledgers[0]
        for gpu in ("24GiB:2", "80GiB")
    )
    two_bytes, one_bytes = (
        sum(line.bytes for line in ledger.lines if line.key == "activations.compute_buffer")
        for ledger in (two, one)
    )
    assert two_bytes / MIB == pytest.approx(14136.04, abs=0.1)
    assert one_bytes < 300 * MIB  # one card keeps one copy, and its place is used again


@pytest.mark.parametrize(
    ("name", "logged", "flags"),
    [
        ("qwen3.5-0.8b", 42.58, {"quantization": "Q8_0", "context": 2048}),
        ("qwen3.8-27b", 138.02, {"context": 16384, "max_num_seqs": 1}),
        (
            "qwen3.5-35b-a3b",
            497,
            {"context": 24576, "n_cpu_moe": 29, "max_num_seqs": 1, "cache_type_k": "q8_0"},
        ),
        ("qwen3-0.6b", 298.75, {"engine_version": "b7406", "context": 20224, "max_num_seqs": 1}),
        # 16 tokens copy no experts of the host, 32 do: "42 MB" and "7 ~ 7.5 Gigabytes" (llama.cpp#24175)
        ("nemotron-3-ultra-550b-a55b", 42, {"context": 16128, "ubatch_size": 16, "cpu_moe": True}),
        ("nemotron-3-ultra-550b-a55b", 7400, {"context": 16128, "ubatch_size": 512, "cpu_moe": True}),
    ],
)
def test_logs_that_were_predicted_before_they_were_compared(
    name: str, logged: float, flags: dict[str, Any]
) -> None:
    version = "2026-04" if "n_cpu_moe" in flags else "2026-08"
    asked = {"quantization": "Q4_K_M", "engine_version": version, **flags}
    found = oomless.infer(name, "h200", engine="llamacpp", offline=True, **asked)
    buffer = next(line for line in found.ledger.lines if line.key == "activations.compute_buffer")
    assert buffer.bytes / MIB == pytest.approx(logged, rel=0.03 if "ultra" in name else 0.001)


def test_machines_over_rpc_do_not_work_on_several_micro_batches_at_once() -> None:
    """A log of Llama-70B over one card and one of another machine has 1,104.00 MiB on both: no copies."""
    flags: dict[str, Any] = {"engine_version": "2024-09", "quantization": "Q4_K_S", "context": 8192, "pp": 2}
    found = oomless.infer("llama-3.1-70b", "rtx-4090:1x2", engine="llamacpp", offline=True, **flags)
    lines = [line for led in found.ledgers for line in led.lines if line.key == "activations.compute_buffer"]
    assert [round(line.bytes / MIB) for line in lines] == [1104, 1104]


def test_a_graph_may_be_deeper_than_a_stack() -> None:
    """A browser's Python stopped at V4's layers, which hang on one another."""
    graph = Graph()
    last = graph.op(128)
    for _ in range(5_000):
        last = graph.op(128, last)
    graph.expand(last)
    assert (len(graph.nodes), graph.buffer_bytes()) == (5_001, 256)
