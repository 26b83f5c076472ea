"""Rotation and softmax attention, by the kernel that runs them."""

from typing import NamedTuple

from .blocks import Builder, MicroBatchWork


class AttendedHeads(NamedTuple):
    """Heads of one layer on a rank, and the widths of a head."""

    num: int
    num_kv: int
    dim: int
    value_dim: int
    padded: bool = False
    """A mask says which tokens are there."""
    narrow_softmax: bool = False
    """BERT's eager softmax keeps the type of its scores, but under autocast."""


def narrowed(b: Builder, x: str, size: int) -> str:
    """Fused attention reads half precision: transformers casts what norms in F32 made wide
    (modeling_flash_attention_utils.py)."""
    if b.sizes[x] <= size:
        return x
    b.op("to_half", (x,), {f"{x}.half": size})
    return f"{x}.half"


def rope(b: Builder, x: str, size: int, out: str) -> None:
    """q * cos + rotate_half(q) * sin: keeps nothing of its size, and makes up to three copies on the way."""
    temp = 0 if b.work.kernels != "eager" else 2 * size
    b.op("rope", (x,), {out: size}, forward_temp=temp, backward_temp=temp)


def attend(b: Builder, q: str, k: str, v: str, heads: AttendedHeads, out: str, window: int = 0) -> None:
    """Softmax attention by the asked kernel.

    flash and cuDNN read grouped heads as they are; a window needs a mask, and with a mask keys and values are
    repeated for every head, as litgpt does always.
    """
    work = b.work
    masked = bool(window and window < work.seq)
    whole = work.attention in ("eager", "math", "efficient") or masked or heads.dim != heads.value_dim
    whole = whole or work.one_projection
    if heads.num != heads.num_kv and whole:
        for name, width in ((k, heads.dim), (v, heads.value_dim)):
            size = work.tokens * heads.num * width * work.compute
            b.op("repeat_kv", (name,), {f"{name}.repeated": size})
        k, v = f"{k}.repeated", f"{v}.repeated"
    module, b.module = b.module, "core_attn"
    if work.attention in ("eager", "math"):
        _by_scores(b, q, k, v, heads, out)
    else:
        _fused(b, q, k, v, heads, out)
    b.module = module


def _by_scores(b: Builder, q: str, k: str, v: str, heads: AttendedHeads, out: str) -> None:
    """Eager attention of transformers: product, scaled copy, masked copy, softmax in F32, cast back. Of
    b x heads x s^2 elements the F32 softmax and its cast are kept."""
    work = b.work
    scores = work.batch * heads.num * work.seq * work.seq
    raw, soft = b.fresh("scores"), b.fresh("softmax")
    half, width = scores * work.compute, 4
    if heads.narrow_softmax and not work.autocast:
        width = work.compute
    b.op("q_k", (q, k), {raw: half}, (q, k), forward_temp=half, product=True)
    b.op("softmax", (raw,), {soft: width * scores}, (soft,), forward_temp=half, backward_temp=width * scores)
    if work.compute != width:
        narrow = b.fresh("weights")
        b.op("to_half", (soft,), {narrow: half})
        soft = narrow
    if work.dropout:
        mask, dropped = b.fresh("mask"), b.fresh("dropped")
        b.op("dropout", (soft,), {mask: scores, dropped: half}, (mask,))
        b.constants.add(mask)
        soft = dropped
    size = work.tokens * heads.num * heads.value_dim * work.compute
    b.op("weights_v", (soft, v), {out: size}, (soft, v), product=True, forward_temp=size)


def _fused(b: Builder, q: str, k: str, v: str, heads: AttendedHeads, out: str) -> None:
    """A fused kernel keeps q, k, v, its output and one F32 a row and head; flash sums the gradient of q in
    F32, and makes those of keys and values for each head of queries (flash_api.cpp of flash-attention 2 and
    ATen, mha_bwd: dk_expanded, dv_expanded). Every layer makes and keeps a mask of padding as wide as its
    scores (convert_boolean_attn_mask)."""
    work = b.work
    lse, rows = b.fresh("lse"), work.tokens * heads.num
    wide = rows * heads.dim * 4 if work.attention == "flash" and work.compute != 4 else 0
    if wide and b.sizes[k] < rows * heads.dim * work.compute:
        wide += rows * (heads.dim + heads.value_dim) * work.compute
    stats = rows * 4
    made, masked = {lse: stats}, heads.padded and work.attention == "efficient"
    if masked:
        made[b.fresh("mask")] = work.tokens * work.seq * work.compute
    merged, summed = gathered(work, heads)
    b.op(
        "attention",
        (q, k, v),
        {**made, out: rows * heads.value_dim * work.compute},
        (q, k, v, out, *made),
        forward_temp=merged,
        backward_temp=wide + stats + summed,
        product=True,
    )
    b.constants.update(made)


def gathered(work: MicroBatchWork, heads: AttendedHeads) -> tuple[int, int]:
    """(forward, backward) bytes that torch's context parallelism holds beside the kernel's own: keys and
    values of all ranks; outputs in F32, of which four are there when two are merged; keys and values in one
    piece, and as they are sent; gradients summed in F32, those of keys and values thrice, on their way round.

    Source: torch/distributed/tensor/experimental/_context_parallel/_attention.py of 2.6 to 2.13 (_SDPAMerger,
    _AllGatherRotater, _templated_ring_attention_backward); accelerate and torchtitan leave it at all-gather.

    Qwen3-0.6B, a million tokens on 8 ranks:

    >>> work = MicroBatchWork(batch=1, seq=131072, compute=2, residual=2, autocast=False, gathered_ranks=8)
    >>> [num / 2**30 for num in gathered(work, AttendedHeads(16, 8, 128, 128))]
    [8.0, 10.0]
    """
    if work.gathered_ranks == 1:
        return 0, 0
    queries, outputs = heads.num * heads.dim, heads.num * heads.value_dim
    keys = heads.num_kv * (heads.dim + heads.value_dim)
    whole = work.tokens * keys * work.compute * work.gathered_ranks
    once = work.tokens * (queries + 3 * keys) * work.compute
    return whole + 16 * work.tokens * outputs, whole + once + 4 * work.tokens * (queries + 3 * keys)
