"""Flags that were given and do nothing for this model: they are answered, but not in silence."""

from ...engines import engine
from ...model.attention import DSA, V4, V41
from ...model.model import Model
from ...run.serving import Asked


def idle_flags(model: Model, asked: Asked) -> list[str]:
    """A note for each flag without effect, with the reason.

    >>> from ...model.load import load
    >>> idle_flags(load("qwen3-8b"), Asked(num_redundant_experts=32))
    ['--num-redundant-experts does nothing: qwen3-8b has no experts']
    """
    layout, name = asked.sizes, model.name
    experts = model.kinds.has_experts
    sparse = model.kinds.has(DSA, V4, V41)
    found: list[str] = []
    if (
        asked.num_redundant_experts
        and (not experts or not layout.enable_expert_parallel)
        and engine(asked.engine).redundant_experts_need_ep
    ):
        why = "experts are copied only with --enable-expert-parallel" if experts else f"{name} has no experts"
        found.append(f"--num-redundant-experts does nothing: {why}")
    if layout.enable_expert_parallel and not experts:
        found.append(f"--enable-expert-parallel does nothing: {name} has no experts")
    if asked.cpu_moe and not experts:
        found.append(f"--cpu-moe does nothing: {name} has no experts")
    if asked.n_cpu_moe and not experts:
        found.append(f"--n-cpu-moe does nothing: {name} has no experts")
    if asked.kt_num_gpu_experts is not None and not experts:
        found.append(f"--kt-num-gpu-experts does nothing: {name} has no experts")
    if asked.speculative and not model.draft:
        found.append(f"speculation is not counted: no MTP or draft layers of {name} are known here")
    if asked.indexer_kv_dtype != "auto" and not sparse:
        found.append(f"--indexer-kv-dtype does nothing: {name} has no indexer")
    if asked.images_per_prompt and model.vision is None:
        tower = any(tensor.part == "vision" for tensor in model.tensors)
        images = f"images of {name} are not estimated: its tower is counted, what it computes is not"
        found.append(images if tower else f"--limit-mm-per-prompt does nothing: {name} reads no images")
    return found
