"""Cards walked in the order of a goal are those of the whole search, with fewer estimates."""

from collections.abc import Iterable
from itertools import islice

import pytest

from oomless.model.load import load
from oomless.plan.goals import GOALS, PlanLimits, Wanted
from oomless.plan.nearest_cards import NearestCards
from oomless.plan.ranking import rank
from oomless.plan.search import PlanRow, Search

QUESTIONS = [
    ("deepseek-r1", Wanted(context=32768, engines=("vllm",), quantizations=("none",))),
    (
        "deepseek-r1-distill-qwen-32b",
        Wanted(context=8192, concurrency=40, engines=("sglang",), limits=PlanLimits(max_gpus=8)),
    ),
    (
        "deepseek-v2-lite",
        Wanted(
            context=16384, engines=("llamacpp",), quantizations=("q4_k_m",), limits=PlanLimits(max_gpus=4)
        ),
    ),
    ("qwen3-8b", Wanted(concurrency=64, vendors=("AMD",))),
]
SHOWN = 12


def shown(rows: Iterable[PlanRow]) -> list[tuple[object, ...]]:
    return [(row.gpu, row.asked, row.usd_per_hour, row.rate) for row in islice(rows, SHOWN)]


@pytest.mark.parametrize(("name", "wanted"), QUESTIONS, ids=[name for name, _ in QUESTIONS])
def test_the_same_rows_in_the_same_order(name: str, wanted: Wanted) -> None:
    model = load(name)
    rows = Search(model, name, wanted).run().rows
    nearest = NearestCards(Search(model, name, wanted))
    for goal in GOALS:
        assert shown(nearest.ranked(goal)) == shown(rank(rows, goal, wanted.limits, True).rows)


def test_the_first_card_takes_few_estimates() -> None:
    name, wanted = QUESTIONS[1]
    whole, some = (Search(load(name), name, wanted) for _ in range(2))
    whole.run()
    next(NearestCards(some).ranked("cheapest"))
    assert some.num_estimates * 4 < whole.num_estimates
