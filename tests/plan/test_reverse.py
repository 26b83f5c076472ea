"""Questions the other way round, and prefill apart from decode."""

import json

import pytest

from command import call
from oomless.estimate.serving.estimate import estimate_serving
from oomless.model.load import load
from oomless.plan.answer import plan_serving
from oomless.plan.disaggregate import disaggregate
from oomless.plan.goals import Wanted
from oomless.plan.inverse import STEP, bits_a_weight, largest_models, longest_context
from oomless.plan.search import Search


def test_the_largest_models_come_first_and_fit() -> None:
    found = largest_models(Wanted(gpus=("rtx-4090:1",), context=4096, rows=5))

    sizes = [each.num_parameters for each in found]
    assert sizes == sorted(sizes, reverse=True)
    for each in found:
        again = estimate_serving(load(each.name), each.row.asked, each.row.hardware)
        assert again.verdict == "fits"


def test_one_step_more_does_not_fit() -> None:
    wanted = Wanted(gpus=("h200:8",), concurrency=64, engines=("vllm",))
    found = longest_context("deepseek-r1", wanted)

    assert found is not None
    length = found.input_len + found.output_len
    longer = plan_serving("deepseek-r1", wanted._replace(context=length + STEP))
    assert not any(planned.row.fits for planned in longer.rows)


def test_the_least_quantised_row_comes_first() -> None:
    answer = json.loads(
        call("plan", "deepseek-r1-distill-qwen-7b", "--gpu", "rtx-4090:1", "--least-quantized", "--json").out
    )

    assert answer["rows"][0]["precision"]["weights"] == "bfloat16"
    plan = plan_serving("deepseek-r1-distill-qwen-7b", Wanted(gpus=("rtx-4090:1",)))
    assert len({round(bits_a_weight(planned.row)) for planned in plan.rows}) > 2


def test_each_side_keeps_up_with_the_other() -> None:
    search = Search(
        load("deepseek-r1"), "deepseek-r1", Wanted(gpus=("b200:8",), context=8192, concurrency=1024)
    )
    found = disaggregate(search, search.run().rows)

    fed = found.prefill.num * found.prefill.requests_per_s
    eaten = found.decode.num * found.decode.requests_per_s
    assert found.requests_per_s == pytest.approx(min(fed, eaten))
    assert found.num_gpus == 8 * (found.prefill.num + found.decode.num)
    assert found.prefill.row.fits
    assert found.decode.row.fits
    for side in (found.prefill, found.decode):
        answer = call("infer", "--offline", "--command", side.command, "--gpu", "b200:8", "--json")
        assert answer.code == 0, answer.err
        assert side.row.asked.max_model_len == 8192  # a prompt as long as a prefill server admits is refused


WRONG = (
    (("--largest-model",), "needs --gpu"),
    (("deepseek-r1", "--largest-model", "--gpu", "h100"), "in place of MODEL"),
    (("deepseek-r1", "--longest-context"), "needs --gpu"),
    (("deepseek-r1", "--longest-context", "--gpu", "h200", "--context", "4096"), "contradict"),
    (("deepseek-r1", "--for", "train", "--disaggregate"), "belongs to --for infer"),
    (("deepseek-llm-7b", "--disaggregate", "--gpu", "m3-ultra"), "prefill and decode"),
)


@pytest.mark.parametrize(
    ("words", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_questions_say_what_is_wrong(words: tuple[str, ...], message: str) -> None:
    answer = call("plan", *words)

    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""
