"""The pool of SGLang for states of linear attention: slots of all state layers, cut off what is left for the
cache (model_executor/model_runner.py to 0.5.6, model_runner_kv_cache_mixin.py, pool_configurator.py)."""

from collections.abc import Sequence
from typing import NamedTuple

from ...errors import UnsupportedError
from ...model.attention import Attention, Linear
from ...model.storage import DTYPES, F32
from ...run.serving import Asked, Resolved
from ..rank import CacheGroup
from ..recurrent_states import recurrent_state_bytes, state_width
from .release import SglangRules, attention_ranks

PLAIN_SLOTS = 3
"""Slots of a request whose state has no buffer beside."""
SLOTS_BY_STRATEGY = {"no_buffer": PLAIN_SLOTS, "extra_buffer": 5, "extra_buffer_lazy": 4}
"""Slots of a request by --mamba-scheduler-strategy (server_args.py of 0.5.14)."""
STATE_REQUESTS = 512
"""Requests for which there are states where none is said and no share of the pool is theirs."""


class StatePool(NamedTuple):
    """What states take of a rank's pool."""

    group: CacheGroup | None
    """Slots of a share of the pool; None: all slots are set aside."""
    share: float
    set_aside_bytes: int
    drafts_share: float = 0.0
    """What of the share is for states of drafts."""
    drafts_most_bytes: int = 0


def slots_of_request(attentions: Sequence[Attention], asked: Asked, rules: SglangRules) -> int:
    """Return how many states a request has: its own, and those of prefixes that may be kept.

    >>> from .release import RELEASES
    >>> layers = [Linear(16, 32, 128, 128, 4, "gdn")]
    >>> rules = RELEASES.at("0.5.16")
    >>> [slots_of_request(layers, Asked(disable_radix_cache=off), rules) for off in (False, True)]
    [5, 1]
    """
    if asked.disable_radix_cache or not rules.shares_pool_with_states:
        return 1
    if asked.mamba_scheduler_strategy != "auto":
        return SLOTS_BY_STRATEGY[asked.mamba_scheduler_strategy]
    states = (each for each in attentions if isinstance(each, Linear))
    buffered = all(each.variant == "gdn" for each in states)
    return rules.slots_of_buffered_states if buffered else PLAIN_SLOTS


def fixed_slots(asked: Asked, rules: SglangRules) -> int | None:
    """Return the slots for states where their number is said, by itself or by the requests that may run;
    None: they have a share of the pool.

    >>> from .release import RELEASES
    >>> asked = Asked(disable_radix_cache=True)
    >>> [fixed_slots(asked, RELEASES.at(text)) for text in ("0.5.8", "0.5.9")]
    [512, None]
    >>> fixed_slots(asked._replace(max_num_seqs=128), RELEASES.at("0.5.9"))
    128
    """
    if asked.max_mamba_cache_size:
        return asked.max_mamba_cache_size
    if not rules.shares_pool_with_states:
        return asked.max_num_seqs or STATE_REQUESTS
    if asked.disable_radix_cache and (asked.max_num_seqs or rules.counts_states_by_requests):
        return asked.max_num_seqs or STATE_REQUESTS
    return None


def state_pool(attentions: Sequence[Attention], asked: Resolved, rules: SglangRules) -> StatePool:
    """Return the part of the pool that holds states: so many slots as are said, and in 0.5.2 and 0.5.3 one
    for each request that may run; else 0.9 B for each byte of tokens, three to five slots a request, whose
    prefixes are kept. From 0.5.13 on that holds states of drafts, too, of no more requests than may run:
    tokens get the rest (_handle_max_mamba_cache, capped_reqs). From 0.5.17 on one slot more is counted, which
    no request has, with its drafts: (K + 1) x slot + (K / slots + 1) x drafts x slot = the share.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> from ...run.serving import Layout
    >>> asked = Resolved(layout=Layout(tp=4), dtype="bfloat16", max_num_seqs=2048)
    >>> layers = [each.attention for each in load("qwen3-next-80b-a3b").layers]
    >>> pool = state_pool(layers, asked, RELEASES.at("0.5.8"))
    >>> pool.group.page_bytes, pool.group.fixed_blocks, round(pool.share, 3)
    (19316736, 3, 0.474)
    >>> state_pool(layers, asked._replace(max_mamba_cache_size=128), RELEASES.at("0.5.9")).set_aside_bytes
    2472542208
    >>> state_pool(layers, asked._replace(max_mamba_cache_size=128), RELEASES.at("0.5.17")).set_aside_bytes
    2491858944
    """
    states = [each for each in attentions if isinstance(each, Linear)]
    if not states:
        return StatePool(None, 0.0, 0)
    if len(states) == len(attentions):
        raise UnsupportedError("a model of states alone in SGLang is not known yet", "use --engine vllm")
    layout = asked.layout
    ranks, width = attention_ranks(asked), DTYPES[asked.dtype].bits // 8
    slot = sum(
        recurrent_state_bytes(each, ranks, width, state_width(each, asked, F32.bits // 8)) for each in states
    )
    groups = layout.dp if layout.enable_dp_attention else 1
    requests, slots = asked.max_num_seqs, slots_of_request(attentions, asked, rules)
    drafts = asked.draft_tokens + 1 if asked.speculative else 0  # the token that is verified, too
    if not rules.shares_pool_with_states:
        drafts = 0
    unused = int(rules.counts_unused_slot_of_states)
    if asked.max_mamba_cache_size:
        fixed = asked.max_mamba_cache_size // groups
        verified = fixed if rules.multiplies_states_by_drafts else min(requests, fixed // slots)
        return StatePool(None, 0.0, (fixed + unused + (verified + unused) * drafts) * slot)
    aside = requests * drafts * slot if rules.sets_draft_states_aside else 0
    inside, most = 0.0, 0
    if rules.multiplies_states_by_drafts:
        slot *= 1 + drafts
    elif not rules.sets_draft_states_aside:
        inside = drafts / (slots + drafts)
        most = int((requests * drafts + unused * (1 + drafts) * inside) * slot)
        slot += slot * drafts // slots
    group = CacheGroup("states", len(states), 1, slot, fixed_blocks=slots)
    share = asked.mamba_full_memory_ratio / (1 + asked.mamba_full_memory_ratio)
    return StatePool(group, share, aside, inside, most)
