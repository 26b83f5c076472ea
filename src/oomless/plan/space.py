"""Which engine runs where and in which form: the candidates of a card, before any of them is estimated."""

from typing import NamedTuple

from ..engines import engine, engines_tried
from ..model.model import Model
from ..run.cards import Card, Hardware
from ..speed.machine import machine_of

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
    found = engines_tried(card.vendor)
    if len(found) == 1:
        return found
    return tuple(
        name for name in found if concurrency <= (engine(name).candidates.most_sequences or concurrency)
    )


def forms_of(model: Model, name: str, card: Card, asked: tuple[str, ...]) -> list[Form]:
    """Forms of the weights to try with an engine, least quantised first.

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
    rules = engine(name)
    forms = rules.candidates.forms
    if rules.file_types:
        if model.quantization.startswith("gguf"):
            return [PUBLISHED]
        bits = 8 * model.checkpoint_bytes / max(model.num_parameters, 1)
        return [Form(word, gguf_share(word, bits)) for word in asked or forms if word not in SHARES]
    if asked:
        return [
            Form(None if word in ("none", "auto", model.quantization) else word, SHARES.get(word, 0.05))
            for word in asked
        ]
    made = () if model.quantization else forms
    return [PUBLISHED, *(Form(word, SHARES[word]) for word in made if runs_well(word, card))]


def runs_well(form: str, card: Card) -> bool:
    """Whether a card computes a form, or has fast kernels for it, so that a plan tries it unasked.

    >>> from ..run.hardware import parse_gpu
    >>> [runs_well(form, parse_gpu("a100-80gb").card) for form in ("fp8", "w4a16")]
    [False, True]
    """
    if form == "fp8":
        return card.native_fp8 == "yes" or (card.capability > 0 and not card.lacks_fp8)
    return card.is_nvidia


def gguf_share(word: str, published_bits: float) -> float:
    """Least share of the published bytes that a GGUF type takes.

    >>> gguf_share("q4_k_m", 16.0), gguf_share("f16", 16.0)
    (0.25, 0.95)
    """
    kind = word.lower().partition("_")[0]
    bits = GGUF_BITS.get(kind, 16 * PUBLISHED.least_share)
    return min(bits / max(published_bits, 1.0), PUBLISHED.least_share)


def kinds_of_cache(name: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Types of the cache: the engine's own first, FP8 where that does not fit."""
    rules = engine(name)
    if not rules.cache_types:
        return ("auto",) if not asked or "auto" in asked else ()  # its types have flags of their own
    return asked or rules.candidates.cache_types


MOST_NODES, MOST_TRAINING_NODES = 16, 1024
"""Machines of one instance, and of one training run."""


def sizes_of(
    card: Card, max_gpus: int, fixed: Hardware | None, most_nodes: int = MOST_NODES
) -> list[Hardware]:
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
        most = DESKTOP_NODES if per_node == 1 else most_nodes
        doubled = [2**power for power in range(1, most.bit_length())]
        found += [Hardware(card, per_node * nodes, per_node) for nodes in doubled if nodes <= most]
    return [each for each in found if each.num_gpus <= max_gpus]


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


def resident_bytes(model: Model) -> int:
    """Weights of the main model as published: what every layout divides among its ranks."""
    return sum(tensor.num_bytes for tensor in model.tensors if tensor.part == "main" and not tensor.copy_of)
