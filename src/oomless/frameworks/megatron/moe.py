"""Mixture-of-experts layers of Megatron-LM: router, three token dispatchers, sequential and grouped experts,
shared experts."""

import math

from ... import facts
from .operations import Shape, Tape, back_to_residual, linear, norm, quantised, stored
from .run import Megatron, MegatronExperts

ROUTED = ("received", "gathered", "permuted", "expert.", "unsorted")
"""How the names begin of what grows with the rows that the experts of a rank are given."""


FULLEST = 3.5
"""Standard deviations of the fullest of some thousand ranks."""


def imbalance(kind: MegatronExperts) -> facts.Constant:
    """Rows that the experts of a rank are given over the mean where weights begin at random."""
    return facts.constant("megatron", "expert_imbalance", (0,), *kind.routing)


def settled(kind: MegatronExperts, ep: int, sequences: int, layers: int, alive: int) -> float:
    """By what share of the mean the fullest rank's rows pass it once weights are loaded.

    What is uneven over a batch evens out over a rank's experts and `layers`; what is in one sequence, over
    the `sequences` that its experts are given, and over the `alive` inputs of layers.

    >>> v3 = MegatronExperts(256, 8, 2048, 2048, True, "alltoall", False, 0, 0, ("balanced", "biased"))
    >>> round(settled(v3, 64, 64, 8, 68), 3)
    0.029
    """
    batch, sequence = (
        facts.constant("megatron", name, (0,), *kind.routing).value
        for name in ("uneven_batch", "uneven_sequence")
    )
    return FULLEST * math.sqrt((batch**2 / layers + sequence**2 / (sequences * alive)) * ep / kind.num)


def routed_tokens(run: Megatron, at: Shape) -> int:
    """Rows that the local experts of a rank are given: tokens of all expert ranks x top-k / expert ranks,
    times the imbalance of routing."""
    kind = run.experts
    assert kind is not None
    gathered = at.residual * run.ep * run.etp
    rows = gathered * kind.topk // run.ep
    if run.ep == 1:
        return rows
    share = 1.0 if kind.loaded else imbalance(kind).value
    share = min(share, kind.capacity_factor or share)
    return min(round(rows * share), gathered * min(kind.topk, kind.num // run.ep))


def experts(tape: Tape, source: str) -> str:
    """Norm, router, dispatch, experts, combine, shared experts; returns what the residual adds."""
    run, at = tape.run, tape.at
    kind, b = run.experts, run.num_bytes
    assert kind is not None
    norm(tape, "pre_mlp_layernorm", source, "ln2", at.residual, run.hidden)
    _router(tape, kind)
    width = kind.latent or run.hidden
    dispatched = "ln2"
    if kind.latent:
        tape.op("latent down", "ln2", {"latent": at.residual * width * b}, "ln2", module="moe", product=True)
        dispatched = "latent"
    rows = routed_tokens(run, at)
    if kind.dispatcher == "allgather":
        combined = _all_gather(tape, kind, dispatched, rows, width)
    else:
        combined = _all_to_all(tape, kind, dispatched, rows, width)
    if kind.latent:
        tape.op(
            "latent up",
            combined,
            {"latent.up": at.residual * run.hidden * b},
            combined,
            module="moe",
            product=True,
        )
        combined = "latent.up"
    return _with_shared(tape, kind, combined) if kind.shared_width else combined


def _with_shared(tape: Tape, kind: MegatronExperts, combined: str) -> str:
    """The shared experts beside the routed ones; returns their sum."""
    run, at = tape.run, tape.at
    b, shared = run.num_bytes, kind.shared_width // run.tp
    module, up = "shared_experts", shared * (2 if run.gated else 1)
    linear(
        tape,
        "shared.fc1",
        "ln2",
        "shared.up",
        at.tokens * up,
        width=run.hidden,
        module=module,
        kept_beside="shared_experts" not in run.recompute_modules,
    )
    made = {"shared.act": at.tokens * shared * b}
    read = stored(tape, "shared.up")
    tape.op("shared activation", read, made, read, module=module)
    back_to_residual(tape, "shared.fc2", "shared.act", "shared", module=module)
    tape.op("add shared", f"{combined} shared", {"moe": at.residual * run.hidden * b}, module="moe")
    return "moe"


def _router(tape: Tape, kind: MegatronExperts) -> None:
    """Logits in F32 if so asked (the input is cast inside the product); probabilities and a map over all
    experts."""
    run, at = tape.run, tape.at
    cells = at.residual * kind.num
    element = 4 if kind.router_float32 else run.num_bytes
    tape.constant("routing_map")
    tape.op("gating", "ln2", {"router.logits": cells * element}, "ln2", module="moe", product=True)
    tape.op(
        "scores",
        "router.logits",
        {"router.scores": cells * 4, "router.top": at.residual * kind.topk * 12},
        "router.scores router.top",
    )
    tape.op("probs", "router.scores", {"probs": cells * 4, "routing_map": cells}, "routing_map", module="moe")


def _feed(tape: Tape, kind: MegatronExperts, rows: int, width: int) -> None:
    """fc1, activation weighted by the router's probabilities, fc2. SwiGLU is fused with the weighting;
    another activation's result is kept for it."""
    run = tape.run
    b, inner = run.num_bytes, kind.width // run.etp
    up = inner * (2 if run.gated else 1)
    source = quantised(tape, "permuted")
    tape.op("expert fc1", source, {"expert.up": rows * up * b}, source, module="expert_fc1", product=True)
    read = stored(tape, "expert.up")
    if run.fused_weighting:
        tape.op("expert activation", read, {"expert.act": rows * inner * b}, read, module="moe_act")
    else:
        tape.op("expert activation", read, {"expert.plain": rows * inner * b}, read, module="moe_act")
        tape.op(
            "weight by probability",
            "expert.plain",
            {"expert.act": rows * inner * b},
            "expert.plain",
            module="moe_act",
            forward_temp=rows * inner * 4,
        )
    source = quantised(tape, "expert.act")
    tape.op("expert fc2", source, {"expert.out": rows * width * b}, source, module="moe", product=True)


def _all_gather(tape: Tape, kind: MegatronExperts, source: str, rows: int, width: int) -> str:
    """Tokens of all expert ranks are gathered (into a buffer that stays), and each rank picks those of its
    experts."""
    run, at = tape.run, tape.at
    b = run.num_bytes
    gathered = at.residual * run.ep * run.etp
    tape.constant("sorted", "all.map")
    tape.op(
        "gather",
        f"{source} probs",
        {"all.map": gathered * kind.num, "all.probs": gathered * kind.num * 4},
        "all.map",
        module="moe",
    )
    local = max(kind.num // run.ep, 1)
    tape.op(
        "permute",
        f"{source} all.probs",
        {"permuted": rows * width * b, "sorted": rows * 8},
        "sorted",
        module="moe",
        forward_temp=gathered * local * 9,
        backward_temp=gathered * width * b,
    )
    _feed(tape, kind, rows, width)
    tape.op("unpermute", "expert.out sorted", {"all.out": gathered * width * b}, "sorted", module="moe")
    tape.op("reduce-scatter", "all.out", {"combined": at.residual * width * b}, module="moe")
    return "combined"


def _all_to_all(tape: Tape, kind: MegatronExperts, source: str, rows: int, width: int) -> str:
    """Tokens are sorted by expert, exchanged, gathered over expert tensor parallelism and sorted by local
    expert; then all of it backwards."""
    run, at = tape.run, tape.at
    b, sent = run.num_bytes, at.residual * kind.topk
    tape.constant("sorted")
    tape.op(
        "permute 1", f"{source} probs", {"sent": sent * width * b, "sorted": sent * 8}, "sorted", module="moe"
    )
    tape.op("all-to-all", "sent", {"received": rows // run.etp * width * b}, module="moe")
    local = kind.num // run.ep
    if run.etp > 1:
        tape.op("all-gather", "received", {"gathered": rows * width * b}, module="moe")
    tape.op(
        "sort by expert",
        "gathered" if run.etp > 1 else "received",
        {"permuted": rows * width * b},
        module="moe",
    )
    if local == 1:
        tape.ops.pop()
        tape.op(
            "hand on", "gathered" if run.etp > 1 else "received", {"permuted": rows * width * b}, module="moe"
        )
    _feed(tape, kind, rows, width)
    tape.op("sort back", "expert.out", {"unsorted": rows * width * b}, module="moe")
    tape.op("all-to-all back", "unsorted", {"returned": sent * width * b}, module="moe")
    tape.op("unpermute", "returned sorted", {"combined": at.residual * width * b}, "sorted", module="moe")
    return "combined"
