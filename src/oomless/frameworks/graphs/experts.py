"""Routed experts as transformers runs them (grouped_mm), with the shared ones beside them."""

from ...model.feedforward import MoE
from .blocks import Builder, cut, gated, linear, written_norm
from .graph import AutogradGraph


def routed(b: Builder, kind: MoE, x: str, hidden: int, out: str, apart: str = "") -> None:
    """Router in F32, rows of each token's k experts gathered, gate and up in one product, activation,
    product, down, weighted, put back in order, summed.

    Kept: F32 copy for the router, gathered rows, gate and up, activation, product, output before weighting.
    Shared experts run beside them. `imbalance` multiplies the rows of a rank. Rows that are exchanged are put
    in the order of the experts where they arrive, and back before they return (torchtitan 0.2,
    distributed/expert_parallel.py). `apart`: what router and experts read, each by a norm of its own;
    what is made has one too.
    """
    work, element = b.work, b.work.compute
    rows = round(work.routed_tokens * kind.num_active_experts * work.imbalance)
    _route(b, kind, written_norm(b, apart, hidden, "router.normed") if apart else x, hidden, rows)
    inner = kind.latent_width or hidden
    source = written_norm(b, apart, hidden, "experts.normed") if apart else x
    if kind.latent_width:
        linear(b, "latent_in", x, hidden, inner, "latent")
        source = "latent"
    size, last = rows * inner * element, "expert.out"
    b.op("gather_rows", (source,), {"rows": size})
    if work.exchanged:
        b.op("dispatch", ("rows",), {"arrived": size}, sent=not work.resends)
        b.op("permute", ("arrived",), {"permuted": size})
        _feed(b, kind, inner, rows, "permuted")
        b.op("unpermute", ("expert.out",), {"unpermuted": size})
        b.op("combine", ("unpermuted",), {"returned": size}, sent=not work.resends)
        last = "returned"
    else:
        _feed(b, kind, inner, rows, "rows")
    b.op("weight", (last, "mix"), {"weighted": size}, (last, "mix"))
    b.op("reorder", ("weighted",), {"ordered": size})
    b.op("sum", ("ordered",), {"routed": work.routed_tokens * inner * element})
    last = "routed"
    if kind.latent_width:
        linear(b, "latent_out", "routed", inner, hidden, "routed.wide")
        last = "routed.wide"
    if apart:
        last = written_norm(b, last, hidden, "routed.normed")
    for beside, name in ((kind.shared_width, "shared"), (kind.dense_width, "dense")):
        if beside:
            b.module = "shared_experts" if name == "shared" else b.module
            made = f"{name}.out"
            gated(b, x, hidden, cut(beside, work.tp), made, is_gated=kind.gated)
            b.module = "moe"
            if apart:
                made = written_norm(b, made, hidden, f"{name}.normed")
            b.op("add", (last, made), {f"{name}.sum": work.tokens * hidden * element})
            last = f"{name}.sum"
    b.op("as_stream", (last,), {out: work.tokens * hidden * element}, in_place=True)


def _route(b: Builder, kind: MoE, x: str, hidden: int, rows: int) -> None:
    """Logits and scores of all experts in F32, and the experts that each token goes to."""
    tokens = b.work.routed_tokens
    b.op("to_f32", (x,), {"router.in": 4 * tokens * hidden})
    b.op(
        "router",
        ("router.in",),
        {"logits": 4 * tokens * kind.num_experts},
        ("router.in",) if b.work.trained else (),
        product=True,
    )
    b.op(
        "scores",
        ("logits",),
        {"scores": 4 * tokens * kind.num_experts},
        ("scores",),
        forward_temp=8 * tokens * kind.num_experts,
    )
    b.op("top_k", ("scores",), {"chosen": 8 * rows, "mix": 4 * rows}, ("chosen",))
    b.constants.add("chosen")


def _feed(b: Builder, kind: MoE, inner: int, rows: int, given: str) -> None:
    """The experts' products, as one each for all of them: grouped ones, which op-level recomputation makes
    again."""
    work, element = b.work, b.work.compute
    width = cut(kind.expert_width, work.expert_tp or work.tp)
    stacks = adapted_stacks(b, inner, width, kind.gated)
    both = width * (2 if kind.gated else 1)
    _product(b, "gate_proj", given, (rows, inner, both), "gate_up", stacks[:1])
    b.module = "moe_act"
    if kind.gated and work.kernels == "eager":
        b.op("silu", ("gate_up",), {"moe.act": rows * width * element}, ("gate_up",))
        made = {"moe.product": rows * width * element}
        b.op("multiply", ("moe.act", "gate_up"), made, ("moe.act", "gate_up"))
    else:
        b.op("act", ("gate_up",), {"moe.product": rows * width * element}, ("gate_up",))
    b.module = "moe"
    _product(b, "down_proj", "moe.product", (rows, width, inner), "expert.out", stacks[1:])


def _product(
    b: Builder, name: str, x: str, sizes: tuple[int, int, int], out: str, stack: tuple[str, ...]
) -> None:
    """One grouped product: rows, width of what they are, width of what they become. Where each matrix is a
    module of its own it has adapters, and its context its input, as any other matrix has."""
    rows, inner, outer = sizes
    if b.work.experts_apart or (b.work.grouped_adapters and b.work.targets(name)):
        linear(b, name, x, inner, outer, out, rows)
        return
    read = (x,) if b.work.trained or stack else ()
    b.op(name, (x, *stack), {out: rows * outer * b.work.compute}, (*read, *stack))


def adapted_stacks(b: Builder, inner: int, width: int, is_gated: bool) -> tuple[str, ...]:
    """Adapters of stacked experts: W + scale x B A is made whole for gate and up, and for down, and kept for
    the gradient of both halves, which passes through one as large. Source: peft/tuners/lora/layer.py of
    0.21, ParamWrapper and _LoraFactorsProxy (baddbmm).
    """
    each = b.work.adapted_experts * inner * width * b.work.compute
    if not each:
        return ()
    b.op("adapt", (), {"gate_up.stack": each * (2 if is_gated else 1)})
    b.op("adapt", (), {"down.stack": each})
    return "gate_up.stack", "down.stack"


def experts_as_one(graph: AutogradGraph) -> AutogradGraph:
    """Return a layer whose routed experts are one module, with the modules inside of them."""
    inside = ("moe_act", "expert_fc1", "shared_experts")
    return graph._replace(
        ops=tuple(op._replace(module="moe") if op.module in inside else op for op in graph.ops)
    )
