"""The answer to a training question, and its parts."""

from typing import NamedTuple

from ...frameworks.megatron.run import Megatron
from ...ledger import Ledger, Verdict
from ...model.model import Model
from ...run.cards import Hardware
from ...run.training import ENGINE_SHARE, Mesh, Method, Recompute, TrainingAsked, TrainingResolved
from .job import Job
from .rank_group import Peaks, RankGroup
from .reserved import at_least

SEVERITY: tuple[Verdict, ...] = ("does_not_fit", "tight", "fits")


class TrainingMoment(NamedTuple):
    """One moment of a step on the worst rank."""

    name: str
    ledger: Ledger


class Companions(NamedTuple):
    """Models and an engine beside the policy."""

    reference: bool | None = None
    """None: as the task has it; under LoRA the policy without its adapters serves, and takes nothing."""
    reward_model: Model | None = None
    value_model: Model | None = None
    """ppo: trained with states of its own; None: a model like the policy."""
    engine: str | None = None
    engine_share: float = ENGINE_SHARE
    """0: the engine stands on cards that are not counted."""
    sleeps: bool | None = None
    """The engine gives up weights and cache while the policy is trained; None: as the framework has it."""
    engine_hardware: Hardware | None = None
    """Other cards for the engine; None: those of training."""
    sync_batches: int = 1
    """Parts in which the policy's weights are gathered for it."""
    engine_ranks: int = 0
    """Training cards that share one copy of its weights; 0: as it would choose."""
    parked: tuple[str, ...] = ()
    """What of the policy lies in host memory between updates: of PARKED; of the value model by OF_VALUE."""
    scored_at_once: int = 0
    """Tokens that are scored at a time; 0: those of a micro-batch."""
    critic_method: Method | None = None
    """How the value model is trained; None: as the policy."""
    critic_recompute: Recompute | None = None
    """What it computes again; None: as the policy."""


class After(NamedTuple):
    """The moments, and which one sets the peak; the engine's own ledger where it has cards of its own."""

    moments: tuple[TrainingMoment, ...]
    engine: Ledger | None

    @property
    def peak(self) -> TrainingMoment:
        """The moment that reserves most."""
        return max(self.moments, key=lambda each: each.ledger.total_bytes)

    @property
    def ledger(self) -> Ledger:
        """The lines of the moment that reserves most, as wide as all moments are: what another one may hold
        beyond it is the most of the widest line."""
        fullest, ledgers = self.peak.ledger, [each.ledger for each in self.moments]
        lines = at_least(list(fullest.lines), max(each.low_bytes for each in ledgers))
        beyond = max(each.high_bytes for each in ledgers) - fullest.high_bytes
        widest = max(range(len(lines)), key=lambda at: lines[at].high_bytes - lines[at].bytes)
        lines[widest] = lines[widest]._replace(high_bytes=lines[widest].high_bytes + beyond)
        return fullest._replace(lines=tuple(lines))


class TrainingEstimate(NamedTuple):
    """The answer to a training question."""

    model: Model
    request: TrainingResolved
    hardware: Hardware
    mesh: Mesh
    groups: tuple[RankGroup, ...]
    ram_bytes: int
    disk_bytes: int
    worst_rank: int
    warnings: tuple[str, ...]
    asked: TrainingAsked = TrainingAsked()
    megatron: Megatron | None = None
    """The run that the estimate is of, if it was read from an argument list of Megatron-LM."""
    after: After | None = None
    """Moments of a step that generates and scores as well; the worst rank's ledger is then that of the worst
    moment."""
    companions: Companions | None = None
    """What those moments were counted with."""
    beside: tuple[tuple[str, object], ...] = ()
    """What was said of models and engines beside the policy, by flag."""

    @property
    def job(self) -> Job:
        """The question as it was counted."""
        return Job(self.model, self.request, self.mesh, self.hardware, self.ledger.capacity_bytes)

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        return tuple(group.ledger for group in self.groups)

    @property
    def ledger(self) -> Ledger:
        """The worst rank's."""
        return self.groups[self.worst_rank].ledger

    @property
    def peaks(self) -> Peaks:
        """The worst rank's."""
        return self.groups[self.worst_rank].peaks

    @property
    def verdict(self) -> Verdict:
        return self.ledger.verdict

    @property
    def headroom_bytes(self) -> int:
        return self.ledger.headroom_bytes


def worst_of(groups: tuple[RankGroup, ...]) -> int:
    """Return the index of the group whose verdict is worst; of several the one with least memory to spare."""
    return min(
        range(len(groups)),
        key=lambda at: (SEVERITY.index(groups[at].ledger.verdict), groups[at].ledger.headroom_bytes),
    )
