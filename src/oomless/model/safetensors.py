"""What a safetensors header or index says: names, types, shapes and bytes of stored tensors. Tensor data is never read.

Format: https://github.com/huggingface/safetensors#format - 8 bytes with the length of a JSON header, header, data.
A header is scanned entry by entry and never held as a tree of objects: a hostile one costs little time and memory.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterable
from json import JSONDecoder
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OomlessError
from .config import parse_json
from .storage import Shape

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
MAX_INDEX_BYTES = 32 << 20
"""DeepSeek-V3's index has 8.9 MB."""
MAX_TENSORS = 300_000
"""Of one file or index; DeepSeek-V3 has 91,991 in all its files."""
MAX_NAME_BYTES = 1 << 16
INDEX_NAME = "model.safetensors.index.json"

BITS = dict.fromkeys(["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8) | {
    **dict.fromkeys(["I16", "U16", "F16", "BF16"], 16),
    **dict.fromkeys(["I32", "U32", "F32"], 32),
    **dict.fromkeys(["I64", "U64", "F64", "C64"], 64),
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
"""Bits an element, by safetensors' own words."""

WHOLE = "the file is damaged or was not completely written: fetch it again"


class Stored(NamedTuple):
    """One tensor as it lies in a file."""

    name: str
    dtype: str
    """safetensors' word, such as BF16."""
    shape: Shape
    num_bytes: int


def totals(stored: Iterable[Stored]) -> dict[str, int]:
    """Elements by dtype.

    >>> totals([Stored("a", "BF16", (2, 3), 12), Stored("b", "BF16", (4,), 8), Stored("c", "F32", (), 4)])
    {'BF16': 10, 'F32': 1}
    """
    elements: dict[str, int] = {}
    for (dtype, shape), count in Counter((tensor.dtype, tensor.shape) for tensor in stored).items():
        elements[dtype] = elements.get(dtype, 0) + count * prod(shape)
    return elements


def header_length(content: bytes, file_size: int | None, where: str) -> int:
    """Bytes of the JSON header, from the first 8 bytes of a file of `file_size` bytes (None: not known)."""
    if len(content) < LENGTH_BYTES:
        raise OomlessError(f"{where}: {len(content)} bytes is too short for a safetensors file", WHOLE)
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        limit = f"safetensors allows {MAX_HEADER_BYTES:,}"
        raise OomlessError(f"{where}: the header claims {length:,} bytes, {limit}", "is it a safetensors file?")
    if file_size is not None and LENGTH_BYTES + length > file_size:
        raise OomlessError(f"{where}: a header of {length:,} bytes ends past the {file_size:,} of the file", WHOLE)
    return length


def parse_header(content: bytes, file_size: int | None, where: str) -> tuple[Stored, ...]:
    """The tensors that the beginning of a safetensors file lists, in the header's order.

    `content` holds at least the length and the header; `file_size` is the bytes of the whole file, None if not known
    (then nothing is said about its end). What the format forbids is an OomlessError that names `where` and the tensor.
    """
    end = LENGTH_BYTES + header_length(content, file_size, where)
    if len(content) < end:
        raise OomlessError(f"{where}: {len(content):,} bytes came, the header ends at {end:,}", WHOLE)
    _check_utf8(content, end, where)
    opened = _OPEN.match(content, LENGTH_BYTES, end)
    if not opened:
        raise _broken(content, LENGTH_BYTES, end, where)
    position, more = opened.end(), opened[1] is None
    stored: list[Stored] = []
    starts: list[int] = []
    kinds: dict[bytes, tuple[str, Shape, int]] = {}  # a checkpoint has many tensors and few kinds
    metadata = False
    while more:
        if entry := _ENTRY.match(content, position, end):
            key, kind_text, first, last, comma = entry.groups()
            name, start, stop = _text(key, where), int(first), int(last)
            kind = kinds.get(kind_text)
            if kind is None:
                try:
                    kind = kinds[kind_text] = _parse_kind(kind_text)
                except ValueError as error:
                    raise _at(where, name, error) from None
        elif not metadata and (entry := _METADATA.match(content, position, end)):
            metadata = True
            position, more = _skip_metadata(content, entry.end(), end, where)
            continue
        elif entry := _ANY_ENTRY.match(content, position, end):
            key, body, comma = entry.groups()
            name = _text(key, where)
            try:
                kind, start, stop = _unusual_entry(b"{" + body + b"}")
            except (ValueError, RecursionError) as error:
                raise _at(where, name, error) from None
        else:
            raise _broken(content, position, end, where)
        if name == "__metadata__" or len(stored) == MAX_TENSORS:
            what = "__metadata__ is no map of texts" if name == "__metadata__" else f"more than {MAX_TENSORS:,} tensors"
            raise OomlessError(f"{where}: {what}", "check the file")
        if stop - start != kind[2]:
            taken = f"{kind[0]} {_short(list(kind[1]))} takes {kind[2]:,} bytes"
            raise _at(where, name, f"offsets {start:,} to {stop:,}, but {taken}")
        starts.append(start)
        stored.append(tuple.__new__(Stored, (name, *kind)))  # half the time of Stored(name, *kind)
        position, more = entry.end(), comma == b","
    if _SPACE.fullmatch(content, position, end) is None:
        raise _broken(content, position, end, where)
    _check_names(stored, where)
    data_bytes = _check_layout(stored, starts, where)
    end += data_bytes
    if file_size is not None and end != file_size:
        state = "is truncated" if end > file_size else "has bytes that belong to no tensor"
        raise OomlessError(f"{where}: the tensors end at {end:,}, the file at {file_size:,}: it {state}", WHOLE)
    return tuple(stored)


def read_header(path: Path) -> tuple[Stored, ...]:
    """The tensors of one .safetensors file; reads its header alone."""
    try:
        if not path.is_file():  # a pipe would block
            raise OomlessError(f"{path}: no such file", "check the path")
        with path.open("rb") as file:
            file_size = file.seek(0, 2)
            file.seek(0)
            length = header_length(file.read(LENGTH_BYTES), file_size, str(path))
            file.seek(0)
            content = file.read(LENGTH_BYTES + length)
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    return parse_header(content, file_size, str(path))


def parse_index(content: bytes, where: str) -> dict[str, str]:
    """The weight_map of an index: tensor name -> file name. A file name is plain: it cannot point out of the folder."""
    # Every value needs a comma or a bracket before it, so their number bounds the memory that the parsed tree takes.
    # A text that is not ASCII takes up to four times its bytes.
    num_bytes = len(content) * (1 if content.isascii() else 4)
    if num_bytes > MAX_INDEX_BYTES or sum(map(content.count, (b",", b"[", b"{"))) > MAX_TENSORS:
        raise OomlessError(f"{where}: {len(content):,} bytes is too large for an index", "is it a weight file?")
    try:
        value = _DECODER.decode(content.decode())
    except (ValueError, RecursionError) as error:
        raise OomlessError(f"{where}: not valid JSON ({str(error)[:120]})", "check that the file is whole") from None
    weight_map = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(weight_map, dict) or {type(file) for file in weight_map.values()} != {str}:
        raise OomlessError(f"{where}: weight_map is missing or does not map tensors to files", "check the index")
    for file in set(weight_map.values()):
        if not _PLAIN_NAME.fullmatch(file) or file.startswith("."):
            raise OomlessError(f"{where}: {_short(file)} is no plain name of a .safetensors file", "check the index")
    return weight_map


def merge(weight_map: dict[str, str], shards: dict[str, tuple[Stored, ...]], where: str) -> tuple[Stored, ...]:
    """All tensors of the files of an index, each once; what the map promises must be there."""
    merged: list[Stored] = []
    for file, stored in shards.items():
        # A tensor that the map does not know is still in the file; one that it places elsewhere counts there.
        merged += [tensor for tensor in stored if weight_map.get(tensor.name, file) == file]
    if missing := weight_map.keys() - {tensor.name for tensor in merged}:
        first = min(missing)
        what = f"{len(missing):,} tensors of the index are not in their files, first {_short(first)}"
        raise OomlessError(f"{where}: {what} in {weight_map[first]}", "index and files are of different versions")
    _check_names(merged, where)
    return tuple(merged)


def read_checkpoint(path: Path) -> tuple[Stored, ...]:
    """The tensors of a .safetensors file, of an index with its files, or of a folder; () for a folder without any."""
    if path.is_dir():
        if not (path / INDEX_NAME).exists():
            return _read_folder(path)
        path = path / INDEX_NAME
    if path.suffix != ".json":
        return read_header(path)
    try:
        if (num_bytes := path.stat().st_size) > MAX_INDEX_BYTES:
            raise OomlessError(f"{path}: {num_bytes:,} bytes is too large for an index", "is it a weight file?")
        weight_map = parse_index(path.read_bytes(), str(path))
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    files = sorted(set(weight_map.values()))
    _check_present(path, [file for file in files if not (path.parent / file).exists()], len(files))
    return merge(weight_map, {file: read_header(path.parent / file) for file in files}, str(path))


def _read_folder(folder: Path) -> tuple[Stored, ...]:
    """Every file of a folder without index; model.safetensors alone if it is there, as transformers takes it."""
    files = sorted(folder.glob("*.safetensors"))
    if whole := [file for file in files if file.name == "model.safetensors"]:
        return read_header(whole[0])
    names = {file.name for file in files}
    for name in sorted(names):
        if shard := re.fullmatch(r"(.*-)(\d{5})-of-(\d{5})\.safetensors", name):
            num_shards = int(shard[3])
            expected = (f"{shard[1]}{i:05}-of-{shard[3]}.safetensors" for i in range(1, num_shards + 1))
            _check_present(folder, [file for file in expected if file not in names], num_shards)
    stored = [tensor for file in files for tensor in read_header(file)]
    _check_names(stored, str(folder))
    return tuple(stored)


def _check_present(where: Path, missing: list[str], num_files: int) -> None:
    if missing:
        what = f"{len(missing):,} of {num_files:,} files are missing, first {_short(missing[0])}"
        raise OomlessError(f"{where}: {what}", "fetch them, or give the config.json alone")


def _check_utf8(content: bytes, end: int, where: str) -> None:
    """In pieces: the text of a whole header could take four times its bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(LENGTH_BYTES, end, 1 << 20):
            decoder.decode(content[start : min(start + (1 << 20), end)])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise OomlessError(f"{where}: the header is not valid UTF-8 ({error.reason})", "check the file") from None


def _check_names(stored: list[Stored], where: str) -> None:
    if len({tensor.name for tensor in stored}) != len(stored):
        name, _ = Counter(tensor.name for tensor in stored).most_common(1)[0]
        raise _at(where, name, "is listed twice")


def _check_layout(stored: list[Stored], starts: list[int], where: str) -> int:
    """The end of the data. Ranges follow one another without gap or overlap; an empty one inside another overlaps."""
    end = 0
    for start, tensor in zip(starts, stored, strict=True):
        if start != end:
            break
        end += tensor.num_bytes
    else:
        return end  # the usual case: the header lists them in the order of their data
    end = 0
    placed = zip(starts, (tensor.num_bytes for tensor in stored), (tensor.name for tensor in stored), strict=True)
    for start, num_bytes, name in sorted(placed):
        if start != end:
            fault = "overlaps the tensor before it" if start < end else "leaves a gap before it"
            raise _at(where, name, f"{fault}: starts at {start:,}, the data before it ends at {end:,}")
        end += num_bytes
    return end


def _skip_metadata(content: bytes, position: int, end: int, where: str) -> tuple[int, bool]:
    """Past the map of texts that a file may carry: (position, whether more entries follow)."""
    keys: set[bytes] = set()
    more = True
    while more:
        pair = _PAIR.match(content, position, end) if len(keys) < MAX_TENSORS else None
        if not pair and not keys:
            pair = _CLOSE.match(content, position, end)
        if not pair or pair[1] in keys:
            what = f"has {_short(_text(pair[1], where))} twice" if pair else "is no map of texts"
            raise OomlessError(f"{where}: __metadata__ {what}", "safetensors allows texts alone there, each key once")
        keys.add(pair[1])
        position, more = pair.end(), pair[2] == b","
    after = _AFTER.match(content, position, end)
    if not after:
        raise _broken(content, position, end, where)
    return after.end(), after[1] == b","


def _parse_kind(text: bytes) -> tuple[str, Shape, int]:
    """The kind of an entry that `_ENTRY` has matched."""
    dtype, sizes = text.split(b"[")
    return _kind(dtype.split(b'"')[3].decode(), tuple(map(int, sizes[:-1].split(b","))) if len(sizes) > 1 else ())


def _kind(dtype: str, shape: Shape) -> tuple[str, Shape, int]:
    """(dtype, shape, bytes), if bytes is a whole number below 2**63; every dimension is below 10**19."""
    if dtype not in BITS:
        raise ValueError(f"unknown dtype {_short(dtype)}")
    bits = BITS[dtype]
    elements = 1
    for size in shape:
        elements *= size
        if elements * bits >= 1 << 63:
            raise ValueError(f"shape {_short(list(shape))} overflows 2**63")
    if elements * bits % 8:
        raise ValueError(f"{elements:,} elements of {bits} bits are no whole bytes")
    return dtype, shape, elements * bits // 8


def _unusual_entry(text: bytes) -> tuple[tuple[str, Shape, int], int, int]:
    """(kind, start, stop) of an entry that is not written as known writers do, or a ValueError that says why not."""
    fields = _DECODER.decode(text.decode())
    if missing := [key for key in ("dtype", "shape", "data_offsets") if key not in fields]:
        raise ValueError(f"{', '.join(missing)} missing")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str):
        raise ValueError(f"dtype is {_short(dtype)}, not a text")
    for key, value in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(value, list) or any(isinstance(size, bool) or not isinstance(size, int) for size in value):
            raise ValueError(f"{key} is {_short(value)}, not a list of whole numbers")
        if any(not 0 <= size < 1 << 63 for size in value):
            raise ValueError(f"{key} is {_short(value)}, not numbers from 0 to 2**63")
    if len(offsets) != 2:
        raise ValueError(f"data_offsets is {_short(offsets)}, not two numbers")
    return _kind(dtype, tuple(shape)), offsets[0], offsets[1]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys are all different."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError(f"{_short(Counter(key for key, _ in pairs).most_common(1)[0][0])} is there twice")
    return fields


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number that a size can have")


def _text(key: bytes, where: str) -> str:
    """The text that stands between the quotation marks of a JSON name."""
    if len(key) > MAX_NAME_BYTES:
        raise OomlessError(f"{where}: a name of {len(key):,} bytes", "check the file")
    if b"\\" not in key:
        return key.decode()
    try:
        text = str(_DECODER.decode(f'"{key.decode()}"'))
        text.encode()  # half of a surrogate pair is no text
    except ValueError as error:
        raise OomlessError(f"{where}: a name is not valid JSON ({str(error)[:120]})", "check the file") from None
    return text


def _short(value: object) -> str:
    """A value as a piece of an error message, whatever its size."""
    if isinstance(value, str | list):
        value = value[:81]
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _at(where: str, name: str, fault: object) -> OomlessError:
    return OomlessError(f"{where}: tensor {_short(name)}: {str(fault)[:200]}", "the header is wrong: check the file")


def _broken(content: bytes, position: int, end: int, where: str) -> OomlessError:
    """Why the header cannot be read at `position`: broken JSON, or JSON that is no header."""
    if end <= 1 << 20:  # beyond, the exact reason would cost more than it is worth
        try:
            parse_json(content[LENGTH_BYTES:end], f"{where}: header")
        except OomlessError as error:
            return error
    near = content[position : position + 40].decode(errors="replace")
    hint = "each entry of a header is a tensor: {dtype, shape, data_offsets}"
    return OomlessError(f"{where}: the header is no map of tensors, at byte {position:,}: {near}", hint)


def _pattern(text: str) -> re.Pattern[bytes]:
    """A pattern for header bytes: S is white space, TEXT a JSON text, NUM a whole number. Possessive: linear time."""
    text = text.replace("TEXT", '"(VALUE)"').replace("VALUE", r'(?:[^"\\\x00-\x1f]++|\\[\x20-\x7e])*+')
    return re.compile(text.replace("NUM", "(?:0|[1-9][0-9]{0,18}+)").replace("S", r"[ \t\r\n]*+").encode())


_PLAIN_NAME = re.compile(r"[^/\\:\x00-\x1f\ud800-\udfff]{1,200}\.safetensors")
_DECODER = JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)
_SPACE = _pattern("S")
_OPEN = _pattern(r"S\{S(\})?")
_AFTER = _pattern("S([,}])")
_ENTRY = _pattern(
    r'STEXTS: ?\{("dtype": ?"[A-Z0-9_]++", ?"shape": ?\[(?:NUM(?:, ?NUM){0,63}+)?\]), ?'
    r'"data_offsets": ?\[(NUM), ?(NUM)\]\}S([,}])'
)
_ANY_ENTRY = _pattern(r"STEXTS:S\{([^{}]{0,65536}+)\}S([,}])")
_METADATA = _pattern(r'S"__metadata__"S:S\{')
_PAIR = _pattern('STEXTS:S"VALUE"S([,}])')
_CLOSE = _pattern(r"S(\})()")
