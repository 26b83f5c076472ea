"""Which engine runs where and in which form: the candidates of a card, before any of them is estimated."""

from collections.abc import Iterator
from typing import NamedTuple

from ..engines import LLAMA, VLLM
from ..model.feedforward import MoE
from ..model.model import Model
from ..run.cards import Card, Hardware
from ..run.serving import Layout
from ..speed.machine import machine_of

ENGINES_OF = {
    "NVIDIA": ("vllm", "sglang", "llamacpp"),
    "AMD": ("vllm", "sglang", "llamacpp"),
    "Intel": ("vllm-hpu",),
    "Huawei": ("vllm-ascend",),
    "Apple": ("llamacpp",),
    "Raspberry Pi": ("llamacpp",),
    "generic": ("llamacpp",),
    "Google": ("vllm",),
    "": ("vllm", "sglang", "llamacpp"),
}
"""Maker -> engines that are tried unless the user names some; makers that are not here have forks of vLLM."""
OTHERS = ("vllm",)
MOST_LLAMA_SEQUENCES = 16
"""llama.cpp is planned for no more sequences at once unless it is named: its step takes each sequence's share
one after the other."""
NETWORKED = ("nvlink", "xgmi", "hccs", "roce", "ici", "ib")
"""Links of cards that stand in machines with a network between them: only those are planned over several
machines."""
DESKTOP_NODES = 2
"""Machines of one card that are joined by a cable (DGX Spark): two, unless --gpu says more."""


class Form(NamedTuple):
    """A form of the weights: the word of --quantization, and the least share of the published bytes that it
    can take."""

    quantization: str | None
    least_share: float


PUBLISHED = Form(None, 0.95)
"""As published; what loading leaves out is below 5 %."""
SHARES = {
    "fp8": 0.5,
    "fp8-dynamic": 0.5,
    "w8a8": 0.5,
    "awq": 0.25,
    "gptq": 0.25,
    "w4a16": 0.25,
    "bitsandbytes": 0.25,
    "mxfp4": 0.25,
    "nvfp4": 0.25,
}
"""Bits of each form over the 16 bits that it replaces: a lower bound, since scales, embeddings and norms come
on top."""
GGUF_BITS = {
    "q8": 8,
    "q6": 6,
    "q5": 5,
    "q4": 4,
    "iq4": 4,
    "q3": 3,
    "iq3": 3,
    "q2": 2,
    "iq2": 2,
    "iq1": 1,
    "tq": 1,
    "mxfp4": 4,
}


def engines_of(card: Card, asked: tuple[str, ...], concurrency: int) -> tuple[str, ...]:
    """The engines to try on a card."""
    if asked:
        return asked
    found = ENGINES_OF.get(card.vendor, OTHERS)
    if concurrency > MOST_LLAMA_SEQUENCES and len(found) > 1:
        found = tuple(engine for engine in found if engine not in LLAMA)
    return found


def forms_of(model: Model, engine: str, card: Card, asked: tuple[str, ...]) -> list[Form]:
    """Forms of the weights to try, least quantised first.

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> [
    ...     form.quantization
    ...     for form in forms_of(load("deepseek-r1-distill-qwen-32b"), "vllm", parse_gpu("rtx-4090").card, ())
    ... ]
    [None, 'fp8', 'w4a16']
    >>> [
    ...     form.quantization
    ...     for form in forms_of(load("deepseek-r1"), "llamacpp", parse_gpu("rtx-4090").card, ())
    ... ]
    ['q8_0', 'q4_k_m']
    """
    bits = 8 * model.checkpoint_bytes / max(model.num_parameters, 1)
    if engine in LLAMA:
        if model.quantization.startswith("gguf"):
            return [PUBLISHED]
        return [
            Form(word, gguf_share(word, bits)) for word in asked or ("q8_0", "q4_k_m") if word not in SHARES
        ]
    if asked:
        return [
            Form(None if word in ("none", "auto", model.quantization) else word, SHARES.get(word, 0.05))
            for word in asked
        ]
    if model.quantization or engine in ("transformers", "trtllm"):
        return [PUBLISHED]
    found = [PUBLISHED]
    if card.capability >= NATIVE_FP8 or card.native_fp8 == "yes":
        found.append(Form("fp8", SHARES["fp8"]))
    if engine == "vllm" and card.vendor in ("NVIDIA", ""):
        found.append(Form("w4a16", SHARES["w4a16"]))
    return found


NATIVE_FP8 = 8.9
"""Compute capability from which FP8 is computed; below it is storage alone."""


def gguf_share(word: str, published_bits: float) -> float:
    """Least share of the published bytes that a GGUF type takes.

    >>> gguf_share("q4_k_m", 16.0), gguf_share("f16", 16.0)
    (0.25, 0.95)
    """
    kind = word.lower().partition("_")[0]
    bits = GGUF_BITS.get(kind, 16 * PUBLISHED.least_share)
    return min(bits / max(published_bits, 1.0), PUBLISHED.least_share)


def kinds_of_cache(engine: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Types of the cache: the engine's own first, FP8 where that does not fit."""
    if engine in LLAMA:
        return ("auto",) if not asked or "auto" in asked else ()  # its types have flags of their own
    if asked:
        return asked
    if engine == "sglang":
        return ("auto", "fp8_e4m3")  # its parser knows no plain fp8
    return ("auto", "fp8") if engine in VLLM else ("auto",)


def sizes_of(card: Card, max_gpus: int, fixed: Hardware | None) -> list[Hardware]:
    """How many cards to try: one, two, four ... of a machine, then two, four, eight machines.

    >>> from ..run.hardware import parse_gpu
    >>> [(each.num_gpus, each.per_node) for each in sizes_of(parse_gpu("h100").card, 32, None)]
    [(1, 1), (2, 2), (4, 4), (8, 8), (16, 8), (32, 8)]
    >>> [each.num_gpus for each in sizes_of(parse_gpu("rtx-4090").card, 32, None)]
    [1, 2, 4, 8]
    """
    if fixed is not None:
        return [fixed]
    per_node = card.gpus_per_node
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count < per_node] + [per_node]
    found = [Hardware(card, count, count) for count in counts]
    if not card.alone and (per_node == 1 or per_node >= LEAST_JOINED) and joins_machines(card):
        most = DESKTOP_NODES if per_node == 1 else MOST_NODES
        found += [Hardware(card, per_node * nodes, per_node) for nodes in (2, 4, 8, 16) if nodes <= most]
    return [each for each in found if each.num_gpus <= max_gpus]


MOST_NODES = 16
LEAST_JOINED = 4
"""Machines of two or three cards are not planned in numbers: nobody joins them."""


def joins_machines(card: Card) -> bool:
    """Whether cards of several machines are known to share a model."""
    from ..errors import OomlessError

    try:
        machine = machine_of(card)
    except OomlessError:
        return False
    return (
        machine.link in NETWORKED and machine.device != "gddr"
    )  # a bridge between two desktop cards joins no machines


def layouts_of(model: Model, engine: str, hardware: Hardware) -> Iterator[tuple[Layout, int]]:
    """(layout, replicas) to try on all cards of a machine or of several, most often used first."""
    num, within = hardware.num_gpus, min(hardware.num_gpus, hardware.per_node)
    experts = any(isinstance(layer.ffn, MoE) for layer in model.layers)
    if engine in LLAMA or engine == "transformers":
        if hardware.num_nodes > 1:
            return  # neither shares a model over machines by its own command
        axis = "pp" if engine in LLAMA else "tp"
        yield (Layout(pp=num) if axis == "pp" else Layout(tp=1)), 1
        if num > 1 and hardware.num_nodes == 1 and axis == "pp":
            yield Layout(pp=1), num
        return
    if num <= within:
        size = num
        while size >= 1:
            if num % size == 0:
                yield Layout(tp=size), num // size
            size //= 2
    elif within == 1:
        yield Layout(tp=num), 1
        yield Layout(pp=num), 1
    else:
        yield Layout(tp=within, pp=num // within), 1
    if experts and num > 1 and engine != "trtllm":
        if engine == "sglang":
            yield Layout(tp=num, dp=num, enable_dp_attention=True, ep_size=num), 1
        else:
            yield Layout(dp=num, enable_expert_parallel=True), 1
            if num > within > 1:
                yield Layout(tp=within, dp=num // within, enable_expert_parallel=True), 1


def resident_bytes(model: Model) -> int:
    """Weights of the main model as published: what every layout divides among its ranks."""
    return sum(tensor.num_bytes for tensor in model.tensors if tensor.part == "main" and not tensor.copy_of)
