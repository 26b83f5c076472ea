"""Laws of the speed of serving: more work is never faster, and figures hold their parts."""

from functools import partial
from typing import Any

import pytest

import oomless
from oomless import facts
from oomless.engines.speed_classes import triton_tile
from oomless.errors import UnsupportedError, UsageError
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation, read_speculation
from oomless.speed.band import TimePart
from oomless.speed.drafts import accepted
from oomless.speed.dynamic import Dynamic
from oomless.speed.load import Load, Split
from oomless.speed.matrices import matrices_of
from oomless.speed.network import network
from oomless.speed.serving import ServingSpeed, serving_speed
from oomless.speed.setup import setup_of
from oomless.truth.speed_harness import predict_speed


def estimate(model: str = "deepseek-r1", gpu: str = "h200:8", tp: int = 8, **asked: object) -> Estimate:
    request = Asked(layout=Layout(tp=tp), max_model_len=16384)._replace(**asked)  # type: ignore[arg-type]
    return estimate_serving(load(model), request, parse_gpu(gpu))


def test_parts_add_up_to_the_step() -> None:
    alone = serving_speed(estimate(), input_len=2000, output_len=160_000, concurrency=1)
    assert sum(part.seconds for part in alone.decode_parts) == pytest.approx(alone.tpot_s.value, rel=1e-6)
    assert sum(part.seconds for part in alone.prompt_parts) == pytest.approx(alone.ttft_s.value, rel=1e-6)


@pytest.mark.parametrize(("tp", "concurrency"), [(8, 64), (1, 64), (8, 2)])
def test_prompts_of_others_are_a_part_of_the_time_between_tokens(tp: int, concurrency: int) -> None:
    answer = estimate("deepseek-v2-lite", "h200:8", tp)
    found = serving_speed(answer, input_len=2000, output_len=500, concurrency=concurrency)
    parts = (*found.decode_parts, *found.between_parts)
    assert parts[-1].what == "between steps"
    assert sum(part.seconds for part in parts) == pytest.approx(found.tpot_s.value, rel=1e-6)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_prompt_alone_is_read_in_steps_too(concurrency: int) -> None:
    """One that is longer than a step reads the weights once a step: 121 steps of 256 tokens took as long as
    one of all 31,000, less than the weights themselves."""
    firsts = []
    for budget in (256, 2048, 8192, 32768):
        asked = estimate(max_model_len=65536, max_num_batched_tokens=budget)
        found = serving_speed(asked, input_len=31_000, output_len=100, concurrency=concurrency)
        assert found.prompt_steps == -(-31_000 // budget)
        weights = sum(line.bytes for line in asked.ranks[0].lines if line.category == "weights")
        assert found.ttft_s.value > found.prompt_steps * weights * 0.9 / 4.8e12
        firsts.append(found.ttft_s.value)
    assert firsts == sorted(firsts, reverse=True)
    whole = serving_speed(
        estimate("qwen3-8b", "h100", 1, engine="transformers", max_model_len=None),
        input_len=30_000,
        output_len=1,
        concurrency=1,
    )
    assert whole.prompt_steps == 1


def test_more_work_is_never_faster() -> None:
    answer = estimate()
    before = serving_speed(answer, input_len=1000, output_len=500, concurrency=1)
    for concurrency in (2, 8, 32, 128):
        after = serving_speed(answer, input_len=1000, output_len=500, concurrency=concurrency)
        assert after.tpot_s.value >= before.tpot_s.value
        assert after.tokens_per_s.value >= before.tokens_per_s.value * 0.999
        before = after
    longer = serving_speed(answer, input_len=8000, output_len=500, concurrency=8)
    shorter = serving_speed(answer, input_len=1000, output_len=500, concurrency=8)
    assert longer.ttft_s.value > shorter.ttft_s.value
    assert longer.tpot_s.value > shorter.tpot_s.value


def test_every_figure_lies_in_its_band() -> None:
    speed = serving_speed(
        estimate("deepseek-r1-distill-qwen-7b", "rtx-4090", 1), input_len=512, output_len=128, concurrency=4
    )
    for figure in (speed.ttft_s, speed.tpot_s, speed.tokens_per_s):
        assert 0 < figure.low <= figure.value <= figure.high


def test_a_card_without_a_bandwidth_has_no_speed() -> None:
    with pytest.raises(UnsupportedError, match="bandwidth"):
        serving_speed(estimate("deepseek-v2-lite", "80GiB", 1), input_len=512, output_len=128, concurrency=1)


@pytest.mark.parametrize("name", ["input_len", "output_len", "concurrency"])
def test_counts_below_one_are_refused(name: str) -> None:
    counts: dict[str, Any] = {"input_len": 10, "output_len": 10, "concurrency": 1, name: 0}
    with pytest.raises(UsageError, match=name):
        serving_speed(estimate(), **counts)


def test_experts_under_llama_cpp_on_nvidia_have_a_wide_band_and_early_builds_launch_kernels_one_by_one() -> (
    None
):
    def speed(version: str) -> ServingSpeed:
        asked = {"engine": "llamacpp", "engine_version": version, "quantization": "Q4_K_M"}
        return serving_speed(
            estimate("deepseek-v2-lite", "rtx-4090", 1, **asked), input_len=512, output_len=128, concurrency=1
        )

    before, after = speed("2025-01"), speed("2025-12")
    assert before.tpot_s.value > 1.5 * after.tpot_s.value
    assert after.tpot_s.high / after.tpot_s.value >= 1.9


def test_a_sequence_longer_than_the_model_is_refused() -> None:
    with pytest.raises(UsageError, match="more than deepseek-r1 has room for"):
        serving_speed(estimate(), input_len=200_000, output_len=1, concurrency=1)


def test_a_narrower_checkpoint_of_the_same_maker_is_answered() -> None:
    """NVIDIA publishes DeepSeek-R1 in NVFP4 for TensorRT-LLM, though DeepSeek's own is in FP8."""
    narrow = estimate(gpu="b200:8", engine="trtllm", quantization="nvfp4")
    wide = estimate(gpu="b200:8", engine="trtllm")
    assert narrow.ledgers[0].total_bytes < wide.ledgers[0].total_bytes


def test_trays_of_one_domain_are_one_node() -> None:
    """GB300 NVL72 has four cards a tray and one link over 72: eight ranks pay no network between nodes."""
    eight = serving_speed(estimate(gpu="gb300:8"), input_len=2000, output_len=500, concurrency=8)
    same = serving_speed(estimate(gpu="b300:8"), input_len=2000, output_len=500, concurrency=8)
    assert eight.tpot_s.value == pytest.approx(same.tpot_s.value, rel=0.1)


def test_as_many_run_as_infer_says_run_at_once() -> None:
    """Windows of sequences that run together share a step: 64 fitted at once, and 12.8 of them were timed."""
    for model, gpu, tp in (("deepseek-v4-flash", "h200:4", 4), ("gpt-oss-120b", "h100:1", 1)):
        found = oomless.speed(
            model, gpu, tp=tp, max_model_len=32768, input_len="28672", output_len="4096", concurrency=64
        )
        assert isinstance(found.speed, ServingSpeed)
        assert found.speed.running == pytest.approx(found.at_once, abs=1)


def test_a_chunk_is_divided_over_groups_of_attention_once() -> None:
    """SGLang's chunk was divided by `infer` and by `speed`: prompts were read in pieces of 32 tokens."""
    whole = setup_of(estimate(engine="sglang", max_num_batched_tokens=8192))
    groups = Layout(tp=8, dp=8, enable_dp_attention=True)
    assert (
        setup_of(estimate(engine="sglang", max_num_batched_tokens=8192, layout=groups)).budget == whole.budget
    )


def test_requests_of_a_server_are_those_of_all_groups_of_attention() -> None:
    """SGLang divides --max-running-requests over data-parallel groups; each was given all of them."""
    groups = Layout(tp=8, dp=8, enable_dp_attention=True)
    asked: dict[str, Any] = {"engine": "sglang", "layout": groups, "max_num_seqs": 16, "max_model_len": 4096}
    found = estimate(gpu="b200:8", **asked, context=2000, concurrency=64)
    speed = serving_speed(found, input_len=1500, output_len=500, concurrency=64)
    assert (found.at_once, speed.running, speed.waiting) == (16, 16, 48)


def test_a_workload_has_the_room_that_a_steady_load_has() -> None:
    """The simulator's cache of V4 held a fifth of the sequences that run together."""
    asked: dict[str, Any] = {"tp": 4, "max_model_len": 32768, "input_len": "28672", "output_len": "4096"}
    steady = oomless.speed("deepseek-v4-flash", "h200:4", concurrency=64, **asked)
    served = oomless.speed("deepseek-v4-flash", "h200:4", arrival_rate=50.0, requests=80, **asked)
    assert isinstance(served.speed, Dynamic)
    assert served.speed.most_running >= steady.at_once


def spoken(method: str, drafted: int, accepted: float | None) -> ServingSpeed:
    asked = Asked(layout=Layout(tp=8), max_model_len=8192, speculation=Speculation(method, drafted, accepted))
    estimate = estimate_serving(load("deepseek-r1"), asked, parse_gpu("h200:8"))
    return serving_speed(estimate, input_len=1000, output_len=1000, concurrency=4)


def test_more_accepted_drafts_make_more_tokens_and_a_step_no_shorter() -> None:
    rates = [spoken("mtp", 3, accepted).tokens_per_s.value for accepted in (1.0, 1.8, 2.6, 4.0)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(4 * rates[0], rel=0.1)
    plain = spoken("suffix", 3, None)
    assert rates[0] < plain.tokens_per_s.value < rates[-1], "drafts that never hold cost time"
    assert any("not in the figures" in note for note in plain.warnings)
    assert any("2.6 hold, as asked" in note for note in spoken("mtp", 3, 2.6).warnings)


def test_published_figures_count_where_nobody_says_how_many_hold() -> None:
    """Of other models and texts, so the ends are as far apart as those."""
    said, published = spoken("mtp", 3, 3.0), spoken("mtp", 3, None)
    assert any("by published figures, 2.49 to 3.39" in note for note in published.warnings)
    assert published.tokens_per_s.value == pytest.approx(said.tokens_per_s.value, rel=0.05)
    ends = [each.tokens_per_s.high / each.tokens_per_s.low for each in (said, published)]
    assert ends[1] == pytest.approx(ends[0] * 3.39 / 2.49)
    times = [each.tpot_s.high / each.tpot_s.low for each in (said, published)]
    assert times[1] > times[0]


def test_no_published_draft_gives_more_than_a_step_checks() -> None:
    for row in facts.table("accepted_lengths"):
        lengths = [float(length) for length in row["lengths"].split()]
        assert all(1 < length <= 1 + tokens for tokens, length in enumerate(lengths, 1)), row
        kind = row["method"]
        found = accepted(Speculation(kind, 1000), row["model"])
        assert found is not None
        assert found.low <= found.length <= found.high


def test_guesses_from_the_text_cost_no_pass_of_their_own() -> None:
    free, own = (spoken(method, 2, 1.5) for method in ("ngram", "mtp"))
    assert free.tpot_s.value < own.tpot_s.value
    assert not any(part.what == "drafts" for part in free.decode_parts)


@pytest.mark.parametrize("length", [0, 0.5, 5, float("inf"), float("nan"), -1, True, "2"])
def test_as_many_tokens_hold_as_a_step_checks_at_most(length: object) -> None:
    with pytest.raises(UsageError, match="speculative-config"):
        read_speculation(
            {"method": "mtp", "num_speculative_tokens": 3, "accepted_length": length}, "--speculative-config"
        )


def gguf(engine_version: str = "", model: str = "deepseek-v2-lite", gpu: str = "rtx-4090") -> ServingSpeed:
    asked = estimate(
        model, gpu, 1, engine="llamacpp", quantization="Q4_0", engine_version=engine_version or None
    )
    return serving_speed(asked, input_len=512, output_len=128, concurrency=1)


def seconds_of(parts: tuple[TimePart, ...], name: str) -> float:
    return sum(part.seconds for part in parts if part.what == name)


def test_experts_of_a_prompt_cost_what_their_release_does() -> None:
    """llama.cpp's host sorted tokens by expert until 2025-08-25, and multiplied each on its own until
    2025-04-30 (#15525, #13199)."""
    apart, sorted_by_host, now = (
        seconds_of(gguf(date).prompt_parts, "routing") for date in ("2025-03", "2025-06", "")
    )
    assert apart > sorted_by_host > now == 0


def test_a_server_samples_what_a_benchmark_does_not() -> None:
    """A token of llama-server takes longer than one of llama-bench by sampling and sending."""
    cells = {"engine": "llama.cpp", "model": "Llama-3.2-3B", "quant": "Q4_K_M", "gpu": "RTX 4080"}
    rows = ({**ROW, **cells, "input_len": length} for length in ("short", "64"))
    served, alone = (1 / predict_speed(row, "decode", "tok/s")[0] for row in rows)
    assert 2e-4 < served - alone < 2e-3


ROW = {
    "n_gpus": "1",
    "parallelism": "-",
    "output_len": "128",
    "concurrency_or_batch": "1",
    "metric": "decode",
    "params_b": "",
    "active_params_b": "",
    "weight_bytes_gb": "",
    "date": "2026-01",
}


def test_long_kernels_hide_launches() -> None:
    """A prompt of 8,192 tokens hides what a prompt of 128 shows."""
    asked = estimate(engine="sglang", engine_version="0.5.6")
    short, long = (
        serving_speed(asked, input_len=length, output_len=16, concurrency=1).prompt_parts
        for length in (128, 8192)
    )
    assert seconds_of(long, "launches") < seconds_of(short, "launches") / 4


def test_experts_without_curves_are_multiplied_in_blocks() -> None:
    """370 tokens over 128 experts are 23 rows each, in blocks of 64; first tokens on a Jetson Thor and a GB10
    were up to half too early."""
    net = network(load("qwen3-30b-a3b"), "fp8")
    (experts,) = net.experts

    def rows(tokens: int) -> float:
        asked = Load(prompt_tokens=tokens, prompt_length=tokens)
        found = matrices_of(net, Split(), asked, partial(triton_tile, frozenset()))
        return found.products[-1].flops / (2 * experts.num_layers * experts.params_each)

    assert rows(370) == pytest.approx(128 * 64, rel=0.01)
    assert rows(64) < rows(128) <= 128 * 16
    assert 128 * 512 < rows(8192) <= 128 * (512 + 64)


def test_a_step_larger_than_every_graph_is_launched_kernel_by_kernel() -> None:
    """SGLang 0.4.3 captures up to 160 sequences at TP4, 0.5.6 up to 512: rows of January 2025 under 3,000
    prompts were a quarter too fast."""
    times = {}
    for release in ("0.4.3", "0.5.6"):
        answer = estimate("llama-3.3-70b", "h200:4", 4, engine="sglang", engine_version=release)
        for running in (160, 161, 512, 513):
            found = serving_speed(answer, input_len=100, output_len=400, concurrency=running)
            times[release, running] = sum(
                part.seconds for part in found.decode_parts if part.what == "launches"
            )
    assert [times["0.4.3", running] > 0 for running in (160, 161, 512, 513)] == [False, True, True, True]
    assert [times["0.5.6", running] > 0 for running in (160, 161, 512, 513)] == [False, False, False, True]


@pytest.mark.parametrize("layout", [Layout(tp=8), Layout(tp=4, pp=2), Layout(pp=8)])
def test_no_load_brings_a_first_token_before_its_prompt_is_read(layout: Layout) -> None:
    """Each micro-batch had its share of a prompt, so that more requests in flight came sooner."""
    asked = Asked(layout=layout, max_model_len=8192)
    answer = estimate_serving(load("llama-3.1-70b"), asked, parse_gpu("h100:8"))
    times = [
        serving_speed(answer, input_len=4000, output_len=500, concurrency=count).ttft_s.value
        for count in (1, 2, 4, 16, 64)
    ]
    assert all(each >= times[0] for each in times), times


def test_instances_beside_it_are_said() -> None:
    """Half a card's memory had the whole card's speed, without a word."""
    answer = estimate("llama-3.1-8b", "h100", 1, instances=2)
    found = serving_speed(answer, input_len=1000, output_len=200, concurrency=8)
    assert any("other instances on the card" in each for each in found.warnings)
