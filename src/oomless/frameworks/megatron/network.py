"""A Megatron run in the words of the other rooms: its network as a Model, its question as a TrainingResolved,
its ranks as a Mesh."""

from functools import lru_cache

from ...model.attention import GQA, MLA, Attention, Linear
from ...model.feedforward import Dense, FeedForward, MoE
from ...model.model import Layer, Model, Part, Tensor
from ...run.training import Mesh, Sharding, TrainingResolved
from .attention import backend
from .environment import Device
from .run import Megatron
from .weights import all_tensors, format_of


def mesh_of(run: Megatron) -> Mesh:
    """Return how a run lays out its ranks."""
    return Mesh(
        run.dp,
        run.tp,
        run.pp,
        run.cp,
        run.ep,
        run.etp,
        run.sequence_parallel,
        run.virtual,
        "interleaved" if run.virtual > 1 else "1f1b",
        run.dp * run.cp // run.instances if run.instances > 1 else 0,
    )


def question(run: Megatron, device: Device, reserve: str | None = None) -> TrainingResolved:
    """The values that were used, under the names of `oomless train`."""
    sharding: Sharding = (
        "megatron_fsdp"
        if run.fsdp
        else "distopt"
        if run.distributed
        else "ddp"
        if run.dp * run.cp > 1
        else "none"
    )
    return TrainingResolved(
        framework="megatron-lm",
        mesh=mesh_of(run),
        precision={"bf16": "megatron-bf16", "fp16": "megatron-fp16", "fp32": "fp32"}[run.dtype],
        optimizer="muon" if "muon" in run.optimizer else "sgd" if run.optimizer == "sgd" else "adam-fused",
        micro_batch=run.micro_batch,
        seq_len=run.seq_len,
        grad_accum=run.num_microbatches,
        sharding=sharding,
        recompute="full" if run.recompute == "full" else "selective" if run.recompute else "none",
        recompute_modules=run.recompute_modules,
        attention={"flash": "flash", "fused": "cudnn", "unfused": "eager"}[backend(run, device)],
        loss=_loss_of(run),
        kernels="megatron-local" if run.local else "te",
        dropout=run.attention_dropout,
        expandable_segments=device.expandable,
        packed=True,
        reserve=reserve,
    )


def _loss_of(run: Megatron) -> str:
    if not run.fused_loss:
        return "vocab-parallel"
    return "vocab-parallel-te" if run.loss_kernel == "te" else "vocab-parallel-fused"


def num_parameters(run: Megatron) -> int:
    """The parameters of its network; a plan asks the same of each card."""
    return _num_parameters(run.without_step)


@lru_cache(maxsize=1024)
def _num_parameters(run: Megatron) -> int:
    return network(run).num_parameters


def network(run: Megatron) -> Model:
    """Its layers and tensors; an encoder's are tensors alone."""
    return Model(
        name=f"Megatron {run.family}",
        family=run.family,
        hidden_size=run.hidden,
        vocab_size=run.padded_vocab,
        max_positions=run.max_positions,
        dtype=format_of(run),
        quantization="",
        layers=tuple(Layer(_attention(run, kind), _ffn(run, kind)) for kind in run.kinds.replace("|", "")),
        tensors=_numbered(run),
        ropes=(),
        tied=run.tied,
    )


def _numbered(run: Megatron) -> tuple[Tensor, ...]:
    """Tensors with the layer that they belong to."""
    found = []
    for tensor in all_tensors(run):
        first, _, rest = tensor.name.partition(".")
        index = rest.split(".")[0]
        part: Part = "mtp" if first == "mtp" else "main"
        layers = (int(index),) if first == "decoder" and index.isdecimal() else ()
        found.append(tensor._replace(layers=layers, part=part, lookup="embeddings" in tensor.name))
    return tuple(found)


def _attention(run: Megatron, kind: str) -> Attention:
    if kind == "M" and run.mamba is not None:
        mixer = run.mamba
        return Linear(
            mixer.groups, mixer.num_heads, mixer.state, mixer.head_dim, 4, variant="mamba2", conv_bias=True
        )
    if run.latent is not None:
        latent = run.latent
        return MLA(run.heads, latent.q_rank, latent.kv_rank, latent.qk_dim, latent.rope_dim, latent.v_dim)
    return GQA(run.heads, run.query_groups, run.head_dim, run.qkv_bias, run.bias, run.qk_norm)


def _ffn(run: Megatron, kind: str) -> FeedForward:
    if kind in ("e", "E") and run.experts is not None:
        routed = run.experts
        return MoE(
            routed.num,
            routed.topk,
            routed.width,
            routed.shared_width,
            expert_bias=run.bias,
            gated=run.gated,
            latent_width=routed.latent,
        )
    return Dense(0 if kind in ("M", "*") else run.ffn, run.bias, run.gated)
