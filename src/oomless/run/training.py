"""One question about a training step: as it is asked, and as its framework resolves it
(frameworks/defaults.py)."""

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .. import facts
from ..errors import UsageError, did_you_mean
from ..facts.options import DEFAULT_FRAMEWORK
from .option_values import value_of
from .options import by_keyword

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

    framework: str = DEFAULT_FRAMEWORK
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
    use_reentrant: bool | None = None
    attention: str | None = None
    loss: str | None = None
    kernels: str | None = None
    tiled_mlp: int | None = None
    offload: tuple[str, ...] = ()
    offload_layers: int | None = None
    reduce_bucket_size: int | None = None
    prefetch_bucket_size: int | None = None
    max_live_parameters: int | None = None
    max_reuse_distance: int | None = None
    sub_group_size: int | None = None
    overlap_comm: bool | None = None
    hpz_partition_size: int | None = None
    quantization: str | None = None
    products: str | None = None
    adapter: str = "lora"
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = ()
    adapter_dtype: str | None = None
    adapter_products: str | None = None
    mtp_layers: int = 0
    trained_ends: bool = False
    trained_layers: int | None = None
    trained_tower: bool | None = None
    images_per_sample: int | None = None
    max_pixels: int | None = None
    packed_experts: bool = False
    data_workers: int = 0
    expert_imbalance: float = 1.0
    expandable_segments: bool = False
    gradient_bucket_view: bool = False
    keep_gathered: bool = False
    deterministic: bool = False
    dropout: float = 0.0
    packed: bool = False
    activation_bits: int = 16
    partition_activations: bool = False
    reserve: str | None = None
    negatives: int = 0
    query_len: int | None = None
    grad_cache: int = 0

    @property
    def sequences(self) -> int:
        """Sequences that run at once. A contrastive loss has queries, which count as the passages that their
        tokens fill, and passages; GradCache embeds some of them at a time.

        >>> TrainingAsked(loss="contrastive", micro_batch=8, negatives=7, query_len=64, seq_len=512).sequences
        65
        """
        if self.loss != "contrastive":
            return self.micro_batch
        length = self.seq_len or 1
        both = -(-self.micro_batch * (self.query_len or length) // length) + self.compared[1]
        return min(both, self.grad_cache or both)

    @property
    def compared(self) -> tuple[int, int]:
        """Queries that are scored at a time, and passages."""
        return min(self.grad_cache or self.micro_batch, self.micro_batch), self.micro_batch * (
            1 + self.negatives
        )

    @property
    def cached_vectors(self) -> int:
        """Vectors that GradCache keeps, and their gradients."""
        return 2 * (self.micro_batch + self.compared[1]) if self.grad_cache else 0

    @property
    def says_contrast(self) -> bool:
        return bool(self.negatives or self.query_len or self.grad_cache)

    @property
    def adds_gradients(self) -> bool:
        """Whether several backwards add up."""
        return self.grad_accum > 1 or self.grad_cache > 0

    def given(self) -> tuple[str, ...]:
        """Return the fields that are no defaults, those of the mesh among them.

        >>> TrainingAsked(micro_batch=4, mesh=Mesh(tp=2)).given()
        ('micro_batch', 'tp')
        """
        usual, alone = TrainingAsked(), Mesh()
        return (
            *(
                n
                for n, mine, its in zip(self._fields, self, usual, strict=True)
                if mine != its and n != "mesh"
            ),
            *(n for n, mine, its in zip(Mesh._fields, self.mesh, alone, strict=True) if mine != its),
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
        adapter_products: str


ENGINE_SHARE = 0.3
"""TRL's vllm_gpu_memory_utilization of an engine on the cards of training (trl/trainer/grpo_config.py)."""
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
    gathered: int
    """Bytes of a weight as sharded ranks gather it."""
    step: Literal["", "flat", "cast"]
    """What the step of a wrapper around the optimizer makes beside it. flat: a flat copy of the gradients and
    one in F32; cast: F32 gradients of all shards at once; "": nothing."""
    zero: str
    """The recipe that DeepSpeed's engine makes of it: all weights in 16 bit, F32 masters."""
    packs: bool
    """Frozen weights beside it may be packed in few bits."""
    half: str
    """The same in float16, for cards without bfloat16; "": nobody offers it."""
    arithmetic: str
    """The narrowest type of its matrix products: fp32, bf16, fp16, fp8."""
    source: str

    @property
    def num_bytes(self) -> int:
        """Bytes a parameter with two moments.

        >>> recipe("megatron-bf16").num_bytes, recipe("bf16").num_bytes, recipe("bf16-moments").num_bytes
        (18, 8, 14)
        """
        return self.weight + self.gradient + self.master + 2 * self.moment


@cache
def recipe(name: str) -> Recipe:
    """The precision recipe of facts/recipes.csv.

    >>> recipe("fp32").num_bytes, recipe("amp-bf16").num_bytes
    (16, 16)
    """
    rows = {row["recipe"]: row for row in facts.table("recipes")}
    if name not in rows:
        raise UsageError(f"unknown precision {name!r}", did_you_mean(name, sorted(rows)))
    row = rows[name]
    step: Literal["", "flat", "cast"] = row["step"]  # type: ignore[assignment]
    return Recipe(
        name=name,
        weight=int(row["weight"]),
        gradient=int(row["gradient"]),
        master=int(row["master"]),
        moment=int(row["moment"]),
        compute=int(row["compute"]),
        autocast=row["autocast"] == "yes",
        gathered=int(row["gathered"]),
        step=step,
        zero=row["zero"],
        packs=row["packs"] == "yes",
        half=row["half"],
        arithmetic=row["arithmetic"],
        source=row["source"],
    )


class Optimizer(NamedTuple):
    """What an optimizer keeps for each parameter, and what its step takes for a moment."""

    name: str
    moments: int
    moment_bits: int
    """Bits of one moment with its scales; 0: the recipe's type."""
    factored: bool
    """Adafactor: rows and columns instead of a second moment."""
    step: Literal["foreach", "foreach-2.0", "loop", "in-place", "fused"]
    """foreach: temporaries of all parameters at once, until torch 2.0 twice; loop: of one after the other, in
    place: one of them; fused: none."""
    paged: bool
    """Moments lie in unified memory and move to the host when the card is full."""
    source: str

    @property
    def orthogonal(self) -> bool:
        """Whether a matrix of a layer has one moment, and all else Adam's two."""
        return self.name == "muon"

    @property
    def projected(self) -> bool:
        """Whether its moments are of projections of gradients to a low rank."""
        return self.name.startswith(("galore", "apollo"))


@cache
def optimizer(name: str) -> Optimizer:
    """The optimizer of facts/optimizers.csv.

    >>> optimizer("adamw").moments, optimizer("sgd").moments, optimizer("adamw-8bit").moment_bits
    (2, 1, 8)
    """
    rows = {row["optimizer"]: row for row in facts.table("optimizers")}
    if name not in rows:
        raise UsageError(f"unknown optimizer {name!r}", did_you_mean(name, sorted(rows)))
    row = rows[name]
    step: Literal["foreach", "foreach-2.0", "loop", "in-place", "fused"] = row["step"]  # type: ignore[assignment]
    return Optimizer(
        name,
        int(row["moments"]),
        int(row["moment_bits"]),
        row["factored"] == "yes",
        step,
        row["paged"] == "yes",
        row["source"],
    )


@cache
def earlier_losses(framework: str) -> frozenset[str]:
    """Losses of earlier releases of a framework, by the day or release until which they held, or as
    facts/habits.csv names them.

    >>> sorted(earlier_losses("unsloth"))
    ['chunked-1', 'chunked-half', 'in-place']
    """
    named = {row["value"] for row in facts.table("habits") if row["habit"] == "loss"}
    packages = {row["framework"]: row["packages"] for row in facts.table("frameworks")}
    follows_others = packages.get(framework, "") not in ("", framework)
    own = (framework, "") if follows_others else (framework,)
    return frozenset(
        row["loss"]
        for row in facts.table("losses")
        if row["framework"] in own and (row["loss"] in named or row["loss"][-1].isdigit())
    )
