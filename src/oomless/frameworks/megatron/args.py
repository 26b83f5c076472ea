"""The argument list of Megatron-LM as one record: defaults of arguments.py and transformer_config.py, and its
checks."""

from typing import Any, Literal, NamedTuple

from ...errors import UnsupportedError
from .argument_reader import ArgumentReader, Value
from .network_arguments import family_of, network_fields
from .rank_arguments import batch_fields, bucket_size, ranks_of, virtual_chunks, with_experts
from .run import Megatron
from .step_arguments import step_fields


class Argument(NamedTuple):
    """A field of the run that one argument says by itself."""

    field: str
    name: str
    kind: Literal["flag", "unless", "text", "whole", "optional", "number"]
    """flag: true if it is there; unless: true if it is not; optional: None if it is not."""
    default: Any = None


ARGUMENTS = (
    Argument("squared_relu", "squared-relu", "flag"),
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
    Argument("overlap_reduce", "overlap-grad-reduce", "flag"),
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
