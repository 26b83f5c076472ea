"""Arguments that divide a Megatron run: ranks, batch, chunks of a pipeline, buckets of gradients."""

import re
from typing import Any, NamedTuple

from ...errors import UnsupportedError, UsageError
from .argument_reader import BUCKET_A_RANK, BUCKET_LEAST, ArgumentReader, Value, divides
from .run import Family, MegatronExperts


class Ranks(NamedTuple):
    """Sizes of the parallel groups."""

    world_size: int
    tp: int
    pp: int
    cp: int
    ep: int = 1
    etp: int = 1

    @property
    def dp(self) -> int:
        return self.world_size // (self.tp * self.pp * self.cp)


def ranks_of(get: ArgumentReader, world_size: int | None, family: Family) -> Ranks:
    """Return the ranks of a run, those of experts left out."""
    world = world_size if world_size is not None else get.optional("world-size") or _launched(get)
    if world is None:
        raise UsageError("world size is not given", "add --world-size N: all ranks of the run")
    tp, pp, cp = (
        get.whole(f"{word}-parallel-size", 1) for word in ("tensor-model", "pipeline-model", "context")
    )
    if family == "t5" and pp > 1:
        raise UnsupportedError(
            f"T5 over {pp} pipeline stages is not supported",
            "Megatron-Core runs its encoder and decoder on one stage",
        )
    return Ranks(world, tp, pp, cp)


def _launched(get: ArgumentReader) -> int | None:
    """Ranks that torchrun starts."""
    each = get.optional("nproc-per-node")
    return each * (get.optional("nnodes") or 1) if each else None


def with_experts(get: ArgumentReader, ranks: Ranks, experts: MegatronExperts | None) -> Ranks:
    """Return the ranks with those that divide the routed experts, once both are known to divide the run."""
    product = ranks.tp * ranks.pp * ranks.cp
    divides(ranks.world_size, product, "world size", "tensor x pipeline x context parallel size")
    ep = get.whole("expert-model-parallel-size", 1)
    etp = get.whole("expert-tensor-parallel-size", ranks.tp)
    if experts is not None:
        divides(experts.num, ep, "num-experts", "expert-model-parallel-size")
        divides(
            ranks.world_size,
            ranks.pp * ep * etp,
            "world size",
            "pipeline x expert x expert tensor parallel size",
        )
    return ranks._replace(ep=ep, etp=etp)


def batch_fields(get: ArgumentReader, ranks: Ranks, family: Family) -> dict[str, Any]:
    """Return length and batch, as they are divided over the ranks."""
    seq = get.optional("seq-length") or get.optional("encoder-seq-length")
    if seq is None:
        raise UsageError("--seq-length is not given", "add it to the arguments")
    if ranks.cp > 1:
        divides(seq, 2 * ranks.cp, "seq-length", "twice the context-parallel-size")
    sequence_parallel = get.flag("sequence-parallel") and ranks.tp > 1
    if sequence_parallel:
        divides(seq // ranks.cp, ranks.tp, "tokens of a sequence", "tensor-model-parallel-size")
    micro = get.whole("micro-batch-size", 1)
    batch = get.optional("global-batch-size") or _first_batch(get.given) or micro * ranks.dp
    divides(batch, micro * ranks.dp, "global-batch-size", "micro-batch-size x data-parallel size")
    return {
        "sequence_parallel": sequence_parallel,
        "micro_batch": micro,
        "global_batch": batch,
        "seq_len": seq,
        "decoder_seq_len": get.whole("decoder-seq-length", seq) if family == "t5" else seq,
        "max_positions": get.whole("max-position-embeddings", seq),
    }


def _first_batch(given: dict[str, Value]) -> int | None:
    """--step-batch-size-schedule "0:384 200B:768": the first step's."""
    match = re.match(r"\s*0:(\d+)", str(given.get("step-batch-size-schedule", "")))
    return int(match[1]) if match else None


def virtual_chunks(get: ArgumentReader, pp: int, layers: int) -> int:
    """Model chunks of a pipeline rank."""
    stages = get.optional("num-virtual-stages-per-pipeline-rank")
    if stages:
        return stages
    each = get.optional("num-layers-per-virtual-pipeline-stage")
    if not each or pp == 1:
        return 1
    total = (
        layers
        + get.flag("account-for-embedding-in-pipeline-split")
        + get.flag("account-for-loss-in-pipeline-split")
    )
    divides(total, pp * each, "layers", "pipeline-model-parallel-size x layers of a virtual stage")
    return total // (pp * each)


def bucket_size(get: ArgumentReader, ranks: Ranks) -> int | None:
    """Elements of a bucket of gradients; None: all of them are reduced at once."""
    if not get.flag("overlap-grad-reduce"):
        return None
    return get.optional("ddp-bucket-size") or max(BUCKET_LEAST, BUCKET_A_RANK * ranks.dp * ranks.cp)
