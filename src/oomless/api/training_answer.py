"""The whole answer to a training question."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..estimate.training.rank_group import Peaks, RankGroup
from ..estimate.training.training_estimate import After, TrainingEstimate
from ..run.training import Mesh, TrainingAsked, TrainingResolved
from .answered import MemoryAnswer

if TYPE_CHECKING:
    from ..estimate.serving.changes import Change
    from ..estimate.training.changes import Largest
    from ..estimate.training.traffic import StageTraffic
    from ..speed.training import TrainingSpeed


class Origin(NamedTuple):
    """The configuration file that a question was read from."""

    path: str
    framework: str
    read: tuple[str, ...]
    """Entries that were understood, with their values."""
    defaults: tuple[str, ...]
    """Entries that the file leaves out, with what its framework takes."""


class TrainingAnswer(MemoryAnswer):
    """The answer: what takes a search is found when it is first asked for."""

    estimate: TrainingEstimate

    def __init__(
        self,
        estimate: TrainingEstimate,
        model_word: str = "",
        gpu_word: str = "",
        warnings: tuple[str, ...] | None = None,
        origin: Origin | None = None,
    ) -> None:
        super().__init__(model_word, gpu_word)
        self.estimate = estimate
        self.warnings = estimate.warnings if warnings is None else warnings
        """What a reader must know: of the estimate, and of the file that was read."""
        self.origin = origin

    @property
    def request(self) -> TrainingResolved:
        """Return the question with every default that the framework chose."""
        return self.estimate.request

    @property
    def asked(self) -> TrainingAsked:
        return self.estimate.asked

    @property
    def mesh(self) -> Mesh:
        return self.estimate.mesh

    @property
    def groups(self) -> tuple[RankGroup, ...]:
        """Return the groups of equal ranks, each with its ledger, phases and peaks."""
        return self.estimate.groups

    @property
    def peaks(self) -> Peaks:
        """Return the worst rank's peaks."""
        return self.estimate.peaks

    @property
    def after(self) -> After | None:
        """Return the moments of a step that generates and scores as well."""
        return self.estimate.after

    @property
    def beside(self) -> tuple[tuple[str, object], ...]:
        """Return what was said of models and engines beside the policy, by flag."""
        return self.estimate.beside

    @cached_property
    def changes(self) -> "tuple[Change, ...]":
        """Return the single changes that would make it fit; nothing for an answer that fits."""
        if self.verdict == "fits":
            return ()
        from ..estimate.training.changes import changes_that_fit

        return changes_that_fit(self.estimate)

    @cached_property
    def largest(self) -> "Largest":
        """Return the largest batch and length that fit."""
        from ..estimate.training.changes import largest

        return largest(self.estimate)

    @cached_property
    def speed(self) -> "tuple[TrainingSpeed | None, str]":
        """Return how long a step takes, or why that is not known."""
        from ..speed.training import speed_of_estimate

        return speed_of_estimate(self.estimate)

    @cached_property
    def communication(self) -> "tuple[StageTraffic, ...]":
        """Return what one rank of each stage sends in a step; nothing for a single rank, and for argument
        lists of Megatron-LM."""
        from ..estimate.training.traffic import known, traffic

        if self.mesh.num_ranks == 1 or not known(self.model):
            return ()
        return traffic(self.model, self.request, self.mesh.num_ranks)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `train --json` prints."""
        from .training_json import training_json

        return training_json(self)

    def __repr__(self) -> str:
        from .training_screen import training_screen

        return "\n".join(training_screen(self))

    def _repr_html_(self) -> str:
        from .screen import as_html, table_rows
        from .training_screen import training_screen

        return as_html(training_screen(self), table_rows(self.ledger))
