"""The kind of each layer, where a config lists it."""

from ..attention import GQA, Attention, Sliding
from ..config import Config

WINDOWS = ("sliding_attention", "full_attention")
STATES = ("linear_attention", "full_attention")


def read_layer_types(
    config: Config, num_layers: int, known: tuple[str, ...] = WINDOWS, key: str = "layer_types"
) -> list[str]:
    """Return the word of each layer: a list of known words, at least one a layer, else a fault.

    >>> config = Config({"layer_types": ["sliding_attention", "full_attention"]}, "gpt-oss-20b")
    >>> read_layer_types(config, 2), read_layer_types(config, 3), config.faults
    (['sliding_attention', 'full_attention'], ['full_attention', 'full_attention', 'full_attention'],
     ['layer_types is no list of 3 times sliding_attention or full_attention'])
    """
    kinds = config.values.get(key) if config.has(key) else None
    if not isinstance(kinds, list) or len(kinds) < num_layers or set(map(str, kinds)) - {*known}:
        config.fault(f"{key} is no list of {num_layers} times {' or '.join(known)}")
        return [known[-1]] * num_layers
    return [str(kind) for kind in kinds[:num_layers]]


def windowed(kinds: list[str], full: GQA, window: int, local: GQA | None = None) -> list[Attention]:
    """Return the attention of each layer: full, or `local` (the same where it is not given) behind a
    window."""
    slides: Attention = Sliding(local or full, window)
    return [slides if kind == "sliding_attention" else full for kind in kinds]
