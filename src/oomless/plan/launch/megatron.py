"""A model and a training question -> the arguments of Megatron-LM's pretrain_gpt.py, which `train
--megatron-args` reads back."""

from ...errors import UnsupportedError
from ...frameworks import PLANNED, framework
from ...frameworks.megatron.models import fusion_of
from ...frameworks.megatron.placement import last_stage
from ...model.attention import GQA, MLA
from ...model.feedforward import Dense, MoE
from ...model.model import Model, Rope
from ...run.training import Mesh, TrainingAsked
from .optimizers import said_optimizer
from .types import FileTypes

BF16 = FileTypes("bfloat16", "bfloat16")


def runs(model: Model) -> bool:
    """Whether Megatron-LM's GPT has these layers: one kind of attention, dense and expert blocks with gates.

    >>> from ...model.load import load
    >>> [runs(load(name)) for name in ("deepseek-v3", "deepseek-r1-distill-llama-70b", "deepseek-v4-flash")]
    [True, True, False]
    """
    gated = all(each.gated for each in model.kinds.ffns)
    return _attention_of(model) is not None and gated and model.streams == 1


def _attention_of(model: Model) -> GQA | MLA | None:
    """The one attention of all layers; None where it is not one that Megatron's arguments describe."""
    match model.kinds.attentions:
        case (GQA(gated=False, cross=False, sinks=False) as attention,) if not attention.value_dim:
            return attention
        case (MLA() as attention,):
            return attention
    return None


def _others() -> list[str]:
    """The frameworks that a plan of full training tries beside those that are started by these arguments."""
    return [name for name in PLANNED["full"] if framework(name).launch != "megatron_args"]


def megatron_arguments(
    model: Model, asked: TrainingAsked, num_gpus: int, types: FileTypes = BF16
) -> list[str]:
    """The arguments, a flag with its values in each entry.

    >>> from ...model.load import load
    >>> words = megatron_arguments(
    ...     load("deepseek-r1-distill-llama-70b"), TrainingAsked(mesh=Mesh(tp=8, pp=2), seq_len=4096), 64
    ... )
    >>> words[:3], "--group-query-attention" in words
    (['--num-layers 80', '--hidden-size 8192', '--num-attention-heads 64'], True)
    """
    if not runs(model):
        raise UnsupportedError(
            f"Megatron-LM's GPT does not have the layers of {model.name}",
            f"use --framework {' or '.join(_others())}",
        )
    mesh = asked.mesh
    dp = num_gpus // (mesh.tp * mesh.pp * mesh.cp)
    fusion = fusion_of(asked)
    return [
        *_network(model, asked),
        f"--micro-batch-size {asked.micro_batch}",
        f"--global-batch-size {asked.micro_batch * asked.grad_accum * dp}",
        *_parallelism(len(model.layers), mesh),
        *_sharding_and_recomputation(asked),
        *(f"--{short}" for short in types.switches),
        *(FP8 if types.fp8 else ()),
        *(("--cross-entropy-loss-fusion", f"--cross-entropy-fusion-impl {fusion}") if fusion else ()),
        *FIXED,
        f"--vocab-size {model.vocab_size - 1}",
    ]


FP8 = ("--fp8-format hybrid", "--fp8-recipe tensorwise", "--fp8-param-gather")
FIXED = (
    "--transformer-impl transformer_engine",
    "--use-mcore-models",
    "--distributed-timeout-minutes 60",
    "--tokenizer-type NullTokenizer",
    "--mock-data",
    "--load checkpoint",
    "--use-checkpoint-args",
    "--finetune",
    "--train-iters 100",
    "--lr 1e-5",
    "--min-lr 1e-6",
    "--lr-decay-style cosine",
    "--clip-grad 1.0",
)
"""What every run is given; the tokenizer and the data are to be replaced, and the published weights to be
converted: their checkpoint says the base of the rotation and how experts are chosen
(megatron/training/checkpointing.py, load_args_from_checkpoint). Where none are found the run begins at random
ones."""


def _network(model: Model, asked: TrainingAsked) -> list[str]:
    attention = _attention_of(model)
    assert attention is not None  # `runs` has seen it
    tied = [] if model.tied else ["--untie-embeddings-and-output-weights"]
    return [
        f"--num-layers {len(model.layers)}",
        *([f"--mtp-num-layers {asked.mtp_layers}"] if asked.mtp_layers else ()),
        f"--hidden-size {model.hidden_size}",
        f"--num-attention-heads {attention.num_heads}",
        *_attention(attention),
        *_feed_forward(model, asked.mesh),
        "--swiglu",
        "--normalization RMSNorm",
        "--disable-bias-linear",
        *_rotation(attention, model.ropes),
        f"--max-position-embeddings {max(asked.seq_len or 0, model.max_positions)}",
        f"--seq-length {asked.seq_len}",
        *tied,
        "--attention-dropout 0.0",
        "--hidden-dropout 0.0",
    ]


def _rotation(attention: GQA | MLA, ropes: tuple[Rope, ...]) -> list[str]:
    """How positions are rotated. Latent attention has words of its own for YaRN, and the original length of
    4,096 from its class alone (core/transformer/transformer_config.py, MLATransformerConfig)."""
    if len(ropes) != 1 or not ropes[0].dim:
        return ["--position-embedding-type rope"]
    (rope,), latent = ropes, isinstance(attention, MLA)
    kind = "yarn" if rope.scaling == "yarn" and not latent else "rope"
    words = [f"--position-embedding-type {kind}", f"--rotary-base {rope.theta:.0f}"]
    if isinstance(attention, GQA) and rope.dim < attention.head_dim:
        words.append(f"--rotary-percent {rope.dim / attention.head_dim:g}")
    match rope.scaling:
        case "yarn" if latent:
            words += ["--rope-type yarn", f"--rotary-scaling-factor {rope.factor:g}"]
        case "yarn":
            length = rope.original_max_positions
            words.append(f"--rotary-scaling-factor {rope.factor:g}")
            words += [f"--yarn-original-max-position-embeddings {length}"] if length else []
        case "llama3":
            words += ["--use-rope-scaling", f"--rope-scaling-factor {rope.factor:g}"]
        case "linear":
            words.append(f"--rotary-seq-len-interpolation-factor {rope.factor:.0f}")
    return words


SCALED = ("default", "mrope", "linear", "llama3", "yarn")
"""Scalings that are written; positions of text alone are the same three times over in mrope."""


def unsaid(model: Model) -> list[str]:
    """Arguments that change what the network computes and no byte: no table here has their values.

    >>> from ...model.load import load
    >>> unsaid(load("llama-3.1-8b")), unsaid(load("deepseek-v2-lite"))
    (['--norm-epsilon'], ['--norm-epsilon', '--mscale', '--mscale-all-dim'])
    """
    words = ["--norm-epsilon"]
    if isinstance(_attention_of(model), MLA):
        words += ["--mscale", "--mscale-all-dim"]
    if any(isinstance(each, MoE) and each.router_biases for each in model.kinds.ffns):
        words += ["--moe-router-num-groups", "--moe-router-group-topk"]
    other = {rope.scaling for rope in model.ropes} - set(SCALED)
    return [*words, *(f"the {name} scaling of positions" for name in sorted(other))]


def _parallelism(num_layers: int, mesh: Mesh) -> list[str]:
    sizes = (
        ("tensor-model", mesh.tp),
        ("pipeline-model", mesh.pp),
        ("context", mesh.cp),
        ("expert-model", mesh.ep),
    )
    words = [f"--{name}-parallel-size {size}" for name, size in sizes if size > 1]
    if (last := last_stage(num_layers, mesh.pp)) is not None:
        words.append(f"--decoder-last-pipeline-num-layers {last}")
    if mesh.ep > 1:
        words.append(f"--expert-tensor-parallel-size {mesh.etp or 1}")
    if mesh.sequence_parallel:
        words.append("--sequence-parallel")
    if mesh.virtual_stages > 1:
        words.append(f"--num-virtual-stages-per-pipeline-rank {mesh.virtual_stages}")
    return words


def _sharding_and_recomputation(asked: TrainingAsked) -> list[str]:
    steps = said_optimizer(asked).word
    words = [] if steps == "adam" else [f"--optimizer {steps}"]
    if asked.sharding == "distopt":
        words += ["--use-distributed-optimizer", "--overlap-grad-reduce", "--overlap-param-gather"]
    match asked.recompute:
        case "full":
            words += [
                "--recompute-granularity full",
                "--recompute-method uniform",
                f"--recompute-num-layers {asked.recompute_every}",
            ]
        case "selective":
            words.append("--recompute-granularity selective")
            if asked.recompute_modules:
                words.append(f"--recompute-modules {' '.join(asked.recompute_modules)}")
    return words


def _attention(attention: GQA | MLA) -> list[str]:
    if isinstance(attention, GQA):
        words = [f"--kv-channels {attention.head_dim}"]
        if attention.num_kv_heads != attention.num_heads:
            words += ["--group-query-attention", f"--num-query-groups {attention.num_kv_heads}"]
        words += ["--add-qkv-bias"] if attention.qkv_bias else []
        return words + (["--qk-layernorm"] if attention.qk_norm else [])
    words = ["--multi-latent-attention", f"--kv-lora-rank {attention.kv_lora_rank}"]
    words += [f"--q-lora-rank {attention.q_lora_rank}"] if attention.q_lora_rank else []
    words += [
        f"--qk-head-dim {attention.qk_nope_head_dim}",
        f"--qk-pos-emb-head-dim {attention.qk_rope_head_dim}",
    ]
    return [*words, f"--v-head-dim {attention.v_head_dim}", "--qk-layernorm"]


def _feed_forward(model: Model, mesh: Mesh) -> list[str]:
    dense = next((layer.ffn for layer in model.layers if isinstance(layer.ffn, Dense)), None)
    moe = next((layer.ffn for layer in model.layers if isinstance(layer.ffn, MoE)), None)
    width = dense.intermediate_size if dense else moe.expert_width if moe else 0
    words = [f"--ffn-hidden-size {width}"]
    if moe is None:
        return words
    pattern = [int(isinstance(layer.ffn, MoE)) for layer in model.layers]
    words += [
        f"--num-experts {moe.num_experts}",
        f"--moe-router-topk {moe.num_active_experts}",
        f"--moe-ffn-hidden-size {moe.expert_width}",
    ]
    if 0 in pattern:
        first = pattern.index(1)
        words.append(f"--moe-layer-freq ([0]*{first}+[1]*{len(pattern) - first})")
    if moe.shared_width:
        words.append(f"--moe-shared-expert-intermediate-size {moe.shared_width}")
    words += ["--moe-grouped-gemm", "--moe-token-dispatcher-type alltoall"]
    if moe.router_biases:
        return [*words, "--moe-router-score-function sigmoid", "--moe-router-enable-expert-bias"]
    return [*words, "--moe-aux-loss-coeff 1e-3"]
