"""Tracing: what a run without memory is asked to do. Training questions are those of `train`; what a trace
cannot follow is refused."""

from typing import Literal, NamedTuple

from .. import facts
from ..errors import UnsupportedError, UsageError
from .allocator import AllocatorSettings
from .option_values import text_of
from .options import by_keyword
from .training import Mesh, TrainingResolved

Purpose = Literal["train", "infer"]
DEFAULT_CARD = "h100"
"""Whose attention kernels and workspaces are followed where no card is named."""


class Prompt(NamedTuple):
    """Sequences to prefill at once, and tokens decoded after them."""

    dtype: str = "bfloat16"
    context: int = 1024
    concurrency: int = 1
    decode: int = 2


class Tracing(NamedTuple):
    """A trace of one rank."""

    purpose: Purpose
    training: TrainingResolved
    prompt: Prompt
    attention: str = "auto"
    """cpu follows the CPU's own kernels; the others are kernels of the card."""
    capability: float = 9.0
    """Compute capability of the card."""
    mesh: Mesh = Mesh()
    rank: int = 0
    settings: AllocatorSettings = AllocatorSettings()

    @property
    def world_size(self) -> int:
        return self.mesh.num_ranks

    def check(self) -> None:
        """Refuse what no trace can follow, naming the flag."""
        if not 0 <= self.rank < self.world_size:
            raise UsageError(
                f"--rank is {self.rank}", f"the layout has ranks 0 to {self.world_size - 1}", "rank"
            )
        if self.purpose == "infer":
            return
        asked, table = self.training, by_keyword("train")
        frameworks = tuple(row["framework"] for row in facts.table("frameworks") if row["traced"] == "yes")
        for name, allowed in {"framework": frameworks, **FOLLOWED}.items():
            value = getattr(asked, name)
            if value not in allowed:
                said = " ".join(filter(None, (table[name].flag, text_of(table[name], value))))
                raise UnsupportedError(
                    f"a trace does not follow {said}",
                    "oomless train has a formula for it",
                    name,
                )
        if asked.method == "qlora":
            if asked.adapter != "lora":
                raise UnsupportedError(
                    f"a trace does not follow --adapter {asked.adapter} on packed weights", "choose lora"
                )
            if self.mesh.tp * self.mesh.pp > 1 or asked.sharding in ("fsdp2", "zero3"):
                raise UnsupportedError(
                    "a trace does not cut packed weights over ranks", "trace one rank, or --dp alone"
                )


FOLLOWED: dict[str, tuple[object, ...]] = {
    "task": ("pretrain", "sft"),
    "method": ("full", "lora", "qlora"),
    "adapter": ("lora", "dora"),
    "optimizer_in_backward": (False,),
    "recompute_every": (1,),
    "loss": ("plain", None),
    "kernels": ("eager", None),
    "offload": ((),),
    "offload_layers": (None,),
    "activation_bits": (16,),
    "partition_activations": (False,),
    "reduce_bucket_size": (None,),
    "prefetch_bucket_size": (None,),
    "max_live_parameters": (None,),
    "max_reuse_distance": (None,),
    "sub_group_size": (None,),
    "overlap_comm": (None,),
    "hpz_partition_size": (None,),
    "expert_imbalance": (1.0,),
    "sharding": ("none", "ddp", "fsdp2", "zero3", None),
    "recompute": ("none", "full", None),
    "use_reentrant": (None, False),
    "tiled_mlp": (None,),
    "quantization": (None, "nf4", "nf4-dq"),
    "packed_experts": (False,),
    "adapter_products": ("apart", None),
    "mtp_layers": (0,),
    "data_workers": (0,),
}
"""Values of the flags of `train` that a trace runs."""
