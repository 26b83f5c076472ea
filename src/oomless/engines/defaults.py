"""What an engine computes in and how long it serves, where nobody says it."""

from ..errors import UnsupportedError, UsageError
from ..model.model import Model
from ..model.storage import BF16, DTYPES, F16, F32
from ..run.cards import Hardware


def resolve_dtype(model: Model, asked: str, hardware: Hardware) -> str:
    """`auto` is the checkpoint's type; F32 checkpoints are served in 16 bit, and cards without BF16 take
    F16."""
    card = hardware.card
    if asked == "auto":
        if model.dtype == F32 or (model.dtype == BF16 and card.lacks_bf16):
            return F16.name
        return model.dtype.name
    if asked not in DTYPES:
        raise UsageError(f"--dtype {asked!r} is not known", f"known are auto, {', '.join(DTYPES)}")
    if DTYPES[asked] == BF16 and card.lacks_bf16:
        raise UnsupportedError(
            f"{card.name} has no bfloat16 (compute capability {card.compute_capability})", "use float16"
        )
    return DTYPES[asked].name


def default_length(model: Model) -> int:
    """The model's own length as vLLM derives it: positions, times the scaling that is not yet part of them.

    >>> from ..model.load import load
    >>> default_length(load("deepseek-coder-1.3b")), default_length(load("deepseek-v3"))
    (65536, 163840)
    """
    rope = model.ropes[0]
    match rope.scaling:
        case "yarn" | "deepseek_yarn":
            scaled = int((rope.original_max_positions or model.max_positions) * rope.factor)
            return max(scaled, model.max_positions)
        case "linear" | "dynamic" if not rope.reaches_scaled:
            return int(model.max_positions * rope.factor)
        case _:
            return model.max_positions
