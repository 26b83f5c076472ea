"""What is tuned: a model on cards under a load, where the search begins, what may change, what is
promised."""

from typing import NamedTuple

from ...errors import UsageError
from ...estimate.serving.stage_rank import Adjust
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked
from ..goals import DEFAULT_CONTEXT, OUTPUT_SHARE
from .search import TuneLoad, TuneSearch
from .slo import NO_PROMISE, Slo
from .space import TuneSpace, tune_space


class TuneQuestion(NamedTuple):
    """A question of tuning."""

    model: Model
    hardware: Hardware
    start: Asked
    """Where the search begins; its context and concurrency are the load."""
    output_len: int | None = None
    slo: Slo = NO_PROMISE
    shared_prefix: int = 0
    seed: int = 0
    allow: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()
    """Fields that stay as they are."""
    adjust: Adjust | None = None

    @property
    def load(self) -> TuneLoad:
        """Return the load; an eighth of a sequence is output where nobody says.

        >>> from ...model.load import load
        >>> from ...run.hardware import parse_gpu
        >>> question = TuneQuestion(load("deepseek-r1"), parse_gpu("h20:8"), Asked(context=32768))
        >>> question.load
        TuneLoad(input_len=28672, output_len=4096, concurrency=1)
        """
        context = self.start.context or 1
        output = self.output_len or max(context // OUTPUT_SHARE, 1)
        if output >= context and context > 1:
            raise UsageError(
                f"--output-len {output} leaves no prompt in --context {context}",
                "a sequence is prompt and output: ask for more context or less output",
                "output_len",
            )
        return TuneLoad(max(context - output, 1), output, self.start.concurrency or 1)

    @property
    def space(self) -> TuneSpace:
        """Return everything that may be tried."""
        return tune_space(self.model, self.hardware, self.start, self.fixed, self.allow)

    def search(self, *, exhaustive: bool = False) -> TuneSearch:
        """Return the search, not yet begun; `exhaustive` leaves nothing out."""
        return TuneSearch(
            self.model,
            self.hardware,
            self.space,
            self.load,
            self.slo,
            self.adjust,
            exhaustive=exhaustive,
        )


def usual_context(model: Model, max_model_len: int | None) -> int:
    """Return the tokens of a sequence where nobody says: as plan has them.

    >>> from ...model.load import load
    >>> usual_context(load("deepseek-r1"), None), usual_context(load("deepseek-r1"), 4096)
    (8192, 4096)
    """
    return min(max_model_len or DEFAULT_CONTEXT, DEFAULT_CONTEXT, model.max_positions)
