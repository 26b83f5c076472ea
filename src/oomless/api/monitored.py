"""`oomless monitor show`: what a run left behind, beside what was predicted for it."""

import os
from pathlib import Path
from typing import Any

from ..errors import OomlessError
from ..ledger import Compared, Line, beside
from ..model.catalogue_names import catalogue_name
from ..model.families import build
from ..model.load import load
from ..model.model import Model
from ..monitor.entries import Healed, Leak, MonitorFault, RunEnd, RunQuestion, SampledStep, WatchedStep
from ..monitor.expected import counted, observed, predicted_lines
from ..monitor.journal import RankRun, read_run
from ..monitor.kept import recording_path
from ..monitor.post_mortem import post_mortem
from ..monitor.watched_run import WatchedRank, WatchedRun
from ..recording.file import read_trace
from ..recording.timeline import Timeline, timeline
from .training import train
from .training_answer import TrainingAnswer

HOST = "1024GiB"
"""The card that stands for a CPU in a prediction: what is predicted is what is held, not whether it fits."""
UNNAMED = "the run's model"


def show(folder: str | os.PathLike[str]) -> WatchedRun:
    """Return what the run of a folder left behind, each rank beside its prediction."""
    path = Path(folder)
    return WatchedRun(path.name or str(path), tuple(watched_rank(run) for run in read_run(path)))


def watched_rank(run: RankRun) -> WatchedRank:
    """Return what a rank's journal says, beside the prediction that it kept, or one of what it asks."""
    samples, leaks = run.of(SampledStep), run.of(Leak)
    lines, problem = prediction_of(run)
    highest = max(samples, key=lambda each: each.peak_bytes, default=None)
    rows: tuple[Compared, ...] = ()
    if highest is not None:
        rows = beside(lines, observed(highest, run.start.rank, lines))
    healed = {(each.file, each.line) for each in run.of(Healed)}
    ends = run.of(RunEnd)
    return WatchedRank(
        run,
        tuple(run.of(WatchedStep)),
        tuple(samples),
        tuple(leak for leak in leaks if (leak.file, leak.line) not in healed),
        rows,
        post_mortem(run),
        tuple(run.of(MonitorFault)),
        ends[-1] if ends else None,
        problem,
    )


def prediction_of(run: RankRun) -> tuple[tuple[Line, ...], str]:
    """Return the predicted lines of a run, or why there are none."""
    if run.start.predicted:
        return counted(predicted_lines(run.start), run.start.device), ""
    asked = run.of(RunQuestion)
    if not asked:
        return (), "the run did not say what it trains: watch(..., expect=oomless.train(...)) does"
    if asked[-1].predicted:
        again = run.start._replace(predicted=asked[-1].predicted)
        return counted(predicted_lines(again), run.start.device), ""
    try:
        return predict(asked[-1].question, run.start.device), ""
    except OomlessError as error:
        return (), error.message


def predict(question: dict[str, Any], device: str = "cpu") -> tuple[Line, ...]:
    """Return the lines of `oomless train` for what a live run would have asked."""
    return counted(asked_again(question, HOST).ledger.lines, device)


def asked_again(question: dict[str, Any], card: str) -> TrainingAnswer:
    """Return the answer of `oomless train` to what a live run would have asked, on a card for each of its
    ranks."""
    flags = dict(question)
    model = asked_model(flags.pop("config", None))
    ranks = flags.get("dp", 1)
    return train(model, f"{card}:{ranks if isinstance(ranks, int) else 1}", **flags)


def asked_model(config: Any) -> Model:
    """Return the model of a live run's configuration. It bears the catalogue's name where the catalogue has a
    model of the name that it was loaded by, with as many parameters: a script may have cut layers off."""
    if not isinstance(config, dict):
        raise OomlessError("the run's model has no configuration", "watch(..., expect=oomless.train(...))")
    model = build(config, UNNAMED, "the run's own configuration")
    name = catalogue_name(str(config.get("_name_or_path") or ""))
    if name is None or load(name).num_parameters != model.num_parameters:
        return model
    return model._replace(name=name)


def highest_step(run: RankRun) -> Timeline | None:
    """Return the course of the highest sampled step, from its first allocation on; None if it was not
    kept."""
    path = recording_path(run.path)
    if not path.is_file():
        return None
    recording = read_trace(path)
    setup = next((phase.end_event for phase in recording.phases if phase.name == "setup"), 0)
    return timeline(recording, setup)
