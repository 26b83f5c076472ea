"""The measured runs that lie nearest to an answer, to be shown beside it: nothing of them goes into it."""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import facts
from ..errors import UsageError
from ..facts.release import read_release
from ..run.serving import Resolved

if TYPE_CHECKING:
    from ..run.training import TrainingResolved
    from .serving import ServingAnswer
    from .training_answer import TrainingAnswer

    Answer = ServingAnswer | TrainingAnswer


class RunFigure(NamedTuple):
    """One quantity of a measured run beside what is predicted for it."""

    quantity: str
    measured: float
    predicted: float
    low: float
    high: float
    unit: str

    @property
    def error(self) -> float:
        """Return predicted / measured - 1."""
        return self.predicted / self.measured - 1 if self.measured else 0.0


class MeasuredRun(NamedTuple):
    """A run that somebody measured, of an engine or of a framework."""

    model: str
    engine: str
    engine_version: str
    stored: str
    """How an engine held the weights; what a framework trained, and how states were divided."""
    card: str
    tp: str
    pp: str
    length: str
    source: str
    figures: tuple[RunFigure, ...] = ()


@cache
def measured_runs() -> tuple[MeasuredRun, ...]:
    """Return the measured runs, each with its quantities in the order of the tables.

    >>> len(measured_runs()) > 100
    True
    """
    found: dict[MeasuredRun, list[RunFigure]] = {}
    for row in facts.table("measured_runs"):
        found.setdefault(_run(row), []).append(_figure(row))
    return tuple(run._replace(figures=tuple(figures)) for run, figures in found.items())


def _run(row: dict[str, str]) -> MeasuredRun:
    return MeasuredRun(
        row["model"],
        row["engine"],
        row["engine_version"],
        row["stored"],
        row["card"],
        row["tp"],
        row["pp"],
        row["length"],
        row["source"],
    )


def _figure(row: dict[str, str]) -> RunFigure:
    value = {name: float(row[name]) for name in ("measured", "predicted", "low", "high")}
    return RunFigure(
        row["quantity"], value["measured"], value["predicted"], value["low"], value["high"], row["unit"]
    )


WEIGHTS = {"model": 4, "engine": 3, "card": 2, "layout": 1, "training": 2}
"""How far apart two runs are that differ in this; farther than FARTHEST is no neighbour."""
FARTHEST = 5
MOST_RUNS = 3


class Neighbour(NamedTuple):
    """A measured run near an answer, and what it had otherwise (words of WEIGHTS, and `release`)."""

    run: MeasuredRun
    differs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the run with its figures, as answers carry it."""
        figures = [figure._asdict() for figure in self.run.figures]
        return {**self.run._asdict(), "figures": figures, "differs": list(self.differs)}


class RunAsked(NamedTuple):
    """What runs are near to."""

    model: str
    engine: str
    release: str
    trained: str | None
    """As MeasuredRun.stored; None: an engine's form of the weights does not count."""
    card: str
    layout: tuple[str, str]
    length: int


def asked_of(answer: "Answer") -> RunAsked:
    """Return what an answer was asked."""
    model, card, request = answer.model.name, answer.hardware.card.name, answer.request
    if isinstance(request, Resolved):
        layout, length = (str(request.layout.tp), str(request.layout.pp)), request.max_model_len
        return RunAsked(model, request.engine, request.engine_version, None, card, layout, length)
    layout, release = (str(request.mesh.tp), str(request.mesh.pp)), request.framework_version or ""
    return RunAsked(model, request.framework, release, trained_as(request), card, layout, request.seq_len)


def trained_as(request: "TrainingResolved") -> str:
    """Return what is trained and how states are divided, as the measured runs have it.

    >>> from ..run.training import TrainingResolved
    >>> trained_as(TrainingResolved(method="lora", sharding="zero3"))
    'lora, zero3'
    """
    return f"{request.method}, {request.sharding or 'none'}"


def nearest_runs(answer: "Answer") -> tuple[Neighbour, ...]:
    """Return the measured runs that lie nearest to an answer, the nearest first: of the same model before the
    same engine, card, layout, release and length. None is farther than another model on the same engine and
    card. Nothing of them goes into the answer.

    >>> from .serving import infer
    >>> nearest_runs(infer("deepseek-v2-lite", gpu="h100"))[0].run.model
    'deepseek-v2-lite'
    """
    near, asked = [], asked_of(answer)
    for order, run in enumerate(measured_runs()):
        differs = differences(run, asked)
        distance = sum(WEIGHTS[word] for word in differs)
        if distance <= FARTHEST:
            near.append(
                (distance, *apart(run, asked), order, Neighbour(run, with_release(differs, run, asked)))
            )
    return tuple(each[-1] for each in sorted(near, key=lambda each: each[:-1])[:MOST_RUNS])


def differences(run: MeasuredRun, asked: RunAsked) -> tuple[str, ...]:
    """Return in what a run differs from a question."""
    same = {
        "model": run.model == asked.model,
        "engine": run.engine == asked.engine,
        "card": run.card == asked.card,
        "layout": (run.tp or "1", run.pp or "1") == asked.layout,
        "training": asked.trained is None or run.stored == asked.trained,
    }
    return tuple(word for word, holds in same.items() if not holds)


def apart(run: MeasuredRun, asked: RunAsked) -> tuple[bool, float]:
    """Return whether the release is another one, and how many times longer the longer length is."""
    length = float(run.length) if run.length.isdecimal() else 1.0
    own = float(asked.length)
    return release_of(run) != release_named(asked.release), max(length / own, own / length)


def with_release(differs: tuple[str, ...], run: MeasuredRun, asked: RunAsked) -> tuple[str, ...]:
    """Return the differences, with the release where the same engine has another one."""
    other = release_of(run) != release_named(asked.release)
    return (*differs, "release") if other and "engine" not in differs else differs


def release_of(run: MeasuredRun) -> tuple[int, ...]:
    """Return the release that a run names; () where it names none."""
    return release_named(run.engine_version)


def release_named(text: str) -> tuple[int, ...]:
    """Return the numbers of a release; () where a text names none."""
    try:
        return read_release(text)
    except UsageError:
        return ()
