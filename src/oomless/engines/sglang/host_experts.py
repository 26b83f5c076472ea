"""Routed experts that KTransformers computes on the host (layers/moe/kt_ep_wrapper.py): so many of each layer
are on the cards, which have all of one layer while a long prompt runs."""

from ...ledger import Line, exact, ranged
from ...model.model import Model, Tensor
from ...run.serving import Resolved
from ..rank import Stage
from ..runtime_formats import runtime_format
from .rank_tensors import shard, stage_layers

STAGED_BYTES = 2
SCALED = 16
"""Weights of 4 and 8 bit have scales of about a sixteenth of what is said here."""


def routed(model: Model, asked: Resolved) -> list[Tensor]:
    """The experts of the layers that KTransformers divides; a draft's stay on the cards."""
    if asked.kt_num_gpu_experts is None:
        return []
    return [tensor for tensor in model.tensors if tensor.role == "expert" and tensor.part == "main"]


def kept_on_host(model: Model, asked: Resolved) -> int:
    """Return what the host keeps of the experts that are not on the cards, in bytes: of four or eight bits,
    where --kt-method says so, else as published.

    >>> from ...model.load import load
    >>> asked, model = Resolved(kt_num_gpu_experts=56), load("deepseek-v3")
    >>> for method in ("AMXINT4", "FP8"):
    ...     print(round(kept_on_host(model, asked._replace(kt_method=method)) / 2**30))
    253
    476
    """
    method, found = (asked.kt_method or "").upper(), 0
    bits = 4 if "INT4" in method else 8 if "INT8" in method else 0
    for tensor in routed(model, asked):
        away = max(tensor.repeat - (asked.kt_num_gpu_experts or 0), 0)
        whole = tensor.num_parameters * bits // 8 * (SCALED + 1) // SCALED if bits else tensor.num_bytes
        found += whole * away // max(tensor.repeat, 1)
    return found


def staged_lines(model: Model, asked: Resolved) -> list[Line]:
    """The line of the tokens of a step on their way to the host, which are there before the pool is."""
    if not routed(model, asked):
        return []
    tokens = asked.max_num_batched_tokens or 0
    size = tokens * model.hidden_size * STAGED_BYTES
    return [
        ranged(
            "runtime.workspaces",
            "engine",
            "tokens on their way to experts of the host",
            (size, 0, size),
            "assumed",
            f"{tokens:,} tokens x {model.hidden_size:,} x {STAGED_BYTES} B",
            "layers/moe/kt_ep_wrapper.py, SharedStagingBuffer",
        )
    ]


def long_prompt_lines(model: Model, asked: Resolved, stage: Stage) -> list[Line]:
    """The line of all experts of one layer, which a step of so many tokens puts on the cards: of Kimi-K2 with
    its experts of 4 bit about 9 GB (kvcache-ai/ktransformers, Kimi-K2-Thinking-Native.md).

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(engine="sglang", layout=Layout(), dtype="bfloat16", kt_num_gpu_experts=8)
    >>> asked = asked._replace(kt_gpu_prefill_token_threshold=400, max_num_batched_tokens=4096)
    >>> [line] = long_prompt_lines(load("kimi-k2-thinking"), asked, Stage(0, 1, 0, 61))
    >>> round(line.bytes / 1e9, 1)
    9.5
    """
    threshold = asked.kt_gpu_prefill_token_threshold
    if not 0 < threshold <= (asked.max_num_batched_tokens or 0):
        return []
    whole, sizes = asked._replace(kt_num_gpu_experts=None), dict[int, int]()
    for tensor in routed(model, asked):
        shape, repeat = shard(tensor, model, whole)
        for layer in stage_layers(tensor, model, whole, stage) or ():
            form = runtime_format(tensor, model, whole)
            sizes[layer] = sizes.get(layer, 0) + repeat * form.num_bytes(shape)
    if not sizes:
        return []
    return [
        exact(
            "temporaries.running",
            "engine",
            "all experts of a layer while a long prompt runs",
            max(sizes.values()),
            f"a step of {threshold:,} tokens and more",
            "layers/moe/kt_ep_wrapper.py, SharedFullContext",
        )
    ]
