"""What engines share: how a weight is divided over ranks that hold a part of it each, and how a measured
constant becomes a line."""

from ..errors import UsageError
from ..model.model import Tensor
from ..model.storage import Shape

REPEATED = ("k_proj", "v_proj", "index_q_proj")
"""Heads that ranks repeat where they are fewer; MiniMax-M3's indexer has one head for each of keys."""


def divide(tensor: Tensor, ranks: int, blame: str, pad: int = 1) -> Shape:
    """The part of one rank: rows, columns or entries of the vocabulary (padded to `pad`) over `ranks`; key
    and value heads fewer than ranks are repeated. `blame` says what asked for that many, should they not
    divide.

    >>> from ..model.model import Cut
    >>> heads = Cut("column", 8)
    >>> divide(
    ...     Tensor("k_proj.weight", (1024, 4096), None, heads), 16, "--tp 16"
    ... )  # Llama-3.1-8B: 8 key heads of 128
    (128, 4096)
    >>> divide(Tensor("lm_head.weight", (151_665, 896), None, Cut("vocabulary")), 2, "--tp 2", pad=64)
    (75840, 896)
    """
    shape, units = tensor.shape, tensor.cut.units
    match tensor.cut.how:
        case "vocabulary":
            return (-(-(-(-shape[0] // pad) * pad) // ranks), *shape[1:])
        case "whole":
            return shape
        case "column":
            if units % ranks == 0:
                return (shape[0] // ranks, *shape[1:])
            if ranks % units == 0 and any(part in tensor.name for part in REPEATED):
                return (shape[0] // units, *shape[1:])
        case "row":
            if units % ranks == 0:
                return (*shape[:-1], shape[-1] // ranks)
    what = "heads" if "attn" in tensor.name else "columns"
    name = tensor.name.replace("model.layers.{}.", "").replace(".{}", "").removesuffix(".weight")
    raise UsageError(
        f"{blame} does not divide the {units} {what} of {name}", "choose a size that divides them"
    )


VOCABULARY_PAD = 64


def experts_per_rank(num_experts: int, num_ranks: int, redundant: int) -> int:
    """Routed experts of the fullest rank. Redundant copies must make the number divide (EPLB)."""
    if redundant and (num_experts + redundant) % num_ranks:
        raise UsageError(
            f"{num_experts} experts and --num-redundant-experts {redundant} do not "
            f"divide over {num_ranks} ranks",
            "choose a number of copies that makes them divide",
        )
    if num_ranks > num_experts + redundant:
        raise UsageError(f"{num_ranks} expert-parallel ranks for {num_experts} experts", "use fewer ranks")
    return -(-(num_experts + redundant) // num_ranks)
