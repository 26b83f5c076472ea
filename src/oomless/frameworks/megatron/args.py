"""The argument list of Megatron-LM as one record: defaults of arguments.py and transformer_config.py, its
checks, and what divides a run: ranks, batch, chunks of a pipeline, buckets of gradients."""

import re
from typing import Any, Literal, NamedTuple

from ...errors import UnsupportedError, UsageError
from .argument_reader import BUCKET_A_RANK, BUCKET_LEAST, ArgumentReader, Value, divides
from .network_arguments import family_of, network_fields
from .run import Family, Megatron, MegatronExperts
from .step_arguments import step_fields


class Argument(NamedTuple):
    """A field of the run that one argument says by itself."""

    field: str
    name: str
    kind: Literal["flag", "unless", "text", "whole", "optional", "number"]
    """flag: true if it is there; unless: true if it is not; optional: None if it is not."""
    default: Any = None


ARGUMENTS = (
    Argument("qk_norm", "qk-layernorm", "flag"),
    Argument("tied", "untie-embeddings-and-output-weights", "unless"),
    Argument("binary_head", "bert-no-binary-head", "unless"),
    Argument("mtp", "mtp-num-layers", "whole", 0),
    Argument("layout", "pipeline-model-parallel-layout", "text", ""),
    Argument("first_layers", "decoder-first-pipeline-num-layers", "optional"),
    Argument("last_layers", "decoder-last-pipeline-num-layers", "optional"),
    Argument("count_embedding", "account-for-embedding-in-pipeline-split", "flag"),
    Argument("count_loss", "account-for-loss-in-pipeline-split", "flag"),
    Argument("hidden_dropout", "hidden-dropout", "number", 0.1),
    Argument("attention_dropout", "attention-dropout", "number", 0.1),
    Argument("instances", "num-distributed-optimizer-instances", "whole", 1),
    Argument("overlap_gather", "overlap-param-gather", "flag"),
    Argument("pad_buckets", "ddp-pad-buckets-for-high-nccl-busbw", "flag"),
    Argument("optimizer", "optimizer", "text", "adam"),
    Argument("muon_layout", "no-use-layer-wise-param-layout", "unless"),
    Argument("fused_wgrad", "no-gradient-accumulation-fusion", "unless"),
    Argument("fused_loss", "cross-entropy-loss-fusion", "flag"),
    Argument("loss_kernel", "cross-entropy-fusion-impl", "text", "native"),
    Argument("fused_rope", "no-rope-fusion", "unless"),
    Argument("fp8", "fp8-format", "text", ""),
    Argument("fp8_recipe", "fp8-recipe", "text", "delayed"),
    Argument("fp8_params", "fp8-param-gather", "flag"),
    Argument("fp8_inputs", "activation-func-fp8-input-store", "flag"),
    Argument("offload_layers", "cpu-offloading-num-layers", "whole", 0),
    Argument("recompute_method", "recompute-method", "text", ""),
    Argument("recompute_layers", "recompute-num-layers", "whole", 1),
    Argument("comm_overlap", "tp-comm-overlap", "flag"),
    Argument("graphs", "cuda-graph-impl", "text", "none"),
    Argument("moe_overlap", "overlap-moe-expert-parallel-comm", "flag"),
    Argument("full_scores", "no-masked-softmax-fusion", "flag"),
)
"""Arguments that are a field each; those that depend on others are read by network_arguments, rank_arguments
and step_arguments."""
NOTHING = ("", "none", "no_shard")
"""Defaults that say that something is off: they are not listed."""


def read_arguments(given: dict[str, Value], world_size: int | None, kind: str = "") -> Megatron:
    """Return the run that an argument list describes; `kind` is its script's: gpt, bert, t5, hybrid.

    What it leaves out takes Megatron's default; what cannot be left out is an error.
    """
    given = by_new_names(given)
    get = ArgumentReader(given)
    for name, what in OTHER_KINDS.items():
        if name in given:
            raise UnsupportedError(
                f"--{name}: {what} is not supported", "pre-training of a language model is"
            )
    family = family_of(given, kind)
    ranks = ranks_of(get, world_size, family)
    fields = {each.field: read_field(get, each) for each in ARGUMENTS}
    fields |= network_fields(get, family, ranks.tp)
    ranks = with_experts(get, ranks, fields["experts"])
    fields |= batch_fields(get, ranks, family)
    fields |= step_fields(get, fields["bias"], fields["gated"])
    run = Megatron(
        **fields,
        **ranks._asdict(),
        virtual=virtual_chunks(get, ranks.pp, len(fields["kinds"])),
        group_size=get.whole("microbatch-group-size-per-virtual-pipeline-stage", ranks.pp),
        bucket_size=bucket_size(get, ranks),
        warnings=(),
        defaults=(),
    )
    taken = tuple(f"{name} {value}" for name, value in sorted(get.taken.items()) if value not in NOTHING)
    return run._replace(warnings=get.warnings(), defaults=taken)


RENAMED = {"batch-size": "micro-batch-size", "model-parallel-size": "tensor-model-parallel-size"}
"""Arguments before 2.0 -> their names since (megatron/arguments.py of 2.0: "no longer valid")."""
OF_ITS_TIME = {"transformer-impl": "local", "attention-backend": "unfused"}
"""What there was before 2.0: layers of its own, whose scores are kept (megatron/model/transformer.py)."""
OF_CHECKPOINTS = {"recompute-granularity": "full", "recompute-method": "uniform"}
"""What --checkpoint-activations was called by 3.0; it stands for itself in Megatron-DeepSpeed."""


def by_new_names(given: dict[str, Value]) -> dict[str, Value]:
    """Return the arguments with the names of today. ZeRO of Megatron-DeepSpeed divides at least what the
    distributed optimizer does; stages 2 and 3 are named as not read.

    >>> by_new_names({"model-parallel-size": 8, "checkpoint-activations": True})["recompute-num-layers"]
    1
    >>> by_new_names({"batch-size": 4})
    {'transformer-impl': 'local', 'attention-backend': 'unfused', 'micro-batch-size': 4}
    """
    found = {RENAMED.get(name, name): value for name, value in given.items()}
    if any(name in given for name in RENAMED):
        found = {**OF_ITS_TIME, **found}
    if found.pop("checkpoint-activations", False) not in (False, "false"):
        each = found.pop("checkpoint-num-layers", 1)
        found = {**OF_CHECKPOINTS, "recompute-num-layers": each, **found}
    if found.get("zero-stage", 0) in (1, 2, 3):
        found["use-distributed-optimizer"] = True
        if found["zero-stage"] == 1:
            del found["zero-stage"]
    return found


def read_field(get: ArgumentReader, argument: Argument) -> Any:
    """Return the value of an argument, in its kind."""
    match argument.kind:
        case "flag":
            return get.flag(argument.name)
        case "unless":
            return not get.flag(argument.name)
        case "text":
            return get.text(argument.name, argument.default)
        case "whole":
            return get.whole(argument.name, argument.default)
        case "optional":
            return get.optional(argument.name)
        case "number":
            return get.number(argument.name, argument.default)


OTHER_KINDS = {
    "perform-rl-step": "reinforcement learning",
    "flextron": "elastic training",
    "img-h": "a vision model",
    "model-provider": "another model than a language model",
    "export-kd-teacher-load": "distillation",
    "experimental-attention-variant": "that attention",
    "dsa-indexer-topk": "that attention",
    "incoming-requests-per-sec": "inference",
    "num-tokens-to-generate": "inference",
}
"""Arguments that make a run something else than pre-training of a transformer or Mamba hybrid."""


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
