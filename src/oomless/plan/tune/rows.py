"""The rows of a tuned answer: the best setting of each layout, each with what starts it, what asks it again,
what it changes, and the largest rate of requests that it serves inside a promise."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ...engines import engine
from ...run.options import arguments
from ...run.serving import Asked
from ...speed.serving import left_out
from ..answer import arguments_of, launch_of
from ..candidates import PlannedRow
from ..launch.serving import ServedWeights
from ..plan_json import row_json
from ..prices import Price
from ..search import PlanRow
from .order import Standing, TunedRow, flag_words, steps
from .promise import form_of, max_request_rate, missed
from .question import TuneQuestion
from .search import TuneLoad
from .slo import NO_PROMISE, Slo


class TunedSetting(NamedTuple):
    """A row of the answer."""

    planned: PlannedRow[PlanRow]
    standing: Standing
    changes: tuple[str, ...]
    """Flags that differ from what was asked."""
    of_quality: tuple[str, ...]
    """Those of them that may cost quality."""
    max_request_rate: float | None
    """Requests a second inside the promise, over all cards; None: no promise, or no measured speed."""
    speed_arguments: tuple[str, ...]
    """Of `oomless`, which ask for the speed again."""
    left_out: tuple[str, ...]
    """What the figures of speed do not count."""

    @property
    def row(self) -> PlanRow:
        return self.planned.row

    @property
    def on_the_host(self) -> bool:
        """Return whether the setting leaves weights to the host."""
        asked = self.row.asked
        return any(each.field in asked.changed() for each in engine(asked.engine).candidates.offloads)

    def to_json(self) -> dict[str, Any]:
        """Return the row as plan has it, with what tuning adds."""
        estimate = self.row.estimate
        return row_json(self.planned) | {
            "standing": self.standing,
            "starts": estimate.starts,
            "at_once": estimate.at_once,
            "changes": list(self.changes),
            "changes_of_quality": list(self.of_quality),
            "max_request_rate": self.max_request_rate,
            "speed": list(self.speed_arguments),
            "left_out": list(self.left_out),
        }


class AskedPlace(NamedTuple):
    """MODEL and cards as they were asked for."""

    model_word: str
    gpu_word: str
    served: ServedWeights | None = None
    """What a pasted command serves; its form is where the search begins."""

    def served_in(self, row: TunedRow, start: Asked, published: str) -> ServedWeights | None:
        """Return what a row serves: what the command does, unless its weights lie in another form there than
        the row has; None: the catalogue's."""
        if self.served is None or row.asked.quantization == start.quantization:
            return self.served
        made = (None, "none", published, *engine(start.engine).start.made_on_loading)
        return self.served._replace(form=published) if start.quantization in made else None


def best_of_each(rows: Iterable[TunedRow]) -> list[TunedRow]:
    """Return the first setting of each layout with each form of weights and cache, of rows in order."""
    found: dict[tuple[object, ...], TunedRow] = {}
    for row in rows:
        found.setdefault(form_of(row), row)
    return list(found.values())


def tuned_setting(
    question: TuneQuestion, place: AskedPlace, row: TunedRow, first: TunedRow, price: Price | None
) -> TunedSetting:
    """Return a row of the answer; with a promise its largest rate of requests is bisected, if it was not
    yet."""
    estimate, load, word, gpu = row.estimate, question.load, place.model_word, place.gpu_word
    whole = PlanRow(question.hardware, gpu, estimate.replicas, row.asked, estimate, row.speed, price)
    asks = arguments_of(estimate, row.asked, word, gpu)
    why = "" if row is first else why_not(row, first, question.slo)
    served = place.served_in(row, question.start, question.model.quantization)
    rate = row.within_promise
    if rate is None and question.slo != NO_PROMISE:
        lengths = load.input_len, load.output_len
        rate = max_request_rate(estimate, lengths, question.slo, question.shared_prefix, question.seed)
    return TunedSetting(
        PlannedRow(whole, asks, launch_of(question.model, word, whole, served), why, False),
        row.standing,
        flag_words(question.start, row.asked, row.changed),
        flag_words(question.start, row.asked, row.of_quality),
        rate,
        speed_arguments(row, word, gpu, load),
        left_out(estimate),
    )


def speed_arguments(row: TunedRow, word: str, gpu: str, load: TuneLoad) -> tuple[str, ...]:
    """Return the `speed` command that asks for the same figures."""
    asked = row.asked._replace(context=None, concurrency=None)
    same = arguments_of(row.estimate, asked, word, gpu)[2:]
    lengths = [(name, str(getattr(load, name))) for name in ("input_len", "output_len")]
    return ("speed", word, *same, *arguments("speed", [*lengths, ("concurrency", load.concurrency)]))


def why_not(row: TunedRow, first: TunedRow, slo: Slo) -> str:
    """Return why a setting came after the first one."""
    if first.estimate.support.runs == "runs" != row.estimate.support.runs:
        return "nobody is known to have run it"
    if row.standing == "may not start" != first.standing:
        return "it may not start"
    if first.within_promise and steps(row.within_promise or 0) < steps(first.within_promise):
        if not row.within_promise:
            return "serves none within the promise"
        return f"{row.within_promise / first.within_promise:.2f} x the requests within the promise"
    if not first.within_promise and missed(row, slo) > missed(first, slo):
        return f"takes {slo.excess(*row.times):.2f} x the promised time"
    if first.runs_all and not row.runs_all:
        once, whole = row.estimate.at_once, row.estimate.asked.concurrency or 1
        if once >= whole:
            return "tight: the estimate's spread does not settle that it fits"
        return f"{once:,} of {whole:,} at once, the rest waits"
    if left_out(row.estimate) and not left_out(first.estimate):
        return "its speed is not counted in full"
    if first.rate and row.rate < first.rate:
        return f"{row.rate / first.rate:.2f} x the tokens a second"
    return "more changes, or less room"
