"""The answer of tuning: the best setting of each layout, best first."""

from typing import Any, NamedTuple

from ...run.card_names import offered_name
from ..prices import cheapest
from .promise import by_promise, missed
from .question import TuneQuestion
from .rows import AskedPlace, TunedSetting, best_of_each, tuned_setting
from .slo import NO_PROMISE
from .space import ALLOWED

SCHEMA = "oomless/tune/1"
SAME_LAYOUT = "a better setting of the same layout"


class TunedAnswer(NamedTuple):
    """Flags of an engine on given cards, ranked, beside those that were asked."""

    question: TuneQuestion
    place: AskedPlace
    rows: tuple[TunedSetting, ...]
    num_more: int
    """Layouts that are not shown."""
    excluded: dict[str, int]
    num_settings: int
    """Settings of the whole space."""
    num_estimates: int
    warnings: tuple[str, ...]

    @property
    def keeps_slo(self) -> bool:
        """Return whether the first row keeps the promise under the asked load; True without one."""
        row = self.rows[0].row if self.rows else None
        if row is None or row.ttft_s is None or row.tpot_s is None:
            return self.question.slo == NO_PROMISE
        return self.question.slo.excess(row.ttft_s, row.tpot_s) <= 1

    def to_json(self) -> dict[str, Any]:
        """Return the object that `tune --json` prints."""
        from ..plan_json import model_json  # most ask for the rows alone

        question, load = self.question, self.question.load
        slo = question.slo
        return {
            "schema": SCHEMA,
            "model": model_json(question.model),
            "request": {
                "model": self.place.model_word,
                "gpu": self.place.gpu_word,
                "engine": question.start.engine,
                "context": question.start.context,
                **load._asdict(),
                "slo": None if slo == NO_PROMISE else slo._asdict(),
                "shared_prefix": question.shared_prefix,
                "seed": question.seed,
                "allow": sorted(question.allow),
                "fixed": sorted(question.fixed),
            },
            "rows": [row.to_json() for row in self.rows],
            "keeps_slo": self.keeps_slo,
            "num_more_rows": self.num_more,
            "excluded": self.excluded,
            "num_settings": self.num_settings,
            "num_estimates": self.num_estimates,
            "warnings": list(self.warnings),
        }


def tune_question(
    question: TuneQuestion, place: AskedPlace, rows: int, notes: tuple[str, ...]
) -> TunedAnswer:
    """Return the best settings for a question.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Asked
    >>> start = Asked(context=32768, max_model_len=32768)
    >>> asked = TuneQuestion(load("deepseek-r1"), parse_gpu("h20:8"), start)
    >>> found = tune_question(asked, AskedPlace("deepseek-r1", "h20:8"), 1, ())
    >>> found.rows[0].standing, found.rows[0].row.estimate.request.layout.tp
    ('holds', 8)
    """
    search = question.search()
    every = search.run()
    none_keeps = bool(every) and missed(every[0], question.slo) > 0
    ranked = best_of_each(by_promise(every, question) if none_keeps else every)
    shown = ranked[:rows]
    card = offered_name(question.hardware)
    price = cheapest(card, question.hardware.num_gpus) if card and shown else None
    settings = tuple(tuned_setting(question, place, row, shown[0], price) for row in shown)
    excluded = {**search.excluded, SAME_LAYOUT: len(every) - len(ranked)}
    return TunedAnswer(
        question,
        place,
        settings,
        len(ranked) - len(shown),
        {reason: count for reason, count in sorted(excluded.items()) if count},
        question.space.size,
        search.num_estimates,
        (*notes, *warnings_of(settings), *what_may_be_allowed(question, settings)),
    )


def what_may_be_allowed(question: TuneQuestion, settings: tuple[TunedSetting, ...]) -> tuple[str, ...]:
    """Return a note that narrower types may do it, where the load does not fit on the cards and none was
    allowed."""
    first = settings[0] if settings else None
    if first is not None and first.standing == "holds" and not first.on_the_host:
        return ()
    every = question._replace(allow=frozenset(ALLOWED)).space.forms
    if len(every) <= len(question.space.forms):
        return ()
    return (f"--allow {','.join(ALLOWED)} tries narrower types too, at some cost of quality",)


def warnings_of(settings: tuple[TunedSetting, ...]) -> tuple[str, ...]:
    """Return what a reader must know of the first row, each note once."""
    notes: dict[str, None] = {}
    for each in settings[:1]:
        notes |= dict.fromkeys(each.row.estimate.warnings)
        notes |= dict.fromkeys(() if each.row.speed is None else each.row.speed.warnings)
        if each.planned.launch.note:
            notes[each.planned.launch.note] = None
    return tuple(notes)
