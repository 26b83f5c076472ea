"""What every answer about memory has, whether it serves or trains: the estimate's worst rank, and the words
of the question."""

from typing import TYPE_CHECKING

from ..ledger import Ledger, Verdict
from ..model.model import Model
from ..run.cards import Hardware

if TYPE_CHECKING:
    from ..estimate.serving.estimate import Estimate
    from ..estimate.training.training_estimate import TrainingEstimate


class MemoryAnswer:
    """The part of an answer that does not depend on what is done with the model."""

    estimate: "Estimate | TrainingEstimate"

    def __init__(self, model_word: str, gpu_word: str) -> None:
        self.model_word, self.gpu_word = model_word, gpu_word
        """MODEL and cards as they were asked for, so that the same question can be put again."""

    @property
    def model(self) -> Model:
        return self.estimate.model

    @property
    def hardware(self) -> Hardware:
        return self.estimate.hardware

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        """Return one ledger for each group of equal ranks."""
        return self.estimate.ledgers

    @property
    def worst_rank(self) -> int:
        return self.estimate.worst_rank

    @property
    def ledger(self) -> Ledger:
        """Return the worst rank's ledger."""
        return self.estimate.ledger

    @property
    def verdict(self) -> Verdict:
        """Return whether all that is asked fits at once."""
        return self.estimate.verdict

    @property
    def headroom_bytes(self) -> int:
        return self.estimate.headroom_bytes

    @property
    def ram_bytes(self) -> int:
        return self.estimate.ram_bytes

    @property
    def disk_bytes(self) -> int:
        return self.estimate.disk_bytes
