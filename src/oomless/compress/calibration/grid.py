"""Grid: the values that a group of a format can hold, for scales of one's own choice."""

from typing import TypeAlias

from ...errors import UnsupportedError
from ..arithmetic import float4
from ..arithmetic.scratch import Array, Scratch, numpy
from ..codecs.codec import Codec, Steps
from ..codecs.integers import Integers
from ..codecs.microscaled import Microscaled, Nvfp4

Adjustable: TypeAlias = Integers | Microscaled | Nvfp4
"""Codecs whose scales may be chosen."""
NUM_SHRINKS, LEAST_SHRINK = 24, 0.3
"""Scales that are tried for integers and NVFP4: from what reaches the largest magnitude down to three
tenths."""
EXPONENTS = (0, -1, 1)
"""Powers of two that are tried for MX formats, beside that of nearest rounding."""


def adjustable(codec: Codec | None) -> Adjustable | None:
    """Return a codec that calibration can improve: one of 4 bits or fewer."""
    if isinstance(codec, Integers | Microscaled | Nvfp4) and codec.form.bits <= 4:
        return codec
    return None


def group_of(codec: Adjustable, columns: int) -> int:
    """Return how many columns share a scale."""
    return codec.group or columns


def shrinks(codec: Adjustable) -> Array:
    """Return the candidates in the order in which they are tried; the first is nearest rounding."""
    np = numpy()
    if isinstance(codec, Microscaled):
        return np.array(EXPONENTS)
    return np.linspace(1.0, LEAST_SHRINK, NUM_SHRINKS, dtype=np.float32)


def steps_of(codec: Adjustable, values: Array, shrink: float, known: Array | None) -> Steps:
    """Return the steps of groups (rows x groups x columns of one), for one candidate."""
    np = numpy()
    match codec:
        case Integers(zeros=True):
            factor = np.float32(shrink)
            return codec.between(values.min(axis=2) * factor, values.max(axis=2) * factor)
        case Integers():
            return codec.up_to(np.abs(values).max(axis=2) * np.float32(shrink))
        case Microscaled():
            found = codec.exponents(np.abs(values).max(axis=2)).astype(np.int32) + int(shrink)
            return codec.steps(np.clip(found, 8, 254).astype(np.uint8))
        case Nvfp4():
            return codec.steps(np.abs(values).max(axis=2) * np.float32(shrink), known, Scratch())
    raise UnsupportedError(f"{codec.name} has no scales to choose", "calibrate int4, mxfp4 or nvfp4")


def rounded(codec: Adjustable, values: Array, scales: Array, zeros: Array | None) -> Array:
    """Return the values that the codes nearest to `values` stand for; scales and zeros broadcast."""
    np = numpy()
    if isinstance(codec, Integers):
        lowest = codec.lowest
        codes = np.rint(values / scales)
        if zeros is not None:
            codes += zeros
        np.clip(codes, lowest, -lowest - 1, out=codes)
        if zeros is not None:
            codes -= zeros
        return codes * scales
    quotients = values / scales
    places = np.searchsorted(_borders(), np.abs(quotients))
    found = np.copysign(float4.values()[places], quotients)
    return np.where(
        np.isinf(scales), np.float32(0), found * np.where(np.isinf(scales), np.float32(0), scales)
    )


def _borders() -> Array:
    """Return the middles between the magnitudes of E2M1."""
    magnitudes = float4.values()[:8]
    return (magnitudes[1:] + magnitudes[:-1]) / 2
