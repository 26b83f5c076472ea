"""The search for training: frameworks, how states are divided, what is computed again, and how many sequences
at once."""

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import OomlessError, UnsupportedError, UsageError
from ..estimate.training.estimate import estimate_training
from ..estimate.training.training_estimate import TrainingEstimate
from ..frameworks import PLANNED, framework
from ..frameworks.defaults import resolved
from ..frameworks.plan_space import PlannedCards
from ..model.model import Model
from ..run.cards import Card, Hardware
from ..run.options import by_keyword, value_of
from ..run.training import Method, TrainingAsked, recipe
from ..speed.training import TrainingSpeed, training_speed
from ..units import parse_bytes
from .candidates import NO_DIVISION, NO_HOST, NO_ROOM, NOT_RUN, Candidate, CardSearch
from .goals import Wanted
from .launch.training import launches
from .prices import Price
from .space import sizes_of


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


class TrainingRowFields(NamedTuple):
    """What a row is made of."""

    hardware: Hardware
    gpu: str
    asked: TrainingAsked
    estimate: TrainingEstimate
    speed: TrainingSpeed | None
    price: Price | None


class TrainingRow(TrainingRowFields, Candidate):
    """A candidate that holds the step."""

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


LEAST_STATE_BYTES = {"full": 12.0, "lora": 2.0, "qlora": 0.5}
"""Of a parameter, over all ranks, whatever the recipe: weights, gradients and two moments in the narrowest
types; frozen weights."""
MOST_MICRO_BATCH = 8
MOST_SIZES = 3


class TrainingSearch(CardSearch[TrainingRow]):
    """One search over a model, on cards of makers whose frameworks the tables know."""

    makers = ("NVIDIA", "AMD", "Huawei", "Intel")

    def __init__(
        self, model: Model, wanted: Wanted, training: WantedTraining, table: tuple[Price, ...] | None = None
    ) -> None:
        super().__init__(wanted, table)
        self.model, self.training = model, training
        self.bounds: dict[tuple[object, ...], int] = {}
        self.parameters = model.num_parameters

    def of_card(self, card: Card, fixed: Hardware | None) -> list[TrainingRow]:
        """Every framework and way on each number of cards; the first recomputation that fits, then the best
        micro-batch."""
        rows: list[TrainingRow] = []
        sizes_with_rows = 0
        for hardware in sizes_of(card, self.wanted.limits.max_gpus, fixed):
            if sizes_with_rows >= MOST_SIZES and self.wanted.goal != "fastest":
                # twice and four times the cards of the smallest that holds it show what more of them bring
                break
            before = len(rows)
            least = self.parameters * LEAST_STATE_BYTES[self.training.method]
            if least > card.memory_bytes * hardware.num_gpus:
                self.num_candidates += 1
                self.excluded[NO_ROOM] += 1
                continue
            for name in self.training.frameworks or PLANNED[self.training.method]:
                if not launches(name, self.model):
                    self.num_candidates += 1
                    self.excluded[NOT_RUN] += 1
                    continue
                for base in self.ways(name, hardware):
                    row = self.least_recompute(base, hardware)
                    if row is not None:
                        rows.append(self.best_batch(row))
            sizes_with_rows += len(rows) > before
        return rows

    def ways(self, name: str, hardware: Hardware) -> Iterator[TrainingAsked]:
        """Yield the ways in which a framework may divide states and layers."""
        space = framework(name).plan
        within = min(hardware.num_gpus, hardware.per_node)
        cards = PlannedCards(hardware.num_gpus, within, self.wanted.host_memory is not None)
        for sharding in space.shardings:
            yield from space.ways(TrainingAsked(framework=name, sharding=sharding), self.model, cards)

    def least_recompute(self, base: TrainingAsked, hardware: Hardware) -> TrainingRow | None:
        """The way with the least recomputation that fits; a tight row if none does."""
        tight = None
        for recompute in framework(base.framework).plan.recompute:
            row = self.candidate(self.training.asked(base._replace(recompute=recompute)), hardware)
            if row is None:
                continue
            if row.fits:
                return row
            tight = tight or row
        return tight

    def best_batch(self, row: TrainingRow) -> TrainingRow:
        """More sequences at once while they fit, divide the batch, and go faster."""
        best, micro = row, row.asked.micro_batch * 2
        while row.fits and micro <= MOST_MICRO_BATCH:
            other = self.candidate(row.asked._replace(micro_batch=micro), row.hardware)
            if other is None or not other.fits or (other.rate or 0) <= (best.rate or 0):
                break
            best, micro = other, micro * 2
        return best

    def candidate(self, asked: TrainingAsked, hardware: Hardware) -> TrainingRow | None:
        """One candidate: bounded, estimated, or left out with its reason."""
        self.num_candidates += 1
        divided = self.with_batch(asked, hardware)
        if divided is None:
            return self.without(NO_DIVISION)
        key = (divided._replace(recompute=None), hardware.num_gpus)
        if (
            max(self.bounds.get(key, 0), self.least_bytes(divided, hardware.num_gpus))
            > hardware.card.memory_bytes
        ):
            return self.without(NO_ROOM)
        try:
            self.num_estimates += 1
            estimate = estimate_training(self.model, divided, hardware)
        except UnsupportedError:
            return self.without(NOT_RUN)
        except UsageError:
            return self.without(NO_DIVISION)
        kept = (
            sum(line.bytes for line in ledger.lines if line.category in ("weights", "optimizer"))
            for ledger in estimate.ledgers
        )
        self.bounds[key] = max(kept)
        if estimate.verdict == "does_not_fit":
            self.miss(hardware, asked.framework, mesh_text(estimate), -estimate.headroom_bytes)
            return self.without(NO_ROOM)
        if asked.offload and estimate.ram_bytes > parse_bytes(self.wanted.host_memory or "0B"):
            return self.without(NO_HOST)
        speed, price = self.speed(divided, hardware), self.price(hardware)
        return TrainingRow(hardware, self.gpu_word(hardware), divided, estimate, speed, price)

    def least_bytes(self, asked: TrainingAsked, num: int) -> float:
        """States of a rank at the very least: parameters x bytes of the recipe, each over all the ranks that
        may share it."""
        if asked.method != "full" or asked.offload:
            shared = num if asked.sharding in ("zero3", "fsdp1", "fsdp2") else 1
            return 0.0 if asked.offload else self.parameters * LEAST_STATE_BYTES[asked.method] / shared
        form, mesh = recipe(resolved(asked).precision), asked.mesh
        here = mesh.tp * mesh.pp * mesh.ep
        rest = form.num_bytes - form.weight - form.gradient if asked.optimizer is None else 0
        match asked.sharding:
            case "distopt":
                return self.parameters * ((form.weight + form.gradient) / here + rest / num)
            case "zero2":
                return self.parameters * (form.weight / here + (form.gradient + rest) / num)
            case "none" | None:
                return self.parameters * (form.weight + form.gradient + rest) / here
        return self.parameters * (form.weight + form.gradient + rest) / num

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
        try:
            return training_speed(self.model, asked, hardware)
        except OomlessError:
            return None


def mesh_text(estimate: TrainingEstimate) -> str:
    """The axes that are used, with the sharding."""
    mesh, request = estimate.mesh, estimate.request
    parts = [
        f"{axis.upper()} {getattr(mesh, axis)}"
        for axis in ("dp", "tp", "pp", "cp", "ep")
        if getattr(mesh, axis) > 1
    ]
    if request.sharding not in (None, "none"):
        parts.append(str(request.sharding))
    return ", ".join(parts) or "one card"
