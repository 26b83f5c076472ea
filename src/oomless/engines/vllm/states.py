"""The recurrent states of vLLM: of what type a release keeps them, and their bytes."""

from ...model.attention import Attention, Linear
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..recurrent_states import recurrent_state_bytes
from .release import VllmRules


def typed(attention: Attention, family: str, asked: Resolved, rules: VllmRules) -> Attention:
    """Return the attention with the type of its state as a release keeps it: as --mamba-ssm-cache-dtype says,
    where that kind of state heeds it, or by the config, or the model's own; F32 for Nemotron-H from 0.20 on.

    Lightning attention and short convolutions follow the model. mamba_utils.py, MambaStateDtypeCalculator;
    models/config.py, NemotronHForCausalLMConfig.

    >>> from .release import RELEASES
    >>> state, asked = Linear(8, 64, 128, 64, 4, "mamba2"), Resolved(mamba_ssm_cache_dtype="auto")
    >>> for release in ("0.19.0", "0.20.0"):
    ...     typed(state, "nemotron_h", asked, RELEASES.at(release)).state_bits
    0
    32
    """
    if not isinstance(attention, Linear):
        return attention
    bits = attention.state_bits
    if attention.variant == "mamba2" and not rules.reads_state_types:
        bits = 0
    if not bits and family in rules.keeps_f32_states:
        bits = DTYPES["float32"].bits
    heeded = {"gdn": rules.types_delta_states, "kda": rules.types_kda_states, "mamba1": True, "mamba2": True}
    if asked.mamba_ssm_cache_dtype != "auto" and heeded.get(attention.variant):
        bits = DTYPES[asked.mamba_ssm_cache_dtype].bits
    return attention._replace(state_bits=bits)


def state_bytes(linear: Linear, asked: Resolved) -> int:
    """Bytes of one layer's state for one sequence on one rank: the last inputs of its convolution, and the
    recurrent state.

    >>> from ...run.serving import Layout
    >>> state_bytes(
    ...     Linear(16, 48, 128, 128, 4, state_bits=32), Resolved(dtype="bfloat16", layout=Layout(tp=2))
    ... )  # Qwen3.6-27B
    1603584
    """
    tp, width = asked.layout.tp, DTYPES[asked.dtype].bits // 8
    if linear.conv_kernel > 1:  # inputs of drafted tokens too, until they are accepted
        linear = linear._replace(conv_kernel=linear.conv_kernel + asked.draft_tokens)
    return recurrent_state_bytes(linear, tp, width, linear.state_bits // 8 or width)
