"""FlashInfer's attention in vLLM: where it is chosen, and the workspace of its prompts."""

from ...ledger import Line, exact
from ...model.attention import GQA, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import MIB
from ..rank import Stage
from .release import VllmRules

WORKSPACE = 394 * MIB
"""VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE (vllm/envs.py of 0.19 to 0.33)."""
BYTES_A_VALUE = 16
"""FLASHINFER_PREFILL_WORKSPACE_BYTES_PER_ELEM (v1/attention/backends/flashinfer.py of 0.26 to 0.33)."""
HEADS = (64, 128, 256)
"""Elements of the heads that it reads; Triton's kernels read others."""
NAME = "FLASHINFER"


def reads_codes(model: Model, cache_dtype: str, hardware: Hardware) -> bool:
    """Return whether FlashInfer reads a cache of codes: grouped queries, on cards that neither FlashAttention
    3 (Hopper, but for E5M2) nor TensorRT-LLM's kernels (large Blackwell cards) run on
    (vllm/platforms/cuda.py, _get_backend_priorities; v1/attention/backends/fa_utils.py).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> model = load("qwen3.8-27b-fp8")
    >>> [reads_codes(model, "fp8", parse_gpu(card)) for card in ("a40", "h100", "b200", "rtx-5090")]
    [True, False, False, True]
    """
    card = hardware.card
    if card.vendor != "NVIDIA" or not model.kinds.has(GQA, Sliding):
        return False
    if card.major == 9:
        return cache_dtype == "fp8_e5m2"
    return card.major != 10 and cache_dtype.startswith(("fp8", "nvfp4"))


def runs(model: Model, cache_dtype: str, hardware: Hardware, rules: VllmRules) -> bool:
    """Return whether FlashInfer attends: where it is named, or reads a cache of codes; on Turing, which
    FlashAttention does not run on, as the next in order. On large Blackwell cards TensorRT-LLM's kernels do
    under its name.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> texts = "0.26.0", "0.26.0 (FLASHINFER)", "0.26.0 (TRITON_ATTN)"
    >>> for cache in ("auto", "fp8"):
    ...     [runs(load("qwen3-8b"), cache, parse_gpu("rtx-5090"), RELEASES.at(text)) for text in texts]
    [False, True, False]
    [True, True, False]
    >>> t4, releases = parse_gpu("t4"), ("0.11.0", "0.12.0", "0.24.0")
    >>> [runs(load("qwen3-8b"), "auto", t4, RELEASES.at(text)) for text in releases]
    [False, True, False]
    """
    named, card = rules.named_attention, hardware.card
    if not named or card.vendor != "NVIDIA" or card.major == 10:
        on_turing = rules.attends_turing_by_flashinfer and card.capability == 7.5
        return reads_codes(model, cache_dtype, hardware) or (on_turing and model.kinds.has(GQA, Sliding))
    return named == NAME and model.kinds.has(GQA, Sliding)


def workspace_bytes(model: Model, asked: Resolved, hardware: Hardware, stage: Stage, rules: VllmRules) -> int:
    """Return the bytes of the workspace that FlashInfer's first batch makes, one for all layers; from 0.26 on
    no less than 16 B a token of the batch and value of a rank's queries. 0 where it does not run.

    Qwen3.5-122B with batches of 32,768: 4.0 of the 4.2 GiB that a trial of whole steps takes (vllm#50780).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> from .release import RELEASES
    >>> model, stage = load("qwen3.5-122b-a10b"), Stage(0, 1, 0, 48)
    >>> asked = Resolved(max_num_batched_tokens=32768, layout=Layout(), kv_cache_dtype="fp8_e4m3")
    >>> card = parse_gpu("rtx-pro-6000")
    >>> [workspace_bytes(model, asked, card, stage, RELEASES.at(each)) >> 20 for each in ("0.25.0", "0.26.0")]
    [394, 4096]
    """
    if not rules.chooses_attention_by_order or not runs(model, asked.kv_cache_dtype, hardware, rules):
        return 0
    cores = [each.core for each in stage.kinds(model).attentions if isinstance(each, GQA | Sliding)]
    if not cores or any(core.head_dim not in HEADS or core.sinks for core in cores):
        return (
            0  # only TensorRT-LLM's kernels know sinks (v1/attention/backends/flashinfer.py, supports_sink)
        )
    if not rules.sizes_flashinfer_by_batch:
        return WORKSPACE
    values = max(core.num_heads * core.head_dim for core in cores) // asked.layout.tp
    return max(WORKSPACE, (asked.max_num_batched_tokens or 0) * values * BYTES_A_VALUE)


def workspace_line(size: int) -> Line:
    """Return the line of a workspace that no captured step makes: the first request does, beside the pool."""
    return exact(
        "runtime.workspaces",
        "engine",
        "workspace of FlashInfer, made by the first request",
        size,
        f"{size:,} B: at least 394 MiB, from 0.26 on 16 B a token of the batch and value of the queries",
        "v1/attention/backends/flashinfer.py, _get_workspace_buffer",
    )
