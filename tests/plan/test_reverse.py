"""Questions the other way round, and prefill apart from decode."""

import json
from pathlib import Path

import pytest

from command import call
from oomless.errors import UsageError
from oomless.estimate.serving.estimate import estimate_serving
from oomless.model.load import load
from oomless.plan.answer import plan_serving
from oomless.plan.disaggregate import disaggregate
from oomless.plan.goals import Wanted
from oomless.plan.inverse import STEP, bits_a_weight, largest_models, longest_context
from oomless.plan.search import PlanRow, Search


def test_the_largest_models_come_first_and_fit() -> None:
    found = largest_models(Wanted(gpus=("rtx-4090:1",), context=4096, rows=5))

    sizes = [each.num_parameters for each in found]
    assert sizes == sorted(sizes, reverse=True)
    for each in found:
        assert isinstance(each.row, PlanRow)
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
    for side, launch in ((found.prefill, found.launch.prefill), (found.decode, found.launch.decode)):
        answer = call("infer", "--offline", "--command", launch.command, "--gpu", "b200:8", "--json")
        assert answer.code == 0, answer.err
        assert side.row.asked.max_model_len == 8192  # a prompt as long as a prefill server admits is refused


def test_a_pair_is_held_against_the_best_machine_and_sends_every_head() -> None:
    """Servers of their own on one machine were left out, and the cache of one tensor rank was all that is
    sent."""
    wanted = Wanted(gpus=("h100:8",), context=8192, concurrency=64)
    search = Search(load("llama-3.1-70b"), "llama-3.1-70b", wanted)
    rows = search.run().rows
    found = disaggregate(search, rows)
    assert found.together_tokens_per_s_per_gpu == max(row.rate or 0 for row in rows if row.fits) / 8
    assert found.cache_bytes == 80 * 2 * 8 * 128 * 2 * search.input_len


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_pair_is_written_whole(engine: str, tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    words = ("--gpu", "h100:8", "--engine", engine, "--concurrency", "64", "--context", "4096")
    done = call("plan", "llama-3.1-70b", *words, "--disaggregate", "--write", str(folder), "--json")

    assert done.code == 0, done.err
    found = json.loads(done.out)["disaggregated"]
    written = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in written.items()} == found["files"]
    assert {"prefill/launch.sh", "decode/launch.sh", "router.sh"} <= {*written}
    for side in ("prefill", "decode"):
        assert found[side]["launch"] in found["files"][f"{side}/launch.sh"]
    assert found["router"]["launch"] in found["files"]["router.sh"]
    assert found["router"]["launch"].count("--prefill ") == found["prefill"]["num"]
    assert found["router"]["launch"].count("--decode ") == found["decode"]["num"]


def test_both_sides_read_the_same_cache() -> None:
    """A type of the cache that differs, or stages, are refused when the sides meet."""
    wanted = Wanted(gpus=("h100:8x2",), context=8192, concurrency=64, engines=("vllm",))
    rows = Search(load("deepseek-r1"), "deepseek-r1", wanted).run().rows
    assert any(row.asked.sizes.pp > 1 for row in rows)
    with pytest.raises(UsageError, match="told apart"):
        disaggregate(
            Search(load("deepseek-r1"), "deepseek-r1", wanted),
            tuple(row for row in rows if row.asked.sizes.pp > 1),
        )
    narrow = wanted._replace(gpus=("h200:8",), kv_cache_dtypes=("fp8", "auto"))
    search = Search(load("deepseek-r1"), "deepseek-r1", narrow)
    found = disaggregate(search, search.run().rows)
    assert found.prefill.row.asked.kv_cache_dtype == found.decode.row.asked.kv_cache_dtype == "fp8"


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
