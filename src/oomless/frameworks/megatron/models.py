"""A catalogue model in Megatron-LM's arguments: rows of Megatron-Bridge and Megatron-LM name a model, not an
argument list.

What a row does not say takes what Megatron-Bridge's recipes set: distributed optimizer, gradient reduction
and parameter gathering overlapped, grouped experts, fused rotary embedding and SwiGLU, no dropout; with FP8
its weights are gathered in FP8 (mixed_precision.py; scales of blocks, as DeepSeek-V3 has them, where the
recipe of states is fp8).
"""

from ...errors import OomlessError, UnsupportedError
from ...model.attention import GQA, MLA, Attention, Sliding
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...run.training import Mesh, TrainingAsked, TrainingResolved, recipe
from .. import framework
from ..graphs.loss_kinds import loss_kind
from .args import read_arguments
from .argument_reader import Value
from .network import num_parameters
from .placement import last_stage
from .run import Megatron


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
        "load": model.name,
        "hidden-dropout": 0.0,
        "attention-dropout": 0.0,
    }
    switches = ["bf16", "use-distributed-optimizer", "overlap-grad-reduce", "overlap-param-gather"]
    if mesh.ep > 1:
        given["expert-tensor-parallel-size"] = mesh.etp or 1
    if mesh.sequence_parallel:
        switches.append("sequence-parallel")
    if asked.mtp_layers:
        given["mtp-num-layers"] = asked.mtp_layers
    given |= _dealt(len(model.layers), mesh, asked.mtp_layers)
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
    if asked.offload_layers:
        given["cpu-offloading-num-layers"] = asked.offload_layers
    switches += _types(asked, given)
    if fusion := fusion_of(asked):
        switches.append("cross-entropy-loss-fusion")
        given["cross-entropy-fusion-impl"] = fusion
    given |= dict.fromkeys(switches, True)
    return read_arguments(given, mesh.num_ranks)._replace(copied_bytes=8 * copies_moments(asked))


def copies_moments(asked: TrainingAsked) -> bool:
    """Return whether the step makes F32 copies of bfloat16 moments, as it did in earlier releases.

    >>> asked = TrainingAsked(framework="megatron-lm", precision="bf16-moments")
    >>> [copies_moments(asked._replace(framework_version=said)) for said in (None, "transformer-engine 2.12")]
    [False, True]
    """
    narrow = recipe(asked.precision or "megatron-bf16").moment == 2
    return narrow and framework(asked.framework).habits(asked.framework_version).copies_moments


def fusion_of(asked: TrainingAsked) -> str:
    """Return the --cross-entropy-fusion-impl of a question's loss; "" without fusion.

    >>> [fusion_of(TrainingAsked(framework="megatron-lm", loss=word)) for word in (None, "fused")]
    ['', 'native']
    """
    kind = loss_kind(asked.loss or "plain", asked.framework).kind
    return {"vocab-parallel-fused": "native", "in-place": "te"}.get(kind, "")


def _types(asked: TrainingAsked, given: dict[str, Value]) -> list[str]:
    """Put the types of products, activations, gradients and moments into an argument list; return the
    switches."""
    form, switches = recipe(asked.precision or "megatron-bf16"), []
    if form.arithmetic == "fp8":
        given |= {"fp8-format": "e4m3", "fp8-recipe": "blockwise", "fp8-param-gather": True}
    elif asked.products in FP8_PRODUCTS:
        formats, scales = FP8_PRODUCTS[asked.products]
        given |= {"fp8-format": formats, "fp8-recipe": scales, "fp8-param-gather": True}
    if (asked.activation_bits, asked.precision) in FP8_KEPT:
        switches.append("activation-func-fp8-input-store")
    if form.gradient == 2:
        switches.append("grad-reduce-in-bf16")
    if 2 in (form.master, form.moment):
        switches.append("use-precision-aware-optimizer")
    if form.moment == 2:
        given |= {"exp-avg-dtype": "bf16", "exp-avg-sq-dtype": "bf16"}
    return switches


FP8_PRODUCTS = {"fp8": ("hybrid", "tensorwise"), "mxfp8": ("e4m3", "mxfp8")}
"""Products -> format and scales, as Megatron-Bridge's recipes of these types have them."""
FP8_KEPT = tuple((8, name) for name in ("fp8", "fp8-bf16-moments"))
"""Activation bits and recipes of which Megatron keeps in FP8 what activation functions read too."""


def described(model: Model, request: TrainingResolved, mesh: Mesh) -> Megatron | None:
    """The Megatron run of a question about a model, if Megatron's arguments describe both: None for
    adapters, fine-tuning without MTP layers, offloading, other optimizers and schedules, and for networks
    whose parameters they do not count to within 2 % (padding of the vocabulary)."""
    plain = (
        request.method == "full"
        and request.task in (("pretrain", "sft") if request.mtp_layers else ("pretrain",))
        and request.offload == (("activations",) if request.offload_layers and mesh.pp == 1 else ())
        and (request.activation_bits == 16 or (request.activation_bits, request.precision) in FP8_KEPT)
    )
    plain = plain and request.expert_imbalance == 1.0 and not request.dropout and not mesh.count_ends
    if not plain or mesh.schedule not in ("1f1b", "interleaved", "dualpipe"):
        return None
    if mesh.schedule == "dualpipe" and (mesh.pp == 1 or mesh.virtual_stages > 1):
        return None
    if (
        request.optimizer not in OPTIMIZERS
        or request.precision not in OWN_PRECISIONS
        or request.sharding not in ("none", "ddp", "distopt", "megatron_fsdp")
    ):
        return None
    try:
        run = run_of_model(model, request, mesh)
    except OomlessError:
        return None
    run = run._replace(
        optimizer=OPTIMIZERS[request.optimizer],
        distributed=request.sharding in ("distopt", "megatron_fsdp"),
        fsdp="optim_grads_params" if request.sharding == "megatron_fsdp" else "",
        instances=_instances(mesh),
        dualpipe=mesh.schedule == "dualpipe",
    )
    return run if counts_all(run, model) else None


def counts_all(run: Megatron, model: Model) -> bool:
    """Return whether an argument list counts a model's parameters to within 2 % (padding of the vocabulary);
    none has an encoder beside the language model.

    >>> from ...model.load import load
    >>> runs = [run_of_model(load(f"qwen2.5-{name}"), TrainingResolved(), Mesh()) for name in ("7b", "vl-7b")]
    >>> [counts_all(run, load(f"qwen2.5-{name}")) for run, name in zip(runs, ("7b", "vl-7b"), strict=True)]
    [True, False]
    """
    near = abs(num_parameters(run) - model.num_parameters) <= 0.02 * model.num_parameters
    return near and all(tensor.part != "vision" for tensor in model.tensors)


OPTIMIZERS = {"adam-fused": "adam", "sgd": "sgd", "muon": "muon"}
OWN_PRECISIONS = (
    "megatron-bf16",
    "megatron-bf16-gradients",
    "megatron-bf16-remainders",
    "megatron-bf16-narrow",
    "bf16-moments",
    "fp8",
    "fp8-bf16-moments",
)
"""Recipes of states that Megatron's arguments can say."""


def _dealt(layers: int, mesh: Mesh, mtp: int = 0) -> dict[str, Value]:
    """Return the arguments that deal layers to the stages of a pipeline, in one or several chunks a stage.

    Where the chunks do not divide the layers, embedding and loss count as a layer each if that makes it even
    (Megatron-Bridge's recipe of Qwen3-235B); else the last chunk takes what full ones leave, or the loss
    alone if that is nothing (its layouts of DeepSeek-V3 on 16 and 32 chunks).

    >>> _dealt(94, Mesh(pp=4, virtual_stages=12))["num-layers-per-virtual-pipeline-stage"]
    2
    >>> [
    ...     *_dealt(61, Mesh(pp=4, virtual_stages=4)).values(),
    ...     *_dealt(61, Mesh(pp=8, virtual_stages=4)).values(),
    ... ]
    ['Et*4|(t*4|)*14t*1L', 'Et*1|(t*2|)*30L']
    """
    pp, chunks = mesh.pp, mesh.pp * mesh.virtual_stages
    if chunks == 1:
        return {}
    ends = layers % chunks != 0 and (layers + 2) % chunks == 0
    found: dict[str, Value] = {}
    if ends:
        found |= {f"account-for-{end}-in-pipeline-split": True for end in ("embedding", "loss")}
    each, rest = -(-layers // chunks), layers % chunks != 0 and not ends
    first = min(each, layers - (chunks - 2) * each)
    if rest and chunks > pp and first > 0:
        last = max(0, layers - (chunks - 1) * each)
        end = (f"t*{last}" if last else "") + "m" * mtp + "L"
        return {"pipeline-model-parallel-layout": f"Et*{first}|(t*{each}|)*{chunks - 2}{end}"}
    if rest and (left := last_stage(layers, chunks)) is not None:
        found["decoder-last-pipeline-num-layers"] = left
    if chunks > pp:
        found["num-layers-per-virtual-pipeline-stage"] = (layers + 2 * ends) // chunks
    return found


def _instances(mesh: Mesh) -> int:
    return max(1, mesh.dp * mesh.cp // mesh.shard_size) if mesh.shard_size else 1


def _attention(model: Model, given: dict[str, Value]) -> list[str]:
    match alike(model):
        case GQA() as attention:
            given |= {"num-attention-heads": attention.num_heads, "kv-channels": attention.head_dim}
            given["num-query-groups"] = attention.num_kv_heads
            named = {
                "add-qkv-bias": attention.qkv_bias,
                "qk-layernorm": attention.qk_norm,
                "disable-bias-linear": not attention.output_bias,
            }
            return ["group-query-attention", *(name for name, there in named.items() if there)]
        case MLA() as attention:
            given |= {"num-attention-heads": attention.num_heads, "kv-lora-rank": attention.kv_lora_rank}
            given |= {
                "qk-head-dim": attention.qk_nope_head_dim,
                "qk-pos-emb-head-dim": attention.qk_rope_head_dim,
            }
            given["v-head-dim"] = attention.v_head_dim
            if attention.q_lora_rank:
                given["q-lora-rank"] = attention.q_lora_rank
            return ["multi-latent-attention", "qk-layernorm", "disable-bias-linear"]
    kinds = " and ".join(dict.fromkeys(each.kind for each in model.kinds.attentions))
    raise UnsupportedError(f"{kinds} attention of {model.name} is not written in Megatron's arguments yet")


def alike(model: Model) -> Attention | None:
    """Return the attention that all layers have, windows aside, which a fused kernel's memory does not know;
    None where they differ, or where a layer with windows has more norms than two.

    >>> from ...model.load import load
    >>> alike(load("gpt-oss-120b")).head_dim, alike(load("gemma-2-9b")), alike(load("deepseek-v3")).kind
    (64, None, 'mla')
    """
    found = model.kinds.attentions
    if len(found) == 1 and isinstance(found[0], GQA | MLA):
        return found[0]
    norms = {tensor.name for tensor in model.tensors if tensor.layers and "layernorm" in tensor.name}
    cores = {each.core for each in found if isinstance(each, GQA | Sliding)}
    return cores.pop() if len(cores) == 1 and len(norms) == 2 and all_windows(found) else None


def all_windows(attentions: tuple[Attention, ...]) -> bool:
    """Return whether attentions differ by their windows alone."""
    return all(isinstance(each, GQA | Sliding) for each in attentions)


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
    switches = ["swiglu", "moe-grouped-gemm", "moe-permute-fusion"]
    if ffn.router_biases:
        return [*switches, "moe-router-enable-expert-bias"]
    given["moe-aux-loss-coeff"] = 0.001
    return switches
