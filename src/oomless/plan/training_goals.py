"""What is asked of a plan for training."""

from typing import NamedTuple

from ..run.option_values import value_of
from ..run.options import by_keyword
from ..run.training import Method, TrainingAsked


class WantedTraining(NamedTuple):
    """A plan for training: the load, and where to look beside what `Wanted` says of cards, prices and
    limits."""

    seq_len: int = 4096
    global_batch: int | None = None
    """Sequences of a step over all cards; None: one micro-batch of each data-parallel rank."""
    method: Method = "full"
    frameworks: tuple[str, ...] = ()
    precision: str | None = None
    optimizer: str | None = None
    lora_rank: int = 8

    def check(self) -> None:
        """Refuse what nothing can satisfy, naming the flag."""
        known = by_keyword("plan")
        for name, value in self._asdict().items():
            if value not in (None, ()):
                value_of(known[name], value, known[name].flag)
        self.asked(TrainingAsked()).check()

    def asked(self, base: TrainingAsked) -> TrainingAsked:
        """A question with what the user fixes."""
        found = base._replace(method=self.method, seq_len=self.seq_len, lora_rank=self.lora_rank)
        if self.precision:
            found = found._replace(precision=self.precision)
        return found._replace(optimizer=self.optimizer) if self.optimizer else found
