"""Passes of which the host has a part: experts or layers in its memory, read there by its processor or by the
cards over PCIe.

No efficiency was fitted for it, so what stands here is a bound: cards and host after one another, every byte
at the full rate of the memory or the wire that it passes. Ignored: the host's own arithmetic, and tokens on
their way between host and cards (hidden x 2 B a layer and token: microseconds). Read in llama.cpp
(ggml-cuda.cu, device_offload_op; ggml-backend.cpp, copies of used experts alone) and vLLM
(model_executor/offloader/uva.py).
"""

from math import ceil
from typing import NamedTuple

from ..engines import engine
from ..errors import UnsupportedError
from ..estimate.serving.estimate import Estimate
from ..model.model import Model, Tensor
from ..run.this_host import Host, find_host, slowest_that_holds
from ..units import gb
from .attention_cache import Cache, cache_of
from .band import TimePart
from .forward import forward
from .load import ForwardPass, Load, Runner, Split
from .machine import Machine
from .network import Network, of_tensors, stored

STREAMED_TOKENS = 32
"""From so many tokens on llama.cpp copies a layer's weights to the card and multiplies there
(GGML_OP_OFFLOAD_MIN_BATCH)."""


class Hosted(NamedTuple):
    """What the host has of a model."""

    net: Network
    """Its matrices and caches."""
    host: Host
    named: bool
    """--host says which machine it is; else it is the slowest kind that holds it."""
    streamed: bool
    """The cards read it over PCIe in every pass (vLLM); else the host's processor multiplies small batches.
    """
    option: str
    """What leaves it there."""


def on_the_host(estimate: Estimate) -> str:
    """The option that leaves weights to the host, where the cards are not the host itself; "" if none
    does."""
    request, layers = estimate.request, len(estimate.model.layers)
    if estimate.hardware.card.vendor in ("generic", "Raspberry Pi", "Apple"):
        return ""
    asked = {
        "--cpu-moe": request.cpu_moe,
        "--n-cpu-moe": request.n_cpu_moe > 0,
        "--override-tensor": request.override_tensor is not None,
        "--n-gpu-layers": request.n_gpu_layers is not None and request.n_gpu_layers <= layers,
        "--cpu-offload-gb": request.cpu_offload_gb > 0,
    }
    return next((name for name, given in asked.items() if given), "")


def need_speed(name: str, hosts_experts: bool = False) -> None:
    """Refuse an engine whose experts are on the host and compute there."""
    if hosts_experts or engine(name).hosts_experts:
        raise UnsupportedError(
            "the speed of experts that KTransformers keeps on the host is not computed",
            "`oomless infer` has their memory",
        )


def divided(estimate: Estimate, host: str | None) -> tuple[Network, Hosted] | None:
    """(what the cards have, what the host has); None where it has nothing that a token needs."""
    need_speed(estimate.request.engine, estimate.request.kt_num_gpu_experts is not None)
    option = on_the_host(estimate)
    if not option:
        return None
    model, asked = estimate.model, estimate.request
    rules = engine(asked.engine)
    assert rules.left_to_host is not None  # the engine knows the option
    if rules.in_file is None:
        model = model._replace(tensors=stored(model, asked.quantization))
    else:
        model = rules.in_file(model, asked)
    away, layers = rules.left_to_host(model, asked)
    found = of_tensors(model, tuple(away))._replace(caches=caches_of(model, layers))
    if not (found.cut or found.whole or found.experts or found.head.params):
        return None
    stay = without(model.tensors, away)
    cards = of_tensors(model, tuple(stay))._replace(
        caches=caches_of(model, set(range(len(model.layers))) - layers)
    )
    kind = (
        find_host(host, estimate.ram_bytes)
        if host
        else slowest_that_holds(estimate.ram_bytes, estimate.hardware.card)
    )
    return cards, Hosted(found, kind, host is not None, not rules.fills_host, option)


def without(tensors: tuple[Tensor, ...], away: list[Tensor]) -> list[Tensor]:
    """The groups less what went: by name and layer."""
    gone = {(tensor.name, layer) for tensor in away for layer in tensor.layers or (-1,)}
    kept = []
    for tensor in tensors:
        if tensor.layers:
            left = tensor.of_layers({layer for layer in tensor.layers if (tensor.name, layer) not in gone})
            kept += [left] if left.layers else []
        elif (tensor.name, -1) not in gone:
            kept.append(tensor)
    return kept


def caches_of(model: Model, layers: set[int]) -> tuple[Cache, ...]:
    return tuple(cache_of(model.layers[layer].attention) for layer in sorted(layers))


def hosted_pass(
    cards: Network, hosted: Hosted, machine: Machine, split: Split, run: Runner, load: Load, budget: int
) -> ForwardPass:
    """The least time of a pass: the cards' part, then the host's, whose bytes are read where they lie or
    copied over PCIe.

    A prompt longer than the step's budget of tokens takes several steps, and each reads what the host has
    again.
    """
    ideal = machine._replace(device="other")  # every byte and operation at the full rate
    own = forward(cards, ideal, split, run, load)
    wire = machine.pcie_bytes_per_s or machine.link_bytes_per_s
    over_pcie = bool(wire) and (hosted.streamed or load.sequences + load.prompt_tokens >= STREAMED_TOKENS)
    ranks = split.tp * split.dp if hosted.streamed else 1
    rate = wire * ranks if over_pcie else hosted.host.bytes_per_s
    rate = min(rate, hosted.host.bytes_per_s)
    steps = max(ceil(load.prompt_tokens / budget), 1)
    each = load._replace(prompt_tokens=load.prompt_tokens / steps)
    there_s = (
        steps
        * forward(hosted.net, ideal._replace(bytes_per_s=rate, flops_per_s=()), Split(), run, each).seconds
    )
    parts = [part._replace(what=f"cards: {part.what}") for part in own.parts]
    where = f"over PCIe at {gb(rate):.0f} GB/s" if over_pcie else f"{hosted.host.what}: {gb(rate):.0f} GB/s"
    again = f"{steps} steps of at most {budget:,} tokens, " if steps > 1 else ""
    parts.append(TimePart("host memory", there_s, again + where, "hosts.csv"))
    seconds = own.seconds + there_s
    if over_pcie:
        computed = forward(hosted.net, ideal._replace(bytes_per_s=float("inf")), Split(), run, load)
        parts.append(
            TimePart(
                "cards: what the host lends", computed.seconds, "operations at the full rate", "hardware.csv"
            )
        )
        seconds += computed.seconds
    return ForwardPass(tuple(parts), seconds, seconds / split.pp)


def host_note(hosted: Hosted) -> str:
    """What a reader must know of the figures."""
    kind = f"{hosted.host.what}, {gb(hosted.host.bytes_per_s):,.0f} GB/s"
    which = f"a {kind}" if hosted.named else f"the slowest kind that holds it ({kind}): --host names another"
    bounds = "no such run was measured, so the figures are bounds by memory and PCIe"
    return f"weights on the host ({hosted.option}): {bounds}; the host is taken for {which}"
