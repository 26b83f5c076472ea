"""Building blocks of a layer's graph: norms, projections, rotary embedding, attention, gated feed-forward, as
torch runs them.

Sizes are bytes on one rank for one micro-batch. Each block says what autograd keeps; the sources are the
derivative formulas of torch (tools/autograd/derivatives.yaml) and the modules of transformers 5.
"""

from typing import Literal, NamedTuple

from .adapter_ops import after_dropout, other_adapter, placed
from .adapters import adapter
from .graph import GraphRecorder, Op

Kernels = Literal["eager", "liger", "compiled"]
AttentionKernel = Literal["flash", "efficient", "cudnn", "math", "eager"]


class MicroBatchWork(NamedTuple):
    """What a rank computes in one micro-batch."""

    batch: int
    seq: int
    """Tokens of a sequence on this rank: the length over the context-parallel ranks."""
    compute: int
    """Bytes of an activation."""
    residual: int
    """Bytes of the residual stream's elements: 4 under autocast, where embeddings stay in F32."""
    autocast: bool
    tp: int = 1
    sequence_parallel: bool = False
    expert_tp: int = 0
    """Ranks that cut each routed expert; 0: those that cut all else."""
    trained: bool = True
    """Full training; adapters leave the weights frozen."""
    lora_rank: int = 0
    lora_targets: tuple[str, ...] = ()
    adapter: str = "lora"
    """A kind of facts/adapters.csv."""
    trained_norms: bool = False
    prefix_outputs: int = 0
    """Copies of its output that attention to virtual tokens keeps beside a layer's own."""
    adapter_bytes: int = 4
    """Bytes of an adapter's weight: what it reads is cast to them."""
    adapter_dropout: bool = False
    """An adapter drops some of what it reads: a mask of a byte and a copy are kept."""
    fused_adapters: bool = False
    """A matrix and its LoRA are one function; so are the three of a gated feed-forward."""
    grouped_adapters: bool = False
    """A grouped product of experts has adapters as any other matrix has."""
    one_projection: bool = False
    """Queries, keys and values are views of one tensor, with one LoRA (litgpt/model.py, CausalSelfAttention;
    litgpt/lora.py, LoRAQKVLinear)."""
    experts_apart: bool = False
    """Frozen matrices of experts are modules of their own."""
    adapted_experts: int = 0
    """Experts of this rank whose stacked matrices carry adapters."""
    quantized: bool = False
    """Frozen matrices are stored in 4 bits and unpacked at each use."""
    frozen_inputs: str = ""
    """What products with frozen weights keep of what they read: kept; twice: the last micro-batch's, too."""
    wide_norms: bool = False
    """Norms of a packed model are in F32, and so is what they hand on; a packed matrix answers in the type of
    what it reads."""
    kernels: Kernels = "eager"
    fused_norms: bool = False
    """RMS norms are one kernel, whatever else is eager."""
    remakes_inputs: bool = False
    """What a matrix reads is made again in the backward, with its copy in FP8."""
    attention: AttentionKernel = "flash"
    dropout: float = 0.0
    padded: bool = True
    """Sequences differ in length: encoders have a mask."""
    imbalance: float = 1.0
    exchanged: bool = False
    """Rows of experts go to the ranks that hold these, and back (expert parallelism)."""
    resends: bool = False
    """Op-level recomputation exchanges those rows again instead of keeping what arrived."""
    gathered_ranks: int = 1
    """Ranks whose keys and values attention gathers (torch's context parallelism)."""
    deterministic: bool = False
    """The gated delta rule runs as torch code."""
    norms_apart: bool = False
    """Linear attention norms queries and keys before its kernel, and what that returns before the gate."""

    tile: int = 0
    """Tokens that a feed-forward takes at a time; 0: all."""
    tiled_experts: bool = False

    @property
    def tokens(self) -> int:
        return self.batch * self.seq

    @property
    def stream_tokens(self) -> int:
        """Tokens of the residual stream that this rank holds: sequence parallelism cuts it."""
        return -(-self.tokens // self.tp) if self.sequence_parallel else self.tokens

    @property
    def routed_tokens(self) -> int:
        """Tokens that this rank sends to experts, once for each rank that cuts one (Megatron-Core's
        dispatcher)."""
        return -(-self.tokens * (self.expert_tp or self.tp) // self.tp)

    def shares_adapter(self, name: str) -> bool:
        """Whether a matrix of this name is a part of the one that makes queries, keys and values."""
        return self.one_projection and name in PARTS

    def targets(self, name: str) -> bool:
        """Whether a matrix of this name has an adapter."""
        return bool(self.lora_rank) and (name in self.lora_targets or "all-linear" in self.lora_targets)


PARTS = ("q_proj", "k_proj", "v_proj")


class Builder(GraphRecorder):
    """A graph as it grows. `module` names the part that selective recomputation knows."""

    def __init__(self, work: MicroBatchWork) -> None:
        super().__init__({})
        self.work = work
        self.module = ""
        self.count = 0
        self.shards: dict[str, str] = {}
        """What was gathered -> this rank's part of it."""
        self.dropped: dict[str, str] = {}
        """What adapters read -> the copy that their dropout makes, where one is for several matrices."""

    def op(
        self,
        name: str,
        reads: tuple[str, ...],
        writes: dict[str, int],
        saves: tuple[str, ...] = (),
        *,
        forward_temp: int = 0,
        backward_temp: int = 0,
        product: bool = False,
        in_place: bool = False,
        sent: bool = False,
    ) -> None:
        """Add an operation."""
        temps = (forward_temp, backward_temp)
        made = Op(name, reads, tuple(writes), saves, *temps, self.module, product, in_place, sent)
        self.record(made, writes)

    def fresh(self, stem: str) -> str:
        """A name that no tensor has yet."""
        self.count += 1
        return f"{stem}.{self.count}"


def rms_norm(
    b: Builder, x: str, width: int, out: str, rows: int | None = None, *, element: int | None = None
) -> None:
    """LlamaRMSNorm: cast to F32, x * rsqrt(mean(x^2) + eps), cast back, times weight.

    Keeps the F32 copy and the normalised copy that the weight multiplies (bf16: 6 B an element; F32: 8 B),
    which the output's reader joins with 2 or 4 more. A fused or compiled norm keeps its input and one F32 a
    row (torch's partitioner keeps what matrix products read: torchtune's ladder, 100 KB a token and layer of
    Llama-3.2-3B, 88 by this graph). A norm inside of a projection (query, key, latent) is the same with fewer
    elements.
    """
    work = b.work
    rows = work.stream_tokens if rows is None else rows
    size = element or work.residual
    elements = rows * width
    rstd = b.fresh("rstd")
    if work.kernels != "eager" or work.fused_norms:
        b.op("rms_norm", (x,), {rstd: 4 * rows, out: elements * size}, (x, rstd), backward_temp=0)
        b.constants.add(rstd)
        return
    wide = x
    if size != 4:
        wide = b.fresh("f32")
        b.op("to_f32", (x,), {wide: 4 * elements})
    # x^2's backward holds the mean's expanded gradient, x^1, twice that, and their product (a CPU run: 12 of
    # 12 B an element)
    b.op(
        "variance",
        (wide,),
        {rstd: 4 * rows},
        (wide, rstd),
        forward_temp=4 * elements,
        backward_temp=12 * elements,
    )
    scaled = b.fresh("scaled")
    b.op("scale", (wide, rstd), {scaled: 4 * elements}, (wide, rstd), backward_temp=4 * elements)
    if size != 4:
        narrow = b.fresh("normed")
        b.op("to_half", (scaled,), {narrow: size * elements})
        scaled = narrow
    trained = work.trained or work.trained_norms
    b.op(
        "times_weight",
        (scaled,),
        {out: size * elements},
        (scaled,) if trained else (),
        backward_temp=size * elements if trained else 0,
    )


def written_norm(b: Builder, x: str, width: int, out: str) -> str:
    """Gemma-4's x.float() x (mean of x.float()^2 + eps)^-0.5 x weight: the F32 copy is kept, and what a
    trained weight multiplies. Megatron-Bridge casts twice (_gemma4_rms_norm), transformers once."""
    work = b.work
    if work.kernels == "compiled":
        rms_norm(b, x, width, out)
        return out
    elements, trained = work.stream_tokens * width, work.trained or work.trained_norms
    wide, rstd, scaled = (b.fresh(stem) for stem in ("f32", "rstd", "scaled"))
    squared = wide if work.kernels == "eager" else b.fresh("f32")
    b.op("to_f32", (x,), {wide: 4 * elements, squared: 4 * elements})
    made = {rstd: 4 * work.stream_tokens}
    b.op("variance", (squared,), made, (squared, rstd), backward_temp=8 * elements)
    b.op("scale", (wide, rstd), {scaled: 4 * elements}, (wide, rstd), backward_temp=4 * elements)
    made = {out: work.residual * elements}
    b.op("times_weight", (scaled,), made, (scaled,) if trained else (), forward_temp=4 * elements)
    return out


def layer_norm(b: Builder, x: str, width: int, out: str) -> None:
    """torch's native layer norm: keeps its input, and mean and rstd of each row."""
    work = b.work
    rows = work.stream_tokens
    stats = b.fresh("stats")
    b.op("layer_norm", (x,), {stats: 8 * rows, out: rows * width * work.residual}, (x, stats))
    b.constants.add(stats)


def gather(b: Builder, x: str, width: int) -> str:
    """Sequence parallelism: what a column-parallel matrix reads is gathered from the ranks first, and
    gathered again in the backward."""
    work = b.work
    if not work.sequence_parallel:
        return x
    whole = b.fresh("gathered")
    b.shards[whole] = x
    b.op(
        "all_gather", (x,), {whole: work.tokens * width * (b.sizes[x] // max(1, work.stream_tokens * width))}
    )
    return whole


def adapter_input(b: Builder, read: str, given: str, num: int) -> str:
    """Return what an adapter reads of `num` values: in its own type, and after its dropout."""
    work = b.work
    if work.adapter_bytes != work.compute and not (work.autocast or work.wide_norms):
        given = b.fresh("adapter_in")
        b.op("to_adapter", (read,), {given: num * work.adapter_bytes})
    return after_dropout(b, given, num) if work.adapter_dropout else given


def linear(
    b: Builder, name: str, x: str, width_in: int, width_out: int, out: str, rows: int | None = None
) -> None:
    """A matrix product: a trained matrix keeps what it reads, a frozen one what `frozen_inputs` says.

    Under autocast each use casts an F32 input anew. An adapter keeps its input (cast to its own type) and the
    projection to its rank; its output is made beside the matrix' own and added.
    """
    work = b.work
    rows = work.tokens if rows is None else rows
    read = x
    element = b.sizes[x] // max(1, rows * width_in)
    if (work.autocast or work.wide_norms) and element == 4 != work.compute:
        read = b.fresh("cast")
        b.op("autocast", (x,), {read: rows * width_in * work.compute})
    size = rows * width_out * (4 if work.wide_norms and element == 4 else work.compute)
    unpacked = width_in * width_out * work.compute if work.quantized else 0
    if not work.targets(name):
        saves = (read,) if work.trained and not work.remakes_inputs else frozen_inputs(b, read)
        around = unpacked + (rows * (width_in + width_out) if work.remakes_inputs else 0)
        b.op(name, (read,), {out: size}, saves, forward_temp=unpacked, backward_temp=around, product=True)
        return
    if work.fused_adapters:
        around = unpacked + rows * work.lora_rank * work.compute
        b.op(name, (read,), {out: size}, (read,), forward_temp=around, backward_temp=around, product=True)
        return
    base = b.fresh(f"{name}.base")
    kept = frozen_inputs(b, read)
    b.op(name, (read,), {base: size}, kept, forward_temp=unpacked, backward_temp=unpacked, product=True)
    given = b.shards[read] if work.grouped_adapters and read in b.shards else read
    rows_in = rows * b.sizes[given] // max(1, b.sizes[read])
    shared = work.shares_adapter(name)
    dropped = b.dropped.get(read) if shared else None
    given = dropped or adapter_input(b, read, given, rows_in * width_in)
    if shared:
        b.dropped[read] = given
    inner, outer = b.fresh("lora_a"), b.fresh("lora_b")
    bytes_out = work.compute if work.autocast or work.wide_norms else work.adapter_bytes
    made, kind = rows * width_out * bytes_out, adapter(work.adapter)
    if kind.name == "ia3" and name.endswith("down_proj"):
        kind = kind._replace(inputs=1, outputs=0)  # a feed-forward is scaled before
    if (kind.inputs, kind.outputs, kind.dense) != (1, 0, 0):
        other_adapter(b, kind, given, outer, rows, width_in, width_out, bytes_out)
        b.op("add_adapter", (base, outer), {out: size}, forward_temp=made)
        return
    b.op("lora_A", (given,), {inner: rows_in * work.lora_rank * bytes_out}, (given,), product=True)
    b.op("lora_B", (inner,), {outer: made}, (inner,), product=True, forward_temp=made)
    if shared and not all(work.targets(part) for part in PARTS):
        outer = placed(b, outer)
    b.op("add_adapter", (base, outer), {out: size}, forward_temp=made if bytes_out != work.compute else 0)


def frozen_inputs(b: Builder, read: str) -> tuple[str, ...]:
    """Return what a product with frozen weights keeps. Of packed ones it may be an attribute of the product's
    context, which outlives the backward where a loop holds the loss: then it is there twice while a forward
    runs."""
    if not b.work.frozen_inputs:
        return ()
    before = f"{read}.before"
    if b.work.frozen_inputs == "twice" and before not in b.sizes:
        b.op("kept_before", (read,), {before: b.sizes[read]}, (before,))
    if b.work.quantized:
        b.held.add(read)
    return (read,)


def gated(
    b: Builder,
    x: str,
    width_in: int,
    width: int,
    out: str,
    *,
    rows: int | None = None,
    names: str = "",
    is_gated: bool = True,
) -> None:
    """SwiGLU: gate and up read x, silu(gate) * up, down. Keeps gate, its activation, up and their product;
    fused: gate, up, product.

    Without a gate: up, its activation.
    """
    work = b.work
    rows = work.tokens if rows is None else rows
    up, product = b.fresh("up"), b.fresh("product")
    if is_gated and work.fused_adapters and work.targets(f"{names}gate_proj"):
        _fused_feed_forward(b, x, width_in, width, out, rows)
        return
    if not is_gated:
        linear(b, f"{names}up_proj", x, width_in, width, up, rows)
        b.op("activation", (up,), {product: b.sizes[up]}, (up,))
    else:
        gate = b.fresh("gate")
        linear(b, f"{names}gate_proj", x, width_in, width, gate, rows)
        size = b.sizes[gate]
        if work.kernels == "eager":
            act = b.fresh("act")
            b.op("silu", (gate,), {act: size}, (gate,))
            linear(b, f"{names}up_proj", x, width_in, width, up, rows)
            b.op("multiply", (act, up), {product: size}, (act, up))
        else:
            linear(b, f"{names}up_proj", x, width_in, width, up, rows)
            b.op("silu_multiply", (gate, up), {product: size}, (gate, up))
    linear(b, f"{names}down_proj", product, width, width_in, out, rows)


def _fused_feed_forward(b: Builder, x: str, width_in: int, width: int, out: str, rows: int) -> None:
    """Gate, up, down and their adapters in one function: it keeps its input, gate and up. The backward makes
    the gradient of the product, and writes the other two over gate and up (Unsloth, kernels/fast_lora.py,
    LoRA_MLP; kernels/swiglu.py, swiglu_DWf_DW_dfg_kernel)."""
    work = b.work
    gate, up = b.fresh("gate"), b.fresh("up")
    inner = rows * width * work.compute
    around = inner + (width_in * width * work.compute if work.quantized else 0)
    b.op(
        "feed_forward",
        (x,),
        {gate: inner, up: inner, out: rows * width_in * work.compute},
        (x, gate, up),
        forward_temp=around,
        backward_temp=around,
        product=True,
    )
    b.constants.update((gate, up))


def drop(b: Builder, x: str, values: int) -> str:
    """Dropout of so many values keeps a mask of one byte each."""
    if not b.work.dropout:
        return x
    mask, out = b.fresh("mask"), b.fresh("dropped")
    b.op("dropout", (x,), {mask: values, out: b.sizes[x]}, (mask,))
    b.constants.add(mask)
    return out


def add(b: Builder, x: str, y: str, out: str) -> None:
    """The residual: keeps nothing."""
    b.op("add", (x, y), {out: b.sizes[x]})


def cut(number: int, tp: int) -> int:
    """Heads or columns of one tensor-parallel rank; fewer than ranks are repeated."""
    return -(-number // tp)
