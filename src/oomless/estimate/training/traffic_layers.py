"""What the layers of one pipeline stage send in a step: tensor and sequence parallelism, context, experts,
pipeline.

All of it is activations and their gradients in the type of computation, once a micro-batch.
"""

from collections.abc import Iterator, Sequence
from typing import assert_never

from ...frameworks import framework
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.feedforward import MoE
from ...model.model import Model
from ...run.training import Mesh, TrainingResolved, recipe
from .collectives import Transfer, all_reduce, gather
from .rank_portions import PipelineStage


def micro_batch_tokens(asked: TrainingResolved, mesh: Mesh) -> int:
    """Tokens of a micro-batch on one context-parallel rank."""
    return -(-asked.sequences * asked.seq_len // mesh.cp)


def value_bytes(asked: TrainingResolved) -> int:
    """Bytes of one number of an activation."""
    return recipe(asked.precision).compute


def cache_width(attention: Attention) -> tuple[int, int]:
    """Numbers a token of queries and outputs, and of keys and values, as the kernel is given them: MLA's are
    whole heads.

    >>> cache_width(MLA(128, 1536, 512, 128, 64, 128))
    (40960, 40960)
    """
    match attention:
        case GQA():
            value = attention.value_dim or attention.head_dim
            return attention.num_heads * (attention.head_dim + value), attention.num_kv_heads * (
                attention.head_dim + value
            )
        case Sliding():
            return cache_width(attention.inner)
        case MLA():
            width = attention.num_heads * (
                attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim
            )
            return width, width
        case DSA():
            return cache_width(attention.mla)
        case V4() | V41():
            return 2 * attention.num_heads * attention.head_dim, attention.head_dim
        case Linear():
            return attention.conv_width + 2 * attention.value_width, 0
        case _:
            assert_never(attention)


def context_parallel(
    model: Model, asked: TrainingResolved, mesh: Mesh, layers: Sequence[int]
) -> Iterator[Transfer]:
    """Keys and values go round a ring, or heads are exchanged for tokens (Ulysses: DeepSpeed and what builds
    on it).

    Ring, n tokens a rank, c ranks: c - 1 times n x kv forward; backward the same and c times their gradients:
    (3 c - 2) x n x kv; an all-gather of keys and values sends as much. Ulysses: queries, keys, values and
    outputs in an all-to-all each, forward and backward: 2 (c - 1) / c x n x (q + o + k + v). Layers with a
    state (linear attention) exchange channels as Ulysses does. Full recomputation repeats the forward.
    Ignored: log-sum-exp of the ring, windows, compressed rows of V4. Source: arXiv 2310.01889, 2309.14509;
    the rings of torch and of Transformer Engine.

    >>> from ...model.load import load
    >>> asked = TrainingResolved(
    ...     framework="megatron-lm", precision="megatron-bf16", recompute="none", seq_len=65536
    ... )
    >>> [t.sent_bytes for t in context_parallel(load("deepseek-llm-67b"), asked, Mesh(cp=8), range(95))]
    [70128762880]
    """
    c = mesh.cp
    if c == 1:
        return
    tokens, size, m = micro_batch_tokens(asked, mesh), value_bytes(asked), asked.grad_accum
    forwards = 2 if asked.recompute == "full" else 1
    of = framework(asked.framework)
    ulysses = of.ulysses and not (of.torch_context and asked.sharding in ("fsdp2", "hsdp"))
    ring = exchanged = num_ring = num_exchanged = 0
    for layer in layers:
        attention = model.layers[layer].attention
        queries, keys = cache_width(attention)
        if ulysses or attention.kind == "linear":
            exchanged, num_exchanged = exchanged + queries + keys, num_exchanged + (4 if keys else 2)
        else:
            ring, num_ring = ring + keys, num_ring + 1
    if num_ring:
        turns = forwards * (c - 1) + (c - 1) + c
        width = -(-ring // mesh.tp)
        formula = f"{m} x {turns} x {tokens:,} x {width:,} x {size} B"
        yield Transfer(
            "cp",
            "send",
            "keys and values (ring)",
            c,
            m * turns * num_ring,
            m * turns * tokens * width * size,
            formula,
        )
    if num_exchanged:
        width = -(-exchanged // mesh.tp)
        formula = f"{m} x {forwards + 1} x ({c} - 1) / {c} x {tokens:,} x {width:,} x {size} B"
        sent = m * (forwards + 1) * gather(tokens * width * size, c)
        yield Transfer(
            "cp", "all-to-all", "heads for tokens", c, m * (forwards + 1) * num_exchanged, sent, formula
        )


def expert_parallel(
    model: Model, asked: TrainingResolved, mesh: Mesh, layers: Sequence[int]
) -> Iterator[Transfer]:
    """Tokens go to the ranks of their experts and come back, forward and backward.

    4 x (e - 1) / e x n x k x h a MoE layer; with full recomputation 6. n: tokens of this rank (the tp ranks
    of a sequence divide them). An all-to-all sends a copy for each of k experts; DeepEP one for each rank or
    node that has some of them, so less. If experts are cut over etp ranks as well, these gather and reduce
    what arrives. `expert_imbalance` lies on the busiest rank's way back. Ignored: ids and weights of routing.
    Source: arXiv 2006.16668, Megatron's token dispatchers.

    >>> from ...model.load import load
    >>> asked = TrainingResolved(
    ...     framework="megatron-lm", precision="megatron-bf16", recompute="none", seq_len=4096
    ... )
    >>> [t.sent_bytes for t in expert_parallel(load("deepseek-v3"), asked, Mesh(ep=64, etp=1), range(58, 61))]
    [5549064192]
    """
    if mesh.ep == 1:
        return
    e, size, m = mesh.ep, value_bytes(asked), asked.grad_accum
    tokens = -(-micro_batch_tokens(asked, mesh) // mesh.tp)
    forwards = 2 if asked.recompute == "full" else 1
    copies = num = 0
    for layer in layers:
        ffn = model.layers[layer].ffn
        if isinstance(ffn, MoE):
            copies, num = copies + ffn.num_active_experts * (ffn.latent_width or model.hidden_size), num + 1
    calls = 2 * (forwards + 1)
    payload = tokens * copies * size
    busiest = (1 + asked.expert_imbalance) / 2
    formula = f"{m} x {calls} x ({e} - 1) / {e} x {tokens:,} x {copies:,} x {size} B"
    if busiest > 1:
        formula += f" x {busiest:.3g}"
    yield Transfer(
        "ep",
        "all-to-all",
        "tokens to experts and back",
        e,
        m * calls * num,
        int(m * calls * gather(payload, e) * busiest),
        formula,
    )
    if mesh.etp > 1:
        t = mesh.etp
        formula = f"{m} x {calls} x ({t} - 1) / {t} x {payload * t:,} B"
        yield Transfer(
            "ep",
            "all-gather",
            "tokens of cut experts",
            t,
            m * calls * num,
            m * calls * gather(payload * t, t),
            formula,
        )


def pipeline(model: Model, asked: TrainingResolved, mesh: Mesh, stage: PipelineStage) -> Iterator[Transfer]:
    """Outputs of a stage to the next, gradients to the one before: n x h for each micro-batch, chunk and
    direction.

    A rank with v chunks sends v forward and v backward, less those at the two ends of the model; cut over tp
    ranks under sequence parallelism. In schedules that turn round (zbv, dualpipev) the last rank hands over
    to itself. Hyper-connections send all streams. A tied embedding has its gradients summed over first and
    last stage. Source: arXiv 2104.04473, 2401.10241; torch.distributed.pipelining.

    >>> from .rank_portions import stages
    >>> from ...model.load import load
    >>> asked = TrainingResolved(
    ...     framework="megatron-lm", precision="megatron-bf16", grad_accum=32, seq_len=4096
    ... )
    >>> [t.sent_bytes for t in pipeline(load("deepseek-v3"), asked, Mesh(pp=16), stages(61, Mesh(pp=16))[5])]
    [3758096384]
    """
    p, m = mesh.pp, asked.grad_accum
    if p == 1:
        return
    size = value_bytes(asked)
    payload = micro_batch_tokens(asked, mesh) * model.hidden_size * model.streams * size
    if mesh.sequence_parallel:
        payload = -(-payload // mesh.tp)
    first, last = stage.first, stage.last
    if mesh.schedule in ("zbv", "dualpipev"):
        sends = 2 * m * (2 - first - last)
    elif mesh.schedule == "dualpipe":
        sends = m * (2 - first - last)
    else:
        sends = m * (2 * mesh.virtual_stages - first - last)
    yield Transfer(
        "pp", "send", "outputs and their gradients", p, sends, sends * payload, f"{sends} x {payload:,} B"
    )
    if model.tied and (first or last):
        table = -(-model.vocab_size * model.hidden_size // mesh.tp) * recipe(asked.precision).gradient
        yield Transfer(
            "pp",
            "all-reduce",
            "gradient of the tied embedding",
            2,
            1,
            all_reduce(table, 2),
            f"2 (2 - 1) / 2 x {table:,} B",
        )
