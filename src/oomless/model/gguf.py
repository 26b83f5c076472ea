"""The header of a GGUF file, read under suspicion.

Format: ggml/include/gguf.h. Tensor data is never read, long arrays (the tokenizer) are skipped; what a
hostile header can cost is bounded by the limits below. Cases met in the wild: llama.cpp#18674, #24263,
#24997, #25378, #26690, #27188, #28880 (tests).
"""

import re
from collections.abc import Callable
from itertools import pairwise
from math import prod
from pathlib import Path
from struct import unpack_from
from typing import Any, NamedTuple, NoReturn

from ..errors import OomlessError
from ..files import whole_size
from ..limits import need_tensors
from .gguf_types import TYPE_NUMBERS, GGMLType
from .storage import Shape

MAX_HEADER_BYTES = 128 << 20
"""Tokenizers take 1 to 30 MB."""
MAX_KEYS = 4096
MAX_TENSORS = 100_000
"""DeepSeek-V3 has 1,025 in all its files; Mixtral with single experts had 995."""
MAX_STRINGS = 1 << 21
"""In all arrays of one header; Gemma's 262,144 tokens and 514,906 merges are the most so far."""
MAX_DEPTH = 4
MAX_NESTED = 1 << 16
"""Arrays in arrays: llama.cpp refuses every one, the format allows them."""
MAX_TEXT_BYTES = 4096
MAX_NUMBERS = 512
"""Longer texts and arrays are counted, not kept: hyperparameters by layer are shorter."""
MAX_NAME_BYTES = 255
MAX_DIMS = 4
MAX_ALIGNMENT = 1 << 20
MAX_FIRST_BYTES = 1 << 20
MAX_PIECE_BYTES = 8 << 20
"""A short header is one request, a long one few: each asks for as much as was read before."""
LIMIT = 1 << 63
WHOLE = "the file is damaged or was not completely written: fetch it again"

SCALARS = {
    0: ("uint8", "<B", 1),
    1: ("int8", "<b", 1),
    2: ("uint16", "<H", 2),
    3: ("int16", "<h", 2),
    4: ("uint32", "<I", 4),
}
SCALARS |= {
    5: ("int32", "<i", 4),
    6: ("float32", "<f", 4),
    7: ("bool", "<B", 1),
    10: ("uint64", "<Q", 8),
    11: ("int64", "<q", 8),
}
SCALARS |= {12: ("float64", "<d", 8)}
STRING, ARRAY = 8, 9
KNOWN_KINDS = {
    "general.alignment": "uint32",
    "general.architecture": "string",
    "tokenizer.ggml.tokens": "array of string",
}
KNOWN_KINDS |= {"tokenizer.ggml.scores": "array of float32", "tokenizer.ggml.token_type": "array of int32"}
KNOWN_KINDS |= {"tokenizer.ggml.merges": "array of string", "general.file_type": "uint32"}
"""Keys that readers cast without looking (llama.cpp#26690)."""

Read = Callable[[int, int], bytes]
"""(offset, length) -> those bytes of the file: a local file or a ranged request."""


class Array(NamedTuple):
    """An array of the header; `values` are kept only of short ones of numbers."""

    kind: str
    num_values: int
    values: tuple[int | float, ...] = ()


Value = int | float | str | Array


class GGUFTensor(NamedTuple):
    """One tensor as it lies in the file; `shape` ends with the length of a row, the reverse of ggml's
    order."""

    name: str
    type: GGMLType
    shape: Shape
    offset: int
    """From the beginning of the data section."""
    num_bytes: int


class GGUFFile(NamedTuple):
    """What a header says; of a split file, what all headers say together."""

    version: int
    metadata: dict[str, Value]
    tensors: tuple[GGUFTensor, ...]
    alignment: int
    data_offset: int


class _Header:
    """Reads forward through a header, a piece at a time."""

    def __init__(self, read: Read, file_size: int, where: str) -> None:
        self.read, self.size, self.where = read, file_size, where
        self.position, self.start, self.piece = 0, 0, b""
        self.strings, self.nested = MAX_STRINGS, MAX_NESTED

    def fail(self, what: str, hint: str = "the header is wrong: check the file") -> NoReturn:
        raise OomlessError(f"{self.where}: {what}", hint)

    def skip(self, length: int, what: str) -> int:
        """Step over bytes without reading them; where they began."""
        begin, self.position = self.position, self.position + length
        if self.position > self.size:
            self.fail(f"{what} ends past the {self.size:,} bytes of the file", WHOLE)
        if self.position > MAX_HEADER_BYTES:
            self.fail(f"{what} ends past {MAX_HEADER_BYTES:,} bytes, and no header is that long")
        return begin

    def take(self, length: int, what: str) -> bytes:
        begin = self.skip(length, what)
        if not self.start <= begin <= self.position <= self.start + len(self.piece):
            wanted = max(length, min(MAX_PIECE_BYTES, max(MAX_FIRST_BYTES, begin)))
            self.start, self.piece = begin, self.read(begin, min(wanted, self.size - begin))
            if len(self.piece) < length:
                self.fail(f"{what} could not be read: {len(self.piece):,} bytes came", WHOLE)
        return self.piece[begin - self.start : self.position - self.start]

    def number(self, form: str, size: int, what: str) -> Any:
        return unpack_from(form, self.take(size, what))[0]

    def count(self, what: str, size: int, most: int) -> int:
        """A count of things of at least `size` bytes: each must still fit into the file."""
        count = int(self.number("<Q", 8, what))
        if count * size > self.size - self.position:
            self.fail(f"{count:,} {what} do not fit into the {self.size:,} bytes of the file")
        if count > most:
            self.fail(f"{count:,} {what}, {most:,} are allowed")
        return count

    def name(self, what: str) -> str:
        length = self.count(f"bytes of {what}", 1, MAX_NAME_BYTES)
        if not length:
            self.fail(f"{what} is empty")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError:
            self.fail(f"{what} is no UTF-8 text")

    def value(self, kind: int, key: str, depth: int = 0) -> tuple[str, Value]:
        """(the kind in words, the value) of a key."""
        if kind in SCALARS:
            word, form, size = SCALARS[kind]
            number = self.number(form, size, key)
            if kind == 7 and number > 1:
                self.fail(f"{key} is a bool of {number}")
            return word, number
        if kind == STRING:
            length = self.count(f"bytes of {key}", 1, MAX_HEADER_BYTES)
            if length > MAX_TEXT_BYTES:
                self.skip(length, key)
                return "string", Array("text", length)
            return "string", self.take(length, key).decode(errors="replace")
        if kind != ARRAY:
            self.fail(f"{key} has the unknown value type {kind}")
        return self.array(key, depth)

    def array(self, key: str, depth: int) -> tuple[str, Array]:
        if depth == MAX_DEPTH:
            self.fail(f"{key} holds arrays nested more than {MAX_DEPTH} deep")
        kind = self.number("<I", 4, key)
        if kind in SCALARS:
            word, form, size = SCALARS[kind]
            count = self.count(f"values of {key}", size, MAX_HEADER_BYTES)
            if count > MAX_NUMBERS:
                self.skip(count * size, key)
                return f"array of {word}", Array(word, count)
            return f"array of {word}", Array(
                word, count, unpack_from(f"<{count}{form[1]}", self.take(count * size, key))
            )
        if kind not in (STRING, ARRAY):
            self.fail(f"{key} is an array of the unknown value type {kind}")
        if kind == STRING:
            count = self.count(f"values of {key}", 8, self.strings)
            self.strings -= count
            self.skip_strings(count, key)
            return "array of string", Array("string", count)
        count = self.count(f"values of {key}", 12, self.nested)
        self.nested -= count
        for _ in range(count):
            self.array(key, depth + 1)
        return "array of array", Array("array", count)

    def skip_strings(self, count: int, key: str) -> None:
        """Step over texts, each after its length: half a million in a large tokenizer, hence the bare
        loop."""
        position, piece, start = self.position, self.piece, self.start
        for _ in range(count):
            if position + 8 > start + len(piece):
                self.position = position
                self.take(8, key)
                piece, start = self.piece, self.start
            position += 8 + unpack_from("<Q", piece, position - start)[0]
        self.position = position
        self.skip(0, key)


def parse_gguf(read: Read, file_size: int, where: str) -> GGUFFile:
    """The header of a file of `file_size` bytes; a fault is an OomlessError that names `where` and the key or
    tensor."""
    header = _Header(read, file_size, where)
    if file_size < 24:
        header.fail(f"{file_size} bytes is too short for a GGUF file", WHOLE)
    if (magic := header.take(4, "magic")) != b"GGUF":
        header.fail(f"begins with {magic!r}, not with GGUF", "is it a GGUF file?")
    version = header.number("<I", 4, "version")
    if version not in (2, 3):
        big = version and version & 0xFFFF == 0
        what = "is big-endian" if big else f"is GGUF version {version}"
        header.fail(
            f"{what}; little-endian versions 2 and 3 are read", "convert it again with a current llama.cpp"
        )
    num_tensors = header.count("tensors", 24, MAX_TENSORS)
    metadata = _metadata(header, header.count("keys", 14, MAX_KEYS))
    alignment = metadata.get("general.alignment", 32)
    assert isinstance(alignment, int)  # by KNOWN_KINDS
    if not 0 < alignment <= MAX_ALIGNMENT or alignment & alignment - 1:
        header.fail(f"general.alignment {alignment:,} is no power of two up to {MAX_ALIGNMENT:,}")
    tensors = tuple(_tensor(header, alignment) for _ in range(num_tensors))
    names = {tensor.name for tensor in tensors}
    if len(names) < num_tensors:
        header.fail(f"{num_tensors - len(names)} tensor names are there twice")
    data_offset = -(-header.position // alignment) * alignment
    for before, after in pairwise(sorted(tensors, key=lambda tensor: tensor.offset)):
        if before.offset + before.num_bytes > after.offset:
            header.fail(f"tensors {before.name!a} and {after.name!a} overlap")
    end = max((tensor.offset + tensor.num_bytes for tensor in tensors), default=0)
    if tensors and data_offset + end > file_size:
        header.fail(f"its tensors end at {data_offset + end:,} bytes, the file at {file_size:,}", WHOLE)
    return GGUFFile(version, metadata, tensors, alignment, data_offset)


def _metadata(header: _Header, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for index in range(count):
        key = header.name(f"key {index}")
        if key in metadata:
            header.fail(f"key {key!a} is there twice")
        kind, metadata[key] = header.value(header.number("<I", 4, f"type of {key!a}"), f"{key!a}")
        if kind != KNOWN_KINDS.get(key, kind):
            header.fail(f"{key} is of type {kind}, not {KNOWN_KINDS[key]}")
    return metadata


def _tensor(header: _Header, alignment: int) -> GGUFTensor:
    name = header.name("a tensor's name")
    shown = f"tensor {name!a}"
    num_dims = header.number("<I", 4, shown)
    if not 0 < num_dims <= MAX_DIMS:
        header.fail(f"{shown} has {num_dims:,} dimensions, 1 to {MAX_DIMS} are allowed")
    shape = unpack_from(f"<{num_dims}Q", header.take(8 * num_dims, shown))[::-1]
    if 0 in shape or prod(shape) >= LIMIT:
        header.fail(f"{shown} has the impossible shape {list(shape)}")
    number, offset = unpack_from("<IQ", header.take(12, shown))
    if number not in TYPE_NUMBERS:
        header.fail(f"{shown} has the unknown type {number}", "a newer program may have written it")
    kind = TYPE_NUMBERS[number]
    if shape and shape[-1] % kind.block:
        header.fail(
            f"{shown}: rows of {shape[-1]:,} values are no multiple of {kind.name}'s block of {kind.block}"
        )
    num_bytes = kind.num_bytes(shape)
    if offset % alignment or offset + num_bytes >= LIMIT:
        header.fail(f"{shown} lies at {offset:,}, which is no multiple of {alignment} or past all files")
    return GGUFTensor(name, kind, shape, offset, num_bytes)


def read_gguf(path: Path) -> GGUFFile:
    """The header of one local file."""
    try:
        if not path.is_file():
            raise OomlessError(f"{path}: no such file", "check the path")
        with path.open("rb") as file:

            def read(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            return parse_gguf(read, whole_size(path), str(path))
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None


def read_all_parts(path: Path) -> GGUFFile:
    """The file, or all files of a model that llama-gguf-split cut into NAME-00001-of-00005.gguf: keys of the
    first, all tensors."""
    first = read_gguf(path)
    count = first.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return first
    found = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", path.name)
    if not found or int(found[2]) != count or count > 1000:
        raise OomlessError(
            f"{path}: is one of {count} parts, and its name does not say which", "keep the names of the parts"
        )
    parts: list[GGUFFile] = []
    listed = 0
    for number in range(1, count + 1):
        parts.append(read_gguf(path.with_name(f"{found[1]}-{number:05}-of-{count:05}.gguf")))
        listed += len(parts[-1].tensors)
        need_tensors(listed, str(path))
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    if len({tensor.name for tensor in tensors}) != parts[0].metadata.get("split.tensors.count", len(tensors)):
        raise OomlessError(f"{path}: the {count} parts do not belong together", "fetch them again")
    return parts[0]._replace(tensors=tensors)
