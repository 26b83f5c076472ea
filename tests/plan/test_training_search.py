"""The pruned search of a plan for training against trying every setting of its space."""

from random import Random

import pytest

from oomless.errors import OomlessError
from oomless.estimate.training.estimate import estimate_training
from oomless.frameworks import planned
from oomless.model.load import load
from oomless.plan.duration import duration
from oomless.plan.goals import PlanLimits, Wanted, WantedTraining
from oomless.plan.launch.training import launches
from oomless.plan.training_answer import plan_training
from oomless.plan.training_search import TrainingRow, TrainingSearch
from oomless.run.cards import Hardware
from oomless.run.hardware import parse_gpu

MODELS = (
    "deepseek-v2-lite",
    "deepseek-r1-distill-qwen-1.5b",
    "deepseek-r1-distill-qwen-7b",
    "deepseek-r1-distill-llama-70b",
    "qwen3-30b-a3b",
    "phi-4",
)
CARDS = (
    "rtx-4090",
    "rtx-4090:8",
    "a100-40gb:8",
    "a100-80gb:8",
    "h100:4",
    "h100:8x2",
    "b200:8",
    "h200:8x4",
    "v100:8",
    "mi300x:8",
)
NUM_QUESTIONS = 40


def exhaustive(search: TrainingSearch, name: str, hardware: Hardware) -> tuple[float, float]:
    """The best rate of a framework's settings that fit, and the most headroom of those that are tight."""
    fastest, roomiest = 0.0, float("-inf")
    for columns in search.columns(name, hardware):
        for asked in (asked for column in columns for asked in column.settings):
            try:
                estimate = estimate_training(search.model, asked, hardware)
            except OomlessError:
                continue
            if asked.offload and estimate.ram_bytes > 1 << 40:
                continue
            if estimate.verdict == "fits":
                speed = search.speed(asked, hardware)
                fastest = max(fastest, speed.tokens_per_s.counted_on if speed else 0.0)
            elif estimate.verdict == "tight":
                roomiest = max(roomiest, estimate.headroom_bytes)
    return fastest, roomiest


def question(seed: int) -> tuple[TrainingSearch, Hardware]:
    """A random question: a model, cards, what is fixed of the training."""
    draw = Random(seed)
    word = draw.choice(CARDS)
    wanted = Wanted(gpus=(word,), host_memory=draw.choice((None, "1TiB")), limits=PlanLimits(max_gpus=64))
    training = WantedTraining(
        seq_len=draw.choice((512, 2048, 4096, 16384)),
        global_batch=draw.choice((None, None, 64, 96)),
        method=draw.choice(("full", "full", "lora", "qlora")),
        optimizer=draw.choice((None, None, None, "adamw-8bit", "adafactor")),
    )
    return TrainingSearch(load(draw.choice(MODELS)), wanted, training), parse_gpu(word)


def test_a_search_goes_as_far_as_the_cards_that_are_allowed() -> None:
    """It ended at 128 cards, where V3 does not fit."""
    wanted = Wanted(gpus=("h800",), limits=PlanLimits(max_gpus=512))
    rows = TrainingSearch(load("deepseek-v3"), wanted, WantedTraining(frameworks=("megatron-lm",))).run().rows
    assert {row.hardware.num_gpus for row in rows} == {256, 512}


@pytest.mark.parametrize("seed", range(NUM_QUESTIONS))
def test_a_pruned_search_finds_what_an_exhaustive_one_finds(seed: int) -> None:
    search, hardware = question(seed)
    for name in planned(search.training.method, search.training.task):
        if not launches(name, search.model):
            continue
        row: TrainingRow | None = search.best_of(name, hardware)
        fastest, roomiest = exhaustive(search, name, hardware)
        if fastest:
            assert row is not None
            assert row.fits
            assert (row.rate or 0.0) >= 0.98 * fastest, (row.asked, fastest)
        elif roomiest > float("-inf"):
            assert row is not None
            assert row.headroom_bytes >= roomiest - (1 << 30)
        else:
            assert row is None


@pytest.mark.parametrize("seed", range(0, NUM_QUESTIONS, 4))
def test_what_one_card_says_of_another_is_true(seed: int) -> None:
    """A bound on the states, and what a smaller micro-batch on a larger card needed, are never more than the
    estimate. A peak while loading is the same for every batch, and the low end of a step's says less."""
    search, hardware = question(seed)

    larger = hardware._replace(card=hardware.card._replace(memory_bytes=4 * hardware.card.memory_bytes))
    for name in planned(search.training.method, search.training.task)[:2]:
        for column in [column for columns in search.columns(name, larger) for column in columns]:
            if search.closes(column, larger):
                continue
            known = search.needs.of(column.smallest, hardware)
            assert known is not None
            loads = estimate_training(search.model, column.smallest, hardware).peaks.phase
            for asked in column.settings:
                found = estimate_training(search.model, asked, hardware)
                if loads == "load" != found.peaks.phase:
                    continue
                high = max(ledger.high_bytes for ledger in found.ledgers)
                low = max(ledger.low_bytes for ledger in found.ledgers)
                assert known.low_bytes <= low
                assert known.high_bytes_of(asked.micro_batch // column.smallest.micro_batch) <= high, asked
                assert search.states.of(asked, hardware.num_gpus) <= low, asked


def test_interruptions_are_paid_in_every_figure() -> None:
    """A million tokens were 0.019 dollars, and ten billion 227."""
    wanted = WantedTraining(billion_tokens=10, interruptions_per_day=6)
    (first, *_) = plan_training("qwen2.5-7b", Wanted(gpus=("h100:8",), tier="spot"), wanted).rows
    found = duration(first.row, wanted)
    assert found is not None
    assert found.usd is not None
    assert first.row.cost == pytest.approx(found.usd.value / 10_000)
