"""Cosines and sines that each layer keeps, in releases whose layers had tables of their own."""

from ...frameworks import framework
from ...ledger import exact
from ...model.model import Model
from ...run.training import TrainingResolved, recipe
from .states import RankStates

KNOWN_SCALINGS = ("default", "linear", "dynamic")
"""Scalings of the releases whose layers keep tables: a model with another one came later."""


def with_rotary_tables(
    held: RankStates, model: Model, num_layers: int, request: TrainingResolved
) -> RankStates:
    """Return the states with the cosines and sines that each layer keeps, which nothing divides: where
    transformers or Unsloth of the day made them, of all positions, or of a longer sequence.

    >>> from ...model.load import load
    >>> asked = TrainingResolved(framework_version="transformers 4.44", precision="bf16", seq_len=4096)
    >>> with_rotary_tables(
    ...     RankStates((), 0, 0, 0, 0, 0, 0, 0, 0, 0), load("qwen2-72b"), 80, asked
    ... ).weights / 2**30
    5.0
    >>> asked = TrainingResolved("unsloth", "2024.7", precision="bf16", seq_len=2048)
    >>> none = RankStates((), 0, 0, 0, 0, 0, 0, 0, 0, 0)
    >>> [
    ...     with_rotary_tables(none, load(name), layers, asked).weights >> 20
    ...     for name, layers in (("mistral-nemo-12b", 40), ("gemma-2-9b", 42), ("phi-3-medium-128k", 40))
    ... ]
    [640, 672, 0]
    """
    said = framework(request.framework).habits(request.framework_version).rotary_tables
    widths = {family: width for family, _, width in (each.partition("/") for each in said)}
    rope = model.ropes[0]
    if model.family not in widths or rope.scaling not in (*KNOWN_SCALINGS, *said):
        return held
    width = int(widths[model.family] or recipe(request.precision).compute)
    most = min((int(each) for each in said if each.isdecimal()), default=rope.max_positions)
    rows = max(min(most, rope.max_positions), request.seq_len)
    formula = f"{num_layers} layers x 2 x {rows:,} positions x {rope.dim} x {width} B"
    num_bytes = num_layers * 2 * rows * rope.dim * width
    what, source = "cosines and sines of each layer", "facts/habits.csv, rotary"
    line = exact("weights.rotary_tables", "policy", what, num_bytes, formula, source)
    return held._replace(lines=(*held.lines, line), weights=held.weights + num_bytes)
