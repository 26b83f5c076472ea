"""What of a stage's layers is computed again in the backward."""

from typing import NamedTuple

from ...frameworks import framework
from ...frameworks.megatron.selective import DISCARDED
from ...run.training import TrainingResolved

ALIASES = {
    "layernorm": "norm",
    "mlp": "mlp",
    "moe": "moe",
    "core_attn": "core_attn",
    "mla_up_proj": "mla_up_proj",
}
"""Names of modules as frameworks write them, as the graphs do."""


class Recomputed(NamedTuple):
    """What of one layer is computed again in the backward."""

    whole: bool
    """All of it: its input alone is kept."""
    modules: frozenset[str]
    """What lies inside of these parts of it."""
    discarded: frozenset[str] = frozenset()
    """Those of them that give up what they make too, until the backward needs it."""


def recomputed(request: TrainingResolved, position: int) -> Recomputed:
    """Return what the question has computed again of a stage's layer, counted from the stage's first.

    full: every layer, or the first `recompute_num_layers`. selective: the insides of the named modules, or
    every how many-th layer as a whole and nothing of the others.

    >>> recomputed(TrainingResolved(recompute="selective", recompute_every=2), 1)
    Recomputed(whole=False, modules=frozenset(), discarded=frozenset())
    >>> asked = TrainingResolved(recompute="selective", recompute_modules=("moe_act",))
    >>> recomputed(asked._replace(framework="megatron-bridge"), 0).discarded
    frozenset({'moe_act'})
    """
    match request.recompute:
        case "full":
            first = request.recompute_num_layers
            return Recomputed(first is None or position < first, frozenset())
        case "selective" if request.recompute_every > 1:
            return Recomputed(position % request.recompute_every == 0, frozenset())
        case "selective":
            names = frozenset(ALIASES.get(name, name) for name in request.recompute_modules)
            own = framework(request.framework).megatron_core
            return Recomputed(False, names, names & DISCARDED if own else frozenset())
    return Recomputed(False, frozenset())


def waits_on_host(request: TrainingResolved) -> bool:
    """Whether what layers keep waits in host memory: because the question says so, or as the framework's
    recomputation keeps the inputs of layers.

    >>> waits_on_host(TrainingResolved(framework="unsloth", recompute="full"))
    True
    >>> waits_on_host(TrainingResolved(framework="unsloth", recompute="full", framework_version="2025.7.4"))
    False
    """
    of = framework(request.framework)
    kept = request.recompute == "full" and of.inputs_on_host
    on_card = kept and of.habits(request.framework_version).inputs_on_card
    return "activations" in request.offload or (kept and not on_card)


def reentrant(request: TrainingResolved) -> bool:
    """Whether layers are computed again inside of a backward of their own. LLaMA-Factory, Axolotl and
    ms-swift ask for it (model/model_utils/checkpointing.py; utils/config/__init__.py).

    >>> old = TrainingResolved(framework="trl", framework_version="transformers 4.40", recompute="full")
    >>> [reentrant(old._replace(use_reentrant=said)) for said in (None, False, True)]
    [True, False, True]
    >>> [reentrant(TrainingResolved(framework=name, recompute="full")) for name in ("trl", "axolotl")]
    [False, True]
    >>> asked = TrainingResolved(framework="axolotl", recompute="full")
    >>> days = ("2023-12-31", "2024-01-04", "2024-02-01")
    >>> [reentrant(asked._replace(framework_version=f"axolotl {day}")) for day in days]
    [True, False, True]
    """
    of, said = framework(request.framework), request.use_reentrant
    if said is None:
        earlier = of.habits(request.framework_version).checkpoints
        said = earlier == "reentrant" or (of.reentrant and earlier != "plain")
    return request.recompute == "full" and said
