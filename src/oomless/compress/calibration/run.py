"""A calibration from beginning to end: the source runs on a text, layer by layer, and the codes of each layer
are written again, in the places that they already have."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from ...errors import UnsupportedError, UsageError, need
from ..arithmetic.scratch import Array, Scratch, numpy
from ..checkpoint.error import as_float
from ..checkpoint.journal import Journal
from ..checkpoint.reader import MatrixBlock, Reader
from ..checkpoint.target import Target, TargetWeight
from ..checkpoint.worker import write_parts
from ..codecs.codec import Codec, Steps
from ..codecs.microscaled import Nvfp4
from ..codecs.pruned import Pruned
from ..codecs.tile import Tile
from ..quality.lazy_model import LazyModel
from ..quality.lockstep import Call, Lockstep, plain_visit
from ..sparsity.prune import by_sparsegpt, by_wanda
from .grid import Adjustable, adjustable
from .inputs import LayerInputs
from .solve import Moments, Solved, by_diagonal, by_gptq

METHODS: dict[str, Callable[..., Solved]] = {
    "diagonal": by_diagonal,
    "gptq": by_gptq,
    "wanda": by_wanda,
    "sparsegpt": by_sparsegpt,
}
PRUNING = ("wanda", "sparsegpt")
"""Methods for 2:4; the others choose codes."""
ROWS = 512
"""Rows that are written at once: a multiple of what any format packs together."""


def check(target: Target, method: str) -> None:
    """Refuse what cannot be calibrated, before anything is read."""
    if method not in METHODS:
        raise UsageError(f"--calibrate {method[:40]}", f"there are: {', '.join(METHODS)}")
    if not any(solvable(weight.codec, method) for weight in target.weights):
        raise UnsupportedError(
            f"no weight of this format gains from {method}",
            f"calibrate int4, int2, mxfp4 or nvfp4 by diagonal or gptq, 2:4 by {' or '.join(PRUNING)}",
        )


def solvable(codec: Codec | None, method: str) -> Adjustable | Pruned | None:
    """Return a codec that a method can improve."""
    if method in PRUNING:
        return codec if isinstance(codec, Pruned) else None
    return adjustable(codec)


class CalibrationRun:
    """One run: what is known, and where it writes."""

    def __init__(self, target: Target, lazy: LazyModel, outputs: tuple[Path, ...], method: str) -> None:
        self.lazy, self.method, self.outputs = lazy, method, outputs
        self.weights = {weight.name: weight for weight in target.weights if solvable(weight.codec, method)}

    def run(
        self,
        sequences: list[Any],
        journal: Journal,
        first: int,
        durable: bool,
        progress: Callable[[int, int], None],
    ) -> None:
        """Calibrate all layers that the journal does not know as done; `first` is what it says before any."""
        num_layers = len(self.lazy.layers())

        def visit(number: int, module: Any, calls: list[Call], run: Callable[..., list[Any]]) -> list[Any]:
            if first + number < journal.done:
                return plain_visit(number, module, calls, run)
            inputs = LayerInputs(self.lazy, module)
            found = inputs.run(module, calls, run)
            self.layer(inputs, durable)
            journal.note(first + number + 1, durable)
            progress(number + 1, num_layers)
            return found

        Lockstep(self.lazy, visit).run(sequences)

    def layer(self, inputs: LayerInputs, durable: bool) -> None:
        """Solve and write all matrices of a layer: those that are fed with the same in turn, others
        side by side."""
        files: dict[int, int] = {}
        try:
            with one_thread_each() as threads:
                for moments, names in groupby(inputs.matrices(), lambda each: each[1]()):
                    weights = [self.weights[name] for name, _ in names if name in self.weights]
                    for weight in weights:
                        if weight.file not in files:
                            files[weight.file] = os.open(self.outputs[weight.file], os.O_RDWR)
                    threads.submit(self.matrices, weights, moments, files)
        finally:
            for file in files.values():
                if durable:
                    os.fdatasync(file)
                os.close(file)

    def matrices(self, weights: list[TargetWeight], moments: Moments, files: dict[int, int]) -> None:
        """Solve matrices that are fed with the same, and write their parts."""
        reader = Reader(self.lazy.source.files)
        try:
            for weight in weights:
                codec, file = solvable(weight.codec, self.method), files[weight.file]
                assert codec is not None
                whole = MatrixBlock(0, weight.shape[0], 0, weight.shape[1])
                values = as_float(weight.view.read(reader, whole), reader.scratch, "calibrated").copy()
                known = known_of(codec, weight, file)
                solved = METHODS[self.method](codec, values, moments, known)
                write(codec, weight, solved, known, file, reader.scratch)
        finally:
            reader.close()


class Solvers:
    """Threads that work beside each other; few tasks wait, so that what they hold stays little."""

    def __init__(self, pool: ThreadPoolExecutor, most: int) -> None:
        self.pool, self.most = pool, most
        self.waiting: deque[Future[None]] = deque()

    def submit(self, function: Callable[..., None], *words: Any) -> None:
        """Begin a task once fewer than the most are begun; raises what an earlier one met."""
        while len(self.waiting) >= self.most:
            self.waiting.popleft().result()
        self.waiting.append(self.pool.submit(function, *words))

    def finish(self) -> None:
        """Wait for all."""
        while self.waiting:
            self.waiting.popleft().result()


@contextmanager
def one_thread_each() -> Iterator[Solvers]:
    """Give solvers, a processor each, while torch's own threads rest: they would wait for each other."""
    torch = need("torch", "compress")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(before) as pool:
            solvers = Solvers(pool, 2 * before)
            yield solvers
            solvers.finish()
    finally:
        torch.set_num_threads(before)


def known_of(codec: Adjustable | Pruned, weight: TargetWeight, file: int) -> Array | None:
    """Return the largest magnitude that NVFP4's tensor scale stands for: it is written already."""
    np = numpy()
    if not isinstance(codec, Nvfp4):
        return None
    (piece,) = [each for each in weight.pieces if each.name.endswith("global_scale")]
    stored = np.frombuffer(os.pread(file, 4, piece.start), np.float32)
    return codec.multiplier(stored.reshape(1, 1))


def write(
    codec: Adjustable | Pruned,
    weight: TargetWeight,
    solved: Solved,
    known: Array | None,
    file: int,
    scratch: Scratch,
) -> None:
    """Write the codes of solved values; each is one of the format's own, so that rounding finds it again."""
    rows, columns = solved.values.shape
    np = numpy()
    for row in range(0, rows, ROWS):
        end = min(row + ROWS, rows)
        steps = Steps(
            *(None if each is None else np.ascontiguousarray(each[row:end]) for each in solved.steps)
        )
        out = tuple(
            np.empty(part.array_shape(end - row, columns) if not part.once else (0, 0), part.array)
            for part in codec.parts
        )
        codec.write(Tile(np.ascontiguousarray(solved.values[row:end]), scratch, known), steps, out)
        write_parts(file, weight, MatrixBlock(row, end, 0, columns), out)
