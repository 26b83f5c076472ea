"""Training: one question about a training step. None means "as the framework would choose":
frameworks/defaults.py leaves no None."""

from functools import cache
from typing import Any, Literal, NamedTuple

from .. import facts
from ..errors import UsageError, did_you_mean

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


BESIDE: dict[str, Any] = {
    "reference_model": str,
    "reward_model": str,
    "value_model": str,
    "rollout_engine": str,
    "rollout_gpu_memory_utilization": float,
    "rollout_sleep": bool,
    "rollout_gpu": str,
}
"""Flags that say what stands beside the policy, with the types of their values."""
SCHEDULES = ("gpipe", "1f1b", "interleaved", "zb1p", "zbv", "dualpipe", "dualpipev")


class Training(NamedTuple):
    """A training question, under the flags' own names."""

    framework: str = "transformers"
    framework_version: str | None = None
    """Releases of the framework or of its packages ("transformers 4.48, trl 0.13"): facts/habits.csv has what
    earlier ones did otherwise."""
    task: Task = "pretrain"
    method: Method = "full"
    mesh: Mesh | None = None
    precision: str | None = None
    """A recipe of facts/recipes.csv: which types weights, gradients, master copies and moments have."""
    optimizer: str | None = None
    """An optimizer of facts/optimizers.csv: adamw, adamw-foreach, adamw-fused, adamw-8bit, muon ..."""
    optimizer_in_backward: bool = False
    """Each gradient is applied and freed as soon as it is there."""
    micro_batch: int = 1
    seq_len: int | None = None
    """Tokens of each sequence of the micro-batch, padding included."""
    grad_accum: int = 1
    """Micro-batches of a step on each data-parallel rank (pipelines: those in a flush)."""
    sharding: Sharding | None = None
    recompute: Recompute | None = None
    recompute_modules: tuple[str, ...] = ()
    """selective: what is computed again: core_attn, mlp, norm, moe, moe_act, mla_up_proj, ...; or `ops`: all
    but matrix products."""
    recompute_every: int = 1
    """full: layers between two kept inputs; selective by layers: every how many-th layer is computed again.
    """
    recompute_num_layers: int | None = None
    """full: only the first so many layers of a stage (Megatron's block method); None: all."""
    attention: str | None = None
    """auto, eager, math, efficient, flash, cudnn; auto: what the card and head sizes allow."""
    loss: str | None = None
    """plain, chunked, fused (linear and loss in one), compiled, vocab-parallel ..."""
    kernels: str | None = None
    """How elementwise work is run: eager, liger, compiled, te."""
    offload: tuple[str, ...] = ()
    """What lies in host memory: optimizer, params, gradients, activations."""
    quantization: str | None = None
    """qlora: nf4 (F32 scales), nf4-dq (scales quantised again), int8, gptq-int4 or gptq-int8."""
    products: str | None = None
    """Type of matrix products where it is not that of the activations: fp8, mxfp8 or nvfp4."""
    adapter: str = "lora"
    """lora and qlora: the kind of adapter, a row of facts/adapters.csv."""
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = ()
    """Names of the matrices with adapters; (): what the framework chooses; all-linear: every matrix but the
    head."""
    adapter_dtype: str | None = None
    """float32 or bfloat16."""
    trained_ends: bool = False
    """LoRA: embedding and head are trained in full."""
    packed_experts: bool = False
    """qlora: stacked experts are packed as other matrices are (Axolotl's quantize_moe_experts); bitsandbytes
    by itself leaves them."""
    data_workers: int = 0
    """Processes of each rank that read data, which take host memory."""
    expert_imbalance: float = 1.0
    """Tokens of the busiest expert rank over the mean."""
    expandable_segments: bool = False
    gradient_bucket_view: bool = True
    """DDP: gradients are views into the buckets."""
    limit_all_gathers: bool = True
    dropout: float = 0.0
    packed: bool = False
    """Documents are packed into full sequences."""
    activation_bits: int = 16
    """Bits of kept activations: 8 or 4 in block floating point."""
    partition_activations: bool = False
    """DeepSpeed: the kept input of a layer is cut over the tensor-parallel ranks."""
    reserve: str | None = None
    """Memory of each card that is left to others, with its unit."""

    def check(self) -> None:
        """Ranges that hold for every framework."""
        frameworks = sorted(row["framework"] for row in facts.table("frameworks"))
        if self.framework not in frameworks:
            raise UsageError(
                f"unknown framework {self.framework!r}", did_you_mean(self.framework, frameworks)
            )
        for name in ("micro_batch", "grad_accum", "recompute_every", "lora_rank"):
            _within(flag(name), getattr(self, name), 1, MAX_COUNT)
        if self.recompute_num_layers is not None:
            _within("--recompute-num-layers", self.recompute_num_layers, 0, MAX_COUNT)
        _within("--data-workers", self.data_workers, 0, MAX_WORKERS)
        if self.seq_len is not None:
            _within("--seq-len", self.seq_len, 1, MAX_TOKENS)
        if self.precision is not None:
            recipe(self.precision)
        if self.optimizer is not None:
            optimizer(self.optimizer)
        if self.mesh is not None:
            for name in ("tp", "pp", "cp", "ep", "virtual_stages"):
                _within(flag(name), getattr(self.mesh, name), 1, MAX_COUNT)
            for name in ("dp", "etp", "shard_size"):  # 0: not given
                _within(flag(name), getattr(self.mesh, name), 0, MAX_COUNT)
            if self.mesh.schedule not in SCHEDULES:
                raise UsageError(
                    f"unknown schedule {self.mesh.schedule!r}", did_you_mean(self.mesh.schedule, SCHEDULES)
                )
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"--dropout is {self.dropout}", "it must be 0 or more and less than 1")
        if not 1.0 <= self.expert_imbalance <= 1024.0:
            raise UsageError(
                f"--expert-imbalance is {self.expert_imbalance}", "1 is even, 2 means twice the mean"
            )
        if self.activation_bits not in (4, 8, 16):
            raise UsageError(f"--activation-bits is {self.activation_bits}", "it is 4, 8 or 16")
        for name in self.offload:
            if name not in OFFLOADS:
                raise UsageError(f"--offload {name!r} is not known", f"known are {', '.join(OFFLOADS)}")
        for name in self.recompute_modules:
            if name not in RECOMPUTE_MODULES:
                raise UsageError(
                    f"--recompute-modules {name!r} is not known", did_you_mean(name, RECOMPUTE_MODULES)
                )
        for name, known in CHOICES.items():
            if getattr(self, name) not in (None, *known) and (
                name != "loss" or self.loss not in earlier_losses(self.framework)
            ):
                raise UsageError(f"{flag(name)} is {getattr(self, name)!r}", f"it is {' or '.join(known)}")


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name} is {value}", f"it must be between {least} and {most:,}")


MAX_COUNT = 1_000_000
MAX_WORKERS = 4096
MAX_TOKENS = 100_000_000
OFFLOADS = ("optimizer", "params", "gradients", "activations")
RECOMPUTE_MODULES = (
    "core_attn",
    "layernorm",
    "norm",
    "mlp",
    "moe",
    "moe_act",
    "shared_experts",
    "mla_up_proj",
    "layer",
    "ops",
)
"""Megatron-LM's names (--recompute-modules), those of the graphs, and `ops`: all but matrix products
(torchtitan)."""
CHOICES = {
    "method": ("full", "lora", "qlora"),
    "task": ("pretrain", "sft", "reward", "dpo", "kto", "grpo", "ppo"),
    "sharding": (
        "none",
        "ddp",
        "zero1",
        "zero2",
        "zero3",
        "fsdp1",
        "fsdp2",
        "hsdp",
        "distopt",
        "megatron_fsdp",
    ),
    "recompute": ("none", "selective", "full"),
    "adapter_dtype": ("float32", "bfloat16"),
    "quantization": ("nf4", "nf4-dq", "int8", "gptq-int4", "gptq-int8"),
    "products": ("fp8", "mxfp8", "nvfp4"),
    "attention": ("auto", "eager", "math", "efficient", "flash", "cudnn"),
    "loss": ("plain", "chunked", "fused", "compiled", "vocab-parallel", "vocab-parallel-fused"),
    "kernels": ("eager", "liger", "compiled", "te", "megatron-local"),
}


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
    step: Literal["foreach", "foreach-2.0", "loop", "fused"]
    """foreach: temporaries of all parameters at once, until torch 2.0 twice; loop: of one after the other;
    fused: none."""
    paged: bool
    """Moments lie in unified memory and move to the host when the card is full."""
    source: str


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
    packages = {row["framework"]: row["packages"] for row in facts.table("frameworks")}
    own = (framework, "") if packages.get(framework) else (framework,)
    return frozenset(
        row["loss"] for row in facts.table("losses") if row["framework"] in own and row["loss"][-1].isdigit()
    )


def flag(field: str) -> str:
    return "--" + field.replace("_", "-")
