"""What FlashInfer's kernel for NVFP4 experts on B200 sets aside for a batch, and what of it vLLM's trial of
CUDA graphs counts again for every size.

flashinfer csrc/trtllm_fused_moe_kernel_launcher.cu (FP4BlockScaleLauncher) and
include/flashinfer/trtllm/fused_moe/runner.h of 0.6.8 to 0.6.18; vLLM's oracle/nvfp4.py of 0.20 to 0.33 takes
this kernel first. It is tuned after memory is profiled, so the trial runs with the launcher's own tiles.
"""

from ... import facts
from ...model.feedforward import MoE
from ...model.model import Model
from ...run.serving import Resolved
from .release import VllmRules
from .runners import runs_second

TILES = 8, 256
"""Rows of the smallest and the largest tile."""
GROUP = 16
"""Values of NVFP4 that share a scale of one byte."""
BACKENDS = ("", "auto", "flashinfer_trtllm")
"""--moe-backend that leads to this kernel."""

Ends = tuple[int, int, int]


def padded_rows(tokens: int, active: int, experts: int, held: int) -> int:
    """Return the rows that the choices of a batch may take: of a tile half as high as a held expert's share
    rounded up to a power of two, one for each expert and one for each tile filled.

    Kimi-K2.5 with 2,032 tokens on four ranks of tensor parallelism; MiniMax-M2.5 with 2 x 2,032 on two ranks
    that divide its experts:

    >>> padded_rows(2032, 8, 384, 384), padded_rows(4064, 8, 256, 128)
    (28160, 65024)
    """
    share = -(-tokens * active // held)
    power = min(max(1 << (share - 1).bit_length(), TILES[0]), TILES[1])
    tile = max(power // 2, TILES[0])
    filled = min(experts, tokens * active)
    return (filled + (tokens * active - filled) // tile) * tile


def workspace_bytes(model: Model, asked: Resolved, tokens: int, rules: VllmRules) -> int:
    """Return the bytes of a step: what the first product gives in NVFP4 with its scales, and the second in
    BF16, of the widest experts; ranks of data parallelism gather all ranks' tokens.

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> asked = Resolved(layout=Layout(tp=4))
    >>> size = workspace_bytes(load("kimi-k2.5"), asked, 2032, RELEASES.at("0.20.2"))
    >>> round(size / 2**20)
    393
    """
    layout, found = asked.layout, 0
    ranks = layout.tp * layout.dp
    seen = tokens * (layout.dp if rules.gathers_tokens_of_ranks else 1)
    for ffn in model.kinds.ffns:
        if not isinstance(ffn, MoE):
            continue
        apart = layout.enable_expert_parallel
        held = ffn.num_experts // ranks if apart else ffn.num_experts
        inner = ffn.expert_width if apart else ffn.expert_width // ranks
        row = model.hidden_size * 2 + inner // 2 + inner // GROUP
        rows = padded_rows(seen, ffn.num_active_experts, ffn.num_experts, max(held, 1))
        found = max(found, rows * row)
    return found


def tried_ends(
    model: Model,
    asked: Resolved,
    pieces: int,
    sizes: tuple[int, int],
    rules: VllmRules,
    tags: tuple[str, ...],
) -> Ends:
    """Return the least, the middle and the most that the trial takes of workspaces: for so many steps that
    are captured in pieces, and the tokens of the two largest.

    The trial captures two sizes of a mode and takes the second for each of the rest (gpu_model_runner.py,
    profile_cudagraph_memory). Where steps of more than 512 tokens are captured, the second has a workspace of
    its own, why is not known: 57 GiB for Kimi-K2.5 (InferenceX#1395), 62 for MiniMax-M2.5 (vllm#45178), both
    147 sizes to 2,048. With sizes to 512 tensor parallelism reuses the first; ranks of data parallelism may
    not. The second model runner captures all pieces in its trial, and whole steps find room there
    (v1/worker/gpu/cudagraph_utils.py of 0.29 to 0.33).
    """
    if asked.moe_backend not in BACKENDS or not pieces:
        return 0, 0, 0
    share = facts.constant("vllm", "graphs_workspace", rules.release, *tags)
    first, following = (workspace_bytes(model, asked, each, rules) for each in sizes)
    rest = (pieces - 1) * following
    low, middle, high = (int(first + rest * end) for end in (share.low, share.value, share.high))
    if runs_second(model, asked, rules, tags):
        return 0, first, 2 * first
    if "nvfp4_wide" in tags:
        return low, middle, high
    return 0, 0, high if "dp_experts" in tags else 0
