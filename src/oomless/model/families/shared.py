"""What the configs of all families spell alike: dtype, quantisation, rotary embedding."""

from .. import quantization
from ..config import Config
from ..model import Rope
from ..storage import BF16, DTYPES, Format
from ..weights import Storage


def read_dtype(config: Config) -> Format:
    """The checkpoint's floating type. Absent, there is no safe guess: the fault names the key."""
    key = "torch_dtype" if config.values.get("torch_dtype") is not None else "dtype"
    name = config.word(key, "").removeprefix("torch.")
    if not name and config.values.get("quantization_config"):
        return BF16  # a quantised checkpoint without the key keeps its unquantised part in BF16 (gpt-oss)
    if not name:
        config.fault("torch_dtype is missing")
        return BF16
    if name not in DTYPES:
        config.fault(f"{key} is {name!r}, not one of {', '.join(DTYPES)}")
        return BF16
    return DTYPES[name]


def read_storage(config: Config) -> tuple[Storage, str]:
    """How the checkpoint stores its weights, and the quantisation method that its config names ("" = none)."""
    return quantization.read_storage(config, read_dtype(config))


def read_rope(config: Config, dim: int, max_positions: int) -> Rope:
    """The rotary embedding: its scaling decides how many positions an engine tabulates."""
    scaling = config.section("rope_scaling")
    if not scaling.values:
        scaling = config.section("rope_parameters")
    kind = scaling.word("rope_type" if "rope_type" in scaling.values else "type", "default")
    return Rope(
        dim,
        config.number("rope_theta", scaling.number("rope_theta", 10000.0)),
        max_positions,
        kind,
        scaling.number("factor", 1.0),
        scaling.size("original_max_position_embeddings", 0, least=0),
    )
