"""The pool of SGLang for states of linear attention: slots of all state layers, cut off what is left for the
cache (model_executor/model_runner.py to 0.5.6, model_runner_kv_cache_mixin.py, pool_configurator.py)."""

from collections.abc import Sequence
from typing import NamedTuple

from ...errors import UnsupportedError
from ...model.attention import Attention, Linear
from ...model.storage import DTYPES, F32
from ...run.serving import Resolved
from ..rank import CacheGroup
from ..recurrent_states import recurrent_state_bytes
from .release import SglangRules, attention_ranks

FULL_MEMORY_RATIO = 0.9
"""--mamba-full-memory-ratio: bytes of states for each byte of tokens."""
PLAIN_SLOTS = 3
"""Slots of a request whose state has no buffer beside (mamba scheduler strategy no_buffer)."""


class StatePool(NamedTuple):
    """What states take of a rank's pool."""

    group: CacheGroup | None
    """Slots of a share of the pool; None: all slots are set aside."""
    share: float
    set_aside_bytes: int


def state_pool(attentions: Sequence[Attention], asked: Resolved, rules: SglangRules) -> StatePool:
    """Return the part of the pool that holds states: for the requests that may run in 0.5.2 and 0.5.3; later
    0.9 B for each byte of tokens, three to five slots a request, whose prefixes are kept.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> from ...run.serving import Layout
    >>> asked = Resolved(layout=Layout(tp=4), dtype="bfloat16", max_num_seqs=2048)
    >>> layers = [each.attention for each in load("qwen3-next-80b-a3b").layers]
    >>> pool = state_pool(layers, asked, RELEASES.at("0.5.8"))
    >>> pool.group.page_bytes, pool.group.fixed_blocks, round(pool.share, 3)
    (19316736, 3, 0.474)
    """
    states = [each for each in attentions if isinstance(each, Linear)]
    if not states:
        return StatePool(None, 0.0, 0)
    if len(states) == len(attentions):
        raise UnsupportedError("a model of states alone in SGLang is not known yet", "use --engine vllm")
    layout = asked.layout
    ranks, width = attention_ranks(layout), DTYPES[asked.dtype].bits // 8
    slot = sum(
        recurrent_state_bytes(each, ranks, width, (each.state_bits or F32.bits) // 8) for each in states
    )
    requests = asked.max_num_seqs // (layout.dp if layout.enable_dp_attention else 1)
    if not rules.shares_pool_with_states:
        return StatePool(None, 0.0, requests * slot)
    buffered = all(each.variant == "gdn" for each in states)
    slots = rules.slots_of_buffered_states if buffered else PLAIN_SLOTS
    drafts = asked.draft_tokens + 1 if asked.speculative else 0  # the token that is verified, too
    aside = requests * drafts * slot if rules.sets_draft_states_aside else 0
    if rules.multiplies_states_by_drafts:
        slot *= 1 + drafts
    elif not rules.sets_draft_states_aside:
        slot += slot * drafts // slots
    group = CacheGroup("states", len(states), 1, slot, fixed_blocks=slots)
    return StatePool(group, FULL_MEMORY_RATIO / (1 + FULL_MEMORY_RATIO), aside)
