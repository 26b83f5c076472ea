"""What TensorRT-LLM chooses where the question is silent: lengths, batch, types, stages."""

from ... import facts
from ...errors import UnsupportedError, UsageError
from ...model.attention import DSA, V4, V41
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked, Layout, Resolved
from ..defaults import default_length, resolve_dtype
from ..layers_dealt import deal
from ..layouts import need_even_experts
from ..rank import Stage
from .release import RELEASES, TrtllmRules

REQUESTS, ENGINE_REQUESTS, TOKENS = 2048, 256, 8192
"""max_batch_size of the PyTorch backend and of engine builds; max_num_tokens."""


CACHE_TYPES = ("auto", "bfloat16", "float16", "fp8", "int8")
"""The last of engines that are built alone: quantization/mode.py, INT8_KV_CACHE; _torch has none."""


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """The question with the defaults of trtllm-serve, or of the C++ runtime before 1.0."""
    need_even_experts(layout)
    if layout.enable_dp_attention:
        layout = layout._replace(dp=layout.tp)
    release = RELEASES.latest if asked.engine_version is None else asked.engine_version
    rules = RELEASES.at(release)
    kinds = model.kinds
    known = CACHE_TYPES[:-1] if rules.runs_pytorch else CACHE_TYPES
    if asked.kv_cache_dtype not in known:
        raise UsageError(
            f"--kv-cache-dtype {asked.kv_cache_dtype!r} is not TensorRT-LLM's",
            f"known are {', '.join(known)}",
            "kv_cache_dtype",
        )
    if (
        kinds.has(V41)
        or (kinds.has(V4) and not rules.serves_v4)
        or (kinds.has(DSA) and not rules.serves_sparse_mla)
    ):
        raise UnsupportedError(
            f"{model.name} in TensorRT-LLM {release} is not known yet",
            "use --engine vllm or sglang",
        )
    if asked.kv_cache_dtype == "auto" and model.fp8_cache and rules.runs_pytorch:
        # _torch/pyexecutor/model_loader.py, validate_and_set_kv_cache_quant: the checkpoint's word stands
        asked = asked._replace(kv_cache_dtype="fp8")
    length = asked.max_model_len or default_length(model)
    block = facts.constant("trtllm", "tokens_per_block", rules.release, *(["v4"] if kinds.has(V4) else []))
    share = asked.free_gpu_memory_fraction
    return Resolved.of(
        asked._replace(
            dtype=resolve_dtype(model, asked.dtype, hardware),
            free_gpu_memory_fraction=facts.constant("trtllm", "free_gpu_memory_fraction", rules.release).value
            if share is None
            else share,
            block_size=asked.block_size or int(block.value),
        ),
        engine_version=release,
        layout=layout,
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or (REQUESTS if rules.runs_pytorch else ENGINE_REQUESTS),
        max_num_batched_tokens=asked.max_num_batched_tokens or profile_tokens(asked, rules, length),
    )


def profile_tokens(asked: Asked, rules: TrtllmRules, length: int) -> int:
    """Return max_num_tokens where it is not said: engines of 2023 and early 2024 were built for the largest
    batch of the longest inputs, for which half of a length is taken (perf-best-practices.md).

    >>> asked = Asked(max_num_seqs=192)
    >>> [profile_tokens(asked, RELEASES.at(version), 4096) for version in ("0.5", "0.11")]
    [393216, 8192]
    """
    if rules.builds_for_whole_batches and asked.max_num_seqs:
        return max(asked.max_num_seqs * length // 2, TOKENS)
    return TOKENS


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Layers a pipeline stage: the first stages take the remainder (Mapping.pp_layers).

    >>> from ...model.load import load
    >>> [stage.stop - stage.start for stage in stages(load("deepseek-r1"), Resolved(layout=Layout(pp=2)))]
    [31, 30]
    """
    return deal(model, asked.layout.pp, "first stages")
