"""Damage: what each format does to what each matrix gives out, measured on a text."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..arithmetic.scratch import Array, Scratch, numpy
from ..calibration.inputs import LayerInputs
from ..checkpoint.encode import encode
from ..checkpoint.error import as_float
from ..checkpoint.reader import MatrixBlock, Reader
from ..checkpoint.target import Target, TargetWeight
from ..codecs.codec import Codec
from ..quality.lazy_model import LazyModel
from ..quality.lockstep import Call, Lockstep


class Damage(NamedTuple):
    """A weight's bytes in one format, and its error: of its output's square, the share that is lost."""

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

    The error is the sum over the matrix of squared differences, weighted by the mean square of what each
    column is fed with, as a share of the same sum of squares: what nearest rounding does to the output, by
    the diagonal. A weight that no token reached is not among them.
    """
    weights = {
        weight.name: weight for weight in target.weights if weight.codec is not None and not weight.why
    }
    reader, scratch, found = Reader(lazy.source.files), Scratch(), Damages()
    num_layers = len(lazy.layers())

    def visit(number: int, module: Any, calls: list[Call], run: Callable[..., list[Any]]) -> list[Any]:
        inputs = LayerInputs(lazy, module)
        out = inputs.run(module, calls, run)
        for name, moments in inputs.matrices():
            if name in weights:
                found[name] = of_weight(weights[name], moments().diagonal, codecs, reader, scratch)
        progress(number + 1, num_layers)
        return out

    try:
        Lockstep(lazy, visit).run(sequences)
    finally:
        reader.close()
    return found


def of_weight(
    weight: TargetWeight, importance: Array, codecs: dict[str, Codec], reader: Reader, scratch: Scratch
) -> dict[str, Damage]:
    """Return the damage of each codec that can hold a weight."""
    np = numpy()
    whole = MatrixBlock(0, weight.shape[0], 0, weight.shape[1])
    values = as_float(weight.view.read(reader, whole), scratch, "damaged").copy()
    square = float((np.square(values).sum(axis=0) * importance).sum()) or 1.0
    found = {}
    for word, codec in codecs.items():
        if codec.refusal(weight.shape):
            continue
        error = round_trip(codec, values, scratch) - values
        lost = float((np.square(error).sum(axis=0) * importance).sum()) / square
        found[word] = Damage(sum(part.num_bytes(weight.shape) for part in codec.parts), lost)
    return found


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
