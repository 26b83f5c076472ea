"""States of lightning attention in vLLM's first engine: a slot a sequence, beside the cache."""

from ...ledger import Line, exact
from ...model.attention import Linear
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..rank import Stage
from .release import VllmRules


def keeps_slots(model: Model) -> bool:
    """Return whether all states of a model are those of MiniMax-Text-01 and M1."""
    states = model.kinds.of(Linear)
    return bool(states) and all(each.variant == "lightning" for each in states)


def slots_lines(model: Model, asked: Resolved, stage: Stage, rules: VllmRules) -> list[Line]:
    """Return the line of the slots that a model makes with its weights: layers x sequences x heads of a rank
    x width^2, in the model's type up to 0.9.1 (models/minimax_text_01.py, minimax_cache.py of 0.8.5),
    in F32 from 0.9.2 on (of 0.9.2 and 0.10.1).

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> asked = Resolved(dtype="bfloat16", max_num_seqs=256, layout=Layout(tp=8))
    >>> (line,) = slots_lines(load("minimax-text-01"), asked, Stage(0, 1, 0, 80), RELEASES.at("0.8.5 (V0)"))
    >>> line.bytes / 2**30
    4.375
    """
    if not keeps_slots(model):
        return []
    layers = [kind for kind in stage.kinds(model).kinds if isinstance(kind.attention, Linear)]
    width = 4 if rules.v0_keeps_slots_in_f32 else DTYPES[asked.dtype].bits // 8
    total = 0
    for kind in layers:
        state = kind.attention
        assert isinstance(state, Linear)
        heads = state.num_value_heads // asked.layout.tp
        total += len(kind.layers) * heads * state.key_head_dim * state.value_head_dim
    size = total * asked.max_num_seqs * width
    formula = f"{asked.max_num_seqs:,} sequences x {total * width:,} B"
    return [exact("runtime.workspaces", "engine", "slots of states", size, formula, "minimax_cache.py")]
