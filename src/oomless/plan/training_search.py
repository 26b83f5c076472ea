"""The search for training: frameworks, how states are divided, what is computed again, and how many sequences
at once."""

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import OomlessError, UnsupportedError, UsageError
from ..estimate.training.estimate import TrainingEstimate, estimate_training
from ..model.feedforward import MoE
from ..model.model import Model
from ..run.hardware import Card, Hardware
from ..run.options import by_keyword, value_of
from ..run.training import Mesh, Method, Recompute, Sharding, TrainingAsked, recipe, resolved
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
        self.asked(TrainingAsked(framework=self.frameworks[0] if self.frameworks else "fsdp")).check()

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
    def runner(self) -> str:
        return self.asked.framework


FRAMEWORKS: dict[Method, tuple[str, ...]] = {
    "full": ("fsdp", "deepspeed", "megatron-lm"),
    "lora": ("peft", "llama-factory", "axolotl"),
    "qlora": ("peft", "llama-factory", "axolotl"),
}
"""Tried where the user names none: frameworks whose launch files are known here."""
RECOMPUTE: dict[str, tuple[Recompute, ...]] = {
    "torchtitan": ("none", "selective", "full"),
    "megatron-lm": ("none", "selective", "full"),
    "megatron-bridge": ("none", "selective", "full"),
}
"""What each framework can say, from the fastest to the one that keeps least; the others have checkpointing on
or off."""
ON_OR_OFF: tuple[Recompute, ...] = ("none", "full")
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
        self.experts = any(isinstance(layer.ffn, MoE) for layer in model.layers)

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
            for framework in self.training.frameworks or FRAMEWORKS[self.training.method]:
                if not launches(framework, self.model):
                    self.num_candidates += 1
                    self.excluded[NOT_RUN] += 1
                    continue
                for base in self.ways(framework, hardware):
                    row = self.least_recompute(base, hardware)
                    if row is not None:
                        rows.append(self.best_batch(row))
            sizes_with_rows += len(rows) > before
        return rows

    def ways(self, framework: str, hardware: Hardware) -> Iterator[TrainingAsked]:
        """How the states may be divided."""
        num, within = hardware.num_gpus, min(hardware.num_gpus, hardware.per_node)
        for sharding in SHARDINGS.get(framework, (None,)):
            if num == 1 and sharding in ("zero3", "fsdp1", "fsdp2") and framework != "fsdp":
                continue
            if framework in ("megatron-lm", "megatron-bridge"):
                yield from (
                    TrainingAsked(framework=framework, mesh=mesh, sharding=sharding)
                    for mesh in self.meshes(num, within)
                )
                continue
            written = "deepspeed-bf16" if framework == "llama-factory" and sharding == "zero3" else None
            if (
                framework == "torchtitan"
            ):  # which cuts experts by a degree of their own, and shards nothing over one rank
                yield TrainingAsked(
                    framework=framework, mesh=Mesh(etp=1), sharding=sharding if num > 1 else "none"
                )
                if within > 1:
                    mesh = Mesh(tp=within, etp=1, sequence_parallel=True)
                    yield TrainingAsked(
                        framework=framework, mesh=mesh, sharding=sharding if num > within else "none"
                    )
                continue
            plain = TrainingAsked(framework=framework, mesh=Mesh(), sharding=sharding, precision=written)
            if framework in (
                "axolotl",
                "llama-factory",
            ):  # whose files are written for fine-tuning, Axolotl's with sequences of full length
                plain = plain._replace(task="sft", packed=framework == "axolotl")
            yield plain
            if framework == "deepspeed" and self.wanted.host_memory is not None:
                away = ("optimizer", "params") if sharding == "zero3" else ("optimizer",)
                yield TrainingAsked(framework=framework, mesh=Mesh(), sharding=sharding, offload=away)

    def meshes(self, num: int, within: int) -> Iterator[Mesh]:
        """Tensor parallelism within a machine, pipelines over machines, experts over what is left."""
        for tp in (1, 2, 4, 8):
            for pp in (1, 2, 4, 8, 16):
                if (
                    tp > within
                    or num % (tp * pp)
                    or pp > min(len(self.model.layers), 2 * max(num // within, 1))
                ):
                    continue
                dp = num // (tp * pp)
                for ep in (1, min(8, dp * tp)) if self.experts and dp * tp > 1 else (1,):
                    yield Mesh(tp=tp, pp=pp, ep=ep, etp=1 if ep > 1 else 0, sequence_parallel=tp > 1)

    def least_recompute(self, base: TrainingAsked, hardware: Hardware) -> TrainingRow | None:
        """The way with the least recomputation that fits; a tight row if none does."""
        tight = None
        for recompute in RECOMPUTE.get(base.framework, ON_OR_OFF):
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


SHARDINGS: dict[str, tuple[Sharding | None, ...]] = {
    "fsdp": ("fsdp2",),
    "torchtitan": ("fsdp2",),
    "deepspeed": ("zero2", "zero3"),
    "megatron-lm": ("distopt",),
    "megatron-bridge": ("distopt",),
    "peft": ("none", "fsdp2"),
    "transformers": ("none", "fsdp2"),
    "axolotl": ("none", "fsdp2"),
    "llama-factory": ("none", "zero3"),
}
"""Ways that each framework's launch files can say; `none` copies everything to each card."""


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
