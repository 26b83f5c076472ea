"""What a layer of linear attention takes when it reads a prompt, which vLLM's profile run does not see: its
dummy batch has no states, so the scan over chunks never runs (vllm#54775, vllm#52872)."""

from ...ledger import Line, ranged, sums
from ...model.attention import Linear
from ...model.storage import F32
from ...run.cards import Hardware
from ...units import GIB, MIB
from .profile import HOPPER_SMS, ProfileRun
from .release import VllmRules

CHUNK = 64
"""Tokens that a delta rule's scan takes at a time (third_party/flash_linear_attention/ops/utils.py)."""
MAMBA_CHUNK = 128
"""Those of Mamba-2's in Nemotron-H; twice as many elsewhere, which halves its states."""
LIGHTNING_BLOCK = 256
"""Tokens whose keys and values become one state in F32 (layers/lightning_attn.py of 0.33)."""
READ = ("NVIDIA", "AMD")
"""Makers of cards whose kernels were read; a card without a name may be another's."""
FLASHINFER_KEYS = 128
"""Elements of a key that FlashInfer's scan reads on Blackwell."""


def scan_bytes(linear: Linear, tokens: int, ranks: int, width: int, fused: bool = False) -> int:
    """Return what the scan over chunks of one layer holds at its peak, for the tokens of a batch.

    Gated delta rule, a token and rank: w as wide as all keys, u, the new values and the output, scores within
    a chunk and the states that chunks start from, and in F32 what decays (ops/chunk.py of 0.19 to 0.33; a
    head of 128 takes 1,920 B with scores in F32, vllm#55149). KDA: the same with decayed keys and scores in
    F32, while the output overwrites the values (ops/kda.py). Mamba-2: states of chunks in F32 and passed on,
    products of C and B, steps (mamba/ops/ssd_combined.py). One kernel holds its output alone: FlashInfer's
    (`fused`), Mamba-1's; short convolutions have none.

    Qwen3.6-27B, 8,192 tokens on one card, by Triton and by FlashInfer:

    >>> from ...model.load import load
    >>> linear = load("qwen3.6-27b").kinds_within(0, 1).attentions[0].core
    >>> [round(scan_bytes(linear, 8192, 1, 2, fused) / GIB, 2) for fused in (False, True)]
    [0.61, 0.1]
    """
    f32 = F32.bits // 8
    heads = max(linear.num_value_heads // ranks, 1)
    values, state = linear.value_width // ranks, heads * linear.key_head_dim * linear.value_head_dim
    keys = heads * linear.key_head_dim
    match linear.variant:
        case "gdn" if fused:
            return tokens * (width * values + 4 * f32 * heads)
        case "gdn":
            row = width * (keys + 3 * values + CHUNK * heads) + 3 * f32 * heads
            return tokens * row + tokens * width * state // CHUNK
        case "kda":
            row = width * (2 * keys + 2 * values) + f32 * (keys + CHUNK * heads)
            return tokens * row + tokens * width * state // CHUNK
        case "mamba2":
            groups = max(linear.num_key_heads // ranks, 1)
            row = f32 * (2 * heads + groups * MAMBA_CHUNK)
            return tokens * row + tokens * (f32 + width) * state // MAMBA_CHUNK
        case "lightning":
            return tokens * width * values + tokens * f32 * state // LIGHTNING_BLOCK
        case "mamba1":
            return tokens * width * values
        case "short_conv":
            return 0


def held_bytes(linear: Linear, hidden: int, tokens: int, ranks: int, width: int, fused: bool = False) -> int:
    """Return what a layer holds while its scan is at its peak: hidden states, residual and output,
    projections with their gate, what the convolution makes of them, copies of queries, keys and values (of a
    delta rule), the output of the core, the scan.

    Qwen3.6-27B, 8,192 tokens on one card (layers/mamba/gdn_linear_attn.py of 0.20, _forward_core):

    >>> from ...model.load import load
    >>> linear = load("qwen3.6-27b").kinds_within(0, 1).attentions[0].core
    >>> round(held_bytes(linear, 5120, 8192, 1, 2) / GIB, 2)
    1.5
    """
    copies = 3 if linear.variant in ("gdn", "kda") else 2
    row = 3 * hidden + (copies * linear.conv_width + 2 * linear.value_width) // ranks
    return tokens * width * row + scan_bytes(linear, tokens, ranks, width, fused)


def scans_by_flashinfer(linear: Linear, hardware: Hardware, rules: VllmRules) -> bool:
    """Return whether FlashInfer scans: a gated delta rule on Hopper, of keys of 128 on Blackwell later.

    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> linear, cards = Linear(16, 48, 128, 128, 4), ("rtx-3090", "h100", "b200", "rtx-5090")
    >>> [scans_by_flashinfer(linear, parse_gpu(card), RELEASES.at("0.27.1")) for card in cards]
    [False, True, True, False]
    """
    card = hardware.card
    if card.vendor != "NVIDIA" or linear.variant != "gdn":
        return False
    if card.major == 9:
        return rules.scans_by_flashinfer_on_hopper
    if linear.key_head_dim != FLASHINFER_KEYS:
        return False
    if card.major == 10:
        return rules.scans_by_flashinfer_on_sm10
    return card.major == 12 and rules.scans_by_flashinfer_on_sm12


def scan_line(run: ProfileRun, charged: list[Line]) -> Line:
    """Return the line of what the first long prompt takes beside the pool: what its layer holds over the peak
    that the profile run had reserved, kernels that it loads, and what trying them leaves.

    Its segments may be a little more; at most the whole scan lies beside a peak of which nothing is in one
    piece. What nvidia-smi shows is more: idle segments are given back only where memory ends.
    """
    asked, card, tokens = run.asked, run.hardware.card, min(run.tokens, run.asked.max_model_len)
    peak = [line for line in charged if line.category in ("activations", "logits")]
    profiled, _, peak_at_most = sums(peak)
    held = scan = 0
    for each in run.stage.kinds(run.model).of(Linear):
        how = tokens, asked.layout.tp, run.width, scans_by_flashinfer(each, run.hardware, run.rules)
        held = max(held, held_bytes(each, run.model.hidden_size, *how))
        scan = max(scan, scan_bytes(each, *how))
    where = () if card.vendor in READ else ("ascend",)
    packing, growth, trial = (
        run.constant(each, *where) for each in ("scan_packing", "scan_growth", "scan_trial")
    )
    sms = card.num_sms or HOPPER_SMS
    least, value, most = (
        max(int(getattr(packing, end) * held) - covered, at_least)
        + int(getattr(growth, end) * GIB + getattr(trial, end) * sms * MIB)
        for end, covered, at_least in (
            ("low", peak_at_most, 0),
            ("value", profiled, 0),
            ("high", profiled, scan),
        )
    )
    return ranged(
        "temporaries.running",
        "engine",
        "work of linear attention, outside the profile run",
        (value, least, most),
        "assumed",
        f"{tokens:,} tokens: {held:,} B of a layer while it scans, {profiled:,} B profiled",
        growth.source,
    )
