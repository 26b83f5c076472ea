"""One question about a training step: as it is asked, and as its framework resolves it."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .. import facts
from ..errors import UnsupportedError, UsageError, did_you_mean
from .options import by_keyword, value_of
from .releases import BY_TRAINER, habit

Method = Literal["full", "lora", "qlora"]
Sharding = Literal[
    "none", "ddp", "zero1", "zero2", "zero3", "fsdp1", "fsdp2", "hsdp", "distopt", "megatron_fsdp"
]
Recompute = Literal["none", "selective", "full"]
Task = Literal["pretrain", "sft", "reward", "dpo", "kto", "grpo", "ppo"]


class Mesh(NamedTuple):
    """How ranks divide a training step. Sizes, not indices; `dp` 0: what the cards leave."""

    dp: int = 0
    """Data-parallel ranks; the `cp` ranks of a sequence hold the same weights and share their states."""
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    """Ranks that divide the routed experts; they lie inside of dp x cp x tp."""
    etp: int = 0
    """Tensor-parallel size of the experts; 0: that of the rest (Megatron), 1 elsewhere."""
    sequence_parallel: bool = False
    """What tensor parallelism would repeat (norms, residuals) is cut along the sequence."""
    virtual_stages: int = 1
    """Chunks of layers on each pipeline rank (interleaved schedules)."""
    schedule: str = "1f1b"
    """gpipe, 1f1b, interleaved, zb1p, zbv, dualpipe, dualpipev."""
    shard_size: int = 0
    """HSDP, and Megatron's optimizer instances: ranks that share one copy of the states; 0: all data-parallel
    ranks."""

    count_ends: bool = False
    """Embedding and head count as a layer each when layers are dealt to stages (torchtitan)."""

    @property
    def num_ranks(self) -> int:
        return (self.dp or 1) * self.tp * self.pp * self.cp


class TrainingAsked(NamedTuple):
    """A question about training; None: as the framework would choose. Fields are those of the table of
    options (facts/options/training.py), which says what each means."""

    framework: str = "transformers"
    framework_version: str | None = None
    task: Task = "pretrain"
    method: Method = "full"
    mesh: Mesh = Mesh()
    precision: str | None = None
    optimizer: str | None = None
    optimizer_in_backward: bool = False
    micro_batch: int = 1
    seq_len: int | None = None
    grad_accum: int = 1
    sharding: Sharding | None = None
    recompute: Recompute | None = None
    recompute_modules: tuple[str, ...] = ()
    recompute_every: int = 1
    recompute_num_layers: int | None = None
    attention: str | None = None
    loss: str | None = None
    kernels: str | None = None
    offload: tuple[str, ...] = ()
    quantization: str | None = None
    products: str | None = None
    adapter: str = "lora"
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = ()
    adapter_dtype: str | None = None
    trained_ends: bool = False
    packed_experts: bool = False
    data_workers: int = 0
    expert_imbalance: float = 1.0
    expandable_segments: bool = False
    gradient_bucket_view: bool = True
    limit_all_gathers: bool = True
    dropout: float = 0.0
    packed: bool = False
    activation_bits: int = 16
    partition_activations: bool = False
    reserve: str | None = None

    def given(self) -> tuple[str, ...]:
        """Return the fields that are no defaults, those of the mesh among them.

        >>> TrainingAsked(micro_batch=4, mesh=Mesh(tp=2)).given()
        ('micro_batch', 'tp')
        """
        usual, alone = TrainingAsked(), Mesh()
        return (
            *(n for n in self._fields if n != "mesh" and getattr(self, n) != getattr(usual, n)),
            *(n for n in Mesh._fields if getattr(self.mesh, n) != getattr(alone, n)),
        )

    def value(self, field: str) -> Any:
        """Return the value of a field of the table, be it one of the mesh.

        >>> TrainingAsked(mesh=Mesh(tp=2)).value("tp"), TrainingAsked().value("method")
        (2, 'full')
        """
        return getattr(self.mesh, field) if field in Mesh._fields else getattr(self, field)

    def check(self) -> None:
        """Refuse what no framework can mean, naming the flag."""
        known, earlier = by_keyword("train"), earlier_losses(self.framework)
        for field in ("framework", *self.given()):
            if field != "loss" or self.loss not in earlier:
                value_of(known[field], self.value(field), known[field].flag)

    def idle(self, asked: "TrainingAsked") -> tuple[str, ...]:
        """Return the flags of `asked` that change nothing in this question, which is the same one with the
        framework's defaults, and why.

        >>> used = resolved(TrainingAsked(lora_rank=16, quantization="nf4"))
        >>> used.idle(TrainingAsked(lora_rank=16, quantization="nf4"))
        ('--lora-rank changes nothing: --method is full', '--quantization changes nothing: --method is full')
        """
        mesh, given, table = self.mesh, asked.mesh, by_keyword("train")
        adapters = ("adapter", "lora_rank", "lora_targets", "adapter_dtype", "trained_ends")
        names = [table[name].flag for name in adapters if name in asked.given()]
        found = [(names, f"--method is {self.method}")] if self.method == "full" else []
        if self.method != "qlora" and asked.quantization:
            found.append((["--quantization"], f"--method is {self.method}"))
        again = f"--recompute is {self.recompute}"
        if self.recompute != "selective" and asked.recompute_modules:
            found.append((["--recompute-modules"], again))
        if self.recompute != "full" and asked.recompute_num_layers is not None:
            found.append((["--recompute-num-layers"], again))
        if self.recompute == "none" and asked.recompute_every > 1:
            found.append((["--recompute-every"], again))
        if self.sharding not in ("hsdp", "distopt", "megatron_fsdp") and given.shard_size:
            found.append((["--shard-size"], f"--sharding is {self.sharding}"))
        if mesh.tp == 1 and given.sequence_parallel:
            found.append((["--sequence-parallel"], "--tp is 1"))
        if mesh.ep == 1 and given.etp not in (0, 1, mesh.tp) and not self.framework.startswith("megatron"):
            found.append((["--etp"], "--ep is 1"))
        if self.framework_version and self.framework not in BY_TRAINER:
            found.append((["--framework-version"], f"no earlier release of {self.framework} is known here"))
        if mesh.pp == 1 and given.schedule != Mesh().schedule:
            found.append((["--schedule"], "--pp is 1"))
        return tuple(f"{name} changes nothing: {why}" for names, why in found for name in names)


class TrainingResolved(TrainingAsked):
    """The question with every default that the framework chooses: a question too, in which these are never
    None.

    The mesh has its data-parallel size once the cards are known.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        precision: str
        optimizer: str
        seq_len: int
        sharding: Sharding
        recompute: Recompute
        attention: str
        loss: str
        kernels: str
        adapter_dtype: str


DEFAULT_SEQ_LEN = 4096
"""Length of a question that gives none; never more than the model's own."""


class Recipe(NamedTuple):
    """Bytes of each state of a trained parameter, and the types that computation uses."""

    name: str
    weight: int
    gradient: int
    master: int
    moment: int
    """One moment; an optimizer has none, one or two of them."""
    compute: int
    """Bytes of an activation."""
    autocast: bool
    """Weights are cast at every use, and the cast copy lives as long as autograd needs it."""
    source: str

    @property
    def num_bytes(self) -> int:
        """Bytes a parameter with two moments.

        >>> recipe("megatron-bf16").num_bytes, recipe("bf16").num_bytes, recipe("bf16-moments").num_bytes
        (18, 8, 14)
        """
        return self.weight + self.gradient + self.master + 2 * self.moment


def recipe(name: str) -> Recipe:
    """The precision recipe of facts/recipes.csv.

    >>> recipe("fp32").num_bytes, recipe("amp-bf16").num_bytes
    (16, 16)
    """
    rows = {row["recipe"]: row for row in facts.table("recipes")}
    if name not in rows:
        raise UsageError(f"unknown precision {name!r}", did_you_mean(name, sorted(rows)))
    row = rows[name]
    weight, gradient, master, moment, compute = (
        int(row[key]) for key in ("weight", "gradient", "master", "moment", "compute")
    )
    return Recipe(name, weight, gradient, master, moment, compute, row["autocast"] == "yes", row["source"])


class Optimizer(NamedTuple):
    """What an optimizer keeps for each parameter, and what its step takes for a moment."""

    name: str
    moments: int
    moment_bits: int
    """Bits of one moment with its scales; 0: the recipe's type."""
    factored: bool
    """Adafactor: rows and columns instead of a second moment."""
    step: Literal["foreach", "foreach-2.0", "loop", "fused"]
    """foreach: temporaries of all parameters at once, until torch 2.0 twice; loop: of one after the other;
    fused: none."""
    paged: bool
    """Moments lie in unified memory and move to the host when the card is full."""
    source: str


def optimizer(name: str) -> Optimizer:
    """The optimizer of facts/optimizers.csv.

    >>> optimizer("adamw").moments, optimizer("sgd").moments, optimizer("adamw-8bit").moment_bits
    (2, 1, 8)
    """
    rows = {row["optimizer"]: row for row in facts.table("optimizers")}
    if name not in rows:
        raise UsageError(f"unknown optimizer {name!r}", did_you_mean(name, sorted(rows)))
    row = rows[name]
    step: Literal["foreach", "foreach-2.0", "loop", "fused"] = row["step"]  # type: ignore[assignment]
    return Optimizer(
        name,
        int(row["moments"]),
        int(row["moment_bits"]),
        row["factored"] == "yes",
        step,
        row["paged"] == "yes",
        row["source"],
    )


def earlier_losses(framework: str) -> frozenset[str]:
    """Losses of earlier releases of a framework, by the day or release until which they held.

    >>> sorted(earlier_losses("torchtitan")), sorted(earlier_losses("trl"))
    (['plain-2024-05', 'plain-2024-10'], ['plain-4.45', 'plain-4.49', 'plain-half-0'])
    """
    own = (framework, "") if framework in BY_TRAINER else (framework,)
    return frozenset(
        row["loss"] for row in facts.table("losses") if row["framework"] in own and row["loss"][-1].isdigit()
    )


def frameworks() -> dict[str, dict[str, str]]:
    """The rows of facts/frameworks.csv: what each framework uses where it is not told."""
    return {row["framework"]: row for row in facts.table("frameworks")}


def resolved(asked: TrainingAsked, longest: int = DEFAULT_SEQ_LEN) -> TrainingResolved:
    """Return the question with the framework's defaults in place of None; `longest`: positions of the model.

    >>> found = resolved(TrainingAsked(framework="fsdp"))
    >>> found.precision, found.sharding, found.seq_len
    ('mixed-bf16', 'fsdp2', 4096)
    """
    asked.check()
    row = frameworks()[asked.framework]
    if asked.method not in row["methods"].split():
        raise UnsupportedError(
            f"{asked.framework} does not run --method {asked.method}",
            f"it runs {row['methods'].replace(' ', ', ')}",
            "method",
        )
    chosen: dict[str, Any] = {}
    for name in ("optimizer", "sharding", "recompute", "attention", "loss", "kernels", "adapter_dtype"):
        if getattr(asked, name) is None:
            chosen[name] = row[name]
    if asked.seq_len is None:
        chosen["seq_len"] = min(DEFAULT_SEQ_LEN, longest)
    if asked.optimizer is None and (earlier := habit(asked, "optimizer")):
        chosen["optimizer"] = earlier
    if (asked.loss or row["loss"]) == "plain" and (earlier := habit(asked, "loss")):
        chosen["loss"] = earlier
    if row["shardings"]:
        chosen["sharding"] = _sharding_of(asked, row)
    if asked.precision is None:
        chosen["precision"] = (
            row["precision_lora"] if asked.method != "full" and row["precision_lora"] else row["precision"]
        )
    if (asked.recompute or row["recompute"]) == "selective" and not asked.recompute_modules:
        chosen["recompute_modules"] = tuple(row["selective"].split())
    if asked.method != "full" and not asked.lora_targets:
        chosen["lora_targets"] = tuple(row["lora_targets"].split())
    return TrainingResolved._make(asked._replace(**chosen))


def _sharding_of(asked: TrainingAsked, row: dict[str, str]) -> str:
    """What a framework with ways of its own calls the sharding that is asked for: ZeRO 1 is Megatron's
    distributed optimizer."""
    wanted = asked.sharding or row["sharding"]
    ways = row["shardings"].split()
    if wanted == "zero1" and "distopt" in ways:
        return "distopt"
    if wanted not in ways:
        raise UnsupportedError(
            f"{asked.framework} does not shard by {wanted}",
            f"it has {', '.join(ways)}: give one of them as --sharding, or --zero 1",
        )
    return wanted
