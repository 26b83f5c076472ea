"""Where llama.cpp puts layers and tensors: layers left to the host, uneven cards, rules for single
tensors."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oomless
from oomless.engines.llamacpp.gguf_file import stored
from oomless.engines.llamacpp.placement import HOST, deal, device_of, held, rows_of_card
from oomless.errors import OomlessError
from oomless.model.gguf_tensor_names import gguf_name
from oomless.model.load import load
from oomless.run.serving import Layout, Resolved
from oomless.units import MIB


def weights(found: oomless.ServingAnswer) -> list[int]:
    return [
        sum(line.bytes for line in ledger.lines if line.category == "weights") for ledger in found.ledgers
    ]


@given(
    num_layers=st.integers(1, 130),
    left=st.integers(0, 140),
    shares=st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any),
    output_first=st.booleans(),
)
def test_every_layer_is_on_one_card_or_left(
    num_layers: int, left: int, shares: list[int], output_first: bool
) -> None:
    split = ",".join(map(str, shares))
    asked = Resolved(layout=Layout(pp=len(shares)), tensor_split=split, n_gpu_layers=left)
    dealt = deal(num_layers, asked, output_first)
    on_cards = [layer for stage in dealt for layer in range(stage.start, stage.stop)]
    expected = min(left - output_first, num_layers) if left else 0
    assert on_cards == list(range(num_layers - expected, num_layers))


@pytest.mark.parametrize(
    "flags",
    [{}, {"n_cpu_moe": 9}, {"override_tensor": r"blk\\.[3-5]\\.attn=CUDA1,exps=CPU"}, {"n_gpu_layers": 13}],
)
@pytest.mark.parametrize("version", ["2025-07", "2026-08"])
def test_devices_hold_the_file_together(flags: dict[str, Any], version: str) -> None:
    model = load("deepseek-v2-lite")
    asked = Resolved(
        engine="llamacpp", engine_version=version, quantization="Q4_K_M", layout=Layout(pp=2), **flags
    )
    file, dealt = stored(model, asked), deal(27, asked, version > "2025-12")
    places = [held(file, asked, dealt, device, version > "2025-12") for device in (HOST, 0, 1)]
    together = sum(
        each.group.format.num_bytes(each.group.shape) * each.group.repeat * (len(each.layers) or 1)
        for place in places
        for each in place
    )
    assert together == file.checkpoint_bytes


def test_rows_are_cut_and_none_is_lost() -> None:
    parts = [rows_of_card(13824, [0.3, 0.55, 1.0], card) for card in range(3)]
    assert sum(parts) == 13824
    assert [part % 128 for part in parts[:2]] == [0, 0]


def test_a_larger_card_gets_more_layers_and_its_own_ledger() -> None:
    found = oomless.infer(
        "deepseek-r1-distill-llama-70b",
        "rtx-4090+rtx-5090",
        engine="llamacpp",
        quantization="q4_k_m",
        context=8192,
    )
    small, large = weights(found)
    assert small < large
    assert [ledger.group for ledger in found.ledgers] == [
        "pipeline stage 0 (RTX 4090)",
        "pipeline stage 1 (RTX 5090)",
    ]
    assert found.ledgers[0].capacity_bytes < found.ledgers[1].capacity_bytes


def test_equal_cards_written_apart_are_one_kind() -> None:
    together, apart = (
        oomless.infer("deepseek-v2-lite", gpu, engine="llamacpp")
        for gpu in ("rtx-3090:2", "rtx-3090+rtx-3090")
    )
    assert together.ledgers == apart.ledgers


def test_ranks_that_share_a_layer_count_as_the_smallest_card() -> None:
    """By the size of the one (23.51 of 23.56 GiB) and the kernels of the other."""
    mixed, small, old = (
        oomless.infer("deepseek-v2-lite", gpu, tp=2)
        for gpu in ("rtx-4090+rtx-3090", "rtx-4090:2", "rtx-3090:2")
    )
    assert mixed.hardware.card.memory_bytes == small.hardware.card.memory_bytes
    assert mixed.hardware.card.capability == old.hardware.card.capability
    assert mixed.ledger.total_bytes == old.ledger.total_bytes
    assert mixed.ledger.capacity_bytes < min(small.ledger.capacity_bytes, old.ledger.capacity_bytes)


def test_experts_left_by_a_rule_and_by_the_switch_are_the_same() -> None:
    by_rule, by_switch, by_count = (
        oomless.infer(
            "deepseek-r1", "rtx-4090", engine="llamacpp", quantization="q4_k_m", context=8192, **flags
        ).ledgers
        for flags in ({"override_tensor": "exps=CPU"}, {"cpu_moe": True}, {"n_cpu_moe": 61})
    )
    assert by_rule == by_switch == by_count


RULES = (
    r"blk\.(3|4|17)\.ffn_(up|down)_exps",
    r"blk\.7\.ffn_(gate|gate_up|down).*",
    r"blk\.3\.ffn_down|blk\.5\.attn",
    r"blk\.(03|4)\.ffn_up",
    r"blk\.(3|)\.ffn",
    r"blk\.1",
    r"blk\.([3-9]|1\d)\.ffn_.*_exps\.",
    r"blk\.(1|2)\.(ffn_(up|down))",
)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_lists_layers_finds_what_its_expression_finds(rule: str) -> None:
    model = load("deepseek-v2-lite")
    asked = Resolved(override_tensor=f"{rule}=CPU")
    for group in model.tensors:
        for layer in group.layers:
            expected = HOST if re.search(rule, gguf_name(group, layer)) else 0
            assert device_of(group, layer, asked, 0) == expected


def test_more_layers_on_the_host_never_cost_a_card_more() -> None:
    model, sizes = load("qwen3-30b-a3b"), []
    for layers in range(0, 49, 6):
        found = oomless.infer(
            model, "rtx-3090", engine="llamacpp", quantization="q4_k_m", context=8192, n_cpu_moe=layers
        )
        sizes += weights(found)
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("mode", ["layer", "tensor"])
def test_shares_name_the_cards_of_a_model_that_one_would_hold(mode: str) -> None:
    found = oomless.infer("qwen3-8b", gpu="h100:2", engine="llamacpp", split_mode=mode, tensor_split="1,1")
    assert found.estimate.request.layout.pp == 2


def test_what_would_fit_is_said_in_its_own_flags() -> None:
    found = oomless.infer("gpt-oss-120b", "rtx-5090", engine="llamacpp", context=32768, fit=False)
    flags = [change.flags for change in found.changes]
    assert flags == ["--n-cpu-moe 19", "-ngl 18", "--pp 3 on 3 cards"]
    one_less = oomless.infer("gpt-oss-120b", "rtx-5090", engine="llamacpp", context=32768, n_cpu_moe=18)
    assert one_less.verdict != "fits"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"override_tensor": "exps=CUDA5"}, "names card 5"),
        ({"override_tensor": "exps"}, "is no rule"),
        ({"override_tensor": "(=CPU"}, "--override-tensor (: a parenthesis is missing"),
        ({"tensor_split": "1,2,3"}, "3 shares for 2 cards"),
        ({"tensor_split": "a,b"}, "no list of shares"),
        ({"tensor_split": "0,0"}, "no list of shares"),
        ({"split_mode": "diagonal"}, "layer or row or tensor or none"),
        ({"n_cpu_moe": -1}, "--n-cpu-moe is -1"),
    ],
)
def test_what_is_not_understood_is_named(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(OomlessError) as error:
        oomless.infer("deepseek-v2-lite", "rtx-3090:2", engine="llamacpp", pp=2, **flags)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "gpu", ["rtx-3090+", "+", "rtx-3090+nope", "rtx-3090:40+rtx-4090:40", "h100:8x2+h200"]
)
def test_cards_that_cannot_be_mixed_are_refused(gpu: str) -> None:
    with pytest.raises(OomlessError):
        oomless.infer("deepseek-v2-lite", gpu)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("deepseek-r1-distill-qwen-14b", {"context": 4096, "n_gpu_layers": "99"}),
        (
            "deepseek-r1",
            {"context": 8192, "engine": "ik-llamacpp", "override_tensor": "exps=CPU", "attn_max_batch": 512},
        ),
        ("deepseek-r1", {"context": 8192, "override_tensor": "exps=CPU"}),
    ],
)
def test_the_longest_context_counts_the_buffer_that_it_needs(name: str, flags: dict[str, object]) -> None:
    asked: dict[str, Any] = {"engine": "llamacpp", "quantization": "q4_k_m", **flags}
    longest = oomless.infer(name, "rtx-4080", **asked).kv_cache.longest_sequence
    at, beyond = (
        oomless.infer(name, "rtx-4080", **{**asked, "context": length}).verdict
        for length in (longest, longest + 256)
    )
    assert (at, beyond != "fits") == ("fits", True)


def test_a_cache_type_whose_blocks_do_not_divide_a_head_is_refused() -> None:
    """llama_init_from_model makes no context: phi-2's 32 heads of 80 values together would divide, one does
    not."""
    with pytest.raises(OomlessError, match="heads of 80"):
        oomless.infer("phi-2", "rtx-4090:1", engine="llamacpp", cache_type_k="q8_0")


def test_a_usual_build_takes_fifteen_cards_beside_the_host() -> None:
    """Sixteen end in an assertion of ggml's (ollama issue 8920), but in a build made for more (ik 245)."""
    chosen = oomless.infer("kimi-k2", "h200:999999", engine="llamacpp")
    assert chosen.request.layout.pp <= 15
    asked = oomless.infer("kimi-k2", "h200:16", engine="llamacpp", pp=16)
    assert [note for note in asked.warnings if "more than 15 cards" in note]
    assert not [note for note in chosen.warnings if "more than 15 cards" in note]


def test_before_2024_the_first_card_had_every_cache_and_what_operations_left() -> None:
    """ggml-org/llama.cpp#3780 ran out on the first of three cards, months before layers were dealt out."""
    asked: dict[str, Any] = {"engine": "llamacpp", "quantization": "Q6_K", "context": 8192, "concurrency": 1}
    cards = {
        build: [
            {line.key: line.high_bytes for line in ledger.lines}
            for ledger in oomless.infer("llama-2-70b", "tesla-p40:3", engine_version=build, **asked).ledgers
        ]
        for build in ("2023-10", "2024-02")
    }
    rows, layers = cards["2023-10"], cards["2024-02"]
    assert [each["kv_cache.needed"] for each in rows] == [8192 * 80 * 4096, 0, 0]
    assert sum(each["kv_cache.needed"] for each in layers) == rows[0]["kv_cache.needed"]
    assert rows[0]["temporaries.running"] > 4 * layers[0]["temporaries.running"]


def test_the_layer_that_drafts_is_dealt_with_the_others() -> None:
    """Qwen3.8-27B's files have it (66/66 layers), those of Qwen3.5-27B have not (26/65): three cards of
    sudoingX/qwen38-mtp#16 hold 24, 24 and 16 layers by 35,37,28, and -ngl 65 leaves one to the host."""
    asked: dict[str, Any] = {"engine": "llamacpp", "quantization": "Q4_K_M", "context": 4096}
    asked["tensor_split"] = "35,37,28"
    dealt = {
        name: [
            rank.cache.groups[0].num_layers
            for rank in oomless.infer(name, "rtx-3060-12gb:3", pp=3, **asked).estimate.ranks
        ]
        for name in ("qwen3.8-27b", "qwen3.5-27b")
    }
    assert dealt["qwen3.8-27b"] == [24, 24, 16]
    assert dealt["qwen3.5-27b"] == [23, 24, 17]
    left = [
        oomless.infer(name, "rtx-4090", engine="llamacpp", quantization="Q4_K_M", n_gpu_layers=65)
        .estimate.ranks[0]
        .cache.groups[0]
        .num_layers
        for name in dealt
    ]
    assert left == [63, 64]


def test_metal_once_ran_the_whole_graph_for_any_layers() -> None:
    """ggml-org/llama.cpp#1890: an M2 Pro of 16 GB runs out with one layer asked for, and 4,096 tokens."""
    asked: dict[str, Any] = {"engine": "llamacpp", "quantization": "Q4_0", "context": 4096, "n_gpu_layers": 1}
    held = [
        sum(weights(oomless.infer("llama-2-13b", "m2-pro-16gb", engine_version=each, offline=True, **asked)))
        for each in ("2023-08", "2024-02")
    ]
    assert held[0] > 6.5 * 2**30
    assert held[1] < 5 * 2**30


@pytest.mark.parametrize(
    ("kind", "size"), [("Q2_K", 15.64), ("Q3_K_M", 20.36), ("Q4_K_M", 26.44), ("Q5_K_M", 32.23)]
)
def test_files_of_2023_have_plain_experts(kind: str, size: float) -> None:
    """TheBloke's files of Mixtral, in GB; a build reads no file that is younger than itself."""
    asked = Resolved(engine="llamacpp", quantization=kind)
    old, new = (
        stored(load("mixtral-8x7b"), asked._replace(engine_version=month)).checkpoint_bytes / 1e9
        for month in ("2023-12", "2024-06")
    )
    assert old == pytest.approx(size, abs=0.011)
    assert new > old


def test_layers_of_the_host_sent_one_matrix_before_batches_were_offloaded() -> None:
    """koboldcpp#602 of January 2024: a context of 2,785.32 MiB, of which 1,664 are the cache."""
    asked: dict[str, Any] = {"quantization": "Q4_K_M", "max_model_len": 16384, "n_gpu_layers": 26}
    found = [
        next(
            line
            for line in oomless.infer(
                "mixtral-8x7b", "rtx-4090", engine="llamacpp", engine_version=month, **asked
            )
            .ledgers[0]
            .lines
            if line.key == "activations.compute_buffer"
        )
        for month in ("2024-01", "2024-04")
    ]
    assert found[0].bytes / MIB == pytest.approx(1121.32, rel=0.02)
    assert found[1].bytes > found[0].bytes + 800 * MIB
