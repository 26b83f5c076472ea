"""A catalogue model in Megatron-LM's arguments: rows of Megatron-Bridge and Megatron-LM name a model, not an
argument list.

What a row does not say takes what Megatron-Bridge's recipes set: distributed optimizer, gradient reduction
and parameter gathering overlapped, grouped experts, fused rotary embedding and SwiGLU, no dropout; with FP8
its weights are gathered in FP8 (mixed_precision.py; scales of blocks, as DeepSeek-V3 has them, where the
recipe of states is fp8).
"""

from ...errors import OomlessError, UnsupportedError
from ...model.attention import GQA, MLA
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...run.training import Mesh, TrainingAsked, TrainingResolved
from .args import read_arguments
from .network import num_parameters
from .placement import last_stage
from .run import Megatron
from .values import Value


def run_of_model(model: Model, asked: TrainingAsked, mesh: Mesh) -> Megatron:
    """The Megatron run of a question.

    >>> from ...model.load import load
    >>> mesh = Mesh(dp=2, tp=4, pp=4, sequence_parallel=True, virtual_stages=5)
    >>> run = run_of_model(
    ...     load("llama-3-70b"), TrainingResolved(micro_batch=1, seq_len=4096, grad_accum=16), mesh
    ... )
    >>> run.dp, run.virtual, run.query_groups, run.padded_vocab
    (2, 5, 8, 128512)
    """
    given: dict[str, Value] = {
        "num-layers": len(model.layers),
        "hidden-size": model.hidden_size,
        "vocab-size": model.vocab_size,
        "max-position-embeddings": model.max_positions,
        "seq-length": asked.seq_len or 1,
        "micro-batch-size": asked.micro_batch,
        "global-batch-size": asked.micro_batch * asked.grad_accum * mesh.dp,
        "tensor-model-parallel-size": mesh.tp,
        "pipeline-model-parallel-size": mesh.pp,
        "context-parallel-size": mesh.cp,
        "expert-model-parallel-size": mesh.ep,
        "normalization": "RMSNorm",
        "position-embedding-type": "rope",
        "hidden-dropout": 0.0,
        "attention-dropout": 0.0,
    }
    switches = [
        "bf16",
        "disable-bias-linear",
        "use-distributed-optimizer",
        "overlap-grad-reduce",
        "overlap-param-gather",
    ]
    if mesh.ep > 1:
        given["expert-tensor-parallel-size"] = mesh.etp or 1
    if mesh.sequence_parallel:
        switches.append("sequence-parallel")
    if mesh.virtual_stages == 1 and (last := last_stage(len(model.layers), mesh.pp)) is not None:
        given["decoder-last-pipeline-num-layers"] = last
    if mesh.virtual_stages > 1:
        given["num-layers-per-virtual-pipeline-stage"] = len(model.layers) // (mesh.pp * mesh.virtual_stages)
    if not model.tied:
        switches.append("untie-embeddings-and-output-weights")
    switches += _attention(model, given)
    switches += _feed_forward(model, given)
    if asked.recompute == "full":
        given |= {"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 1}
    elif asked.recompute == "selective":
        given["recompute-granularity"] = "selective"
        modules = asked.recompute_modules or ("core_attn",)
        given["recompute-modules"] = ["layernorm" if name == "norm" else name for name in modules]
    switches += _types(asked, given)
    if asked.loss == "vocab-parallel-fused":
        switches.append("cross-entropy-loss-fusion")
    given |= dict.fromkeys(switches, True)
    return read_arguments(given, mesh.num_ranks)


def _types(asked: TrainingAsked, given: dict[str, Value]) -> list[str]:
    """Put the types of products, activations and moments into an argument list; return the switches."""
    switches = []
    if asked.products == "fp8":
        given |= {"fp8-format": "hybrid", "fp8-recipe": "tensorwise", "fp8-param-gather": True}
    if asked.precision in ("fp8", "fp8-bf16-moments"):
        given |= {"fp8-format": "e4m3", "fp8-recipe": "blockwise", "fp8-param-gather": True}
    if (asked.activation_bits, asked.precision) in FP8_KEPT:
        switches.append("activation-func-fp8-input-store")
    if asked.precision in ("bf16-moments", "fp8-bf16-moments"):
        given |= {"exp-avg-dtype": "bf16", "exp-avg-sq-dtype": "bf16"}
        switches.append("use-precision-aware-optimizer")
    return switches


FP8_KEPT = tuple((8, name) for name in ("fp8", "fp8-bf16-moments"))
"""Activation bits and recipes of which Megatron keeps in FP8 what activation functions read too."""


def described(model: Model, request: TrainingResolved, mesh: Mesh) -> Megatron | None:
    """The Megatron run of a question about a model, if Megatron's arguments describe both: None for
    adapters, offloading, other optimizers and schedules, and for networks whose parameters they do not
    count to within 2 % (padding of the vocabulary)."""
    plain = (
        request.method == "full"
        and request.task == "pretrain"
        and not request.offload
        and (request.activation_bits == 16 or (request.activation_bits, request.precision) in FP8_KEPT)
    )
    plain = plain and request.expert_imbalance == 1.0 and not request.dropout and not mesh.count_ends
    if not plain or mesh.schedule not in ("1f1b", "interleaved", "dualpipe"):
        return None
    if mesh.schedule == "dualpipe" and (mesh.pp == 1 or mesh.virtual_stages > 1):
        return None
    if (
        request.optimizer != "adam-fused"
        or request.precision not in ("megatron-bf16", "bf16-moments", "fp8", "fp8-bf16-moments")
        or request.sharding not in ("none", "ddp", "distopt")
    ):
        return None
    try:
        run = run_of_model(model, request, mesh)
    except OomlessError:
        return None
    run = run._replace(
        distributed=request.sharding == "distopt",
        instances=_instances(mesh),
        dualpipe=mesh.schedule == "dualpipe",
    )
    near = abs(num_parameters(run) - model.num_parameters) <= 0.02 * model.num_parameters
    return run if near else None


def _instances(mesh: Mesh) -> int:
    return max(1, mesh.dp * mesh.cp // mesh.shard_size) if mesh.shard_size else 1


def _attention(model: Model, given: dict[str, Value]) -> list[str]:
    match model.kinds.attentions:
        case (GQA() as attention,):
            given |= {"num-attention-heads": attention.num_heads, "kv-channels": attention.head_dim}
            given["num-query-groups"] = attention.num_kv_heads
            named = {"add-qkv-bias": attention.qkv_bias, "qk-layernorm": attention.qk_norm}
            return ["group-query-attention", *(name for name, there in named.items() if there)]
        case (MLA() as attention,):
            given |= {"num-attention-heads": attention.num_heads, "kv-lora-rank": attention.kv_lora_rank}
            given |= {
                "qk-head-dim": attention.qk_nope_head_dim,
                "qk-pos-emb-head-dim": attention.qk_rope_head_dim,
            }
            given["v-head-dim"] = attention.v_head_dim
            if attention.q_lora_rank:
                given["q-lora-rank"] = attention.q_lora_rank
            return ["multi-latent-attention", "qk-layernorm"]
    kinds = " and ".join(dict.fromkeys(each.kind for each in model.kinds.attentions))
    raise UnsupportedError(f"{kinds} attention of {model.name} is not written in Megatron's arguments yet")


def _feed_forward(model: Model, given: dict[str, Value]) -> list[str]:
    routed = [layer.ffn for layer in model.layers if isinstance(layer.ffn, MoE)]
    dense = [layer.ffn for layer in model.layers if isinstance(layer.ffn, Dense)]
    if dense:
        given["ffn-hidden-size"] = dense[0].intermediate_size
    if not routed:
        return ["swiglu"]
    ffn = routed[0]
    given |= {
        "num-experts": ffn.num_experts,
        "moe-router-topk": ffn.num_active_experts,
        "moe-ffn-hidden-size": ffn.expert_width,
        "moe-token-dispatcher-type": "alltoall",
        "moe-layer-freq": [int(isinstance(layer.ffn, MoE)) for layer in model.layers],
    }
    if ffn.shared_width:
        given["moe-shared-expert-intermediate-size"] = ffn.shared_width
    if not dense:
        given["ffn-hidden-size"] = ffn.expert_width
    biased = ["moe-router-enable-expert-bias"] if ffn.router_biases else []
    return ["swiglu", "moe-grouped-gemm", "moe-permute-fusion", *biased]
