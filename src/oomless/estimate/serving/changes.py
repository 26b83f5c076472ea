"""When it does not fit, or is tight: the single changes that would make it fit, each with the bytes that it
frees."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from ...engines import engine
from ...errors import OomlessError
from ...run.cards import Hardware
from ...run.serving import Asked, Layout
from .estimate import Estimate, estimate_serving


class Change(NamedTuple):
    """One change of the question, by its flags."""

    flags: str
    saved_bytes: int
    """How much headroom the worst rank gains."""
    headroom_bytes: int


def changes_that_fit(estimate: Estimate) -> tuple[Change, ...]:
    """Every single change after which the verdict is `fits`, least loss of service first. Nothing for an
    answer that fits."""
    if estimate.verdict == "fits":
        return ()
    found = []
    for flag, asked, hardware in _candidates(estimate):
        try:
            other = estimate_serving(estimate.model, asked, hardware, estimate.adjust)
        except OomlessError:
            continue
        if other.verdict == "fits":
            found.append(Change(flag, other.headroom_bytes - estimate.headroom_bytes, other.headroom_bytes))
    return tuple(found)


def again(estimate: Estimate, asked: Asked) -> Estimate:
    """Return the answer to another question about the same model, cards and machine."""
    return estimate_serving(estimate.model, asked, estimate.cards or estimate.hardware, estimate.adjust)


def _candidates(estimate: Estimate) -> Iterator[tuple[str, Asked, Hardware]]:
    request, asked = estimate.request, estimate.asked
    hardware = estimate.cards or estimate.hardware
    if request.kv_cache_dtype in ("auto", "bfloat16", "float16"):
        yield "--kv-cache-dtype fp8", asked._replace(kv_cache_dtype="fp8"), hardware
    if not estimate.model.quantization and not request.quantization:
        yield "--quantization fp8", asked._replace(quantization="fp8"), hardware
    if estimate.concurrency > 1:
        fewer = _largest(estimate, "concurrency", estimate.concurrency)
        if fewer:
            yield f"--concurrency {fewer}", asked._replace(concurrency=fewer), hardware
    length = _largest(estimate, "max_model_len", request.max_model_len)
    if length:
        longer = (asked.context or 0) > length
        shorter = asked._replace(max_model_len=length, context=length if longer else asked.context)
        context = f" --context {length}" if longer else ""
        yield f"--max-model-len {length}{context}", shorter, hardware
    if request.max_num_seqs > 64:
        fewer_rows = max(request.max_num_seqs // 4, 64)
        yield f"--max-num-seqs {fewer_rows}", asked._replace(max_num_seqs=fewer_rows), hardware
    rules = engine(request.engine)
    if rules.fills_host:
        yield from _on_the_host(estimate)
    if not request.enforce_eager:
        yield "--enforce-eager", asked._replace(enforce_eager=True), hardware
    overrun = estimate.ledger.overrun_bytes
    if overrun and rules.share_flag:
        name = rules.share_flag
        field = name.lstrip("-").replace("-", "_")
        lower = int(100 * (getattr(request, field) - overrun / hardware.card.memory_bytes)) / 100
        share: Any = {field: lower}
        yield f"{name} {lower:g}", asked._replace(**share), hardware
    layout = request.layout
    ranks = layout.num_ranks
    if (
        rules.experts_over_dp
        and layout.dp == 1
        and ranks > 1
        and any(tensor.role == "expert" for tensor in estimate.model.tensors)
    ):
        apart = Layout(
            dp=ranks, enable_expert_parallel=True
        )  # a latent is the same on every tensor rank: apart, each has its own sequences
        yield f"--tp 1 --dp {ranks} --enable-expert-parallel", asked._replace(layout=apart), hardware
    axis = rules.axis
    for factor in (2, 3, 4) if axis == "pp" else (2, 4):
        more = hardware._replace(num_gpus=max(hardware.num_gpus, layout.num_ranks * factor))
        more = more._replace(per_node=max(more.per_node, min(more.num_gpus, more.card.gpus_per_node)))
        cards = f" on {more.num_gpus} cards" if more.num_gpus > hardware.num_gpus else ""
        size = getattr(layout, axis) * factor
        stages = f" --pp {layout.pp}" if axis == "tp" and layout.pp > 1 else ""
        yield (
            f"--{axis} {size}{stages}{cards}",
            asked._replace(layout=layout._replace(**{axis: size}), tensor_split=None),
            more,
        )


def _on_the_host(estimate: Estimate) -> Iterator[tuple[str, Asked, Hardware]]:
    """What llama.cpp can do instead: narrower types, and layers or their experts on the host."""
    request, asked = estimate.request, estimate.asked
    hardware = estimate.cards or estimate.hardware
    if request.cache_type_k == "f16" and request.cache_type_v == "f16":
        yield "-ctk q8_0 -ctv q8_0", asked._replace(cache_type_k="q8_0", cache_type_v="q8_0"), hardware
    if not estimate.model.quantization.startswith("gguf"):
        yield "--quantization q4_k_m", asked._replace(quantization="q4_k_m"), hardware
    num_layers = len(estimate.model.layers)
    if any(tensor.role == "expert" for tensor in estimate.model.tensors):
        layers = _smallest(estimate, "n_cpu_moe", num_layers)
        yield f"--n-cpu-moe {layers}", asked._replace(n_cpu_moe=layers), hardware
    layers = num_layers + 1 - _smallest(estimate, "n_gpu_layers", num_layers + 1)
    if layers:
        yield f"-ngl {layers}", asked._replace(n_gpu_layers=layers), hardware


def _smallest(estimate: Estimate, field: Literal["n_cpu_moe", "n_gpu_layers"], most: int) -> int:
    """The fewest layers to leave to the host after which it fits, up to `most`: the more are left, the less a
    card holds."""
    layers = range(1, most)

    def fits(left: int) -> bool:
        value = left if field == "n_cpu_moe" else most - left
        asked = (
            estimate.asked._replace(n_cpu_moe=value)
            if field == "n_cpu_moe"
            else estimate.asked._replace(n_gpu_layers=value)
        )
        try:
            return again(estimate, asked).verdict == "fits"
        except OomlessError:
            return False

    return 1 + bisect_left(layers, True, key=fits)


def _largest(estimate: Estimate, field: Literal["concurrency", "max_model_len"], most: int) -> int:
    """The largest value of a field, below the one asked for, whose verdict is fits; 0 if there is none. By
    halving, then search."""

    def fits(value: int) -> bool:
        asked = estimate.asked
        if field == "concurrency":
            asked = asked._replace(concurrency=value)
        else:
            asked = asked._replace(max_model_len=value, context=asked.context and min(asked.context, value))
        try:
            return again(estimate, asked).verdict == "fits"
        except OomlessError:
            return False

    low, high = 0, most
    while high - low > max(1, low // 64):  # to 1.5 %: nobody sets a length to the token
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low > 256 and field == "max_model_len":
        low -= low % 256
    return low
