"""tune: the best setting of an engine's own flags on cards that are given."""

import json
from typing import Any

import pytest

import oomless
from command import call
from oomless.api.tune import TuneAnswer
from oomless.errors import UnsupportedError, UsageError
from oomless.plan.tune.order import steps
from oomless.plan.tune.slo import Slo, parse_slo
from plan.tune_questions import answered


def best(answer: TuneAnswer) -> Any:
    return answer.rows[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_search_finds_what_trying_everything_finds(seed: int) -> None:
    same_best(seed, ["trtllm", "llamacpp"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_the_search_finds_what_trying_everything_finds_on_forty(seed: int) -> None:
    same_best(seed)


def same_best(seed: int, engines: list[str] | None = None) -> None:
    """The first setting of the search, and of all settings: as good in all that the order tells apart."""
    question = answered(seed, engines)
    quick, every = question.search(), question.search(exhaustive=True)
    first, of_all = quick.run()[0], every.run()[0]
    assert quick.key(first) == every.key(of_all), (question.start, first.asked, of_all.asked)
    assert quick.num_estimates <= every.num_estimates


def test_r1_on_eight_h20_is_found() -> None:
    """Sequences of 32K do not fit with the defaults; with share and batch they do on the 95.0 GiB that torch
    sees, and nobody has to rent a second machine."""
    assert oomless.infer("deepseek-r1", "h20:8", max_model_len=32768).verdict != "fits"
    found = best(oomless.tune("deepseek-r1", "h20:8", context=32768))
    asked = found.row.asked
    assert (found.row.estimate.verdict, asked.layout.tp) == ("fits", 8)
    assert (asked.gpu_memory_utilization, asked.max_num_batched_tokens) == (0.95, None)
    assert not asked.enforce_eager


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_v32_on_eight_h200_is_found(engine: str) -> None:
    """64 sequences of 32K: a latent that every tensor rank repeats does not hold them, attention in groups of
    its own does."""
    found = best(oomless.tune("deepseek-v3.2", "h200:8", context=32768, concurrency=64, engine=engine))
    assert found.row.estimate.verdict == "fits"
    assert found.row.estimate.at_once == 64
    assert found.row.asked.layout.dp > 1
    default = oomless.infer("deepseek-v3.2", "h200:8", tp=8, context=32768, concurrency=64, engine=engine)
    assert default.verdict == "does_not_fit"


def test_a_cap_that_makes_requests_wait_does_not_hold_the_load() -> None:
    """With a promise small batches are tried; one that lets half of the load wait is no better than a pool
    that holds nearly all of it, whatever room is left beside it."""
    slo = "tpot=50ms"
    answer = oomless.tune("kimi-k2-instruct", "h200:16", context=65536, concurrency=32, slo=slo)
    most = max(each.row.estimate.at_once for each in answer.rows)
    assert best(answer).row.estimate.at_once == most


def test_flags_beside_stay_and_a_pasted_command_is_where_it_begins() -> None:
    asked: dict[str, Any] = {"context": 16384, "concurrency": 32}
    command = "vllm serve deepseek-ai/DeepSeek-R1 -tp 8 --max-model-len 16384 --enforce-eager --port 1"
    found = best(oomless.tune(None, "h200:8", command=command, **asked))
    assert "without --enforce-eager" in found.changes
    assert found.row.asked.max_model_len == 16384
    kept = best(oomless.tune(None, "h200:8", command=command, tp=8, enforce_eager=True, **asked))
    assert kept.row.asked.layout.tp == 8
    assert kept.row.asked.layout.dp == 1
    assert kept.row.asked.enforce_eager


def test_a_good_command_is_left_as_it_is() -> None:
    first = best(oomless.tune("deepseek-r1", "h200:8", context=16384, concurrency=32))
    again = best(
        oomless.tune(None, "h200:8", command=first.planned.launch.command, context=16384, concurrency=32)
    )
    assert again.changes == ()
    assert again.row.asked.layout == first.row.asked.layout


@pytest.mark.parametrize(
    ("model", "starts", "rest"),
    [
        ("qwen3-8b", "vllm serve /models/mine ", "-tp 1"),
        (None, "vllm serve Qwen3-8B ", "-tp 1"),
        ("qwen3-8b", "vllm serve Qwen/Qwen3-8B-AWQ ", "-q awq_marlin"),
        (None, "llama-server -m /m/Qwen3-8B-Q4_K_M.gguf ", ""),
        (None, "llama-server -hf Qwen/Qwen3-8B-GGUF:Q8_0 ", ""),
    ],
)
def test_what_a_command_serves_is_started_under_its_name(model: str | None, starts: str, rest: str) -> None:
    found = best(oomless.tune(model, "rtx-4090", command=f"{starts}{rest}", context=4096))
    command = found.planned.launch.command
    assert command.startswith(starts)
    assert ("--quantization awq_marlin" in command) == (rest == "-q awq_marlin")


def test_weights_that_change_are_no_longer_what_the_command_serves() -> None:
    asked: dict[str, Any] = {"context": 8192, "concurrency": 4, "allow": "weights"}
    found = best(oomless.tune("qwen3-32b", "rtx-4090:2", command="vllm serve /m/big -tp 2", **asked))
    assert found.planned.launch.command.startswith(f"vllm serve ./big-{found.row.asked.quantization} ")


def test_a_command_on_cards_of_a_maker_starts_the_engine_of_its_own() -> None:
    command = "vllm serve /m/R1-W8A8 -tp 8 -dp 2 --quantization ascend"
    found = best(oomless.tune("deepseek-r1", "ascend-910b:16", command=command, quantization="w8a8"))
    assert found.row.asked.engine == "vllm-ascend"


@pytest.mark.parametrize(
    ("model", "gpu", "flags"),
    [
        ("qwen3-235b-a22b", "h20:8", {"engine": "llamacpp", "quantization": "q4_k_m"}),
        ("qwen3-32b", "l40s:4", {"engine": "llamacpp", "quantization": "q8_0"}),
        ("qwen3-32b", "h100:8", {"engine": "sglang"}),
        ("llama-3.3-70b", "a100-80gb:8", {"engine": "vllm"}),
    ],
)
def test_what_is_found_is_no_slower_than_what_infer_takes_unasked(
    model: str, gpu: str, flags: dict[str, Any]
) -> None:
    """Copies of the engine on a part of the cards each are what infer takes; one over all is slower."""
    found = best(oomless.tune(model, gpu, context=16384, concurrency=16, **flags))
    lengths: dict[str, Any] = {"input_len": 14336, "output_len": 2048, "max_model_len": 16384}
    own = oomless.speed(model, gpu, concurrency=16, **lengths, **flags).to_json()
    assert own["verdict"] == "fits"
    assert found.row.speed.tokens_per_s.value >= 0.98 * own["tokens_per_s"]["value"]


def test_quality_changes_only_where_it_is_allowed_and_is_marked() -> None:
    asked: dict[str, Any] = {"context": 32768, "concurrency": 64, "rows": 20}
    plain = oomless.tune("deepseek-r1", "h20:8", **asked)
    assert all(not row.of_quality and row.row.asked.kv_cache_dtype == "auto" for row in plain.rows)
    allowed = oomless.tune("deepseek-r1", "h20:8", allow="cache", **asked)
    marked = [row for row in allowed.rows if row.of_quality]
    assert {row.of_quality for row in marked} == {("--kv-cache-dtype fp8",)}
    assert best(allowed).row.speed.tokens_per_s.value > best(plain).row.speed.tokens_per_s.value
    forms = oomless.tune("deepseek-r1-distill-qwen-32b", "rtx-4090:2", context=8192, allow="weights", rows=20)
    assert any("--quantization" in " ".join(row.of_quality) for row in forms.rows)


def test_a_promise_comes_before_speed_and_gives_a_rate() -> None:
    asked: dict[str, Any] = {"context": 8192, "concurrency": 64}
    free = best(oomless.tune("deepseek-r1-distill-qwen-32b", "h100:2", **asked))
    answer = oomless.tune("deepseek-r1-distill-qwen-32b", "h100:2", slo="ttft=60s,tpot=40ms", **asked)
    bound = best(answer)
    assert free.max_request_rate is None
    assert answer.tuned.keeps_slo
    assert bound.row.speed.tpot_s.value <= 0.04
    assert bound.max_request_rate > 0
    looser = best(oomless.tune("deepseek-r1-distill-qwen-32b", "h100:2", slo="ttft=60s,tpot=80ms", **asked))
    assert looser.max_request_rate >= bound.max_request_rate


def test_where_no_setting_keeps_the_promise_most_requests_within_it_come_first() -> None:
    """Two replicas were first by tokens a second, of which neither ever kept it, and TP 2 serves 0.7 a
    second."""
    asked: dict[str, Any] = {"context": 4096, "concurrency": 64, "slo": "ttft=2s,tpot=25ms"}
    answer = oomless.tune("llama-3.1-8b", "l40s:2", **asked)
    rates = [row.max_request_rate for row in answer.rows]
    assert not answer.tuned.keeps_slo
    assert rates[0] == max(rates) > 0
    assert answer.rows[-1].planned.why == "serves none within the promise"
    never = oomless.tune("llama-3.1-8b", "l40s:2", **{**asked, "slo": "tpot=1ms"})
    assert not any(row.max_request_rate for row in never.rows)
    assert never.rows[1].planned.why.endswith("x the promised time")


def test_the_rate_is_what_the_simulation_serves_and_no_more() -> None:
    found = best(
        oomless.tune("llama-3.1-8b", "h100:1", context=4096, concurrency=16, slo="ttft=1s,tpot=20ms")
    )
    words = [*found.speed_arguments[2:]]
    at = words.index("--concurrency")
    del words[at : at + 2]

    def spreads(rate: float) -> dict[str, float]:
        asked = ("speed", "llama-3.1-8b", *words, "--arrival-rate", f"{rate}", "--requests", "200", "--json")
        return {each["what"]: each["p90"] for each in json.loads(call(*asked).out)["spreads"]}

    inside, beyond = spreads(found.max_request_rate), spreads(found.max_request_rate * 1.1)
    assert inside["first token"] <= 1
    assert inside["between tokens"] <= 0.02
    assert beyond["first token"] > 1 or beyond["between tokens"] > 0.02


def test_a_shared_prefix_raises_the_rate() -> None:
    asked: dict[str, Any] = {"context": 16384, "concurrency": 16, "slo": "ttft=2s,tpot=50ms"}
    none, shared = (
        best(oomless.tune("deepseek-r1", "h200:8", shared_prefix=tokens, **asked)).max_request_rate
        for tokens in (0, 10000)
    )
    assert shared > none


def test_weights_lie_on_the_host_only_where_nothing_starts_without() -> None:
    found = best(
        oomless.tune("deepseek-r1", "rtx-4090:1", engine="llamacpp", quantization="q4_k_m", context=4096)
    )
    assert found.row.asked.n_cpu_moe
    assert found.row.estimate.verdict == "fits"
    assert not best(
        oomless.tune("qwen3-8b", "rtx-4090:1", engine="llamacpp", context=4096)
    ).row.asked.n_cpu_moe


def test_experts_on_the_host_are_sent_less_often_to_a_larger_micro_batch() -> None:
    found = best(
        oomless.tune("glm-4.5-air", "rtx-3090", engine="llamacpp", quantization="q4_k_m", context=32768)
    )
    assert (found.row.asked.n_cpu_moe, found.row.asked.ubatch_size) == (38, 2048)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ttft=2", "is no time"),
        ("ttft", "is no promise"),
        ("itl=5ms", "is no promise"),
        ("ttft=1s,ttft=2s", "twice"),
        ("tpot=-1s", "out of range"),
        ("tpot=nans", "out of range"),
        ("", "is no promise"),
    ],
)
def test_a_promise_without_sense_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        parse_slo(text)
    assert refused.value.field == "slo"
    assert refused.value.hint


def test_excess_is_the_worst_of_both() -> None:
    assert Slo(1.0, 0.01).excess(2.0, 0.03) == pytest.approx(3.0)
    assert Slo().excess(1e9, 1e9) == 1.0
    assert steps(float("inf")) > steps(1e30)


def test_what_does_not_run_is_refused_and_nothing_is_an_answer_of_its_own() -> None:
    with pytest.raises(UnsupportedError):
        oomless.tune("deepseek-v3", "m3-max", engine="vllm")
    with pytest.raises(UsageError, match="--max-model-len"):
        oomless.tune("deepseek-r1", "h200:8", context=32768, max_model_len=4096)
    with pytest.raises(UsageError, match="--output-len"):
        oomless.tune("deepseek-r1", "h200:8", context=4096, output_len=4096)
    answer = call("tune", "deepseek-v4-pro", "--gpu", "rtx-4090:1", "--engine", "sglang", "--json")
    assert (answer.code, json.loads(answer.out or "{}").get("rows", [])) in ((3, []), (4, []))


def test_rows_have_what_plan_has_and_more() -> None:
    document = json.loads(call("tune", "deepseek-r1", "--gpu", "h200:8", "--context", "8192", "--json").out)
    row = document["rows"][0]
    planned = json.loads(call("plan", "deepseek-r1", "--gpu", "h200:8", "--json").out)["rows"][0]
    assert planned.keys() <= row.keys()
    assert {"changes", "max_request_rate", "starts", "at_once"} <= row.keys()
    assert document["schema"] == "oomless/tune/1"
    assert repr(oomless.tune("deepseek-r1", "h200:8")).count("\n") < 40


def test_a_file_is_named_by_the_type_that_was_counted() -> None:
    """Nobody asked for a type: gpt-oss comes in MXFP4, Ollama's library in Q4_K_M; F16 does not fit."""
    words = ("--context", "8192", "--json")
    named = (
        ("llamacpp", "gpt-oss-20b", (), "gpt-oss-20b-MXFP4.gguf"),
        ("ollama", "qwen3-30b-a3b", ("--n-cpu-moe", "10", "-ub", "1024"), "Qwen3-30B-A3B-Q4_K_M.gguf"),
    )
    for engine, model, flags, file in named:
        found = json.loads(call("tune", model, "--gpu", "rtx-3090", "--engine", engine, *flags, *words).out)
        launch = found["rows"][0]["launch"]
        assert file in launch["command"] + launch["files"].get("Modelfile", "")
        assert file in launch["note"]
    assert "PARAMETER num_batch 1024\n" in launch["files"]["Modelfile"]
    assert "LLAMA_ARG_N_CPU_MOE=10 " in launch["files"]["start.sh"]
    shown = call("tune", model, "--gpu", "rtx-3090", "--engine", engine, *flags, *words[:2]).out
    assert "files in --json: Modelfile, start.sh" in shown
