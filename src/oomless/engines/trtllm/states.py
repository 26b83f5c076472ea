"""States of linear attention in TensorRT-LLM: one for every sequence that may run, whatever the load."""

from collections.abc import Sequence

from ...errors import UnsupportedError
from ...model.attention import Attention, Linear
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..recurrent_states import recurrent_state_bytes, state_width

SERVED = ("gdn", "mamba2")
"""Qwen3-Next, Qwen3.5 and Nemotron-H (_torch/pyexecutor/config_utils.py, is_hybrid_linear)."""
LEAST_HISTORY = 16
"""Tokens that Mamba-2's replay of drafts keeps at least (MIN_REPLAY_HISTORY_SIZE)."""


def states_of(attentions: Sequence[Attention], asked: Resolved) -> int:
    """Return the bytes of the states of a stage: for max_batch_size sequences a stage, one for padded graphs,
    and one more with attention over data (_torch/pyexecutor/mamba_cache_manager.py,
    _estimate_mamba_hybrid_cache_cost). A gated delta net's recurrent state has the model's type, whatever
    the config says of how it is computed (resolve_ssm_cache_dtype).

    Qwen3.5-4B, 2,048 sequences; 256 of them:

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> layers = [each.attention for each in load("qwen3.5-4b").layers]
    >>> asked = Resolved(layout=Layout(), dtype="bfloat16", max_num_seqs=2048)
    >>> [states_of(layers, asked._replace(max_num_seqs=each)) >> 20 for each in (2048, 256)]
    [51481, 6457]
    """
    states = [each for each in attentions if isinstance(each, Linear)]
    if not states:
        return 0
    for each in states:
        if each.variant not in SERVED:
            raise UnsupportedError(
                f"{each.variant} layers in TensorRT-LLM are not known yet", "use --engine vllm"
            )
    layout, width = asked.layout, DTYPES[asked.dtype].bits // 8
    ranks, sequences = layout.tp // layout.dp, asked.max_num_seqs * layout.pp
    slots = sequences + 1 + layout.enable_dp_attention
    return sum(
        recurrent_state_bytes(each, ranks, width, element(each, asked, width)) * slots
        + drafts_of(each, asked, ranks, width) * sequences
        for each in states
    )


def element(state: Linear, asked: Resolved, width: int) -> int:
    """Return the bytes of an element of a recurrent state."""
    said = state._replace(state_bits=0) if state.variant == "gdn" else state
    return state_width(said, asked, width)


def drafts_of(state: Linear, asked: Resolved, ranks: int, width: int) -> int:
    """Return what one sequence of a layer keeps to go back behind refused drafts: a convolution's inputs
    after each token, and of a gated delta net the recurrent state too (TRTLLM_USE_GDN_REPLAY is off); of
    Mamba-2 what its replay reads, twice.

    >>> drafts_of(Linear(16, 32, 128, 128, 4), Resolved(), 1, 2)
    0
    """
    if not asked.speculative:
        return 0
    tokens = asked.draft_tokens + 1
    window = recurrent_state_bytes(state, ranks, width, 0)
    if state.variant == "gdn":
        return tokens * recurrent_state_bytes(state, ranks, width, element(state, asked, width))
    history = max(LEAST_HISTORY, tokens)
    kept = (state.value_width + state.key_width) * width + 2 * state.num_value_heads * 4
    return tokens * window + 2 * history * kept // ranks
