"""`oomless plan --for train`: from a question to ranked rows, each with the question that re-estimates it and
what starts it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..errors import OomlessError
from ..estimate.training.megatron import estimate_megatron
from ..frameworks import framework
from ..frameworks.megatron.args import read_arguments
from ..frameworks.megatron.source import read_text
from ..model.load import load
from ..model.model import Model
from ..run.training import Mesh, TrainingAsked
from .candidates import NO_LAUNCH, Miss, PlannedRow, plan_screen
from .duration import Duration, duration
from .goals import Wanted, WantedTraining
from .launch import Launch
from .launch.training import training_launch
from .prices import Price
from .ranking import rank, why_not
from .training_search import TrainingRow, searched


class TrainingPlan(NamedTuple):
    """Hardware and settings that train a model, ranked, with what was left out and why."""

    model: Model
    model_word: str
    wanted: Wanted
    training: WantedTraining
    rows: tuple[PlannedRow[TrainingRow], ...]
    front: tuple[TrainingRow, ...]
    num_more: int
    excluded: dict[str, int]
    misses: tuple[Miss, ...]
    num_candidates: int
    num_estimates: int
    warnings: tuple[str, ...]

    def whole(self, row: TrainingRow) -> Duration | None:
        """How long the whole training takes on a row's cards, and what it costs."""
        return duration(row, self.training)

    def to_json(self) -> dict[str, Any]:
        """The object that `plan --for train --json` prints."""
        from .plan_json import plan_training_json  # most ask for the rows alone

        return plan_training_json(self)

    def __repr__(self) -> str:
        how = f"{self.training.method} training at {self.training.seq_len:,} tokens"
        question = f"{self.model.name}: {how}, the {self.wanted.goal}"
        return plan_screen(question, self.rows, self.num_more, self.excluded)


OWN_RULES = "its launch arguments do not fit by Megatron-LM's own rules"


def plan_training(
    model: str | Model,
    wanted: Wanted,
    training: WantedTraining,
    table: tuple[Price, ...] | None = None,
    *,
    offline: bool = False,
    revision: str | None = None,
) -> TrainingPlan:
    """Which cards and settings hold the training step.

    >>> found = plan_training(
    ...     "deepseek-v2-lite", Wanted(gpus=("a100-80gb:1",)), WantedTraining(method="lora")
    ... )
    >>> found.rows[0].row.estimate.verdict, found.rows[0].launch.command
    ('fits', 'llamafactory-cli train llama_factory.yaml')
    """
    wanted.check(table)
    training.check()
    found = model if isinstance(model, Model) else load(model, offline=offline, revision=revision)
    word = model if isinstance(model, str) else model.name
    result = searched(found, wanted, training, table)
    ranked = rank(result.rows, wanted.goal, wanted.limits, False, bool(wanted.gpus))
    excluded = result.excluded + ranked.excluded
    shown, num_more = to_show(found, word, wanted, ranked.rows, excluded)
    on_front = {id(row) for row in ranked.front}
    rows = tuple(
        PlannedRow(
            row,
            arguments_of(row.asked, word, row.gpu),
            launch,
            why_not(row, shown[0][0], wanted.goal) if row is not shown[0][0] else "",
            id(row) in on_front,
        )
        for row, launch in shown
    )
    notes = {
        f"nobody known rents out {row.hardware.kinds}: it has no price": None
        for row, _ in shown
        if not row.price
    }
    if any(row.asked.loss != training.loss for row, _ in shown):
        notes["nothing fits with the frameworks' own losses: all rows are with --loss fused"] = None
    return TrainingPlan(
        model=found,
        model_word=word,
        wanted=wanted,
        training=training,
        rows=rows,
        front=ranked.front,
        num_more=num_more,
        excluded=dict(sorted(excluded.items())),
        misses=result.misses,
        num_candidates=result.num_candidates,
        num_estimates=result.num_estimates,
        warnings=tuple(notes),
    )


def to_show(
    model: Model, word: str, wanted: Wanted, ranked: Iterable[TrainingRow], excluded: Counter[str]
) -> tuple[list[tuple[TrainingRow, Launch]], int]:
    """Return the rows that are shown with what starts them, and how many more there are; the best of the same
    cards alone, each framework's where cards are named by number. What is left out is counted in
    `excluded`."""
    one_each = not any(":" in each for each in wanted.gpus)
    shown: list[tuple[TrainingRow, Launch]] = []
    seen: set[tuple[str, str]] = set()
    num_more = 0
    for row in ranked:
        key = (row.gpu, "" if one_each else row.runner)
        if key in seen:
            excluded["a better setting of the same cards"] += 1
        elif len(shown) == wanted.rows:
            num_more += 1
            seen.add(key)
        else:
            launch, reason = launched(model, word, row)
            if launch is None:
                excluded[reason] += 1
            else:
                shown.append((row, launch))
                seen.add(key)
    return shown, num_more


def launched(model: Model, word: str, row: TrainingRow) -> tuple[Launch | None, str]:
    """What starts a row, or why it is not shown. A run of Megatron-LM must fit by the rules of its own
    arguments too."""
    try:
        launch = training_launch(model, word, row.asked, row.hardware)
        if framework(row.asked.framework).launch == "megatron_args":
            run = read_arguments(
                read_text(launch.files["megatron.args"], "megatron.args"), row.hardware.num_gpus
            )
            if estimate_megatron(run, row.hardware).verdict != "fits" and row.fits:
                return None, OWN_RULES
    except OomlessError:
        return None, NO_LAUNCH
    return launch, ""


def arguments_of(asked: TrainingAsked, word: str, gpu: str) -> tuple[str, ...]:
    """The `train` command that asks the same question again.

    >>> " ".join(
    ...     arguments_of(
    ...         TrainingAsked(framework="fsdp", sharding="fsdp2", recompute="full", seq_len=4096),
    ...         "deepseek-llm-7b",
    ...         "h100:8",
    ...     )
    ... )
    'train deepseek-llm-7b --gpu h100:8 --framework fsdp --seq-len 4096 --sharding fsdp2 --recompute full'
    """
    words = ["train", word, "--gpu", gpu, "--framework", asked.framework]
    values = [
        (name, getattr(asked, name))
        for name, default in TrainingAsked._field_defaults.items()
        if name not in ("framework", "mesh") and getattr(asked, name) != default
    ]
    mesh = asked.mesh
    values += [(name, value) for name, value in mesh._asdict().items() if value != Mesh._field_defaults[name]]
    for name, value in values:
        words.append("--" + name.replace("_", "-"))
        if isinstance(value, tuple):
            words.append(",".join(str(each) for each in value))
        elif value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return tuple(words)
