"""The state of linear attention on one rank: the last inputs of its convolution, and the recurrent state."""

from ..model.attention import Linear
from ..model.storage import DTYPES
from ..run.serving import Asked


def recurrent_state_bytes(linear: Linear, ranks: int, width: int, state_width: int) -> int:
    """Return the bytes of one layer's state for one sequence, its channels and heads divided over `ranks`:
    `width` bytes an input, `state_width` an element of the state. Mamba-2's groups are repeated until each
    rank has one.

    >>> recurrent_state_bytes(Linear(16, 48, 128, 128, 4), 2, 2, 4)  # Qwen3.6-27B
    1603584
    """
    channels = linear.conv_width
    if linear.variant == "mamba2" and linear.num_key_heads % ranks:
        channels += 2 * (ranks - linear.num_key_heads) * linear.key_head_dim
    return channels // ranks * (linear.conv_kernel - 1) * width + linear.state_size // ranks * state_width


def state_width(linear: Linear, asked: Asked, usual: int) -> int:
    """Return the bytes of an element of the recurrent state: as asked, or by the model, or as is usual.

    >>> state_width(Linear(16, 48, 128, 128, 4, state_bits=32), Asked(mamba_ssm_cache_dtype="float16"), 2)
    2
    """
    if asked.mamba_ssm_cache_dtype != "auto":
        return DTYPES[asked.mamba_ssm_cache_dtype].bits // 8
    return linear.state_bits // 8 or usual
