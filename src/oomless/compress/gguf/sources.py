"""Which weights of a checkpoint a tensor of a GGUF file is made of, as a view: one matrix, a head's part of
one, the experts of a layer below each other."""

from typing import NamedTuple

from ...errors import OomlessError
from ...model.attention import GQA, Sliding
from ...model.gguf_model import StoredTensor
from ...model.model import Model
from ..checkpoint.source import Checkpoint
from ..checkpoint.stored_weight import StoredWeight
from ..checkpoint.target import PAIRS, is_transposed
from ..checkpoint.views import Expert, HeadPart, Reordered, Stacked, View, Whole
from .families import GgufFamily

FUSED = {part: name for name, parts in PAIRS.items() for part in parts}
"""A matrix of an expert -> the fused tensor that may hold it."""


class SourceView(NamedTuple):
    """A view of what a tensor is made of, and the weights that it reads."""

    view: View
    weights: tuple[StoredWeight, ...]


class Sources:
    """The weights of one checkpoint by name, and the rules of its family."""

    def __init__(
        self, source: Checkpoint, weights: tuple[StoredWeight, ...], model: Model, family: GgufFamily
    ) -> None:
        self.source, self.model, self.family = source, model, family
        self.weights = {weight.name: weight for weight in weights}

    def of(self, piece: StoredTensor) -> SourceView:
        """Return what a tensor is made of; an OomlessError names what is missing."""
        name = piece.group.name.format(piece.layer)
        for ours, theirs in self.family.names:
            name = name.replace(ours, theirs)
        short = name.removesuffix(".weight") if len(piece.shape) > 1 else name
        if piece.group.role == "expert":
            return self.experts(piece, short)
        if short.endswith(("k_b_proj", "v_b_proj")):
            return self.head_part(piece, short)
        weight = self.need(short, piece)
        if len(weight.shape) == 1:
            return SourceView(self.turned(short, piece, self.vector(short, weight)), (weight,))
        return SourceView(self.turned(short, piece, Whole(weight)), (weight,))

    def need(self, name: str, piece: StoredTensor) -> StoredWeight:
        """Return a weight by name."""
        if name not in self.weights:
            raise OomlessError(
                f"{self.source.folder}: {name[:80]} is missing, of which {piece.name} is made",
                "config.json and the tensors disagree",
            )
        return self.weights[name]

    def vector(self, name: str, weight: StoredWeight) -> Whole:
        """Return a vector as a matrix: one row, or one column where rows are put into another order."""
        (size,) = weight.shape
        is_turned = self.family.turned and name.endswith(("q_proj.bias", "k_proj.bias"))
        return Whole(weight._replace(shape=(size, 1) if is_turned else (1, size)))

    def turned(self, name: str, piece: StoredTensor, view: Whole) -> View:
        """Return the view with rows in ggml's order of rotary heads, where the family needs it."""
        part = next((part for part in ("q_proj", "k_proj") if f".{part}" in name), None)
        if not self.family.turned or part is None:
            return view
        attention = self.model.layers[piece.layer].attention
        heads = attention.inner if isinstance(attention, Sliding) else attention
        assert isinstance(heads, GQA)
        return Reordered(view, heads.num_heads if part == "q_proj" else heads.num_kv_heads)

    def head_part(self, piece: StoredTensor, name: str) -> SourceView:
        """Return the keys' part of kv_b, transposed, or the values' part."""
        weight = self.need(f"{name[: -len('k_b_proj')]}kv_b_proj", piece)
        heads, rows, columns = piece.shape
        if name.endswith("k_b_proj"):
            return SourceView(HeadPart(Whole(weight), heads, 0, columns, True), (weight,))
        first = weight.shape[0] // heads - rows
        return SourceView(HeadPart(Whole(weight), heads, first, rows, False), (weight,))

    def experts(self, piece: StoredTensor, name: str) -> SourceView:
        """Return the experts of a layer below each other, each a weight of its own or a part of a fused
        one."""
        prefix, _, part = name.rpartition(".")
        count, rows, _ = piece.shape
        whole = self.weights.get(f"{prefix}.{part}") or self.weights.get(f"{prefix}.{FUSED.get(part, part)}")
        if whole is None:
            each = tuple(self.need(f"{prefix}.{number}.{part}", piece) for number in range(count))
            return SourceView(Stacked(tuple(Whole(weight) for weight in each)), each)
        names = PAIRS.get(whole.name.rpartition(".")[2], (part,))
        transposed = is_transposed(whole, self.source)
        first = names.index(part) * rows
        views = tuple(Expert(whole, number, first, rows, transposed) for number in range(count))
        return SourceView(Stacked(views), (whole,))
