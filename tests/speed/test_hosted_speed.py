"""Weights on the host: bounds that follow its memory and the wire, and nothing that reads as measured."""

import json
from typing import Any

import pytest

from command import call
from oomless.errors import UsageError
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.this_host import hosts
from oomless.speed.host_offload import divided
from oomless.speed.network import network
from oomless.speed.serving import ServingSpeed, serving_speed


def estimate(**asked: Any) -> Estimate:
    usual: dict[str, Any] = {
        "engine": "llamacpp",
        "quantization": "q4_k_m",
        "max_model_len": 8192,
        "context": 8192,
        "layout": Layout(),
    }
    question = Asked()._replace(**{**usual, **asked})
    return estimate_serving(load("deepseek-v2-lite"), question, parse_gpu("rtx-4090"))


def speed(host: str | None = None, input_len: int = 2048, **asked: Any) -> ServingSpeed:
    return serving_speed(estimate(**asked), input_len=input_len, output_len=128, concurrency=1, host=host)


@pytest.mark.parametrize(
    "asked", [{"cpu_moe": True}, {"n_gpu_layers": 10}, {"n_cpu_moe": 3}, {"override_tensor": "exps=CPU"}]
)
def test_what_cards_and_host_have_is_all_there_is(asked: dict[str, Any]) -> None:
    answer = estimate(**asked)
    parts = divided(answer, None)
    assert parts is not None
    cards, hosted = parts
    whole = network(answer.model, "q4_k_m")
    assert cards.active_params + hosted.net.active_params == pytest.approx(whole.active_params, rel=1e-6)
    assert sum(one.num_layers for one in (*cards.caches, *hosted.net.caches)) == len(answer.model.layers)


def test_figures_are_bounds_that_follow_the_hosts_memory() -> None:
    before = None
    for host in hosts():
        found = speed(host.name, cpu_moe=True)
        assert {found.ttft_s.kind, found.tpot_s.kind, found.tokens_per_s.kind} == {"bound"}
        assert found.tokens_per_s.counted_on == found.tokens_per_s.low < found.tokens_per_s.value
        assert before is None or found.tpot_s.value <= before
        before = found.tpot_s.value
    slowest, fitted = speed(hosts()[0].name, cpu_moe=True), speed()
    assert fitted.tpot_s.kind == "fitted"
    assert slowest.tpot_s.value > fitted.tpot_s.value


def test_more_on_the_host_is_slower() -> None:
    times = [speed("epyc-9004", n_cpu_moe=layers).tpot_s.value for layers in (2, 8, 16, 26)]
    assert times == sorted(times)
    assert speed("epyc-9004", cpu_moe=True).tpot_s.value == pytest.approx(times[-1], rel=0.05)


def test_a_prompt_of_several_steps_passes_the_wire_several_times() -> None:
    one, four = (speed("epyc-9004", input_len=length, cpu_moe=True).prompt_parts for length in (512, 2048))
    first, fourth = (
        next(part.seconds for part in parts if part.what == "host memory") for parts in (one, four)
    )
    assert fourth == pytest.approx(4 * first, rel=0.01)


def test_vllm_reads_over_pcie_in_every_step() -> None:
    asked = Asked(layout=Layout(), cpu_offload_gb=20, max_model_len=4096)
    answer = estimate_serving(load("deepseek-v2-lite"), asked, parse_gpu("rtx-4090"))
    found = serving_speed(answer, input_len=512, output_len=128, concurrency=1)
    host = next(part for part in found.decode_parts if part.what == "host memory")
    assert "PCIe" in host.formula
    assert "--cpu-offload-gb" in found.warnings[0]


def test_a_host_that_is_not_known_or_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown host"):
        speed("epic-9004", cpu_moe=True)
    assert call("plan", "deepseek-r1", "--gpu", "rtx-4090", "--host", "epyc-9004").code == 2
    answer = call(
        "plan", "deepseek-r1", "--gpu", "rtx-4090", "--host-memory", "512GiB", "--host", "desktop-ddr5-5600"
    )
    assert answer.code == 2
    assert "does not hold" in answer.err


def test_a_plan_names_the_host_it_counts_on() -> None:
    words = ("plan", "deepseek-r1", "--gpu", "rtx-4090:1", "--host-ram", "512GiB", "--json")
    plain, named = (json.loads(call(*words, *more).out) for more in ((), ("--host", "2x-epyc-9004")))
    assert plain["rows"][0]["tokens_per_s"]["kind"] == "bound"
    assert named["rows"][0]["tpot_s"]["value"] < plain["rows"][0]["tpot_s"]["value"]
    assert any("the slowest kind that holds it" in note for note in plain["warnings"])
    limited = call(*words, "--max-tpot-s", str(plain["rows"][0]["tpot_s"]["value"] * 2))
    assert limited.code == 3  # the worst end of a bound is held against a limit
    assert (
        json.loads(limited.out)["excluded"]["tokens slower than --max-tpot-s, at the worse end of a bound"]
        == 1
    )
