"""Which kernels attend in a step of decoding, and what each takes for itself: workspaces from the start, and
wrappers for each captured batch (layers/attention)."""

from ...ledger import Line, ranged
from ...model.attention import DSA, MLA, V4, V41, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB, MIB
from .release import RELEASES, by_fa3

WORKSPACES = {
    "flashinfer": 384 * MIB,
    "trtllm_mha": (384 + 512) * MIB,
    "trtllm_mla": (384 + 150) * MIB,
    "cutlass_mla": 384 * MIB,
}
"""SGLANG_FLASHINFER_WORKSPACE_SIZE (environ.py), which TRT-LLM's kernels take beside their own
(trtllm_mha_backend.py, trtllm_mla_backend.py)."""
MORE = 128 * MIB
"""Of families with 512 MiB."""
WRAPPER_BYTES = 8 * MIB
"""Integers of one wrapper of FlashInfer (flashinfer/decode.py, _int_workspace_buffer)."""
UNCOUNTED_BYTES = int(0.3 * GIB)


def step_backend(model: Model, asked: Resolved, hardware: Hardware) -> str:
    """Return the name of the kernels that attend in a step; "" for those of sparse attention, of V4, and of
    other makers' cards (server_args.py, model_runner.py).

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(engine_version="0.5.8")
    >>> [
    ...     step_backend(load(name), asked, parse_gpu(card))
    ...     for name in ("qwen3-8b", "deepseek-v3", "gpt-oss-20b")
    ...     for card in ("h100", "rtx-4090", "b200")
    ... ]
    ['fa3', 'flashinfer', 'trtllm_mha', 'fa3', 'triton', 'trtllm_mla', 'fa3', 'triton', 'trtllm_mha']
    """
    if not hardware.card.is_nvidia or model.kinds.has(DSA, V4, V41):
        return ""
    if asked.attention_backend != "auto":
        return asked.attention_backend
    if by_fa3(asked, hardware):
        return "fa3"
    rules, blackwell = RELEASES.at(asked.engine_version), hardware.card.major == 10
    if model.kinds.has(MLA):
        return "trtllm_mla" if blackwell and rules.pages_mla_on_blackwell else "triton"
    if blackwell and rules.pages_heads_on_blackwell:
        return "trtllm_mha"
    by_triton = model.family in rules.runs_heads_by_triton or model.family in rules.runs_chunks_by_triton
    return "triton" if by_triton else "flashinfer"


def wrapper_bytes(model: Model, backend: str, num_sizes: int) -> int:
    """Return what FlashInfer's wrappers of captured batches hold: one each, two with windows
    (flashinfer_backend.py, init_forward_metadata_capture_cuda_graph)."""
    return WRAPPER_BYTES * num_sizes * (1 + model.kinds.has(Sliding)) if backend == "flashinfer" else 0


def workspace_lines(model: Model, asked: Resolved, hardware: Hardware) -> list[Line]:
    """Return the line of what the kernels take when they are made, after the pool: between "Memory pool end"
    and "Capture cuda graph begin" logs lose 0.45 to 0.66 GiB with FlashInfer and 1.12 with TRT-LLM's heads,
    and 0.1 with neither.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> asked = Resolved(engine_version="0.5.12")
    >>> cards = [parse_gpu(each) for each in ("b200", "h100")]
    >>> [
    ...     round(line.low_bytes / 2**30, 2)
    ...     for card in cards
    ...     for line in workspace_lines(load("qwen3-8b"), asked, card)
    ... ]
    [1.0]
    """
    backend = step_backend(model, asked, hardware)
    size = WORKSPACES.get(backend, 0)
    if not size:
        return []
    wider = model.family in RELEASES.at(asked.engine_version).widens_workspaces
    size += MORE * (wider and "mla" not in backend)
    formula = f"{size / MIB:,.0f} MiB, and up to {UNCOUNTED_BYTES / GIB:g} GiB of wrappers and indices"
    sizes = (size + wrapper_bytes(model, "flashinfer", 4), size, size + UNCOUNTED_BYTES)
    source = "layers/attention/flashinfer_backend.py, trtllm_mha_backend.py, trtllm_mla_backend.py"
    what = f"workspaces of {backend}"
    return [ranged("runtime.workspaces", "engine", what, sizes, "assumed", formula, source)]
