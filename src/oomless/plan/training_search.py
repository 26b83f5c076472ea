"""The search for training: frameworks, how states are divided, what is computed again, and how many sequences
at once."""

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import OomlessError, UnsupportedError, UsageError
from ..estimate.training.training_estimate import TrainingEstimate
from ..estimate.training.whole_step import estimate_step
from ..frameworks import OF_PAIRS, framework, planned
from ..frameworks.defaults import resolved
from ..frameworks.plan_space import PlannedCards
from ..model.model import Model
from ..run.cards import Card, Hardware
from ..run.training import TrainingAsked, TrainingResolved
from ..speed.training import TrainingSpeed, speed_of_resolved
from ..units import parse_bytes
from .candidates import (
    NEAREST_MISSES,
    NO_DIVISION,
    NO_HOST,
    NO_LAUNCH,
    NO_ROOM,
    NOT_RUN,
    Candidate,
    CardSearch,
    Searched,
)
from .duration import interrupted
from .fastest_first import BatchColumn, FastestFirst, RatedSetting
from .goals import Wanted, WantedTraining
from .launch.optimizers import SaidLoss, said_loss
from .launch.training import launches
from .least_bytes import LeastBytes
from .needed_bytes import NearMiss, NeededBytes, near_first
from .prices import Price
from .ranking import outside
from .space import MOST_TRAINING_NODES, sizes_of


class TrainingRowFields(NamedTuple):
    """What a row is made of."""

    hardware: Hardware
    gpu: str
    asked: TrainingAsked
    estimate: TrainingEstimate
    speed: TrainingSpeed | None
    price: Price | None
    interruptions_per_day: float = 0.0


class TrainingRow(TrainingRowFields, Candidate):
    """A candidate that holds the step."""

    @property
    def interrupted(self) -> tuple[float | None, float]:
        """Return the best time between checkpoints, and the share of time that interruptions take: any
        machine's stops all."""
        machines = self.hardware.num_nodes
        return interrupted(self.estimate.disk_bytes / machines, self.interruptions_per_day * machines)

    @property
    def rate(self) -> float | None:
        """Tokens a second to count on, in the time that interruptions leave."""
        each, (_, lost) = super().rate, self.interrupted
        return None if each is None else each * max(1 - lost, 0.0)

    @property
    def cost(self) -> float | None:
        """What the cheapest row has least of: dollars a million trained tokens, since fewer cards only take
        longer."""
        return self.usd_per_million_tokens

    @property
    def layout_words(self) -> str:
        """The axes that are used, with the sharding."""
        return mesh_text(self.estimate)

    @property
    def runner(self) -> str:
        return self.asked.framework


MICRO_BATCHES = (1, 2, 4, 8)
MOST_SIZES = 3


class TrainingSearch(CardSearch[TrainingRow]):
    """One search over a model, on cards of makers whose frameworks the tables know."""

    makers = ("NVIDIA", "AMD", "Huawei", "Intel")

    def __init__(
        self, model: Model, wanted: Wanted, training: WantedTraining, table: tuple[Price, ...] | None = None
    ) -> None:
        super().__init__(wanted, table)
        self.model, self.training = model, training
        self.needs = NeededBytes()
        self.made: dict[TrainingAsked, TrainingEstimate] = {}
        self.chosen: dict[TrainingAsked, TrainingResolved] = {}
        self.nearest: dict[str, NearMiss] = {}
        self.states = LeastBytes(model)
        self.names = training.frameworks or planned(training.method, training.task)

    def of_card(self, card: Card, fixed: Hardware | None) -> list[TrainingRow]:
        """The best setting of every framework on each number of cards."""
        rows: list[TrainingRow] = []
        sizes_with_rows = 0
        for hardware in sizes_of(card, self.wanted.limits.max_gpus, fixed, MOST_TRAINING_NODES):
            if sizes_with_rows >= MOST_SIZES and self.wanted.goal != "fastest":
                # twice and four times the cards of the smallest that holds it show what more of them bring
                break
            found = [self.of_framework(name, hardware) for name in self.names]
            rows += [row for row in found if row is not None]
            sizes_with_rows += any(found)
        return rows

    def of_framework(self, name: str, hardware: Hardware) -> TrainingRow | None:
        """A framework's best setting, if its files can say the task, the model and its loss."""
        pairs = self.training.task == "dpo" and name not in OF_PAIRS
        if pairs or not launches(name, self.model) or self.said_loss(name) is None:
            return self.passed_over(NO_LAUNCH)
        return self.best_of(name, hardware)

    def said_loss(self, name: str) -> SaidLoss | None:
        """How a framework's files say the loss that was asked."""
        return said_loss(name, self.model, self.training.loss, self.training.task)

    def passed_over(self, reason: str) -> TrainingRow | None:
        """No candidate where there could have been one, and why."""
        self.num_candidates += 1
        return self.without(reason)

    def ways(self, name: str, hardware: Hardware) -> Iterator[TrainingAsked]:
        """Yield the ways in which a framework may divide states and layers."""
        space, said = framework(name).plan, self.said_loss(name)
        within = min(hardware.num_gpus, hardware.per_node)
        cards = PlannedCards(hardware.num_gpus, within, self.wanted.host_memory is not None)
        for sharding in space.shardings:
            base = TrainingAsked(framework=name, sharding=sharding, kernels=said.kernels if said else None)
            asked = self.training.asked(base)
            yield from space.ways(asked, self.model, cards)

    def columns(self, name: str, hardware: Hardware) -> Iterator[tuple[BatchColumn, ...]]:
        """Yield the ways whose states a card may hold, each as its kinds of recomputation."""
        for number, asked in enumerate(self.ways(name, hardware)):
            if self.states.of(asked, hardware.num_gpus) > hardware.card.memory_bytes:
                self.passed_over(NO_ROOM)
                continue
            found = []
            for kind, recompute in enumerate(framework(name).plan.recompute):
                again = asked._replace(recompute=recompute)
                batches = MICRO_BATCHES if self.training.micro_batch is None else (self.training.micro_batch,)
                sizes = [self.with_batch(again._replace(micro_batch=n), hardware) for n in batches]
                divided = tuple(each for each in sizes if each is not None)
                # a pipeline of a given batch has fewer micro-batches the larger they are, and idles longer
                ordered = self.training.global_batch is None or asked.mesh.pp == 1
                found.append(BatchColumn((number, kind), divided, ordered))
            if found[0].settings:
                yield tuple(found)
            else:
                self.passed_over(NO_DIVISION)

    def best_of(self, name: str, hardware: Hardware) -> TrainingRow | None:
        """Return the fastest setting of a framework that fits; where none does, of the tight ones the one
        with most to spare.

        Settings come fastest first, so that the first that fits is the best of all.
        """
        queue = FastestFirst(self.columns(name, hardware), lambda asked: self.speed(asked, hardware))
        tight: TrainingRow | None = None
        self.made = {}
        while (setting := queue.next()) is not None:
            self.num_candidates += 1
            reason = self.closes(setting.column, hardware)
            if reason:
                queue.close(setting.column)
                self.excluded[reason] += 1
                continue
            row = self.candidate(setting, hardware)
            if row is not None and row.fits:
                return row
            if row is not None and (tight is None or row.headroom_bytes > tight.headroom_bytes):
                tight = row
        return tight

    def closes(self, column: BatchColumn, hardware: Hardware) -> str:
        """Return why no setting of a column can be taken: what is not run with one sequence is run with none,
        and more sequences never need less; "" if one may."""
        asked = column.smallest
        known = self.needs.of(asked, hardware)
        if known is None:
            try:
                known = self.needs.remember(asked, hardware, self.estimated(asked, hardware))
            except UnsupportedError:
                return NOT_RUN
            except UsageError:
                return NO_DIVISION
        too_much = known.low_bytes - hardware.card.memory_bytes
        if too_much <= 0:
            return ""
        self.near(hardware, column.settings[0], too_much)
        return NO_ROOM

    def candidate(self, setting: RatedSetting, hardware: Hardware) -> TrainingRow | None:
        """One candidate: bounded, estimated, or left out with its reason."""
        asked = setting.asked
        if not setting.is_smallest and self.too_large(setting, hardware):
            return self.without(NO_ROOM)
        try:
            estimate = self.estimated(asked, hardware)
        except UnsupportedError:
            return self.without(NOT_RUN)
        except UsageError:
            return self.without(NO_DIVISION)
        self.needs.remember(asked, hardware, estimate)
        if estimate.verdict == "does_not_fit":
            self.near(hardware, asked, -estimate.headroom_bytes)
            return self.without(NO_ROOM)
        if asked.offload and estimate.ram_bytes > parse_bytes(self.wanted.host_memory or "0B"):
            return self.without(NO_HOST)
        if estimate.verdict == "tight" and not setting.is_smallest:
            return self.without(NO_ROOM)
        price, often = self.price(hardware), self.training.interruptions_per_day
        return TrainingRow(hardware, self.gpu_word(hardware), asked, estimate, setting.speed, price, often)

    def too_large(self, setting: RatedSetting, hardware: Hardware) -> bool:
        """Return whether a micro-batch cannot fit: by what is known of it, or of its column's smallest one,
        whose activations are there once for each sequence."""
        asked, least = setting.asked, setting.column.smallest
        known, smallest = self.needs.of(asked, hardware), self.needs.of(least, hardware)
        times = asked.micro_batch // least.micro_batch
        most = known.high_bytes if known else smallest.high_bytes_of(times) if smallest else 0
        return most > hardware.card.memory_bytes

    def estimated(self, asked: TrainingAsked, hardware: Hardware) -> TrainingEstimate:
        """The estimate, made once."""
        if asked not in self.made:
            self.num_estimates += 1
            self.made[asked] = estimate_step(self.model, asked, hardware)
        return self.made[asked]

    def near(self, hardware: Hardware, asked: TrainingAsked, missing_bytes: int) -> None:
        """Remember the question that came nearest to fitting on these cards."""
        gpu = self.gpu_word(hardware)
        if gpu not in self.nearest or missing_bytes < self.nearest[gpu].missing_bytes:
            self.nearest[gpu] = NearMiss(missing_bytes, asked, hardware)

    def run(self) -> Searched[TrainingRow]:
        """All rows; the nearest misses of cards without one, with what is missing as `train` says it."""
        found = super().run()
        held = {row.gpu for row in found.rows}
        near = sorted((each for gpu, each in self.nearest.items() if gpu not in held), key=near_first)
        for each in near[:NEAREST_MISSES]:
            self.made = {}
            estimate = self.estimated(each.asked, each.hardware)
            self.miss(each.hardware, each.asked.framework, mesh_text(estimate), -estimate.headroom_bytes)
        misses = sorted(self.misses.values(), key=lambda miss: miss.missing_bytes)
        return found._replace(misses=tuple(misses), num_estimates=self.num_estimates)

    def with_batch(self, asked: TrainingAsked, hardware: Hardware) -> TrainingAsked | None:
        """The micro-batches of a rank that make the global batch; None if it does not divide."""
        mesh = asked.mesh
        ranks = hardware.num_gpus // (mesh.tp * mesh.pp * mesh.cp)
        batch = self.training.global_batch
        if batch is None:
            return asked._replace(grad_accum=max(mesh.pp, 1))
        if ranks < 1 or batch % (ranks * asked.micro_batch):
            return None
        return asked._replace(grad_accum=batch // (ranks * asked.micro_batch))

    def speed(self, asked: TrainingAsked, hardware: Hardware) -> TrainingSpeed | None:
        """Return the speed of a setting; None where none is known."""
        try:
            if asked not in self.chosen:
                self.chosen[asked] = resolved(asked, self.model.max_positions)
            return speed_of_resolved(self.model, self.chosen[asked], hardware)
        except OomlessError:
            return None


FUSED = "fused"


def searched(
    model: Model, wanted: Wanted, training: WantedTraining, table: tuple[Price, ...] | None = None
) -> Searched[TrainingRow]:
    """Search with the losses that frameworks take by themselves; where nothing fits so within the limits, and
    no loss is asked, with the fused one of those whose files turn its kernels on."""
    search = TrainingSearch(model, wanted, training, table)
    own = search.run()
    said = ((name, said_loss(name, model, FUSED, training.task)) for name in search.names)
    others = tuple(name for name, loss in said if loss and loss.package)
    if training.loss or not others or holds(own, wanted):
        return own
    fused = training._replace(loss=FUSED, frameworks=others)
    found = TrainingSearch(model, wanted, fused, table).run()
    if not holds(found, wanted):
        return own
    return found._replace(
        excluded=own.excluded + found.excluded,
        num_candidates=own.num_candidates + found.num_candidates,
        num_estimates=own.num_estimates + found.num_estimates,
    )


def holds(found: Searched[TrainingRow], wanted: Wanted) -> bool:
    """Return whether a row fits within the limits."""
    return any(row.fits and not outside(row, wanted.limits) for row in found.rows)


def mesh_text(estimate: TrainingEstimate) -> str:
    """The axes that are used, with the sharding, and the loss where it is not left to the framework."""
    mesh, request = estimate.mesh, estimate.request
    parts = [
        f"{axis.upper()} {getattr(mesh, axis)}"
        for axis in ("dp", "tp", "pp", "cp", "ep")
        if getattr(mesh, axis) > 1
    ]
    if request.sharding not in (None, "none"):
        parts.append(str(request.sharding))
    loss = [f"loss {estimate.asked.loss}"] if estimate.asked.loss else []
    return ", ".join([*(parts or ["one card"]), *loss])
