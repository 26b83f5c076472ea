"""TensorRT-LLM: caches byte for byte, and a pool that is a share of what is free."""

import json
from typing import Any

import pytest

import oomless
from command import call
from oomless.api.serving import infer
from oomless.engines.command_line import read_command
from oomless.engines.rank import CacheLayout
from oomless.engines.trtllm import TRTLLM
from oomless.engines.trtllm.cache import one
from oomless.errors import UnsupportedError, UsageError
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout, Resolved
from oomless.run.speculation import Speculation
from oomless.units import GIB


def cache(name: str, layout: Layout | None = None, **flags: object) -> CacheLayout:
    asked = Asked(engine="trtllm", **flags)  # type: ignore[arg-type]  # flags of mixed types, by name
    request = TRTLLM.resolve(load(name), parse_gpu("b200:8"), asked, layout or Layout())
    return TRTLLM.cache_layout(load(name), request, TRTLLM.stages(load(name), request)[0])


CELLS = [
    ("deepseek-v3", "auto", 70_272),
    ("deepseek-v3", "fp8", 35_136),
    ("deepseek-v3.2", "bfloat16", 78_324),
    ("deepseek-v3.2", "fp8", 48_068),
    ("deepseek-v4-flash", "fp8", 3_461),
    ("deepseek-v4-flash", "bfloat16", 6_229),
    ("deepseek-v4-pro", "bfloat16", 8_918),
    ("llama-2-7b", "auto", 524_288),
    ("minimax-m3", "auto", 137_472),
    ("minimax-m3", "fp8", 76_032),
    ("tinyllama-1.1b", "auto", 22_528),
]


@pytest.mark.parametrize(("name", "dtype", "num_bytes"), CELLS)
def test_a_token_takes(name: str, dtype: str, num_bytes: float) -> None:
    assert cache(name, kv_cache_dtype=dtype).token_bytes == num_bytes


@pytest.mark.parametrize(("length", "gib"), [(32 << 10, 0.120), (128 << 10, 0.436), (1 << 20, 3.394)])
def test_one_sequence_of_v4_flash_takes(length: int, gib: float) -> None:
    layout = cache("deepseek-v4-flash", kv_cache_dtype="fp8")
    assert one(layout, length) / GIB == pytest.approx(gib, abs=0.0006)


def test_layers_without_rows_are_not_counted_in_a_token() -> None:
    assert cache("qwen3-next-80b-a3b").formula == "12 layers x 2048 B"


def test_every_rank_holds_the_latent_of_mla() -> None:
    assert cache("deepseek-v3", Layout(tp=8)).token_bytes == 70_272
    assert cache("llama-2-7b", Layout(tp=8)).token_bytes == 524_288 / 8


def test_the_pool_is_a_share_of_what_is_free_after_loading() -> None:
    answer = infer(
        "deepseek-r1-distill-llama-8b",
        "h100",
        engine="trtllm",
        free_gpu_memory_fraction=0.5,
        enforce_eager=True,
    )
    charged = answer.ledger.total_bytes - answer.kv_cache.needed_bytes
    assert answer.kv_cache.pool_bytes == (answer.hardware.card.memory_bytes - charged) // 2
    assert answer.ledger.capacity_bytes == charged + answer.kv_cache.pool_bytes


def test_631_blocks_of_64_tokens_of_a_7b_are_nine_tenths_of_21_89_gib() -> None:
    layout = cache("llama-2-7b", engine_version="0.9")
    pool = TRTLLM.pool_bytes(Resolved(free_gpu_memory_fraction=0.9), int(21.89 * GIB), 0)
    assert pool // layout.block_bytes == pytest.approx(631, abs=1)


def test_defaults_follow_the_version() -> None:
    found = [
        TRTLLM.resolve(
            load("llama-2-7b"), parse_gpu("a10"), Asked(engine="trtllm", engine_version=version), Layout()
        )
        for version in ("0.5", "0.9", "1.3")
    ]
    assert [(each.free_gpu_memory_fraction, each.block_size) for each in found] == [
        (0.85, 64),
        (0.9, 64),
        (0.9, 32),
    ]


def test_an_engine_that_is_built_takes_a_cache_of_int8() -> None:
    """quantization/mode.py, INT8_KV_CACHE; the PyTorch backend has none."""
    assert cache("llama-2-7b", engine_version="0.9", kv_cache_dtype="int8").token_bytes == 524_288 / 2
    with pytest.raises(UsageError, match=r"'int8' is not TensorRT-LLM's\n.*float16, fp8$"):
        cache("llama-2-7b", engine_version="1.3", kv_cache_dtype="int8")


def test_what_it_cannot_do_is_refused_by_name() -> None:
    with pytest.raises(
        UsageError, match=r"trtllm has no --gpu-memory-utilization\n.*--free-gpu-memory-fraction"
    ):
        infer("deepseek-v3", "h200:8", engine="trtllm", gpu_memory_utilization=0.9)
    with pytest.raises(UsageError, match="trtllm has no --dp"):
        infer("deepseek-v3", "h200:8", engine="trtllm", dp=8)
    with pytest.raises(UnsupportedError, match="not known yet"):
        infer("deepseek-v4.1-flash", "b200:8", engine="trtllm", tp=8)


def test_ranks_share_weights() -> None:
    one, eight = (
        infer("deepseek-llm-7b", "h100:8", engine="trtllm", tp=tp).ledger.by_category()["weights"]
        for tp in (1, 8)
    )
    assert eight == pytest.approx(one / 8, rel=0.001)


def test_checkpoints_of_four_bits_are_made_of_a_model_published_in_fp8() -> None:
    """nvidia/DeepSeek-R1-FP4 is served on eight B200 (TensorRT-LLM#2964); latent
    attention stays in 16 bit, and its maker may keep more."""
    found = infer("deepseek-r1", "b200:8", engine="trtllm", engine_version="1.0", tp=8, quantization="nvfp4")
    kept = next(line for line in found.ledger.lines if line.key == "weights.unquantized")
    assert found.verdict == "fits"
    assert 0 < kept.bytes < kept.high_bytes
    with pytest.raises(UsageError, match="published as fp8"):
        infer("deepseek-r1", "b200:8", engine="trtllm", engine_version="1.0", tp=8, quantization="w8a8")


def test_experts_are_divided_by_as_many_ranks_as_are_asked() -> None:
    """`--ep-size` of trtllm-serve is 1 to TP: 235B's experts are the same bytes a rank in each split."""
    whole = infer("qwen3-235b-a22b-fp8", "h200:8", engine="trtllm", tp=8, ep_size=8)
    flag = infer("qwen3-235b-a22b-fp8", "h200:8", engine="trtllm", tp=8, enable_expert_parallel=True)
    split = infer("qwen3-235b-a22b-fp8", "h200:8", engine="trtllm", tp=8, ep_size=2)
    weights = [each.ledger.by_category()["weights"] for each in (whole, flag, split)]
    assert weights[0] == weights[1]
    assert weights[2] == pytest.approx(weights[0], rel=1e-3)
    pasted = read_command("trtllm-serve Qwen/Qwen3-235B-A22B-FP8 --tp_size 8 --ep_size 2")
    assert pasted.flags["ep_size"] == 2
    assert not pasted.unknown
    with pytest.raises(UsageError, match="--ep-size 3 does not divide --tp 8"):
        infer("qwen3-235b-a22b-fp8", "h200:8", engine="trtllm", tp=8, ep_size=3)


def test_attention_of_its_own_leaves_a_rank_all_but_experts_whole() -> None:
    """enable_attention_dp: R1's 17.1 B parameters beside experts are on every rank, heads are not divided,
    and the experts' kernels have room for the tokens of all ranks."""
    of_own, shared = (
        infer("deepseek-r1", "h200:8", engine="trtllm", tp=8, ep_size=8, enable_dp_attention=own)
        for own in (True, False)
    )
    more = of_own.ledger.by_category()["weights"] - shared.ledger.by_category()["weights"]
    assert more / GIB == pytest.approx(15.46, abs=0.01)
    assert of_own.request.layout.dp == 8
    peak = {each.key: each.bytes for each in of_own.ledger.lines}["activations.profile_run"]
    assert peak / {each.key: each.bytes for each in shared.ledger.lines}["activations.profile_run"] > 6
    whole = cache("qwen3-235b-a22b", Layout(tp=4, enable_dp_attention=True)).token_bytes
    assert whole == cache("qwen3-235b-a22b", Layout(tp=1)).token_bytes


def test_a_pool_that_is_taken_whole_has_left_the_graphs_their_room() -> None:
    """The PyTorch backend tries its batch after the capture: Qwen3-32B on four L40S is no close thing."""
    found = infer("qwen3-32b", "l40s:4", engine="trtllm", tp=4, context=8192)
    assert found.verdict == "fits"
    assert any(line.key == "runtime.cuda_graphs" for line in found.ledger.lines)


DRAFTING = """cat > extra.yml <<EOF
speculative_config:
  decoding_type: MTP
  num_nextn_predict_layers: 3
EOF
trtllm-serve deepseek-ai/DeepSeek-R1 --tp_size 8 --ep_size 8 --max_num_tokens 4096"""


@pytest.mark.parametrize(("version", "layers"), [("1.2", 64), ("1.3", 62)])
def test_the_file_says_that_the_model_s_own_layer_drafts(version: str, layers: int) -> None:
    """1.2 keeps rows for each token that the layer drafts, 1.3 for one layer."""
    plain, drafted = (
        json.loads(
            call("infer", "--gpu", "h200:8", "--engine-version", version, "--command", text, "--json").out
        )
        for text in (DRAFTING.rpartition("\n")[2], DRAFTING + FILE)
    )
    assert drafted["kv_cache"]["bytes_per_token"] == layers * 1152
    assert plain["kv_cache"]["bytes_per_token"] == 61 * 1152
    held = [
        sum(line["bytes"] for line in each["ranks"][0]["lines"] if line["key"].startswith("weights."))
        for each in (plain, drafted)
    ]
    assert held[1] - held[0] == pytest.approx(1.6 * GIB, rel=0.1)  # a layer of experts at EP8


FILE = " --extra_llm_api_options extra.yml"


def test_a_file_bounds_the_tokens_of_the_cache() -> None:
    text = "cat > o.yaml <<EOF\nkv_cache_config:\n  max_tokens: 65536\nEOF\n"
    words = ("--gpu", "h100", "--engine-version", "1.2", "--json", "--command")
    found = call("infer", *words, text + "trtllm-serve Qwen/Qwen3-8B --extra_llm_api_options o.yaml")
    assert json.loads(found.out)["kv_cache"]["max_tokens"] == 65536


def test_states_of_linear_attention_are_made_for_every_sequence_that_may_run() -> None:
    """Qwen3.5-4B on an H100 started with 256 sequences and ran out of memory with 2,048
    (TensorRT-LLM#19398); a gated delta net keeps a state after each drafted token, too."""
    few, many = (infer("qwen3.5-4b", "h100", engine="trtllm", max_num_seqs=each) for each in (256, 2048))
    assert few.verdict == "fits"
    assert many.verdict != "fits"
    plain, wider, drafted = (
        cache("qwen3.5-4b", max_num_seqs=each, speculation=said).set_aside_bytes
        for each, said in ((256, None), (512, None), (256, Speculation("mtp", 3)))
    )
    state = (wider - plain) // 256
    assert plain == 257 * state
    assert drafted == plain + 256 * 4 * state
    with pytest.raises(UnsupportedError, match="short_conv layers in TensorRT-LLM"):
        cache("lfm2-1.2b")


HEAD = '{"method": "eagle3", "num_speculative_tokens": 3}'


def test_a_head_drafts_from_the_pytorch_backend_on() -> None:
    """Its layer keeps rows of every token like the target's."""
    words = ("infer", "llama-3.1-8b-instruct", "--gpu", "h100", "--engine", "trtllm", "--json")
    plain, headed = (
        json.loads(call(*words, "--engine-version", "1.2", *more).out)["kv_cache"]["bytes_per_token"]
        for more in ((), ("--speculative-config", HEAD))
    )
    assert headed == plain * 33 / 32
    refused = call(*words, "--engine-version", "0.17", "--speculative-config", HEAD)
    assert "loads no eagle3 head" in refused.out + refused.err


def test_the_dry_run_has_a_block_for_each_sequence_of_the_largest_graph() -> None:
    text = "cat > o.yaml <<EOF\ncuda_graph_config:\n  max_batch_size: 512\nEOF\n"
    found = read_command(text + "trtllm-serve openai/gpt-oss-120b --extra_llm_api_options o.yaml")
    assert found.flags["cuda_graph_max_bs"] == 512
    assert not found.unknown
    model, hardware = load("qwen3-8b"), parse_gpu("h100")
    blocks = []
    for each in (128, 512):
        asked = Asked(engine="trtllm", engine_version="1.3", cuda_graph_max_bs=each, max_num_seqs=512)
        request = TRTLLM.resolve(model, hardware, asked, Layout())
        (stage,) = TRTLLM.stages(model, request)
        tried = TRTLLM.budget_lines(model, request, hardware, stage).passing[0]
        blocks.append(int(tried.formula.partition(" ")[0].replace(",", "")))
    assert blocks[1] - blocks[0] == 384


def test_the_cache_has_the_type_that_a_checkpoint_of_modelopt_says() -> None:
    """52.51 GiB held 860,320 tokens of Llama-3.1-8B in FP8, 65,536 B each (NVIDIA/TensorRT-LLM#6294)."""
    said = oomless.infer("deepseek-r1-nvfp4", "b200:8", engine="trtllm", tp=8)
    plain = oomless.infer("deepseek-r1", "b200:8", engine="trtllm", tp=8)
    assert said.kv_cache.bytes_per_token == 61 * 576 == plain.kv_cache.bytes_per_token // 2
    assert said.request.kv_cache_dtype == "fp8"


def test_experts_in_fp8_take_more_than_the_dry_run_saw() -> None:
    """TensorRT-LLM#12823: DeepSeek-V3.2 on eight B200 ran out at 0.6 and ran at 0.55; #18322: 14.0 GiB."""
    asked: dict[str, Any] = {
        "engine": "trtllm",
        "engine_version": "1.3",
        "tp": 8,
        "ep_size": 8,
        "max_num_seqs": 24,
    }
    asked |= {
        "speculation": {"method": "mtp", "num_speculative_tokens": 1},
        "enable_dp_attention": True,
        "max_num_batched_tokens": 8192,
    }
    found = {}
    for name, share in (("deepseek-v3.2-exp", 0.6), ("deepseek-v3.2-exp", 0.55), ("deepseek-v4-pro", 0.6)):
        answer = infer(name, "b200:8", free_gpu_memory_fraction=share, **asked)
        lines = {line.key: line for line in answer.ledgers[0].lines}
        found[name, share] = answer.verdict, lines.get("temporaries.running")
    (fraction, line), (less, _), (_, narrow) = found.values()
    assert (fraction, less, narrow) == ("tight", "fits", None)
    assert line is not None
    assert (line.low_bytes, round(line.bytes / GIB, 1)) == (0, 14.0)


BUILD = "python3 examples/llama/build.py --model_dir Llama-2-7b-chat-hf --remove_input_padding"
BUILD += " --max_batch_size 64"


def test_a_build_of_a_family_is_read_with_its_lengths() -> None:
    """A switch takes no other flag along, though trtllm-build gives it a value."""
    found = read_command(f"{BUILD} --max_output_len 2048")
    assert found.flags["max_model_len"] == 4096
    assert found.flags["max_num_batched_tokens"] == 64 * 2048
    assert found.remark
    assert not read_command(f"{BUILD} --enable_context_fmha").remark


def test_a_build_without_context_fmha_has_room_for_all_scores() -> None:
    """TensorRT-LLM#352: 56.4 GB of scratch for 64 inputs of 2,048 tokens."""
    words = ("infer", "--gpu", "48GiB", "--engine-version", "0.5", "--context", "2048", "--json", "--command")
    plain, fused = (json.loads(call(*words, each).out) for each in (BUILD, f"{BUILD} --enable_context_fmha"))
    assert plain["verdict"] == "does_not_fit" != fused["verdict"]
