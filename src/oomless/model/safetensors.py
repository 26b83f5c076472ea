"""What the header of one safetensors file says: names, types, shapes and bytes of its tensors. Their data is
never read.

Format: https://github.com/huggingface/safetensors#format - 8 bytes with the length of a JSON header, header,
data. Nothing in a file is believed: what the format forbids is an error, and time and memory are bounded
before JSON is parsed.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import OomlessError
from ..files import whole_size
from .storage import Shape

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 16 << 20
"""The format allows 100 MB, but a tensor takes about 130 bytes of header: DeepSeek-V3's 91,991 in all its
files have 11.9 MB."""
MAX_MARKS = 2_200_000
"""Of JSON's , : [ { and quotation marks in one text. They bound what it can become in memory: at most 55
bytes a mark. A tensor of two dimensions has 22, so that a header may list 100,000; a tensor of an index has
6."""
MAX_SIZE = 1 << 63
"""No dimension, offset or tensor reaches it."""

BITS = dict.fromkeys(
    ["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8
) | {
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
    start: int = 0
    """Byte of the file at which it begins; 0 where the file itself was not read."""


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
        limit = f"at most {MAX_HEADER_BYTES:,} are read"
        raise OomlessError(
            f"{where}: the header claims {length:,} bytes, {limit}", "is it a safetensors file?"
        )
    if file_size is not None and LENGTH_BYTES + length > file_size:
        raise OomlessError(
            f"{where}: a header of {length:,} bytes ends past the {file_size:,} of the file", WHOLE
        )
    return length


def parse_header(content: bytes, file_size: int | None, where: str) -> tuple[Stored, ...]:
    """The tensors that the beginning of a safetensors file lists, in the header's order.

    `content` holds at least the length and the header; `file_size` is the bytes of the whole file, None if
    not known (then nothing is said about its end). What the format forbids is an OomlessError that names
    `where` and the tensor.
    """
    data_start = LENGTH_BYTES + header_length(content, file_size, where)
    if len(content) < data_start:
        raise OomlessError(f"{where}: {len(content):,} bytes came, the header ends at {data_start:,}", WHOLE)
    entries = parse_object(content[LENGTH_BYTES:data_start], f"{where}: header", _parse_entry)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise OomlessError(
            f"{where}: __metadata__ is no map of texts", "safetensors allows texts alone there"
        )
    stored: list[Stored] = []
    places: list[tuple[int, int, str]] = []
    for name, entry in entries.items():
        if not isinstance(entry, tuple):
            fault = (
                entry
                if isinstance(entry, _Fault)
                else "is no object with dtype, shape and a list of data_offsets"
            )
            raise tensor_error(where, name, fault)
        dtype, shape, num_bytes, start = entry
        stored.append(Stored(name, dtype, shape, num_bytes, data_start + start))
        places.append((start, num_bytes, name))
    end = data_start + _check_layout(places, where)
    if file_size is not None and end != file_size:
        state = "is truncated" if end > file_size else "has bytes that belong to no tensor"
        raise OomlessError(
            f"{where}: the tensors end at {end:,}, the file at {file_size:,}: it {state}", WHOLE
        )
    return tuple(stored)


def read_header(path: Path) -> tuple[Stored, ...]:
    """The tensors of one .safetensors file; reads its header alone. OomlessError: not there, not readable,
    not whole."""
    try:
        if not path.is_file():  # a pipe would block
            raise OomlessError(f"{path}: no such file", "check the path")
        with path.open("rb") as file:
            file_size = whole_size(path)
            length = header_length(file.read(LENGTH_BYTES), file_size, str(path))
            file.seek(0)
            content = file.read(LENGTH_BYTES + length)
    except OSError as error:
        raise OomlessError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    return parse_header(content, file_size, str(path))


def parse_object(
    content: bytes, where: str, convert: Callable[[dict[str, Any]], Any] = lambda fields: fields
) -> dict[str, Any]:
    """The JSON object of a header or index; `convert` sees every object in it, the innermost first, and may
    replace it.

    The caller bounds the bytes; Python takes up to four for each in a text that is not ASCII.
    OomlessError: MAX_MARKS passed, not UTF-8, a key twice, NaN, absurd depth, no object.
    """
    if len(content) - len(content.translate(None, b',:[{"')) > MAX_MARKS:
        raise OomlessError(
            f"{where}: {len(content):,} bytes list too many values", "no checkpoint has as many tensors"
        )

    def once(pairs: list[tuple[str, Any]]) -> Any:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ValueError(
                f"{short(Counter(key for key, _ in pairs).most_common(1)[0][0])} is listed twice"
            )
        return convert(fields)

    try:
        value = json.loads(content.decode(), object_pairs_hook=once, parse_constant=_refuse)
        if isinstance(value, dict):
            "".join(value).encode()  # \ud800 alone is JSON, but no text
    except RecursionError:
        raise OomlessError(f"{where}: nested too deeply", "check the file") from None
    except ValueError as error:
        raise OomlessError(
            f"{where}: not valid JSON ({str(error)[:120]})", "check that the file is whole"
        ) from None
    if not isinstance(value, dict):
        raise OomlessError(f"{where}: no JSON object that maps names", "check the file")
    return value


def short(value: object) -> str:
    """A value as a piece of an error message, whatever its size; control characters of a file reach no
    terminal.

    >>> short("a" * 99)[70:], short([2, True]), short("red \\x1b[31m")
    ('aaaaaaa...', '[2, True]', "'red \\\\x1b[31m'")
    """
    if isinstance(value, str | list):
        value = value[:81]
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def tensor_error(where: str, name: str, fault: str) -> OomlessError:
    return OomlessError(
        f"{where}: tensor {short(name)}: {fault[:200]}", "the header is wrong: check the file"
    )


class _Fault(str):
    """What is wrong with an entry."""


def _parse_entry(entry: dict[str, Any]) -> dict[str, Any] | tuple[str, Shape, int, int] | _Fault:
    """An entry of a header as (dtype, shape, bytes, byte of the data at which it starts); other objects as
    they are.

    Done while JSON is parsed: kept until its end, the objects would take twice the memory and a tenth more
    time.
    """
    offsets = entry.get("data_offsets")
    if type(offsets) is not list:  # such as the header itself, even if a tensor has that name
        return entry
    try:
        dtype, shape = entry["dtype"], entry["shape"]
    except KeyError as error:
        return _Fault(f"{error.args[0]} missing")
    if (
        type(dtype) is str and type(shape) is list and len(shape) <= 8 and len(offsets) == 2
    ):  # almost every entry: numbers that agree
        start, stop = offsets
        num_bits = BITS.get(dtype, 0)
        for size in shape:
            num_bits = num_bits * size if type(size) is int and size > 0 else 0
        if type(start) is type(stop) is int and 0 <= start < stop < MAX_SIZE > num_bits == (stop - start) * 8:
            return dtype, tuple(shape), stop - start, start
    if not isinstance(dtype, str) or dtype not in BITS:
        return _Fault(f"unknown dtype {short(dtype)}")
    for key, sizes in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(sizes, list):
            return _Fault(f"{key} is {short(sizes)}, not a list of whole numbers")
        for size in sizes:
            if type(size) is not int or not 0 <= size < MAX_SIZE:  # True is an int too
                return _Fault(f"{key} is {short(sizes)}, not a list of whole numbers from 0 to 2**63")
    if len(offsets) != 2:
        return _Fault(f"data_offsets is {short(offsets)}, not two numbers")
    start, stop = offsets
    num_bits = BITS[dtype]
    for size in shape:
        num_bits *= size
        if (
            num_bits >= MAX_SIZE
        ):  # even if a dimension of 0 follows: the format's own reader multiplies in this order too
            return _Fault(f"shape {short(shape)} overflows 2**63 bits")
    if num_bits % 8:
        return _Fault(f"{num_bits:,} bits are no whole bytes")
    if (stop - start) * 8 != num_bits:
        return _Fault(
            f"offsets {start:,} to {stop:,}, but {dtype} {short(shape)} takes {num_bits // 8:,} bytes"
        )
    return dtype, tuple(shape), stop - start, start


def _check_layout(places: list[tuple[int, int, str]], where: str) -> int:
    """Bytes of all data. `places`, each (start, bytes, name), must follow one another without gap or overlap.

    An empty tensor inside another overlaps.
    """
    end = 0
    for start, num_bytes, name in sorted(places):
        if start != end:
            fault = "overlaps the tensor before it" if start < end else "leaves a gap before it"
            raise tensor_error(
                where, name, f"{fault}: starts at {start:,}, the data before it ends at {end:,}"
            )
        end += num_bytes
    return end


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number that a size can have")
