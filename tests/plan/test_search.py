"""The search: what it finds, what it leaves out and why, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import oomless
from command import call
from oomless.errors import UsageError
from oomless.estimate.serving.estimate import estimate_serving
from oomless.model.load import load
from oomless.plan.answer import Plan, plan_serving
from oomless.plan.goals import PlanLimits, Wanted
from oomless.plan.ranking import front, rank
from oomless.plan.request import asked_of, plan
from oomless.plan.search import Bound, Search


@pytest.fixture(scope="module")
def r1() -> Search:
    search = Search(load("deepseek-r1"), "deepseek-r1", Wanted(context=32768, concurrency=64))
    return search


def test_the_whole_catalogue_for_r1(r1: Search) -> None:
    found = r1.run()

    gpus = {row.gpu for row in found.rows}
    assert {"h200-141gb-sxm:8", "b200-sxm:8", "instinct-mi300x:8"} <= gpus
    assert not {"h100-80gb-sxm5:8", "rtx-4090:8"} & gpus
    assert found.num_estimates < found.num_candidates / 3  # bounds do most of the work
    assert sum(found.excluded.values()) + len(found.rows) == found.num_candidates


@pytest.mark.parametrize(
    ("name", "context", "concurrency"),
    [("deepseek-r1", 32768, 64), ("gemma-4-31b", 8192, 16), ("deepseek-v2-lite", 8192, 8)],
)
def test_what_is_bounded_away_would_not_fit(name: str, context: int, concurrency: int) -> None:
    """The bound of another card of the same kind is no guess: where each candidate is estimated, the same
    rows are found."""
    gpus = (
        "h200",
        "h100",
        "h20",
        "gb300",
        "b300",
        "b200",
        "a100-80gb",
        "a30",
        "l40s",
        "rtx-4090",
        "l20",
        "rtx-3060",
    )
    wanted = Wanted(
        gpus=gpus,
        context=context,
        concurrency=concurrency,
        engines=("vllm", "sglang"),
        limits=PlanLimits(max_gpus=8),
    )
    bounded, checked = Search(load(name), name, wanted), Search(load(name), name, wanted)
    checked.resident = 0
    checked.bounds = Forgetful()

    assert {(row.gpu, row.asked) for row in bounded.run().rows} == {
        (row.gpu, row.asked) for row in checked.run().rows
    }


class Forgetful(dict[tuple[object, ...], Bound]):
    """Bounds that are never remembered."""

    def __setitem__(self, key: tuple[object, ...], value: Bound) -> None:
        pass


def test_goals_order_the_same_rows() -> None:
    rows = (
        Search(
            load("deepseek-r1"),
            "deepseek-r1",
            Wanted(gpus=("h200", "b200", "mi300x"), context=8192, concurrency=32),
        )
        .run()
        .rows
    )

    cheapest, fastest, fewest = (
        rank(rows, goal, PlanLimits(), True, named=True).rows[0] for goal in ("cheapest", "fastest", "fewest")
    )
    assert cheapest.usd_per_hour == min(
        row.usd_per_hour for row in rows if row.usd_per_hour and row.estimate.verdict == "fits"
    )
    assert fastest.rate == max(row.rate for row in rows if row.rate and row.fits)
    assert fewest.hardware.num_gpus == min(
        row.hardware.num_gpus for row in rows if row.estimate.verdict == "fits"
    )


def test_of_cards_that_nobody_named_a_measured_one_comes_first() -> None:
    rows = (
        Search(load("deepseek-r1"), "deepseek-r1", Wanted(gpus=("h200", "mi300x"), context=8192)).run().rows
    )
    best = rank(rows, "cheapest", PlanLimits(), True)
    assert [row.is_measured for row in best.rows] == sorted(
        (row.is_measured for row in best.rows), reverse=True
    )
    assert rows[0].is_known


def test_no_row_of_the_front_is_beaten() -> None:
    gpus = ("rtx-4090", "l40s", "a100-80gb", "h100", "h200", "mi300x")
    wanted = Wanted(gpus=gpus, context=8192, concurrency=8)
    rows = Search(load("deepseek-v2-lite"), "deepseek-v2-lite", wanted).run().rows
    best = front(rows, named=True)

    assert len(best) > 2
    for row in best:
        for other in rows:
            if other.usd_per_hour is None or other.rate is None or not other.fits:
                continue
            better = (
                other.usd_per_hour <= (row.usd_per_hour or 0)
                and (other.rate or 0) >= (row.rate or 0)
                and other.estimate.headroom_bytes >= row.estimate.headroom_bytes
            )
            same = (other.usd_per_hour, other.rate, other.headroom_bytes) == (
                row.usd_per_hour,
                row.rate,
                row.headroom_bytes,
            )
            assert not better or same


def test_a_bound_takes_no_measured_row_off_the_front() -> None:
    """A GH200 was no choice beside an MI300X whose speed nobody measured, and which no first page shows."""
    wanted = Wanted(gpus=("gh200-96gb", "mi300x"), context=8192, concurrency=16)
    rows = Search(load("qwen3-32b"), "qwen3-32b", wanted).run().rows
    measured = front([row for row in rows if row.is_measured])
    assert measured
    assert {id(row) for row in measured} <= {id(row) for row in front(rows)}
    assert not {id(row) for row in measured} <= {id(row) for row in front(rows, named=True)}


def test_limits_say_how_many_they_left_out() -> None:
    answer = call("plan", "deepseek-r1", "--gpu", "h200", "--budget-usd-per-hour", "1", "--json")

    assert answer.code == 3
    found = json.loads(answer.out)
    assert found["rows"] == []
    assert found["excluded"]["over --budget-usd-per-hour"] > 0
    shown = call("plan", "deepseek-r1", "--gpu", "h200", "--max-ttft-s", "0.000001")
    assert shown.code == 3
    assert "first token later than --max-ttft-s" in shown.out


def test_tight_rows_come_last_and_are_marked() -> None:
    answer = plan("deepseek-r1-distill-qwen-32b", gpu="rtx-4090:1", context=8192)

    verdicts = [planned.row.estimate.verdict for planned in answer.rows]
    assert verdicts == ["fits", "tight"]
    assert "tight" in answer.rows[1].why


def test_experts_in_host_memory_make_a_card_enough() -> None:
    without = plan_serving("deepseek-r1", Wanted(gpus=("rtx-4090:1",), context=4096))
    answer = plan_serving("deepseek-r1", Wanted(gpus=("rtx-4090:1",), context=4096, host_memory="512GiB"))

    assert not without.rows
    row = answer.rows[0].row
    assert row.asked.n_cpu_moe > 0
    assert row.estimate.verdict == "fits"
    fewer = estimate_serving(
        answer.model, row.asked._replace(n_cpu_moe=row.asked.n_cpu_moe - 1), row.hardware
    )
    assert fewer.verdict != "fits"
    assert f"-ncmoe {row.asked.n_cpu_moe}" in answer.rows[0].launch.command


def test_copies_of_an_engine_on_one_card() -> None:
    """As many as fit, and not one more."""
    answer = plan_serving(
        "deepseek-coder-1.3b", Wanted(gpus=("a100-80gb:1",), context=2048, concurrency=4, engines=("vllm",))
    )

    planned = answer.rows[0]
    assert planned.copies > 4
    for copies, verdict in ((planned.copies, True), (planned.copies + 1, False)):
        again = estimate_serving(
            answer.model, planned.row.asked._replace(instances=copies), planned.row.hardware
        )
        assert (again.verdict == "fits") == verdict


def test_files_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "start"
    answer = call(
        "plan",
        "deepseek-r1",
        "--gpu",
        "h100:8x2",
        "--engine",
        "vllm",
        "--context",
        "8192",
        "--write",
        str(target),
    )

    assert answer.code == 0
    assert {"launch.sh", "ray.sh", "leaderworkerset.yaml", "serve.sbatch"} <= {
        path.name for path in target.iterdir()
    }
    first, other = re.findall(r"exec (vllm serve .*)", target.joinpath("launch.sh").read_text("utf-8"))
    assert "--nnodes 2 --node-rank $NODE_RANK --master-addr $HEAD --host" in first
    assert other.endswith("--nnodes 2 --node-rank $NODE_RANK --master-addr $HEAD --headless")
    assert target.joinpath("ray.sh").stat().st_mode & 0o100
    assert f"written: {target}" in answer.err
    again = call(
        "plan",
        "deepseek-r1",
        "--gpu",
        "h100:8x2",
        "--engine",
        "vllm",
        "--context",
        "8192",
        "--write",
        str(target),
    )
    assert again.code == 2
    (tmp_path / "file").write_text("", encoding="utf-8")
    blocked = call(
        "plan",
        "deepseek-r1",
        "--gpu",
        "h200:8",
        "--context",
        "8192",
        "--write",
        str(tmp_path / "file" / "deep"),
    )
    assert blocked.code == 1
    assert blocked.out == ""
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


WRONG = (
    (("--gpu", "h100", "--vendor", "AMD"), "contradict"),
    (("--vendor", "Nvidea"), "unknown vendor"),
    (("--engine", "vlm"), "--engine is 'vlm'"),
    (("--quantization", "q4_k_n"), "did you mean q4_k_s or q4_k_m"),
    (("--provider", "awx"), "unknown provider"),
    (("--context", "0"), "--context"),
    (("--context", "100", "--output-len", "100"), "leaves no prompt"),
    (("--context", "9000", "--max-model-len", "8000"), "contradict"),
    (("--budget-usd-per-hour", "-1"), "--budget-usd-per-hour"),
    (("--max-tpot-s", "nan"), "--max-tpot-s"),
    (("--fastest", "--fewest"), "contradict"),
    (("--gpu", "h2000"), "unknown card"),
    (("--host-memory", "512"), "no unit"),
    (("--plot", "a.png"), "SVG"),
    (("--gpu", "h200:8", "--max-gpus", "4"), "contradict"),
    (("--gpu", "h200:8", "--engine", "vllm", "--host-memory", "512GiB"), "--host-memory is filled by"),
    (("--for", "train", "--host", "epyc-9004"), "belongs to --for infer"),
)


@pytest.mark.parametrize(
    ("words", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_questions_say_what_is_wrong(words: tuple[str, ...], message: str) -> None:
    answer = call("plan", "deepseek-r1", *words)

    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


def test_sparse_weights_are_served_by_nobody() -> None:
    answer = call("plan", "deepseek-llm-7b", "--quantization", "2:4")

    assert answer.code == 4
    assert "2:4" in answer.err


def test_the_interface_in_python() -> None:
    found = getattr(oomless, "plan")("deepseek-coder-1.3b", gpu=["t4", "l4"], context=2048, max_gpus=1)  # noqa: B009 - a room and a function

    assert {planned.row.gpu for planned in found.rows} == {"t4:1", "l4:1"}
    assert found.to_json()["schema"] == "oomless/plan/1"
    with pytest.raises(UsageError, match="unknown option 'contxt'"):
        plan("deepseek-r1", contxt=1)


def test_prices_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "InstanceType,AcceleratorName,AcceleratorCount,Price,Region\nx,H200,8,8.00,here\n", encoding="utf-8"
    )

    found = json.loads(call("plan", "deepseek-r1", "--gpu", "h200:8", "--prices", str(path), "--json").out)
    assert found["rows"][0]["usd_per_hour"]["value"] == 8.0
    assert found["rows"][0]["usd_per_hour"]["provider"] == "mine"


def test_several_words_may_stand_behind_one_flag() -> None:
    apart, together = (asked_of("infer", {"gpu": cards})[0] for cards in (("h100", "l40s:2"), "h100, l40s:2"))
    assert apart.gpus == together.gpus == ("h100", "l40s:2")
    with pytest.raises(UsageError, match="--gpu is ','"):
        asked_of("infer", {"gpu": ","})


@pytest.mark.parametrize(
    ("drafts", "engines"),
    [
        ("mtp", {"vllm", "sglang", "llamacpp"}),
        ('{"method": "eagle3", "model": "org/an-eagle3"}', {"vllm", "sglang"}),
    ],
)
def test_a_plan_drafts_with_engines_that_can(drafts: str, engines: set[str]) -> None:
    """Each row is what infer and speed answer to its own question, the draft among it."""
    plain, drafted = (
        plan(
            "glm-4.5-air", gpu="h200:8", context=4096, concurrency=4, offline=True, rows=30, speculation=said
        )
        for said in (None, drafts)
    )
    assert isinstance(plain, Plan)
    assert isinstance(drafted, Plan)
    found = {planned.row.asked.engine for planned in drafted.rows}
    assert found
    assert found <= engines
    assert drafted.to_json()["request"]["speculation"]["method"] in drafts
    assert (drafted.rows[0].row.rate or 0) > (plain.rows[0].row.rate or 0)
    row = drafted.rows[0]
    again = json.loads(call(*row.arguments, "--json").out)
    assert again["request"]["speculation"] is not None
    assert again["headroom_bytes"] == row.row.estimate.headroom_bytes
    assert "specul" in row.launch.command or "spec-type" in row.launch.command


def test_an_engine_whose_own_share_leaves_no_cache_is_told_another() -> None:
    """SGLang keeps 50 GiB of each card for the graphs of 16 groups; every recipe says its share."""
    found = plan_serving("deepseek-v3.2", Wanted(gpus=("h800:8x2",), context=64000, concurrency=32))
    first = found.rows[0].row
    assert first.asked.engine == "sglang"
    assert first.estimate.verdict == "fits"
    assert first.asked.mem_fraction_static
    own = first.asked._replace(mem_fraction_static=None)
    assert not estimate_serving(found.model, own, first.hardware).starts
    assert "--mem-fraction-static" in found.rows[0].launch.command


def test_a_candidate_is_estimated_once_whatever_shares_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page said: 4,166 candidates, 4,262 estimated."""
    search = Search(load("qwen3-8b"), "qwen3-8b", Wanted(gpus=("rtx-4060",), context=8192))
    asked: list[Any] = []
    estimate = search.estimate

    def counted(*words: Any) -> Any:
        asked.append(words)
        return estimate(*words)

    monkeypatch.setattr(search, "estimate", counted)
    found = search.run()
    assert found.num_estimates <= found.num_candidates
    assert found.num_estimates < len(asked)


def test_a_load_of_more_sequences_than_a_step_has_tokens_is_told_both() -> None:
    """vLLM refuses --max-num-seqs beyond the tokens of a step: the command that was written would not
    start."""
    wanted = Wanted(gpus=("rtx-4090:1",), context=16, concurrency=4096, engines=("vllm",))
    rows = Search(load("qwen3-0.6b"), "qwen3-0.6b", wanted).run().rows
    assert rows
    asked = rows[0].asked
    assert asked.max_num_seqs == 4096
    assert (asked.max_num_batched_tokens or 0) >= 4096
