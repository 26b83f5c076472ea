"""Target: the checkpoint that will be written, every byte of it placed before the first is: header arithmetic
alone."""

import json
from collections.abc import Callable
from typing import Literal, NamedTuple

from ...errors import OomlessError
from ...model.safetensors import BITS, MAX_HEADER_BYTES
from ...model.storage import Shape
from ..codecs.codec import Codec
from ..codecs.plain import Plain
from .choice import Choice, fused_group
from .source import Checkpoint
from .stored_weight import StoredWeight
from .views import Expert, View, Whole

DEFAULT_SHARD = "model.safetensors"
PAIRS = {"gate_up_proj": ("gate_proj", "up_proj"), "w13": ("w1", "w3")}
"""Fused matrices of experts, and the two that engines expect in their place."""


class Piece(NamedTuple):
    """One tensor of the target: what its header says, and where it lies."""

    name: str
    dtype: str
    shape: Shape
    num_bytes: int
    start: int
    """Byte of the file."""


class TargetWeight(NamedTuple):
    """One weight of the target: read through `view` and written by `codec`, or copied (codec None)."""

    name: str
    view: View
    source: StoredWeight
    codec: Codec | None
    why: str
    """Why it stays; "" if it does not."""
    file: int
    pieces: tuple[Piece, ...]
    group: str
    """What engines fuse it with."""

    @property
    def num_bytes(self) -> int:
        return sum(piece.num_bytes for piece in self.pieces)

    @property
    def shape(self) -> Shape:
        return self.view.shape


class TargetFile(NamedTuple):
    """One file: its name, what stands before the data, its size."""

    name: str
    header: bytes
    num_bytes: int


class Target(NamedTuple):
    """All weights and files of what will be written."""

    weights: tuple[TargetWeight, ...]
    files: tuple[TargetFile, ...]
    kind: Literal["safetensors", "gguf"] = "safetensors"

    @property
    def num_bytes(self) -> int:
        """Tensor data: what is predicted, and what must be there in the end."""
        return sum(weight.num_bytes for weight in self.weights)

    @property
    def file_bytes(self) -> int:
        """Bytes of all files, headers with them: what the disk must have."""
        return sum(file.num_bytes for file in self.files)

    def weight_map(self) -> dict[str, str]:
        """Return tensor -> file, for the index."""
        return {
            piece.name: self.files[weight.file].name for weight in self.weights for piece in weight.pieces
        }


class _Unplaced(NamedTuple):
    """A weight whose parts have no place yet."""

    name: str
    view: View
    source: StoredWeight
    choice: Choice

    @property
    def parts(self) -> tuple[tuple[str, str, Shape, int], ...]:
        """(name, dtype, shape, bytes) of each tensor that it becomes."""
        codec = self.choice.codec
        if codec is None:
            return tuple(
                (each.stored.name, each.stored.dtype, each.stored.shape, each.stored.num_bytes)
                for each in self.source.parts
            )
        shape = self.view.shape
        if isinstance(codec, Plain):  # a cast leaves shapes and names alone
            name = self.name + ".weight" if len(self.source.parts) > 1 else self.source.parts[0].stored.name
            return ((name, codec.dtype, self.source.shape, codec.parts[0].num_bytes(shape)),)
        return tuple(
            (self.name + part.suffix, part.dtype, part.shape(shape), part.num_bytes(shape))
            for part in codec.parts
        )


def plan_target(
    source: Checkpoint,
    weights: tuple[StoredWeight, ...],
    choose: Callable[[str, StoredWeight], Choice],
    skipped: Callable[[str], bool],
) -> Target:
    """Return the target of a checkpoint: each source file becomes one of the same name, so that shards stay
    shards."""
    unplaced = [
        each for weight in weights if not skipped(weight.name) for each in split(weight, source, choose)
    ]
    unplaced = together(unplaced)
    files, placed = [], []
    names = file_names(source)
    for number, name in enumerate(names):
        mine = [each for each in unplaced if each.source.file == number]
        header, starts, size = place(mine, name)
        files.append(TargetFile(name, header, size))
        for each in mine:
            pieces = tuple(
                Piece(part, dtype, shape, num_bytes, starts[part])
                for part, dtype, shape, num_bytes in each.parts
            )
            placed.append(
                TargetWeight(
                    each.name,
                    each.view,
                    each.source,
                    each.choice.codec,
                    each.choice.why,
                    number,
                    pieces,
                    fused_group(each.name),
                )
            )
    return Target(tuple(placed), tuple(files))


def file_names(source: Checkpoint) -> list[str]:
    """Return the names of the target's files: those of the source, and one name that engines know if it is
    alone."""
    return [DEFAULT_SHARD] if len(source.files) == 1 else [path.name for path in source.files]


def split(
    weight: StoredWeight, source: Checkpoint, choose: Callable[[str, StoredWeight], Choice]
) -> list[_Unplaced]:
    """Return a weight as the target has it: fused experts of a layer become a matrix each, as engines expect
    them once they are quantised; all else stays one."""
    choice = choose(weight.name, weight)
    if len(weight.shape) != 3 or choice.codec is None or isinstance(choice.codec, Plain):
        whole = Whole(weight if len(weight.shape) == 2 else weight._replace(shape=flat(weight.shape)))
        return [_Unplaced(weight.name, whole, weight, choice)]
    experts, height, width = weight.shape
    prefix, _, last = weight.name.rpartition(".")
    transposed = is_transposed(weight, source)
    rows = width if transposed else height
    names = PAIRS.get(last, (last,))
    found = []
    for expert in range(experts):
        for number, part in enumerate(names):
            size = rows // len(names)
            view = Expert(weight, expert, number * size, size, transposed)
            name = f"{prefix}.{expert}.{part}"
            matrix = weight._replace(name=name, shape=view.shape)
            found.append(_Unplaced(name, view, weight, choose(name, matrix)))
    return found


def flat(shape: Shape) -> Shape:
    """Return a shape as rows and columns: a cast needs no more."""
    total = 1
    for size in shape[:-1]:
        total *= size
    return (total, shape[-1]) if shape else (1, 1)


def is_transposed(weight: StoredWeight, source: Checkpoint) -> bool:
    """Return whether fused experts lie as inputs x outputs: what the model's own width says.

    gate_up_proj takes the model's width in, down_proj gives it out.
    """
    widths = [
        section["hidden_size"]
        for section in (source.config, source.config.get("text_config") or {})
        if isinstance(section.get("hidden_size"), int)
    ]
    _, height, width = weight.shape
    last = weight.name.rpartition(".")[2]
    inputs, outputs = (width, height) if last not in ("down_proj", "w2") else (height, width)
    if not widths or (inputs == outputs) or {inputs, outputs}.isdisjoint(widths):
        raise OomlessError(
            f"{weight.name[:80]}: fused experts of shape {list(weight.shape)}, whose direction nothing tells",
            "keep them: --keep '*.experts.*'",
        )
    return outputs in widths and inputs not in widths


def together(unplaced: list[_Unplaced]) -> list[_Unplaced]:
    """Return the same, with what engines fuse stored the same way: where one of them stays, all do."""
    staying: dict[str, str] = {}
    for each in unplaced:
        group = fused_group(each.name)
        if each.choice.why and group != each.name:
            staying.setdefault(
                group, f"fused with {each.name.rpartition('.')[2]}, which stays: {each.choice.why}"
            )
    found = []
    for each in unplaced:
        why = staying.get(fused_group(each.name), "")
        if why and not each.choice.why and each.choice.codec is not None:
            each = each._replace(choice=Choice(None, why))
        found.append(each)
    return found


def place(weights: list[_Unplaced], where: str) -> tuple[bytes, dict[str, int], int]:
    """Return (all before the data, byte at which each tensor begins, size) of one safetensors file.

    Wide types come first, so that each tensor lies at a multiple of its own item, as torch needs it.
    """
    parts = [part for weight in weights for part in weight.parts]
    if len({name for name, *_ in parts}) != len(parts):
        raise OomlessError(
            f"{where}: two weights become tensors of the same name", "give formats that differ less"
        )
    parts.sort(key=lambda part: -BITS[part[1]])
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offsets, end = {}, 0
    for name, dtype, shape, num_bytes in parts:
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + num_bytes]}
        offsets[name], end = end, end + num_bytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER_BYTES:
        raise OomlessError(
            f"{where}: a header of {len(header):,} bytes", "split the checkpoint into more files"
        )
    before = len(header).to_bytes(8, "little") + header
    return before, {name: len(before) + offset for name, offset in offsets.items()}, len(before) + end
