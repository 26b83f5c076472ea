"""The GGUF file that will be written, every byte of it placed before the first is."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OomlessError, UsageError, need
from ...model.gguf_model import StoredTensor, file_tensors
from ...model.gguf_types import FILE_TYPES, TYPES, file_type
from ...model.load import load_path
from ...model.model import Model
from ...model.storage import Shape
from ..checkpoint.choice import FormatsAsked
from ..checkpoint.source import Checkpoint
from ..checkpoint.stored_weight import StoredWeight
from ..checkpoint.target import Piece, Target, TargetFile, TargetWeight
from ..checkpoint.views import Computed, View
from ..codecs.ggml import WRITES, GgmlBlocks
from ..codecs.plain import Plain
from .families import GgufFamily, gguf_family
from .metadata import add_metadata, llama3_factors, rope_of
from .sources import Sources
from .vocabulary import add_vocabulary

ALIGNMENT = 32
"""Each tensor begins at a multiple, the format's own default."""


class TensorInfo(NamedTuple):
    """What the header says of one tensor."""

    name: str
    type_name: str
    shape: Shape
    num_bytes: int


class Header(NamedTuple):
    """The bytes, and whether a vocabulary is among them."""

    content: bytes
    has_vocabulary: bool


def header_of(
    source: Checkpoint, family: GgufFamily, config: dict[str, Any], mix: str, infos: tuple[TensorInfo, ...]
) -> Header:
    """Return the header of a file of a type, padded to where the first tensor begins."""
    gguf = need("gguf", "compress")
    mix_name = file_type(mix)[0]
    number = next(number for number, name in FILE_TYPES.items() if name == mix_name)
    with tempfile.TemporaryDirectory(prefix="oomless-gguf-") as folder:
        path = Path(folder) / "header.gguf"
        writer = gguf.GGUFWriter(path, family.architecture)
        add_metadata(writer, family, config, source.folder.resolve().name, number)
        has_vocabulary = add_vocabulary(writer, source.folder, config["vocab_size"])
        for info in infos:
            kind = gguf.GGMLQuantizationType[info.type_name]
            writer.add_tensor_info(info.name, info.shape, None, info.num_bytes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        content = path.read_bytes()
    return Header(content + bytes(-len(content) % ALIGNMENT), has_vocabulary)


LAYER = re.compile(r"model\.layers\.(\d+)\.")
LEGACY = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
"""Types of 32 values that can be written, from small to large."""
NOT_STORED = ("rotary_emb.inv_freq", ".attention.masked_bias")
"""Buffers of old checkpoints that the model computes again."""


class GgufTensor(NamedTuple):
    """A tensor of the file that has no place yet."""

    piece: StoredTensor
    view: View
    weights: tuple[StoredWeight, ...]
    """What it is made of; none for what is computed."""
    codec: GgmlBlocks
    why: str
    by_rule: str
    """The type that llama-quantize gives it."""

    @property
    def num_bytes(self) -> int:
        return self.codec.parts[0].num_bytes(self.view.shape)

    def placed(self, start: int) -> TargetWeight:
        """Return the weight of the target, at a byte of the file."""
        name = self.piece.name
        piece = Piece(name, self.codec.type_name, self.piece.shape, self.num_bytes, start)
        stored = self.weights[0] if self.weights else StoredWeight(name, self.piece.shape, Plain("F32"), ())
        return TargetWeight(name, self.view, stored, self.codec, self.why, 0, (piece,), name)


class PlannedFile(NamedTuple):
    """A GGUF file before it is written, and what is to be said of it."""

    target: Target
    notes: tuple[str, ...]


def plan_gguf(
    source: Checkpoint, weights: tuple[StoredWeight, ...], asked: FormatsAsked, word: str
) -> PlannedFile:
    """Return the target of a checkpoint as one GGUF file of a type; a family that is not known, a tensor that
    has no place or is missing is an error."""
    if asked.skip:
        raise UsageError(
            "--skip takes no GGUF type", "all tensors belong there; draft layers stay behind anyway"
        )
    config = {**source.config, **(source.config.get("text_config") or {})}
    family = gguf_family(str(config.get("model_type")))
    model = load_path(source.folder)
    mix = word.upper().removeprefix("GGUF-")
    unplaced = tuple(unplaced_tensors(source, weights, model, family, asked, mix))
    need_no_rest(source, weights, unplaced, model)
    infos = tuple(
        TensorInfo(each.piece.name, each.codec.type_name, each.piece.shape, each.num_bytes)
        for each in unplaced
    )
    header = header_of(source, family, config, mix, infos)
    placed, start = [], len(header.content)
    for each in unplaced:
        placed.append(each.placed(start))
        start += -(-each.num_bytes // ALIGNMENT) * ALIGNMENT
    name = f"{source.folder.resolve().name}-{mix}.gguf"
    target = Target(tuple(placed), (TargetFile(name, header.content, start),), "gguf")
    return PlannedFile(target, notes_of(unplaced, header))


def notes_of(unplaced: tuple[GgufTensor, ...], header: Header) -> tuple[str, ...]:
    """Return what a user should know of the file."""
    found = []
    other = Counter(
        (each.by_rule, each.codec.type_name)
        for each in unplaced
        if not each.why and each.codec.type_name == writable(each.by_rule) != each.by_rule
    )
    for (rule, written), count in sorted(other.items()):
        found.append(
            f"{count} tensors are {written} where llama-quantize writes {rule}: K-quants need its own search"
        )
    if not header.has_vocabulary:
        found.append("no tokenizer.json beside the weights: the file takes and gives numbers of tokens alone")
    return tuple(found)


def unplaced_tensors(
    source: Checkpoint,
    weights: tuple[StoredWeight, ...],
    model: Model,
    family: GgufFamily,
    asked: FormatsAsked,
    mix: str,
) -> Iterator[GgufTensor]:
    """Yield every tensor of the file with its type and what it is made of."""
    sources = Sources(source, weights, model, family)
    used: set[str] = set()
    for piece, by_rule in file_tensors(model, mix):
        if piece.name == "rope_freqs.weight":
            view = Computed(llama3_factors(rope_of(source.config), 2 * piece.shape[0]))
            yield GgufTensor(piece, view, (), GgmlBlocks("F32"), "computed from the config", by_rule)
            continue
        found = sources.of(piece)
        codec, why = choice(piece, found.weights[0], by_rule, asked, used)
        yield GgufTensor(piece, found.view, found.weights, codec, why, by_rule)
    for pattern in (*asked.keep, *(pattern for pattern, _ in asked.formats)):
        if pattern not in used:
            raise UsageError(
                f"{pattern[:80]!r} names no matrix of {source.folder}", "patterns are globs over names"
            )


def choice(
    piece: StoredTensor, weight: StoredWeight, by_rule: str, asked: FormatsAsked, used: set[str]
) -> tuple[GgmlBlocks, str]:
    """Return how a tensor is stored, and why, if not as its file type says: by pattern of its name there or
    here, else by llama-quantize's rule."""
    if by_rule == "F32":
        return GgmlBlocks("F32"), "F32 by llama.cpp's rule"
    for pattern, codec in reversed(asked.formats):
        if named(pattern, piece, weight) and isinstance(codec, GgmlBlocks):
            used.add(pattern)
            return codec, ""
    for pattern in asked.keep:
        if named(pattern, piece, weight):
            used.add(pattern)
            plain = weight.codec.dtype if isinstance(weight.codec, Plain) else "BF16"
            return GgmlBlocks(plain), "asked for"
    return GgmlBlocks(writable(by_rule)), ""


def named(pattern: str, piece: StoredTensor, weight: StoredWeight) -> bool:
    """Return whether a pattern means a tensor, by llama.cpp's name or by the checkpoint's."""
    return any(fnmatchcase(name, pattern) for name in (piece.name.removesuffix(".weight"), weight.name))


def writable(type_name: str) -> str:
    """Return a type, or the next larger one that can be written: K-quants need llama.cpp's own search.

    >>> writable("Q6_K"), writable("Q4_K"), writable("Q4_0")
    ('Q8_0', 'Q4_1', 'Q4_0')
    """
    if type_name in WRITES:
        return type_name
    bits = TYPES[type_name].block_bytes / TYPES[type_name].block
    return next(name for name in LEGACY if TYPES[name].block_bytes / TYPES[name].block > bits)


def need_no_rest(
    source: Checkpoint, weights: tuple[StoredWeight, ...], unplaced: tuple[GgufTensor, ...], model: Model
) -> None:
    """Refuse a checkpoint with a tensor that would be lost: only what the file never has may stay behind."""
    used = {weight.name for each in unplaced for weight in each.weights}
    for weight in weights:
        layer = LAYER.match(weight.name)
        is_draft = layer is not None and int(layer[1]) >= len(model.layers)
        is_tied_head = model.tied and weight.name == "lm_head"
        if not (weight.name in used or is_draft or is_tied_head or weight.name.endswith(NOT_STORED)):
            raise OomlessError(
                f"{source.folder}: {weight.name[:80]} has no place in a GGUF file of this family",
                "llama.cpp's own converter may know it",
            )
