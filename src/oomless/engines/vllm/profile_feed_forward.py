"""What the feed-forward of vLLM's profile run takes: its widest layer, and the workspace of fused experts."""

from typing import TYPE_CHECKING

from ...ledger import Line, exact
from ...model.attention import DSA
from ...model.feedforward import Dense, MoE
from ...model.model import Model
from ...model.storage import NVFP4
from ...run.cards import Hardware
from ...run.serving import Layout, Resolved
from ..rank import Stage
from ..runtime_formats import is_fp8, runtime_format
from .weights import placed_weights

if TYPE_CHECKING:
    from .profile import ProfileRun

BITSANDBYTES = "bitsandbytes"
MEGA_MOE, B12X, CUTLASS = "deep_gemm_mega_moe", "flashinfer_b12x", "cutlass"
B12X_STATIC_ROWS = 640
"""Choices of a batch up to which b12x has room for all of them with any expert."""
B12X_TILES = (16, 15), (32, 48), (64, 96)
"""Rows of a tile where an expert has fewer choices than the second number; else 128."""


def largest_layer(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> int:
    """Bytes of the largest layer of a rank: V0 copies a layer that lies on the host to the card to run it."""
    placed = placed_weights(model, asked._replace(cpu_offload_gb=0.0), hardware, stage)
    sizes = [
        sum(each.num_bytes * each.per_layer for each in placed if layer in each.layers)
        for layer in range(stage.start, stage.stop)
    ]
    return max(sizes, default=0)


def widest_inner(model: Model, layout: Layout) -> tuple[int, int]:
    """Width of the widest dense or shared feed-forward on a rank, and how many of that width live at once: 3
    with a gate, else 2."""
    widths = [(0, 3)]
    for ffn in model.kinds.ffns:
        inner = ffn.intermediate_size if isinstance(ffn, Dense) else max(ffn.shared_width, ffn.dense_width)
        widths.append((inner // layout.tp, 3 if ffn.gated else 2))
    return max(widths)


def quantises_inputs(model: Model, asked: Resolved, hardware: Hardware) -> bool:
    """Whether matrices are multiplied with 8-bit inputs, which are made by the way: where a card has no
    products in FP8, Marlin reads such weights and multiplies in 16 bit (model_executor/layers/quantization/
    fp8.py, use_marlin; compressed_tensors.py, W8A16Fp8)."""
    forms = (runtime_format(each, model, asked) for each in model.tensors if each.role == "linear")
    return any(form.bits == 8 and not (hardware.card.lacks_fp8 and is_fp8(form)) for form in forms)


def summed_parts(run: "ProfileRun") -> int:
    """Return the parts that the first kernel for AWQ makes of the widest product before it adds them up, less
    the activations that come after it; experts were whole on their rank, each with all tokens
    (csrc/quantization/awq/gemm_kernels.cu and models/mixtral.py of 0.2.7; 0.3 multiplies a batch in 16 bit).

    Mixtral-8x7B with 32,768 tokens: 8 x 32,768 x 14,336 x 2 B = 7 GiB (vllm#2382).
    """
    form = run.asked.quantization or run.model.quantization
    if form != "awq" or not run.rules.awq_parts:
        return 0
    inner, gates = widest_inner(run.model, run.asked.layout)
    experts = [ffn.expert_width for ffn in run.model.kinds.of(MoE)]
    parts = run.rules.awq_parts
    widest = max(parts * (gates - 1) * inner - inner, *(parts * width for width in experts), 0)
    return run.tokens * run.width * widest


def unpacked_bytes(run: "ProfileRun") -> int:
    """Return what bitsandbytes makes beside the widest product: the last of its parts, as large as what is
    made of it, and that part's matrix unpacked; then, where the model is not in BF16, its inputs and the
    product once more (model_executor/layers/quantization/bitsandbytes.py of 0.5.0 to 0.33,
    _apply_4bit_weight).
    """
    if (run.asked.quantization or run.model.quantization) != BITSANDBYTES:
        return 0
    inner, gates = widest_inner(run.model, run.asked.layout)
    cast = run.asked.dtype != "bfloat16"
    hidden = run.model.hidden_size
    return run.width * max(hidden * inner, cast * run.tokens * (hidden + (gates - 2) * inner))


def expert_workspace(run: "ProfileRun") -> int:
    """Return the two buffers of the fused experts, T*k*max(2*ff, h) and T*k*max(ff, h) elements.

    Before 0.16 the second is T*k*ff; 0.7 had three, T*k*2*ff, T*k*ff and T*k*h. A backend with its own buffer
    has none (mega_moe.py, b12x_lines). Ranks of data parallelism gather all ranks' tokens beside them
    (naive_dp_ep.py).
    """
    if run.asked.moe_backend == MEGA_MOE or b12x_lines(run):
        return 0
    layout, rules, hidden = run.asked.layout, run.rules, run.model.hidden_size
    seen = run.tokens * (layout.dp if rules.gathers_tokens_of_ranks else 1)
    tokens, largest = min(seen, rules.experts_per_call or seen), 0
    gathered = 0 if seen == run.tokens else run.width * seen * hidden
    for ffn in run.model.kinds.ffns:
        if isinstance(ffn, MoE):
            inner = ffn.expert_width // (1 if layout.enable_expert_parallel else layout.tp * layout.dp)
            gemm = gemm_padding(run, ffn, inner)
            first = max(inner, hidden) if rules.reuses_expert_inputs or gemm else inner
            second = max(2 * inner, hidden) if rules.merges_expert_outputs else 2 * inner + hidden
            rows = tokens * ffn.num_active_experts + gemm
            if runs_cutlass_nvfp4(run):
                first, second = inner, max(2 * inner, hidden)
            largest = max(largest, run.width * rows * (first + second) + gathered)
    return largest


def gemm_padding(run: "ProfileRun", ffn: MoE, inner: int) -> int:
    """Return the rows that DeepGEMM adds to the choices of a batch, 127 for each expert of the rank; 0 where
    it does not multiply the experts. Where a model's indexer needs it, it is installed.

    fused_moe/deep_gemm_moe.py: block FP8, wider than 512 on the rank; its first buffer holds inputs too.
    """
    model, layout, cap = run.model, run.asked.layout, run.hardware.card.capability
    if not run.rules.has_gemm_of_experts or not model.kinds.has(DSA) or not 9 <= cap < 11 or inner <= 512:
        return 0
    forms = {runtime_format(tensor, model, run.asked) for tensor in model.tensors if tensor.role == "expert"}
    if not any(form.bits == 8 and form.block == (128, 128) for form in forms):
        return 0
    held = ffn.num_experts // (layout.tp * layout.dp if layout.enable_expert_parallel else 1)
    return held * 127


def has_nvfp4_experts(model: Model, asked: Resolved) -> bool:
    """Return whether experts are held in NVFP4."""
    if asked.quantization not in (None, model.quantization):
        return model.kinds.has_experts and asked.quantization == "nvfp4"
    return any(tensor.format == NVFP4 for tensor in model.tensors if ".experts." in tensor.name)


def runs_cutlass_nvfp4(run: "ProfileRun") -> bool:
    """Return whether vLLM's own kernels multiply experts in NVFP4: where they are named."""
    return run.asked.moe_backend == CUTLASS and has_nvfp4_experts(run.model, run.asked)


def routed_copies(run: "ProfileRun") -> int:
    """Return what these kernels copy beside their workspace: rows of a batch's choices as they go to experts,
    as they come back, and those times their weights (fused_moe/experts/cutlass_moe.py)."""
    if not runs_cutlass_nvfp4(run):
        return 0
    chosen = max((ffn.num_active_experts for ffn in run.model.kinds.of(MoE)), default=0)
    return 3 * run.tokens * chosen * run.model.hidden_size * run.width


def b12x_bytes(experts: int, active: int, hidden: int, tokens: int, narrow: bool) -> int:
    """Bytes that FlashInfer's b12x keeps for one layer: rows of 4-bit inputs with their scales, weights and
    places, 640 for each expert and all choices in tiles; the output in BF16.

    Qwen3.6-35B with 8,192 tokens; 40 layers left 11.5 GiB less of cache than Marlin (vllm#49476):

    >>> round(b12x_bytes(256, 8, 2048, 8192, narrow=False) * 40 / 2**30, 2)
    12.57
    """
    rows = tokens * active
    tile = next((size for size, most in B12X_TILES if narrow and rows < most * experts), 128)
    tiled = (-(-rows // tile) + min(experts, rows) - 1) * tile if rows > B12X_STATIC_ROWS else 0
    kept = experts * min(rows, B12X_STATIC_ROWS) + tiled
    return kept * (hidden // 2 + hidden // 16 + 8) + tokens * hidden * 2


def b12x_lines(run: "ProfileRun") -> list[Line]:
    """What each layer's wrapper of b12x keeps from its first batch on
    (fused_moe/experts/flashinfer_b12x_moe.py; flashinfer/fused_moe/cute_dsl/b12x_moe.py of 0.6.13)."""
    if run.asked.moe_backend != B12X or not run.rules.wraps_b12x:
        return []
    hidden, narrow, tokens = run.model.hidden_size, run.rules.narrows_b12x_tiles, run.tokens
    size = sum(
        len(kind.layers) * b12x_bytes(ffn.num_experts, ffn.num_active_experts, hidden, tokens, narrow)
        for kind in run.stage.kinds(run.model).kinds
        if isinstance(ffn := kind.ffn, MoE)
    )
    formula = f"{tokens} tokens, a set of buffers a layer"
    source = "flashinfer/fused_moe/cute_dsl/b12x_moe.py"
    return [exact("activations.profile_run", "engine", "workspaces of b12x", size, formula, source)]
