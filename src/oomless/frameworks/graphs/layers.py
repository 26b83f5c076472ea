"""A layer of a model as transformers runs it, as a graph: attention of every kind, dense and routed
feed-forward, norms, residuals."""

from typing import NamedTuple, assert_never

from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.feedforward import Dense, FeedForward, MoE
from ...model.model import Layer, Model
from .blocks import (
    Builder,
    MicroBatchWork,
    add,
    cut,
    drop,
    gated,
    gather,
    layer_norm,
    linear,
    rms_norm,
    written_norm,
)
from .experts import routed
from .graph import AutogradGraph, transient_peak, walk
from .kernels import AttendedHeads, attend, narrowed, rope
from .recurrent import recurrent


class LayerNorms(NamedTuple):
    """Norms of a layer: how many of the hidden width, and whether they have a bias (LayerNorm) or none
    (RMSNorm)."""

    number: int
    biased: bool
    after: bool = False
    """Behind attention and feed-forward instead of before (OLMo-2)."""
    of_sums: bool = False
    """Of the sum of each block and its input (BERT)."""
    apart: bool = False
    """Experts beside a dense feed-forward have their own, and so has their router (Gemma-4)."""


def norms_of(model: Model, layer: int) -> LayerNorms:
    """Norms of one layer, read off its tensors.

    >>> from ...model.load import load
    >>> norms_of(load("deepseek-v3"), 5)
    LayerNorms(number=2, biased=False, after=False, of_sums=False, apart=False)
    """
    names = [
        tensor.name
        for tensor in model.tensors
        if layer in tensor.layers
        and tensor.part == "main"
        and tensor.shape == (model.hidden_size,)
        and "norm" in tensor.name.lower()
    ]
    weights = [name for name in names if not name.endswith("bias")]
    encodes = model.encodes
    return LayerNorms(
        2 if encodes else max(1, min(4, len(weights))),
        encodes or len(names) > len(weights),
        model.family in ("olmo2", "olmo3", "exaone4"),
        encodes and len(names) > len(weights),
        len(weights) == 7,
    )


def layer_graph(
    layer: Layer, hidden: int, norms: LayerNorms, work: MicroBatchWork, streams: int = 1
) -> AutogradGraph:
    """One layer: x -> x + attention(norm(x)) -> y + feed_forward(norm(y)); a single norm serves both side by
    side.

    Hyper-connections (V4) carry `streams` residuals, of which each block reads a mixture and to which it
    writes back.

    >>> from ...model.load import load
    >>> v3, work = load("deepseek-v3"), MicroBatchWork(1, 4096, 2, 2, False, attention="efficient")
    >>> from .graph import walk
    >>> walk(layer_graph(v3.layers[0], 7168, norms_of(v3, 0), work)).saved_bytes
    1948319744
    """
    b = Builder(work)
    b.sizes["x"] = work.stream_tokens * hidden * work.residual * streams
    if norms.of_sums:
        return _of_sums(b, layer, hidden)
    inner = "x"
    if streams > 1:
        b.op("mix_in", ("x",), {"x.in": b.sizes["x"] // streams}, ("x",))
        inner = "x.in"

    def norm(source: str, out: str, written: bool = False) -> str:
        b.module = "norm"
        (layer_norm if norms.biased else written_norm if written else rms_norm)(b, source, hidden, out)
        b.module = ""
        return out

    before = not norms.after
    read = norm(inner, "normed") if before else inner
    read_attention = gather(b, read, hidden)
    attention(b, layer.attention, read_attention, hidden, "attended")
    if work.prefix_outputs:
        beside = {"prefix.kept": work.prefix_outputs * work.tokens * hidden * work.adapter_bytes}
        b.op("prefix", (read_attention,), beside, ("prefix.kept",))
        b.constants.add("prefix.kept")
    mixed = "attended"
    if norms.after or norms.number == 4:
        mixed = norm("attended", "attended.normed")
    if norms.number == 1:
        feed_forward(b, layer.ffn, read_attention, hidden, "fed")
        add(b, "attended", "fed", "both")
        add(b, "x", "both", "out")
        return b.graph("x", "out")
    if isinstance(layer.ffn, Dense) and not layer.ffn.intermediate_size:
        add(b, "x", mixed, "out")
        return b.graph("x", "out")
    residual(b, mixed, "x", "y", streams)
    second = "y"
    if streams > 1:
        b.op("mix_in", ("y",), {"y.in": b.sizes["y"] // streams}, ("y",))
        second = "y.in"
    read = norm(second, "normed2", norms.apart) if before else second
    feed_forward(b, layer.ffn, gather(b, read, hidden), hidden, "fed", second if norms.apart else "")
    fed = norm("fed", "fed.normed", norms.apart) if norms.after or norms.number == 4 else "fed"
    residual(b, fed, "y", "out", streams)
    return b.graph("x", "out")


def _of_sums(b: Builder, layer: Layer, hidden: int) -> AutogradGraph:
    """y = norm(x + attention(x)), norm(y + feed_forward(y)), dropout behind both (modeling_bert.py)."""
    values = b.work.tokens * hidden
    attention(b, layer.attention, "x", hidden, "attended")
    add(b, "x", drop(b, "attended", values), "y.sum")
    layer_norm(b, "y.sum", hidden, "y")
    feed_forward(b, layer.ffn, "y", hidden, "fed")
    add(b, "y", drop(b, "fed", values), "out.sum")
    layer_norm(b, "out.sum", hidden, "out")
    return b.graph("x", "out")


def residual(b: Builder, update: str, x: str, out: str, streams: int) -> None:
    """x + update; with hyper-connections the update is written to every stream and kept for the gradient of
    its weights."""
    if b.work.sequence_parallel and b.sizes[update] > b.sizes[x] // streams:
        b.op("reduce_scatter", (update,), {f"{update}.cut": b.sizes[x] // streams})
        update = f"{update}.cut"
    if streams == 1:
        add(b, x, update, out)
    else:
        b.op("mix_out", (x, update), {out: b.sizes[x]}, (x, update), backward_temp=b.sizes[x])


def attention(b: Builder, kind: Attention, x: str, hidden: int, out: str) -> None:
    """Queries, keys and values, their mixture, and the projection back."""
    match kind:
        case GQA():
            _grouped(b, kind, x, hidden, out, 0)
        case Sliding():
            _grouped(b, kind.inner, x, hidden, out, kind.window)
        case MLA():
            _latent(b, kind, x, hidden, out)
        case DSA():
            _latent(b, kind.mla, x, hidden, out)
            if kind.owns_indexer:
                index(b, kind, x, hidden)
        case V4() | V41():
            _compressed(b, kind, x, hidden, out)
        case Linear():
            recurrent(b, kind, x, hidden, out)
        case _:
            assert_never(kind)


def _grouped(b: Builder, kind: GQA, x: str, hidden: int, out: str, window: int) -> None:
    work = b.work
    heads, kv_heads = cut(kind.num_heads, work.tp), cut(kind.num_kv_heads, work.tp)
    value_dim = kind.value_dim or kind.head_dim
    rows, element = work.tokens, 4 if work.wide_norms else work.compute
    queries = heads * kind.head_dim * (2 if kind.gated or kind.wide_gate else 1)
    linear(b, "q_proj", x, hidden, queries, "q")
    linear(b, "k_proj", x, hidden, kv_heads * kind.head_dim, "k")
    v = "k" if kind.shares_values else "v"
    if not kind.shares_values:
        linear(b, "v_proj", x, hidden, kv_heads * value_dim, "v")
    q, k = "q", "k"
    if kind.qk_norm:
        rms_norm(b, "q", kind.head_dim, "q.normed", rows * heads, element=element)
        rms_norm(b, "k", kind.head_dim, "k.normed", rows * kv_heads, element=element)
        q, k = "q.normed", "k.normed"
    views = kind.packed or (work.one_projection and heads == kv_heads)
    if views and work.attention not in ("eager", "math"):
        b.op("views", ("q", "k"), {}, ("q", "k"))
    if kind.rotary:
        rope(b, q, rows * heads * kind.head_dim * element, "q.rope")
        rope(b, k, rows * kv_heads * kind.head_dim * element, "k.rope")
        q, k = "q.rope", "k.rope"
    attend(
        b,
        narrowed(b, q, rows * heads * kind.head_dim * work.compute),
        narrowed(b, k, rows * kv_heads * kind.head_dim * work.compute),
        narrowed(b, v, rows * kv_heads * value_dim * work.compute),
        AttendedHeads(
            heads,
            kv_heads,
            kind.head_dim,
            value_dim,
            not kind.causal and work.padded,
            not kind.causal and not kind.packed,
        ),
        "mixed",
        window,
    )
    mixed = "mixed"
    if kind.gated or kind.wide_gate:
        b.op(
            "gate", ("mixed", "q"), {"gated": b.sizes["mixed"]}, ("mixed", "q"), forward_temp=b.sizes["mixed"]
        )
        mixed = "gated"
    if work.one_projection:  # heads lie before tokens, and change places
        b.op("copy", (mixed,), {"turned": b.sizes[mixed]})
        mixed = "turned"
    linear(b, "o_proj", mixed, heads * value_dim, hidden, out)


def _latent(b: Builder, kind: MLA, x: str, hidden: int, out: str) -> None:
    """MLA as trained: latents are expanded to keys and values of every head; attention reads heads of 192 and
    128."""
    work, rows = b.work, b.work.tokens
    heads = cut(kind.num_heads, work.tp)
    width_q = kind.qk_nope_head_dim + kind.qk_rope_head_dim
    width_kv = kind.qk_nope_head_dim + kind.v_head_dim
    element = work.compute
    if kind.q_lora_rank:
        linear(b, "q_a_proj", x, hidden, kind.q_lora_rank, "q_a")
        rms_norm(b, "q_a", kind.q_lora_rank, "q_a.normed", rows, element=element)
        b.module = "mla_up_proj"
        linear(b, "q_b_proj", "q_a.normed", kind.q_lora_rank, heads * width_q, "q_b")
    else:
        linear(b, "q_proj", x, hidden, heads * width_q, "q_b")
    b.module = ""
    linear(b, "kv_a_proj_with_mqa", x, hidden, kind.latent_dim, "kv_a")
    rms_norm(b, "kv_a", kind.kv_lora_rank, "kv_a.normed", rows, element=element)
    b.module = "mla_up_proj"
    rotary = rows * kind.qk_rope_head_dim * element
    b.op(
        "rope",
        ("q_b",),
        {"q_rot": rotary * heads},
        forward_temp=2 * rotary * heads,
        backward_temp=rotary * heads,
    )
    b.op("rope", ("kv_a",), {"k_rot": rotary}, forward_temp=2 * rotary, backward_temp=rotary)
    b.op("cat", ("q_b", "q_rot"), {"q": rows * heads * width_q * element})
    linear(b, "kv_b_proj", "kv_a.normed", kind.kv_lora_rank, heads * width_kv, "kv_b")
    b.op("copy_in", ("kv_b", "k_rot"), {"k": rows * heads * width_q * element})
    attend(b, "q", "k", "kv_b", AttendedHeads(heads, heads, width_q, kind.v_head_dim), "mixed")
    b.module = ""
    linear(b, "o_proj", "mixed", heads * kind.v_head_dim, hidden, out)


def index(b: Builder, kind: DSA, x: str, hidden: int) -> None:
    """DSA's indexer: its own queries, keys and scores; trained by a loss of its own, so its tensors are
    kept."""
    work, rows = b.work, b.work.tokens
    linear(
        b,
        "indexer.wq_b",
        "q_a.normed",
        kind.mla.q_lora_rank,
        kind.index_heads * kind.index_head_dim,
        "index.q",
    )
    linear(b, "indexer.wk", x, hidden, kind.index_head_dim, "index.k")
    scores = work.batch * work.seq * work.seq * 4
    b.op(
        "index_scores",
        ("index.q", "index.k"),
        {"index.top": rows * min(kind.index_topk, work.seq) * 8},
        forward_temp=scores,
    )
    b.constants.update(("index.top", "index.q", "index.k"))


def _compressed(b: Builder, kind: V4 | V41, x: str, hidden: int, out: str) -> None:
    """V4: low-rank queries, one head of keys that are values, compressed rows beside the window, an output in
    low-rank groups."""
    work, rows = b.work, b.work.tokens
    heads, element = cut(kind.num_heads, work.tp), work.compute
    linear(b, "q_a_proj", x, hidden, kind.q_lora_rank, "q_a")
    rms_norm(b, "q_a", kind.q_lora_rank, "q_a.normed", rows, element=element)
    linear(b, "q_b_proj", "q_a.normed", kind.q_lora_rank, heads * kind.head_dim, "q_b")
    rms_norm(b, "q_b", kind.head_dim, "q.normed", rows * heads, element=element)
    rope(b, "q.normed", rows * heads * kind.head_dim * element, "q")
    linear(b, "kv_proj", x, hidden, kind.head_dim, "kv")
    rms_norm(b, "kv", kind.head_dim, "kv.normed", rows, element=element)
    rope(b, "kv.normed", rows * kind.head_dim * element, "k")
    if kind.ratio:
        linear(b, "compressor", x, hidden, 2 * kind.head_dim, "compressed")
        b.op(
            "compress",
            ("compressed", "k"),
            {"k.all": b.sizes["k"] + b.sizes["k"] // kind.ratio},
            ("compressed",),
        )
    else:
        b.op("window", ("k",), {"k.all": b.sizes["k"]})
    attend(b, "q", "k.all", "k.all", AttendedHeads(heads, heads, kind.head_dim, kind.head_dim), "mixed")
    groups = cut(kind.o_groups, work.tp)
    linear(b, "o_a_proj", "mixed", heads * kind.head_dim, groups * kind.o_lora_rank, "o_a")
    linear(b, "o_b_proj", "o_a", groups * kind.o_lora_rank, hidden, out)


def feed_forward(b: Builder, kind: FeedForward, x: str, hidden: int, out: str, apart: str = "") -> None:
    """The block behind the attention; its module is "mlp" or "moe". `apart`: what experts read by norms of
    their own."""
    if 0 < b.work.tile < b.work.tokens and not apart and (b.work.tiled_experts or isinstance(kind, Dense)):
        _in_tiles(b, kind, x, hidden, out)
        return
    match kind:
        case Dense():
            b.module = "mlp"
            gated(b, x, hidden, cut(kind.intermediate_size, b.work.tp), out, is_gated=kind.gated)
        case MoE():
            b.module = "moe"
            routed(b, kind, x, hidden, out, apart)
        case _:
            assert_never(kind)
    b.module = ""


def _in_tiles(b: Builder, kind: FeedForward, x: str, hidden: int, out: str) -> None:
    """A feed-forward of one tile of the sequence after the other, which keeps its input alone: the backward
    runs each tile again, writes its input's gradient in place, and adds gradients of trained matrices to
    those of tiles before.

    Source: unsloth_zoo/tiled_mlp.py of 2026.7; deepspeed/runtime/sequence_parallel/ulysses_sp.py, TiledMLP.

    >>> from .graph import walk
    >>> b = Builder(MicroBatchWork(1, 65536, 2, 2, False, trained=False, tile=4096))
    >>> b.sizes["x"] = 65536 * 4096 * 2
    >>> feed_forward(b, Dense(14336), "x", 4096, "out")
    >>> found = walk(b.graph("x", "out"))
    >>> found.saved_bytes, found.backward_peak / 2**30
    (536870912, 2.125)
    """
    tile = Builder(b.work._replace(batch=1, seq=b.work.tile, tile=0))
    tile.sizes["x"] = b.sizes[x] * b.work.tile // b.work.tokens
    feed_forward(tile, kind, "x", hidden, "out")
    graph = tile.graph("x", "out")
    again, given, made = walk(graph), tile.sizes["x"], tile.sizes["out"]
    backward = again.backward_peak - made - (given if "x" in again.saved else 0)
    width = kind.intermediate_size if isinstance(kind, Dense) else kind.num_experts * kind.expert_width
    matrices = (3 if kind.gated else 2) * hidden * cut(width, b.work.tp) if b.work.trained else 0
    b.op(
        "tiles",
        (x,),
        {out: made * b.work.tokens // b.work.tile},
        (x,),
        forward_temp=transient_peak(graph) - given,
        backward_temp=max(again.forward_peak - given, backward) + matrices * b.work.compute,
    )
