"""Serving: one question about inference. None means "as the engine would choose"; an engine's `resolve` leaves no None."""

from typing import NamedTuple

from ..errors import UsageError


class Layout(NamedTuple):
    """How ranks divide the work. Sizes, not indices."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    dcp: int = 1
    enable_expert_parallel: bool = False

    @property
    def num_ranks(self) -> int:
        return self.tp * self.pp * self.dp


class Serving(NamedTuple):
    """A serving question, under the flags' own names."""

    engine: str = "vllm"
    engine_version: str | None = None
    layout: Layout | None = None
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    context: int | None = None
    concurrency: int | None = None
    gpu_memory_utilization: float | None = None
    block_size: int | None = None
    indexer_kv_dtype: str = "auto"
    """Keys of the sparse-attention indexer: fp8 (auto) or mxfp4."""
    enforce_eager: bool = False
    speculative: bool = False
    """Load the MTP or draft layers that the checkpoint carries."""
    num_redundant_experts: int = 0
    engram: str = "host"
    """Where V4.1's Engram tables live: host or gpu."""

    instances: int = 1
    """Independent copies of the engine on each card, which divide its memory."""
    reserve: str | None = None
    """Memory of each card that is left to others, with its unit."""

    def check(self) -> None:
        """Refuse what no engine can mean, naming the flag."""
        for name in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "context", "concurrency", "block_size"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 1 << 40:
                raise UsageError(f"{flag(name)} is {value}", "it must be between 1 and 2**40")
        if self.gpu_memory_utilization is not None and not 0 < self.gpu_memory_utilization <= 1:
            raise UsageError(
                f"{flag('gpu_memory_utilization')} is {self.gpu_memory_utilization}",
                "it is a share: above 0, at most 1",
            )
        if self.layout is not None:
            for name in ("tp", "pp", "dp", "dcp"):
                value = getattr(self.layout, name)
                if not 1 <= value <= 65536:
                    raise UsageError(f"--{name} is {value}", "it must be between 1 and 65536")
            if self.layout.tp % self.layout.dcp:
                raise UsageError(
                    f"--decode-context-parallel-size {self.layout.dcp} does not divide --tp {self.layout.tp}",
                    "choose a size that divides the tensor-parallel size",
                )
        if not 0 <= self.num_redundant_experts <= 1 << 20:
            raise UsageError(f"--num-redundant-experts is {self.num_redundant_experts}", "it must be 0 or more")
        if not 1 <= self.instances <= 1024:
            raise UsageError(f"--instances is {self.instances}", "it must be between 1 and 1024")
        if self.engram not in ("host", "gpu"):
            raise UsageError(f"--engram is {self.engram!r}", "it is host or gpu")


def flag(field: str) -> str:
    return "--" + field.replace("_", "-")
