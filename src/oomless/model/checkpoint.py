"""The tensors of a whole checkpoint: an index, a folder or one file, whose shards together hold each tensor
once."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..errors import OomlessError
from ..files import read_whole
from ..limits import need_tensors
from .safetensors import Stored, parse_object, read_header, short, tensor_error

WHOLE_NAME = "model.safetensors"
"""Of a checkpoint in one file."""
INDEX_NAME = "model.safetensors.index.json"
MAX_INDEX_BYTES = 32 << 20
"""DeepSeek-V3's index has 8.9 MB."""


def parse_index(content: bytes, where: str) -> dict[str, str]:
    """The weight_map of an index: tensor name -> file name. A file name is plain: it cannot point out of the
    folder.

    Anything else is an OomlessError that names `where`.
    """
    num_bytes = len(content) * (
        1 if content.isascii() else 4
    )  # as a text; a header is so short that four times it is bearable
    if num_bytes > MAX_INDEX_BYTES:
        raise OomlessError(
            f"{where}: {len(content):,} bytes is too large for an index", "is it a weight file?"
        )
    weight_map = parse_object(content, where).get("weight_map")
    if not isinstance(weight_map, dict) or {type(file) for file in weight_map.values()} != {str}:
        raise OomlessError(
            f"{where}: weight_map is missing or does not map tensors to files", "check the index"
        )
    need_tensors(len(weight_map), where)
    for file in set(weight_map.values()):
        if not re.fullmatch(r"[^/\\:\x00-\x1f\ud800-\udfff]{1,200}\.safetensors", file) or file.startswith(
            "."
        ):
            raise OomlessError(
                f"{where}: {short(file)} is no plain name of a .safetensors file", "check the index"
            )
    return weight_map


def merge(
    weight_map: dict[str, str], shards: dict[str, tuple[Stored, ...]], where: str
) -> dict[str, tuple[Stored, ...]]:
    """The tensors of each file of an index, each once; an OomlessError if one that the map promises is not
    there."""
    # A tensor that the map does not know is still in the file; one that it places elsewhere counts there.
    merged = {
        file: tuple(tensor for tensor in stored if weight_map.get(tensor.name, file) == file)
        for file, stored in shards.items()
    }
    names = {tensor.name for stored in merged.values() for tensor in stored}
    if missing := weight_map.keys() - names:
        first = min(missing)
        what = f"{len(missing):,} tensors of the index are not in their files, first {short(first)}"
        raise OomlessError(
            f"{where}: {what} in {weight_map[first]}", "index and files are of different versions"
        )
    _check_once([tensor for stored in merged.values() for tensor in stored], len(names), where)
    return merged


def read_checkpoint(path: Path) -> tuple[Stored, ...]:
    """The tensors of a .safetensors file, of an index with its files, or of a folder; () for a folder without
    any.

    A file that is missing, cannot be read or says what the format forbids is an OomlessError.
    """
    return tuple(tensor for stored in read_shards(path).values() for tensor in stored)


def read_shards(path: Path) -> dict[Path, tuple[Stored, ...]]:
    """The same by file: which file holds which tensors."""
    if path.is_dir():
        if not (path / INDEX_NAME).exists():
            return _read_folder(path)
        path = path / INDEX_NAME
    if path.suffix != ".json":
        return {path: read_header(path)}
    weight_map = parse_index(read_whole(path, MAX_INDEX_BYTES, "give an index, not a weight file"), str(path))
    files = sorted(set(weight_map.values()))
    _check_present(path, [file for file in files if not (path.parent / file).exists()], len(files))
    headers = _read_headers([path.parent / file for file in files], str(path))
    merged = merge(weight_map, {file.name: stored for file, stored in headers.items()}, str(path))
    return {path.parent / file: stored for file, stored in merged.items()}


def _read_headers(files: list[Path], where: str) -> dict[Path, tuple[Stored, ...]]:
    """The tensors of each file, counted as they come: many files of bearable headers are a bomb too."""
    found: dict[Path, tuple[Stored, ...]] = {}
    count = 0
    for file in files:
        found[file] = read_header(file)
        count += len(found[file])
        need_tensors(count, where)
    return found


def _read_folder(folder: Path) -> dict[Path, tuple[Stored, ...]]:
    """Every file of a folder without index; model.safetensors alone if it is there, as transformers takes
    it."""
    files = sorted(folder.glob("*.safetensors"))
    if whole := [file for file in files if file.name == WHOLE_NAME]:
        return {whole[0]: read_header(whole[0])}
    names = {file.name for file in files}
    for name in sorted(names):
        if shard := re.fullmatch(r"(.*-)(\d{5})-of-(\d{5})\.safetensors", name):
            num_shards = int(shard[3])
            expected = (f"{shard[1]}{i:05}-of-{shard[3]}.safetensors" for i in range(1, num_shards + 1))
            _check_present(folder, [file for file in expected if file not in names], num_shards)
    shards = _read_headers(files, str(folder))
    stored = [tensor for each in shards.values() for tensor in each]
    _check_once(stored, len({tensor.name for tensor in stored}), str(folder))
    return shards


def _check_present(where: Path, missing: list[str], num_files: int) -> None:
    if missing:
        what = f"{len(missing):,} of {num_files:,} files are missing, first {short(missing[0])}"
        raise OomlessError(f"{where}: {what}", "fetch them, or give the config.json alone")


def _check_once(stored: list[Stored], num_names: int, where: str) -> None:
    """Files may not share a tensor, or it would count twice."""
    if num_names != len(stored):
        name, _ = Counter(tensor.name for tensor in stored).most_common(1)[0]
        raise tensor_error(where, name, "is listed twice")


def gaps(names: Iterable[str]) -> list[str]:
    """Return the tensors that a few layers lack between others that have them.

    >>> gaps(f"layers.{layer}.up.weight" for layer in range(9) if layer != 5)
    ['layers.5.up.weight']
    """
    layers: dict[tuple[str, str], set[int]] = {}
    for name in names:
        head, layer, rest = name.partition("layers.")
        number, dot, tail = rest.partition(".")
        if dot and number.isdecimal():
            layers.setdefault((head + layer, dot + tail), set()).add(int(number))
    found = []
    for (head, tail), held in layers.items():
        first, last = min(held), max(held)
        if 4 * (last - first + 1 - len(held)) < len(held):  # more are layers of several kinds
            found += [f"{head}{number}{tail}" for number in range(first, last) if number not in held]
    return found
