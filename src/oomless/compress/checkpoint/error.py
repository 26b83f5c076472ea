"""What rounding costs, weight by weight: the squared error of what was written, as a share of the weight's
own square.

The result is read again from the disk, so that a number here also says that it can be read.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import NamedTuple

from ...model.gguf import read_gguf
from ...model.safetensors import Stored
from ..arithmetic.bfloat16 import widen
from ..arithmetic.scratch import Array, Scratch, numpy
from ..codecs.ggml import GgmlBlocks
from .blocks import blocks
from .reader import Reader
from .source import Checkpoint, Located, read_source
from .stored_weight import StoredWeight, stored_weights
from .target import Target, TargetWeight
from .views import Whole


class WeightError(NamedTuple):
    """Sums over one weight: of squared differences, and of squares."""

    squared_error: float
    square: float

    @property
    def relative(self) -> float:
        """Return the error as a share; 0 for a weight of zeros."""
        return self.squared_error / self.square if self.square else 0.0


def weight_errors(
    source: Checkpoint, target: Target, folder: Path, threads: int, progress: Callable[[int, int], None]
) -> dict[str, WeightError]:
    """Return the error of each weight that was written anew; those that were copied have none."""
    files, found = written_weights(target, folder)
    changed = [weight for weight in target.weights if weight.codec is not None]
    here = local()

    def of(weight: TargetWeight) -> tuple[str, WeightError]:
        if not hasattr(here, "readers"):
            here.readers = Reader(source.files), Reader(files)
        return weight.name, one_error(weight, found[weight.name], *here.readers)

    errors: dict[str, WeightError] = {}
    with ThreadPoolExecutor(threads) as pool:
        for number, (name, error) in enumerate(pool.map(of, changed)):
            errors[name] = error
            progress(number + 1, len(changed))
    return errors


def written_weights(target: Target, folder: Path) -> tuple[tuple[Path, ...], dict[str, StoredWeight]]:
    """Return the files of a result and its weights by name, as their own headers have them."""
    match target.kind:
        case "safetensors":
            written = read_source(str(folder))
            return written.files, {weight.name: weight for weight in stored_weights(written)}
        case "gguf":
            path = folder / target.files[0].name
            file = read_gguf(path)
            weights = {}
            for each in file.tensors:
                stored = Stored(each.name, "U8", each.shape, each.num_bytes, file.data_offset + each.offset)
                weights[each.name] = StoredWeight(
                    each.name, each.shape, GgmlBlocks(each.type.name), (Located(stored, 0),)
                )
            return (path,), weights


def one_error(weight: TargetWeight, stored: StoredWeight, reader: Reader, again: Reader) -> WeightError:
    """Return the error of one weight, block by block."""
    np = numpy()
    view = Whole(stored._replace(shape=weight.shape))
    squared, square = 0.0, 0.0
    for block in blocks(weight.view, weight.codec):
        before = as_float(weight.view.read(reader, block), reader.scratch, "error before")
        after = as_float(view.read(again, block), again.scratch, "error after")
        square += float(np.vdot(before, before))
        np.subtract(before, after, out=after)
        squared += float(np.vdot(after, after))
    return WeightError(squared, square)


def as_float(raw: Array, scratch: Scratch, name: str) -> Array:
    """Return a block that was read as float32, in memory of its own."""
    values = scratch.take(name, "float32", *raw.shape)
    if raw.dtype.itemsize == 2:
        widen(raw, values)
    else:
        numpy().copyto(values, raw)
    return values
