"""Flags of SGLang's own command that change what a rank holds, by the releases that have them."""

import json
from typing import Any

import pytest

from command import call
from oomless.engines.sglang.beside import low_latency_bytes
from oomless.units import GIB

START = "python -m sglang.launch_server --model-path "
LARGE_SCALE = (
    "deepseek-ai/DeepSeek-R1 --tp 8 --dp 8 --enable-dp-attention --enable-deepep-moe "
    "--ep-num-redundant-experts 32 "
)
V3 = "deepseek-ai/DeepSeek-V3 --tp 8 "


def answer(command: str, version: str, gpu: str = "h200:8", before: str = "") -> dict[str, Any]:
    pasted = before + START + command
    found = call("infer", "--gpu", gpu, "--engine-version", version, "--command", pasted, "--json")
    assert found.code in (0, 3), found.err
    said: dict[str, Any] = json.loads(found.out)
    assert not [each for each in said["warnings"] if "flags not known" in each]
    return said


def held(command: str, version: str, gpu: str = "h200:8") -> dict[str, int]:
    """The bytes of a rank by the keys of its lines."""
    lines: dict[str, int] = {}
    for line in answer(command, version, gpu)["ranks"][0]["lines"]:
        lines[line["key"]] = lines.get(line["key"], 0) + line["bytes"]
    return lines


def test_heads_and_dense_layers_of_a_large_deployment_are_whole() -> None:
    """105.59 GiB of a rank, of which redundant experts alone leave 3 unexplained (sglang#6017, May 2025)."""
    apart = held(LARGE_SCALE, "0.4.6.post3")
    whole = held(LARGE_SCALE + "--enable-dp-lm-head --moe-dense-tp-size 1", "0.4.6.post3")
    for key in ("weights.output_head", "weights.feed_forward"):
        assert whole[key] == pytest.approx(8 * apart[key], rel=0.001)
    loaded = sum(size for key, size in whole.items() if key.startswith(("weights.", "fragmentation")))
    assert loaded / GIB == pytest.approx(105.59, abs=0.2)


@pytest.mark.parametrize(
    ("said", "tokens"),
    [("EAGLE", 3), ("NEXTN", 3), ("NGRAM", 11), ("EAGLE --speculative-num-steps 1", 1)],
)
def test_an_algorithm_alone_drafts_several_tokens(said: str, tokens: int) -> None:
    """It was taken for one token a step; SGLang chooses three steps, and of guesses twelve tokens."""
    found = answer(V3 + f"--speculative-algorithm {said}", "0.5.23")
    assert found["request"]["speculation"]["tokens"] == tokens


def test_old_switches_divide_experts() -> None:
    switch, size, neither = (held(V3 + flag, "0.4.6") for flag in ("--enable-ep-moe", "--ep-size 8", ""))
    assert switch == size != neither


def test_a_number_of_tokens_bounds_the_pool() -> None:
    asked = (answer(f"Qwen/Qwen3-8B --max-total-tokens {num}", "0.5.5", "h100") for num in ("20480", "90M"))
    small, large = (each["kv_cache"]["max_tokens"] for each in asked)
    assert small == 20480 < large < 1_000_000


@pytest.mark.parametrize(("backend", "page"), [("flashinfer", 1), ("flashmla", 64), ("cutlass_mla", 128)])
def test_another_backend_has_pages_of_its_own_and_no_partial_results(backend: str, page: int) -> None:
    command = V3 + "--cuda-graph-max-bs 512 --attention-backend "
    assert answer(command + backend, "0.5.3")["request"]["block_size"] == page
    other, usual = (held(command + word, "0.5.3")["runtime.cuda_graphs"] for word in (backend, "fa3"))
    assert usual > other + 3.5 * GIB


def test_partial_results_go_by_the_largest_batch_not_by_heads_alone() -> None:
    """Every head was taken for 0.3 GiB whatever the batch: 38 GiB of V3 under data-parallel attention, where
    FlashAttention 3 asked for 7 (sglang#11086), and no setting with graphs fitted on eight H200."""
    groups = V3 + "--dp 8 --enable-dp-attention --cuda-graph-max-bs "
    few, many = (held(groups + num, "0.5.3")["runtime.cuda_graphs"] for num in ("16", "512"))
    assert few < 3 * GIB
    assert 14 * GIB < many < 18 * GIB
    half = held(V3 + "--cuda-graph-max-bs 256", "0.4.6")["runtime.cuda_graphs"]
    assert half == pytest.approx(6.22e9, rel=0.1)  # sglang#5893


def test_without_chunks_a_prompt_is_read_whole_and_less_is_reserved() -> None:
    """managers/scheduler.py, init_chunked_prefill: -1 means disable; server_args.py reserves for 2,048."""
    asked = V3 + "--context-length 65536 "
    cut, whole = (answer(asked + flags, "0.5.6") for flags in ("", "--chunked-prefill-size -1"))
    assert whole["request"]["max_num_batched_tokens"] == 65536
    assert whole["request"]["mem_fraction_static"] > cut["request"]["mem_fraction_static"]


def test_a_server_of_prompts_captures_no_graphs() -> None:
    """For LMSYS's prefill servers graphs were counted."""
    command = (
        "deepseek-ai/DeepSeek-R1 --tp 32 --dp 32 --enable-dp-attention --moe-a2a-backend deepep "
        "--mem-fraction-static 0.85 --chunked-prefill-size 524288 --max-running-requests 8192 "
        "--max-total-tokens 131072 --context-length 8192 --ep-num-redundant-experts 32"
    )
    pair = answer(command + " --disaggregation-mode prefill", "0.5.9", "h100:8x4")
    assert pair["verdict"] == "fits"
    assert pair["request"]["enforce_eager"] is True
    eager = answer(command + " --disable-cuda-graph", "0.5.9", "h100:8x4")
    assert pair["ranks"] == eager["ranks"]


def test_a_server_of_steps_keeps_no_prefixes_nor_states_of_them() -> None:
    """server_args.py, _handle_pd_disaggregation: KV cache is forced as chunk cache for decode server."""
    command = "Qwen/Qwen3-Next-80B-A3B-Instruct --tp 4 --max-running-requests 64"
    flags = ("", " --disaggregation-mode decode", " --disable-radix-cache")
    alone, pair, plain = (answer(command + each, "0.5.10", "h200:4") for each in flags)
    assert pair["kv_cache"] == plain["kv_cache"]
    assert pair["kv_cache"]["max_tokens"] > 1.5 * alone["kv_cache"]["max_tokens"]


def test_graphs_of_prompts_that_are_asked_for_lower_the_share() -> None:
    """Qwen2.5-VL-7B on B200: server_args of such a command says mem_fraction_static=0.7629746875
    (sglang#11830, 0.5.6)."""
    start = "Qwen/Qwen2.5-VL-7B-Instruct --disable-radix-cache "
    for flags, share in (("--enable-piecewise-cuda-graph", 0.7629746875), ("", 0.857 * 0.8965625)):
        found = answer(start + flags, "0.5.6", "b200")["request"]["mem_fraction_static"]
        assert found == pytest.approx(share, abs=1e-9)


def test_the_buffers_of_deepep_are_as_large_as_its_variable_and_mode_say() -> None:
    """token_dispatcher/deepep.py: normal has none of single steps, and captures no graphs."""
    sent, deepep = "communication.buffers", V3 + "--moe-a2a-backend deepep"
    names = ("", "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK=512 ")
    small, large = (
        {line["key"]: line for line in answer(deepep, "0.5.9", before=name)["ranks"][0]["lines"]}[sent]
        for name in names
    )
    assert large["low_bytes"] == low_latency_bytes(7168, 256, 512) > 3.9 * small["low_bytes"]
    normal = held(deepep + " --deepep-mode normal", "0.5.9")
    assert normal[sent] == 0
    assert "runtime.cuda_graphs" not in normal


def test_fused_experts_have_the_symmetric_buffer_alone() -> None:
    found = held(V3 + "--moe-a2a-backend megamoe", "0.5.23", gpu="b200:8")
    assert "communication.buffers" not in found
    assert found["communication.symmetric"] > GIB


def test_ranks_that_divide_a_sequence_share_latents_and_not_index_keys() -> None:
    """GLM-5.2 in FP8 had 1.855 times the tokens at two ranks (sglang#31821); V4 does not divide so."""
    glm = "zai-org/GLM-5.2-FP8 --tp 8 --speculative-algorithm EAGLE --speculative-num-steps 3"
    one, two = (answer(f"{glm} --dcp-size {size}", "0.5.23", "b200:8")["kv_cache"] for size in (1, 2))
    assert two["max_tokens"] / one["max_tokens"] == pytest.approx(1.855, rel=0.01)


def test_ranks_that_divide_prompts_do_not_divide_the_attention() -> None:
    """arg_groups/parallel_hook.py: tp / (dp x cp) ranks divide it."""
    heads = "Qwen/Qwen3-32B --tp 8 "
    one, eight = (answer(heads + flag, "0.5.23") for flag in ("", "--attn-cp-size 8"))
    assert eight["kv_cache"]["bytes_per_token"] == 8 * one["kv_cache"]["bytes_per_token"]
    weights = [held(heads + flag, "0.5.23")["weights.attention"] for flag in ("", "--attn-cp-size 8")]
    assert weights[1] == pytest.approx(8 * weights[0], rel=0.01)


def test_the_attention_of_steps_decides_pages() -> None:
    """server_args.py: pages of 64 for FlashMLA, whichever reads prompts; a block of seven drafts seven."""
    flags = "--decode-attention-backend flashmla --attention-backend fa3 "
    assert answer(V3 + flags, "0.5.9")["request"]["block_size"] == 64
    k3 = "moonshotai/Kimi-K3 --tp 8 --speculative-algorithm DSPARK --speculative-dspark-block-size 7"
    assert answer(k3, "0.5.23", "b300:8")["request"]["speculation"]["tokens"] == 7


def test_symmetric_memory_is_taken_beside_the_pool() -> None:
    """pynccl_allocator.py: 4 GiB once graphs are captured, from 0.5.9 on."""
    asked = V3 + "--enable-symm-mem"
    found = [held(asked, version).get("communication.symmetric", 0) for version in ("0.5.8", "0.5.9")]
    assert found == [0, 4 * GIB]


def test_kimi_k3_has_its_tower_whole_on_every_rank() -> None:
    """models/kimi_k3.py: 12 heads of vision on eight and sixteen ranks, as its recipes run; texts alone have
    none."""
    k3 = "moonshotai/Kimi-K3 --tp 8 --mem-fraction-static 0.9 "
    shown, alone = (held(k3 + flag, "0.5.23", gpu="b300:8") for flag in ("", "--language-only"))
    assert shown["weights.vision"] > 0.5 * GIB
    assert "weights.vision" not in alone


@pytest.mark.parametrize(
    ("flags", "largest", "eager"),
    [
        ('--cuda-graph-config \'{"decode":{"max_bs":64},"prefill":{"backend":"disabled"}}\'', 64, False),
        ("--cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled", 0, True),
        ("--disable-decode-cuda-graph", 1, False),
    ],
)
def test_graphs_are_read_by_phase(flags: str, largest: int, eager: bool) -> None:
    asked = answer(f"Qwen/Qwen3-8B {flags}", "0.5.23", "h100")["request"]
    assert (asked["cuda_graph_max_bs"], asked["enforce_eager"]) == (largest, eager)


def test_nvshmem_takes_memory_beside_the_buffers_of_deepep() -> None:
    """3.1 GiB where DeepEP's own test has buffers of 1.97 (DeepEP#510); other carriers have no NVSHMEM."""
    keys = {name: held(V3 + f"--moe-a2a-backend {name}", "0.5.9") for name in ("deepep", "mooncake")}
    apart = keys["deepep"]["communication.buffers"] - keys["mooncake"]["communication.buffers"]
    assert (low_latency_bytes(7168, 288) + apart) / GIB == pytest.approx(3.1, abs=0.05)


def test_a_prompt_read_whole_holds_four_copies_of_its_tokens() -> None:
    """400,000 tokens of Scout at once ran out on eight H100 (sglang#5212, 0.4.5.post1): the residual, what
    experts read and wrote in place, the shared expert's and their sum."""
    scout = "meta-llama/Llama-4-Scout-17B-16E-Instruct --tp 8 --context-length 400000"
    lines = answer(scout, "0.4.5.post1")["ranks"][0]["lines"]
    line = next(each for each in lines if each["key"] == "activations.profile_run")
    assert line["formula"].startswith("400,000 tokens")
    assert line["low_bytes"] == 4 * 400_000 * 5120 * 2


def test_the_old_name_of_a_draft_is_read() -> None:
    """--speculative-draft, as guides of 0.4.1 have it (sglang#2863)."""
    flags = "--speculative-algo EAGLE --speculative-num-steps 5 --speculative-draft "
    found = answer(f"Qwen/Qwen2-7B-Instruct {flags} yuhuili/EAGLE-Qwen2-7B-Instruct-sglang", "0.4.4", "h20")
    assert found["request"]["speculation"]["draft"] == "yuhuili/EAGLE-Qwen2-7B-Instruct-sglang"


def test_a_shared_expert_apart_is_no_copy_on_each_rank() -> None:
    """0.4.6 makes a copy for each rank (models/deepseek_v2.py); from 0.4.7 on the one is divided anyway."""
    apart = "--disable-shared-experts-fusion"

    def weights(command: str, version: str) -> int:
        return sum(size for key, size in held(command, version).items() if key.startswith("weights."))

    more = {version: weights(V3, version) - weights(V3 + apart, version) for version in ("0.4.6", "0.4.9")}
    assert more["0.4.6"] / GIB == pytest.approx(2.06, abs=0.1)
    assert abs(more["0.4.9"]) < 0.01 * GIB


def test_early_drafts_are_captured_for_128_requests() -> None:
    """Qwen2-7B with EAGLE, 64 tokens of each of 128 requests, ran out of an H20 while graphs were captured
    (sglang#2863, 0.4.1); a table has a row for each of those tokens."""
    eagle = "Qwen/Qwen2-7B-Instruct --speculative-algo EAGLE --mem-fraction 0.7 --speculative-num-steps 5 "
    eagle += "--speculative-draft yuhuili/EAGLE-Qwen2-7B-Instruct --speculative-num-draft-tokens 64"
    said = {version: answer(eagle, version, "h20") for version in ("0.4.1", "0.4.3.post4")}
    lines = {
        version: {line["key"]: line for line in each["ranks"][0]["lines"]} for version, each in said.items()
    }
    graphs = {version: each["runtime.cuda_graphs"]["bytes"] / GIB for version, each in lines.items()}
    assert graphs["0.4.1"] > 25 > 22 > graphs["0.4.3.post4"]
    assert said["0.4.1"]["verdict"] == "does_not_fit"
