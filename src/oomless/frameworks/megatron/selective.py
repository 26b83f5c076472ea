"""Which parts of a layer are computed again (--recompute-modules) and which leave for host memory
(--offload-modules)."""

from ..graphs.experts import experts_as_one
from ..graphs.graph import AutogradGraph, Walk, kept, walk
from .run import Megatron

MODULES = {"layernorm": "norm"}
"""Megatron's names of modules that the graphs call otherwise."""
OFFLOADED = {
    "attn_norm": ("input_layernorm",),
    "mlp_norm": ("pre_mlp_layernorm",),
    "qkv_linear": ("linear_qkv", "linear_q_proj", "linear_q_down_proj", "linear_kv_down_proj"),
    "attn_proj": ("linear_proj",),
    "expert_fc1": ("expert fc1",),
    "moe_act": ("expert activation", "weight by probability"),
}
"""Operations inside of each name of --offload-modules; core_attn is all of a module."""


def selective_walk(run: Megatron, graph: AutogradGraph) -> Walk:
    """A layer replayed with what is computed again, less what lies in host memory between forward and
    backward."""
    modules = (
        frozenset(MODULES.get(name, name) for name in run.recompute_modules)
        if run.recompute == "selective"
        else frozenset()
    )
    if "moe" in modules:
        graph = experts_as_one(graph)
    walked = walk(graph, modules, discarded=modules & DISCARDED)
    away = _offloaded(run, graph, modules)
    if not away:
        return walked
    saved = {name: size for name, size in walked.saved.items() if name not in away}
    return Walk(
        saved, walked.forward_peak, walked.backward_peak
    )  # a layer's own tensors are back while its backward runs


DISCARDED = frozenset(("norm", "moe_act", "mla_up_proj"))
"""Modules that give up what they make until the backward needs it (core/tensor_parallel/random.py,
CheckpointWithoutOutput); the others are checkpoints, whose outputs stay."""


def _offloaded(run: Megatron, graph: AutogradGraph, recomputed: frozenset[str]) -> set[str]:
    """Kept tensors that only offloaded operations need."""
    if not run.offload:
        return set()
    names = {name for word in run.offload for name in OFFLOADED.get(word, ())}
    mine: set[str] = set()
    others: set[str] = set()
    held = kept(graph, recomputed, recomputed & DISCARDED)
    for op in graph.ops:
        needed = set(op.reads if op.module in recomputed else op.saves)
        (mine if op.name in names or op.module in run.offload else others).update(needed)
    return {name for name in held if name in mine and name not in others}
