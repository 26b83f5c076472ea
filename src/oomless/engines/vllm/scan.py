"""What a layer of linear attention takes when it reads a prompt, which vLLM's profile run does not see: its
dummy batch has no states, so the scan over chunks never runs (vllm#54775, vllm#52872)."""

from ... import facts
from ...ledger import Line, ranged
from ...model.attention import Linear
from ...model.model import Model
from ...model.storage import DTYPES, F32
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB, MIB
from ..rank import Stage
from .profile import HOPPER_SMS
from .profile_attention import linear_bytes
from .release import VllmRules

CHUNK = 64
"""Tokens that the scan takes at a time (model_executor/layers/fla/ops/chunk.py)."""


def scan_bytes(linear: Linear, tokens: int, ranks: int, width: int) -> int:
    """Return the buffers of the scan over chunks of one layer, for the tokens of a batch.

    A token and rank: normalised queries and keys, w, u and the new values, scores within its chunk in F32 and
    their inverse, and a 64th of the state that each chunk starts from. Short convolutions have none; what
    Mamba's scan keeps is taken for the same.

    Qwen3.6-27B, 8,192 tokens on one card:

    >>> from ...model.load import load
    >>> linear = load("qwen3.6-27b").kinds_within(0, 1).attentions[0].core
    >>> round(scan_bytes(linear, 8192, 1, 2) / GIB, 2)
    0.67
    """
    if linear.variant == "short_conv":
        return 0
    heads = max(linear.num_value_heads // ranks, 1)
    values, keys = linear.value_width // ranks, linear.key_width // ranks
    row = width * (2 * keys + 3 * values) + heads * CHUNK * (F32.bits // 8 + width)
    return tokens * (row + heads * linear.key_head_dim * linear.value_head_dim * width // CHUNK)


def scan_line(
    model: Model,
    asked: Resolved,
    hardware: Hardware,
    stage: Stage,
    rules: VllmRules,
    tags: tuple[str, ...],
    charged: list[Line],
) -> Line:
    """Return the line of what the first long prompt takes beside the pool: what a layer and its scan hold at
    once over the peak that the profile run had reserved, and what trying their kernels leaves; at most the
    whole scan, where nothing of that peak is in one piece.

    The value counts neither fragments nor other layers' temporaries.
    """
    width, tokens = DTYPES[asked.dtype].bits // 8, min(asked.max_num_batched_tokens or 0, asked.max_model_len)
    profiled = sum(line.bytes for line in charged if line.category in ("activations", "logits"))
    layers = [each for each in stage.kinds(model).attentions if isinstance(each, Linear)]
    scan = max(scan_bytes(each, tokens, asked.layout.tp, width) for each in layers)
    layer = max(linear_bytes(each, asked, model.hidden_size, width) for each in layers)
    growth, trial = (
        facts.constant("vllm", each, rules.release, *tags) for each in ("scan_growth", "scan_trial")
    )
    sms = hardware.card.num_sms or HOPPER_SMS
    least, value, most = (
        int(getattr(growth, end) * GIB + getattr(trial, end) * sms * MIB) for end in ("low", "value", "high")
    )
    return ranged(
        "temporaries.running",
        "engine",
        "work of linear attention, outside the profile run",
        (value + max(layer + scan - profiled, 0), least, most + max(scan, layer + scan - profiled)),
        "assumed",
        f"{tokens:,} tokens: {scan:,} B of the scan beside {layer:,} B of its layer, {profiled:,} B profiled",
        growth.source,
    )
