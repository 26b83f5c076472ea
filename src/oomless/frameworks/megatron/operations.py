"""A layer written down operation by operation, and those that every layer of Megatron-LM is made of: norms,
parallel products, FP8 copies, residuals."""

from typing import NamedTuple

from ..graphs.graph import GraphRecorder, Op
from .run import Megatron
from .selective import DISCARDED


class Shape(NamedTuple):
    """Tokens of a micro-batch on a rank: of the residual stream (cut by sequence parallelism), and all of
    them."""

    residual: int
    tokens: int
    batch: int
    keys: int
    """Tokens of a sequence that are attended to on this rank: all of it over context parallelism, in turns.
    """


def shape(run: Megatron, seq_len: int) -> Shape:
    tokens = seq_len * run.micro_batch // run.cp
    return Shape(
        tokens // run.tp if run.sequence_parallel else tokens, tokens, run.micro_batch, seq_len // run.cp
    )


class Tape(GraphRecorder):
    """A layer of a run as it grows: what an operation makes is given with its bytes."""

    def __init__(self, run: Megatron, at: Shape, sizes: dict[str, int]) -> None:
        super().__init__(sizes)
        self.run = run
        self.at = at

    def op(
        self,
        name: str,
        reads: str,
        writes: dict[str, int],
        saves: str = "",
        *,
        module: str = "",
        product: bool = False,
        forward_temp: int = 0,
        backward_temp: int = 0,
        ready: str = "",
    ) -> None:
        """One operation; names of tensors are separated by blanks. `ready`: of what it reads, that whose
        gradient is written over it."""
        made = Op(
            name,
            tuple(reads.split()),
            tuple(writes),
            tuple(saves.split()),
            forward_temp,
            backward_temp,
            module,
            product,
            ready=tuple(ready.split()),
        )
        self.record(made, writes)

    def constant(self, *names: str) -> None:
        """Tensors without a gradient: masks, statistics, indices."""
        self.constants.update(names)


def norm(
    tape: Tape,
    name: str,
    source: str,
    target: str,
    rows: int,
    width: int,
    module: str = "norm",
) -> None:
    """A norm keeps its input and an F32 mean and deviation a row (RMSNorm: the deviation)."""
    run = tape.run
    stats = rows * (4 if run.rms_norm else 8)
    tape.constant(f"{target}.stats")
    tape.op(
        name,
        source,
        {target: rows * width * run.num_bytes, f"{target}.stats": stats},
        f"{source} {target}.stats",
        module=module,
    )


def linear(
    tape: Tape,
    name: str,
    source: str,
    target: str,
    num: int,
    *,
    width: int,
    column: bool = True,
    module: str = "",
    kept_beside: bool = False,
) -> None:
    """Add a matrix product, which keeps its input. Under sequence parallelism one that is cut by `column`s
    gathers it for a moment, forward and backward; one by rows forward alone.

    `kept_beside`: an operation before it keeps the same tensor, so that the product keeps no FP8 copy of it
    (set_save_original_input from Megatron-core 0.14 on, of recipes other than delayed: linear_proj, whose
    input is attention's output, and the first product of the shared experts, whose input the router keeps).
    Where attention is computed again nothing before linear_proj keeps its input; Megatron does not ask, but
    rows of Megatron-Bridge are nearer to the copy.
    """
    run, at = tape.run, tape.at
    gathered = at.tokens * width * run.num_bytes if run.sequence_parallel else 0
    if not kept_beside or run.fp8_recipe == "delayed":
        source = quantised(tape, source)
    tape.op(
        name,
        source,
        {target: num * run.num_bytes},
        source,
        module=module,
        product=True,
        forward_temp=gathered,
        backward_temp=gathered if column else 0,
    )


def back_to_residual(
    tape: Tape,
    name: str,
    source: str,
    target: str,
    *,
    module: str = "",
    kept_beside: bool = False,
) -> None:
    """Add the row-parallel product that ends a block: as wide as the residual, to which it is added."""
    run, at = tape.run, tape.at
    width = run.hidden
    linear(
        tape,
        name,
        source,
        target,
        at.residual * width,
        column=False,
        width=width,
        module=module,
        kept_beside=kept_beside,
    )


def quantised(tape: Tape, source: str) -> str:
    """What a product of Transformer Engine keeps of its input: the tensor, or under FP8 a copy of a byte a
    value.

    A copy of what a discarded module makes is part of it: products behind it keep their input as it came
    (set_save_original_input).

    Scales of blocks add 1/32 (mxfp8) or 1/32 (blockwise, F32 for 128 values) to it; those of whole tensors
    nothing.
    """
    run = tape.run
    if not run.fp8 or run.local:
        return source
    name = f"{source}.fp8"
    if name not in tape.sizes:
        values = tape.sizes[source] // run.num_bytes
        tape.op(
            "quantise",
            source,
            {name: values + (values // 32 if run.fp8_recipe in ("mxfp8", "blockwise") else 0)},
            module=next((op.module for op in tape.ops if source in op.writes and op.module in DISCARDED), ""),
        )
    return name


def stored(tape: Tape, source: str) -> str:
    """Return what a gated activation reads: the tensor, or its copy in FP8 under
    --activation-func-fp8-input-store (core/fusions/fused_bias_swiglu.py), which outlives it. DeepSeek-V3's
    own (DualPipe) has a scale for 128 values."""
    run = tape.run
    if not run.fp8_inputs or not run.gated:
        return source
    name, values = f"{source}.stored", tape.sizes[source] // run.num_bytes
    tape.op("store", source, {name: values + (values // 32 if run.dualpipe else 0)})
    return name


def residual(tape: Tape, name: str, source: str, skip: str, target: str) -> None:
    """Bias, dropout and addition in one; a mask of one byte an element is kept where there is dropout."""
    run, at = tape.run, tape.at
    elements = at.residual * run.hidden
    if run.hidden_dropout:
        tape.constant(f"{target}.mask")
        tape.op(
            name,
            f"{source} {skip}",
            {target: elements * run.num_bytes, f"{target}.mask": elements},
            f"{target}.mask",
        )
    else:
        tape.op(name, f"{source} {skip}", {target: elements * run.num_bytes})
