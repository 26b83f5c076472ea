"""Continuous batching: nothing is lost, the clock runs forward, policies keep what they promise."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomless.errors import OomlessError, UsageError
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation
from oomless.speed.batching import Memory, Policy, Request, simulate
from oomless.speed.cost import Curve, StepCost, step_cost
from oomless.speed.dynamic import policy_of, run_workload
from oomless.speed.serving import decode_pass, prompt_pass, speed_of
from oomless.speed.setup import setup_of
from oomless.speed.workload import Lengths, parse_lengths, poisson, read_workload

STEP = Curve((0, 1000), (0.01, 0.02))
COST = StepCost(STEP, STEP, Curve((0, 1000), (0.0, 0.001)), Curve((0, 1000), (0.0, 1e-6)), 1e-5)


def small(**asked: object) -> Estimate:
    request = Asked(layout=Layout(), max_model_len=2048)._replace(**asked)  # type: ignore[arg-type]
    return estimate_serving(load("deepseek-coder-1.3b"), request, parse_gpu("a100-80gb"))


requests = st.lists(
    st.builds(Request, st.floats(0, 50), st.integers(1, 400), st.integers(1, 120)), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(
    requests,
    st.sampled_from(get_args(Memory)),
    st.booleans(),
    st.booleans(),
    st.integers(200, 3000),
    st.integers(1, 16),
    st.integers(1, 700),
    st.integers(0, 50),
    st.sampled_from((0.0, 0.21, 0.7)),
    st.integers(1, 4),
)
def test_every_request_is_served_once_and_in_time(
    workload: list[Request],
    memory: Memory,
    chunked: bool,
    mixed: bool,
    capacity: int,
    running: int,
    budget: int,
    prefix: int,
    kept_free: float,
    groups: int,
) -> None:
    policy = Policy(
        capacity,
        running,
        budget,
        memory,
        chunked,
        mixed,
        max_length=600,
        shared_prefix=prefix,
        kept_free=kept_free,
        groups=groups,
    )
    done = simulate(workload, COST, policy)
    assert len(done.served) + done.refused == len(workload)
    for one in done.served:
        assert one.arrival_s <= one.started_s <= one.first_token_s <= one.finished_s
    assert done.moments == () or done.moments[-1].output_tokens == sum(
        one.output_tokens for one in done.served
    )
    before = 0.0
    for moment in done.moments:
        assert moment.time_s >= before
        assert moment.running <= running
        before = moment.time_s
        if memory != "evict" or moment.running > 1:
            assert moment.cached_tokens <= capacity + policy.block_size * running
    if memory != "evict":
        assert done.num_evictions == 0


def test_a_single_request_takes_its_steps() -> None:
    done = simulate([Request(1.0, 100, 11)], COST, Policy(10_000, 4))
    assert done.num_steps == 11
    assert done.served[0].first_token_s > 1.0


def test_the_course_has_who_decodes_until_the_end() -> None:
    done = simulate([Request(0.0, 100, 11), Request(1000.0, 100, 11)], COST, Policy(10_000, 4))
    idle = [moment.running for moment in done.moments].index(0)
    assert done.moments[idle].time_s == 1000.0
    assert {moment.running for at, moment in enumerate(done.moments) if at != idle} == {1}


def test_a_group_reads_a_prompt_with_its_own_share_of_a_step() -> None:
    """Two groups of attention divide a chunk of 1,000 tokens: one prompt takes twice as many steps, two that
    come together as many as before."""
    prompts = [Request(0, 4000, 1), Request(0, 4000, 1)]
    together, apart = (Policy(100_000, 8, 1000, groups=groups) for groups in (1, 2))
    assert [simulate(prompts[:1], COST, policy).num_steps for policy in (together, apart)] == [4, 8]
    assert [simulate(prompts, COST, policy).num_steps for policy in (together, apart)] == [8, 8]


def test_leaps_cost_what_single_steps_cost() -> None:
    """Another request that arrives far away makes no difference; arrivals in between cut the leaps and little
    else."""
    alone = simulate([Request(0.0, 100, 200)], COST, Policy(10_000, 4)).served[0]
    many = [Request(0.0, 100, 200), *(Request(0.01 * n, 1, 1) for n in range(1, 100))]
    cut = simulate(many, COST, Policy(10_000, 1)).served[0]
    assert cut.finished_s == pytest.approx(alone.finished_s, rel=1e-6)


def test_room_for_the_maximum_runs_fewer_at_once() -> None:
    workload = [Request(0.0, 100, 50)] * 40
    most = {}
    for memory in get_args(Memory):
        done = simulate(workload, COST, Policy(4000, 64, memory=memory, max_length=1000))
        most[memory] = max(moment.running for moment in done.moments)
    assert most["reserve"] < most["no-evict"] <= most["evict"]


def test_a_full_cache_evicts_and_computes_again() -> None:
    done = simulate([Request(0.0, 100, 100)] * 12, COST, Policy(1500, 64))
    assert done.num_evictions > 0
    assert len(done.served) == 12


def test_a_shared_prefix_is_read_once() -> None:
    workload = [Request(0.0, 1000, 10)] * 20
    plain = simulate(workload, COST, Policy(100_000, 64))
    shared = simulate(workload, COST, Policy(100_000, 64, shared_prefix=900))
    assert shared.moments[-1].time_s < plain.moments[-1].time_s


@pytest.mark.parametrize(
    ("model", "gpu", "tp"), [("deepseek-coder-1.3b", "a100-80gb", 1), ("deepseek-r1", "h200:8", 8)]
)
def test_tables_of_costs_agree_with_passes(model: str, gpu: str, tp: int) -> None:
    estimate = estimate_serving(load(model), Asked(layout=Layout(tp=tp), max_model_len=2048), parse_gpu(gpu))
    setup = setup_of(estimate)
    cost = step_cost(setup)
    for sequences, context in ((1, 100), (16, 1000), (64, 1500)):
        assert cost.step_s(sequences, sequences * context) == pytest.approx(
            decode_pass(setup, sequences, context).seconds, rel=0.05
        )


def test_closed_form_and_simulation_agree_at_moderate_load() -> None:
    estimate = small()
    answer = run_workload(estimate, poisson(3.0, 800, Lengths(256, 256), Lengths(128, 128), 1))
    assert not answer.steady.saturated
    assert answer.tokens_per_s == pytest.approx(answer.steady.tokens_per_s, rel=0.1)
    assert answer.mean_running == pytest.approx(answer.steady.running, rel=0.25)
    between = next(each for each in answer.spreads if each.what == "between tokens")
    assert between.mean == pytest.approx(answer.steady.tpot_s, rel=0.2)


def test_both_columns_know_of_a_shared_prefix() -> None:
    """The closed form read prompts whole that the simulation had kept: 70 ms beside 32."""
    estimate = estimate_serving(
        load("llama-3.1-8b"), Asked(layout=Layout(), max_model_len=4096), parse_gpu("h100")
    )
    policy = policy_of(estimate, setup_of(estimate), shared_prefix=1900)
    answer = run_workload(estimate, poisson(4.0, 200, Lengths(2000, 2000), Lengths(200, 200), 1), policy)
    first = next(each.p50 for each in answer.spreads if each.what == "first token")
    assert first == pytest.approx(answer.steady.ttft_s, rel=0.25)


@pytest.mark.parametrize("rate", [0.2, 4.0])
@pytest.mark.parametrize("layout", [Layout(pp=8), Layout(tp=2, pp=4), Layout(tp=8)])
def test_closed_form_and_simulation_agree_of_pipelines(layout: Layout, rate: float) -> None:
    """A step was what one stage takes of all sequences: eight stages read 70B in an eighth of the time."""
    asked = Asked(layout=layout, max_model_len=4096)
    answer = run_workload(
        estimate_serving(load("llama-3.1-70b"), asked, parse_gpu("h100:8")),
        poisson(rate, 400, Lengths(1024, 1024), Lengths(256, 256), 1),
    )
    first, between = (
        next(each.p50 for each in answer.spreads if each.what == what)
        for what in ("first token", "between tokens")
    )
    assert between == pytest.approx(answer.steady.tpot_s, rel=0.1)
    assert first == pytest.approx(answer.steady.ttft_s, rel=0.25)
    assert answer.mean_running == pytest.approx(answer.steady.running, rel=0.25)


def test_stages_work_on_pieces_of_one_prompt_at_once() -> None:
    """The closed form let each piece wait until the one before had passed all stages: 1.9 s, not 1.3."""
    asked = Asked(layout=Layout(tp=8, pp=2), max_model_len=65536)
    answer = run_workload(
        estimate_serving(load("deepseek-r1"), asked, parse_gpu("h200:8x2")),
        poisson(0.01, 50, Lengths(31_000, 31_000), Lengths(100, 100), 1),
    )
    first = next(each.p50 for each in answer.spreads if each.what == "first token")
    assert first == pytest.approx(answer.steady.ttft_s, rel=0.1)


def test_one_group_reads_a_prompt_for_as_long_as_its_pass_takes() -> None:
    """A prompt was read by all data-parallel groups together."""
    asked = Asked(layout=Layout(dp=8, enable_expert_parallel=True), max_model_len=8192)
    setup = setup_of(estimate_serving(load("deepseek-v2-lite"), asked, parse_gpu("h100:8")))
    cost, alone_s = step_cost(setup), prompt_pass(setup, 4096).seconds
    assert cost.step_s(0, 0, 4096, 2048) == pytest.approx(alone_s, rel=0.1)
    assert cost.step_s(0, 0, 8 * 4096, 2048, 4096) > alone_s
    assert cost.step_s(0, 0, 8 * 4096, 2048) > cost.step_s(0, 0, 8 * 4096, 2048, 4096)


def test_a_closed_loop_agrees_with_the_simulation() -> None:
    """As many requests at once as there are places, and again as many: the closed form's rate."""
    setup = setup_of(small())
    done = simulate([Request(0.0, 512, 256)] * 640, step_cost(setup), Policy(10**7, 32, setup.budget))
    rate = 640 * 256 / done.moments[-1].time_s
    assert rate == pytest.approx(speed_of(setup, 512, 256, 32, 1e9).tokens_per_s.value, rel=0.15)


def test_drafts_that_no_simulation_counts_ask_for_nothing() -> None:
    """The note asked for accepted_length, which changed nothing."""
    asked = Asked(layout=Layout(tp=8), max_model_len=4096, speculation=Speculation("mtp", 1, 1.8))
    answer = run_workload(
        estimate_serving(load("deepseek-r1"), asked, parse_gpu("h200:8")),
        poisson(1.0, 20, Lengths(256, 256), Lengths(64, 64), 1),
    )
    assert "speculative decoding is not in the figures: a step gives one token" in answer.warnings


def test_more_arrivals_than_tokens_are_said_to_saturate() -> None:
    answer = run_workload(small(), poisson(500.0, 300, Lengths(256, 256), Lengths(128, 128), 1))
    assert answer.steady.saturated


# bad input


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "columns"),
        ("arrival_s,prompt_tokens\n1,2\n", "output_tokens"),
        ("arrival_s,prompt_tokens,output_tokens\n", "no requests"),
        ("arrival_s,prompt_tokens,output_tokens\n-1,10,10\n", "line 2"),
        ("arrival_s,prompt_tokens,output_tokens\nnan,10,10\n", "line 2"),
        ("arrival_s,prompt_tokens,output_tokens\n0,10,10\n1,0,10\n", "line 3"),
        ("arrival_s,prompt_tokens,output_tokens\n0,ten,10\n", "line 2"),
        ("arrival_s,prompt_tokens,output_tokens\n0,10\n", "line 2"),
    ],
)
def test_a_bad_workload_says_where(text: str, word: str, tmp_path: "object") -> None:
    path = f"{tmp_path}/workload.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    with pytest.raises(OomlessError) as error:
        read_workload(path)
    assert word in error.value.message
    assert error.value.code == 1


def test_a_workload_file_is_read(tmp_path: "object") -> None:
    path = f"{tmp_path}/workload.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("arrival_s,prompt_tokens,output_tokens,user\n0.5,10,3,a\n0,7,2,b\n")
    assert read_workload(path) == [Request(0.5, 10, 3), Request(0.0, 7, 2)]


@pytest.mark.parametrize("text", ["", "x", "-5", "0", "5-2", "10~x", "10~9", "1e3", "5-", "9" * 30])
def test_lengths_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_lengths(text, "--input-len")


@pytest.mark.parametrize(
    ("rate", "count"), [(0.0, 10), (-1.0, 10), (float("nan"), 10), (float("inf"), 10), (1.0, 0)]
)
def test_rates_and_counts_out_of_range_are_refused(rate: float, count: int) -> None:
    with pytest.raises(UsageError):
        poisson(rate, count, Lengths(1, 1), Lengths(1, 1), 0)


def test_policies_out_of_range_are_refused() -> None:
    estimate = small()
    setup = setup_of(estimate)
    for words in ({"memory": "most"}, {"shared_prefix": -1}, {"token_budget": 0}, {"token_budget": -4}):
        with pytest.raises(UsageError):
            policy_of(estimate, setup, **words)
    with pytest.raises(UsageError, match="maximum"):
        simulate([Request(0, 1, 1)], COST, Policy(100, 1, memory="reserve"))


def test_prompts_that_go_first_keep_decoding_waiting() -> None:
    """With steps of their own, all prompts are read before the second token of any; the last token comes when
    it came before."""
    workload = [Request(0.0, 512, 64)] * 16
    mixed = simulate(workload, COST, Policy(100_000, 64, 512))
    first = simulate(workload, COST, Policy(100_000, 64, 512, mixed=False))
    assert max(one.first_token_s for one in first.served) <= max(one.first_token_s for one in mixed.served)
    assert first.served[0].tpot_s > first.served[-1].tpot_s
    assert {one.finished_s for one in first.served} == {first.served[0].finished_s}


def test_room_for_answers_to_come_is_kept_free() -> None:
    """SGLang's sequences of a burst are fewer at once than its cache holds of prompts, and fewer give way."""
    burst = [Request(0.0, 100, 100)] * 40
    full = simulate(burst, COST, Policy(2000, 64, mixed=False))
    kept = simulate(burst, COST, Policy(2000, 64, mixed=False, kept_free=0.7))
    most = [max(moment.running for moment in done.moments) for done in (full, kept)]
    assert most[1] < 0.75 * most[0]
    assert kept.num_evictions < 0.5 * full.num_evictions


def test_a_request_longer_than_a_sequence_may_be_is_refused() -> None:
    requests = [Request(0.0, 500, 200), Request(0.0, 300, 200)]
    done = simulate(requests, COST, Policy(4000, 64, max_length=600))
    assert (done.refused, len(done.served)) == (1, 1)
