"""Damage: what each format of each matrix costs the model, measured on a text."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..arithmetic.scratch import Array, Scratch, numpy
from ..checkpoint.encode import encode
from ..checkpoint.error import as_float
from ..checkpoint.reader import MatrixBlock, Reader
from ..checkpoint.target import Target, TargetWeight
from ..codecs.codec import Codec
from ..quality.lazy_model import LazyModel
from .slopes import Slopes, SlopesRun


class Damage(NamedTuple):
    """A weight's bytes in one format, and what that costs: KL divergence a token, in nats."""

    num_bytes: int
    error: float


Damages = dict[str, dict[str, Damage]]
"""Weight -> word of the format -> damage."""


def damages(
    lazy: LazyModel,
    target: Target,
    codecs: dict[str, Codec],
    sequences: list[Any],
    progress: Callable[[int, int], None],
) -> Damages:
    """Return what each codec does to each weight that is compressed, one layer in memory at a time.

    A weight that no token reached is not among them.
    """
    weights = {
        weight.name: weight for weight in target.weights if weight.codec is not None and not weight.why
    }
    reader, scratch, found = Reader(lazy.source.files), Scratch(), Damages()
    num_layers, num_tokens = len(lazy.layers()), sum(each.shape[-1] for each in sequences)

    def visit(number: int, matrices: Iterator[tuple[str, Slopes]]) -> None:
        for name, slopes in matrices:
            if name in weights:
                found[name] = of_weight(weights[name], slopes, num_tokens, codecs, reader, scratch)
        progress(num_layers - number, num_layers)

    try:
        SlopesRun(lazy, visit).run(sequences)
    finally:
        reader.close()
    return found


def of_weight(
    weight: TargetWeight,
    slopes: Slopes,
    num_tokens: int,
    codecs: dict[str, Codec],
    reader: Reader,
    scratch: Scratch,
) -> dict[str, Damage]:
    """Return the damage of each codec that can hold a weight."""
    whole = MatrixBlock(0, weight.shape[0], 0, weight.shape[1])
    values = as_float(weight.view.read(reader, whole), scratch, "damaged").copy()
    found = {}
    for word, codec in codecs.items():
        if codec.refusal(weight.shape):
            continue
        error = round_trip(codec, values, scratch) - values
        size = sum(part.num_bytes(weight.shape) for part in codec.parts)
        found[word] = Damage(size, divergence(error, slopes) / num_tokens if error.any() else 0.0)
    return found


def divergence(error: Array, slopes: Slopes) -> float:
    """Return the KL divergence that an error of a matrix (rows x columns) causes, summed over tokens: half
    the square of what each token's logarithm changes by, to first order.

    >>> ones = numpy().ones((3, 2), numpy().float32)
    >>> divergence(0.1 * ones[:2], Slopes(ones, ones)).__round__(3)  # each changes by 0.4
    0.24
    """
    np = numpy()
    changes = np.einsum("to,to->t", np.asarray(slopes.inputs) @ error.T, np.asarray(slopes.outputs))
    return float(np.square(changes).sum()) / 2


def round_trip(codec: Codec, values: Array, scratch: Scratch) -> Array:
    """Return values as a codec gives them back."""
    np = numpy()
    known = None
    if codec.scope in ("tensor", "fused"):
        known = np.abs(values).max().reshape(1, 1)
    whole = codec.whole(values.shape, known)
    parts = tuple(
        np.asarray(whole[part.suffix]) if part.once else array
        for part, array in zip(codec.parts, encode(codec, values, known, scratch), strict=True)
    )
    out = np.empty(values.shape, np.float32)
    codec.decode(parts, out, scratch)
    return out
