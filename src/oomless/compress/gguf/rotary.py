"""Factors of rotary frequencies that Llama 3 scales: no checkpoint stores them, a GGUF file does."""

from math import pi
from typing import Any


def rope_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the rotary keys of a config, under the names of transformers 5 whichever release wrote them."""
    found = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    if "rope_type" not in found and "type" in found:
        found["rope_type"] = found["type"]
    found.setdefault("rope_type", "default")
    found.setdefault("rope_theta", config.get("rope_theta") or 10000.0)
    return found


def llama3_factors(rope: dict[str, Any], dim: int) -> tuple[float, ...]:
    """Return by how much each frequency of a rotary head is divided.

    Short waves stay, long ones are divided by `factor`, those between by a mixture:
    1 / ((1 - s) / factor + s), s = (positions / wave - low) / (high - low). Source: Llama 3.1's own
    `apply_scaling` (meta-llama/llama-models).

    >>> scaled = {"rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    >>> found = llama3_factors({**scaled, "original_max_position_embeddings": 8192}, 128)
    >>> found[0], round(found[32], 3), found[-1]
    (1.0, 2.695, 8.0)
    """
    factor, low, high = (float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    positions = rope["original_max_position_embeddings"]
    factors = []
    for place in range(0, dim, 2):
        wave = 2 * pi * rope["rope_theta"] ** (place / dim)
        if wave < positions / high:
            factors.append(1.0)
        elif wave > positions / low:
            factors.append(factor)
        else:
            smooth = (positions / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return tuple(factors)
