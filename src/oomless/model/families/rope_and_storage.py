"""What the configs of all families spell alike: dtype, quantisation, rotary embedding."""

from .. import quantization
from ..config import Config
from ..model import Rope
from ..scope import Storage
from ..storage import BF16, DTYPES, Format


def read_dtype(config: Config) -> Format:
    """The checkpoint's floating type. Absent, there is no safe guess: the fault names the key."""
    config.used |= {"torch_dtype", "dtype"}  # transformers 5 writes the second, and some configs have both
    key = "torch_dtype" if config.values.get("torch_dtype") is not None else "dtype"
    name = config.word(key, "").removeprefix("torch.")
    if not name and "quantization_config" in config.values:
        return BF16  # a quantised checkpoint without the key keeps its unquantised part in BF16 (gpt-oss);
        # null where it is taken off: the same weights in 16 bit
    if not name:
        config.fault("torch_dtype is missing")
        return BF16
    if name not in DTYPES:
        config.fault(f"{key} is {name!r}, not one of {', '.join(DTYPES)}")
        return BF16
    return DTYPES[name]


def read_storage(config: Config) -> tuple[Storage, str]:
    """How the checkpoint stores its weights, and the quantisation method that its config names ("" =
    none)."""
    return quantization.read_storage(config, read_dtype(config))


MAX_ROPE_FACTOR = 1024
"""YaRN and its like stretch by 4 to 64; a table of cosines grows with it."""


def read_rope(
    config: Config, dim: int, max_positions: int, layer_type: str = "", theta: float = 10000.0
) -> Rope:
    """The rotary embedding: its scaling decides how many positions an engine tabulates.

    `rope_parameters` may hold one section a layer type; `theta` is the default of the model's class.
    """
    config.used.add("rope_parameters")
    scaling = config.section("rope_scaling")
    if not scaling.values:
        scaling = config.section("rope_parameters")
    if layer_type and isinstance(scaling.values.get(layer_type), dict):
        scaling = scaling.section(layer_type)
    kind = scaling.word("rope_type" if "rope_type" in scaling.values else "type", "default")
    if "mrope_section" in scaling.values and kind in ("mrope", "default"):
        kind = "mrope"  # positions of time, height and width: configs call the scaling default
    kind = {"su": "longrope"}.get(kind, kind)
    original = scaling.size("original_max_position_embeddings", 0, least=0)
    if kind == "longrope" and not original:  # Phi-3 keeps it outside of the section
        original = config.size("original_max_position_embeddings", max_positions)
    factor = scaling.number("factor", 1.0)
    if not 0 < factor <= MAX_ROPE_FACTOR:
        scaling.faults.append(f"factor is {factor:g}, a rope is stretched by at most {MAX_ROPE_FACTOR:,}")
        factor = 1.0
    return Rope(
        dim,
        config.number("rope_theta", scaling.number("rope_theta", theta)),
        max_positions,
        kind,
        factor,
        original,
    )


def rotary_dim(config: Config, head_dim: int, default: float = 1.0) -> int:
    """The part of a head that is rotated."""
    nested = config.section("rope_scaling" if config.values.get("rope_scaling") else "rope_parameters")
    share = config.number("partial_rotary_factor", nested.number("partial_rotary_factor", default))
    return max(int(head_dim * share), 1)
