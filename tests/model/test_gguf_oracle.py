"""The reader of GGUF headers and the table of types against the gguf package: what its writer writes, both
must read alike."""

import struct
from collections.abc import Callable, Iterable
from itertools import pairwise
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless.errors import OomlessError
from oomless.model.gguf import MAX_NUMBERS, MAX_TEXT_BYTES, Array, GGUFFile, read_all_parts, read_gguf
from oomless.model.gguf_types import FILE_TYPES, TYPE_NUMBERS, TYPES

gguf: Any = pytest.importorskip("gguf")
numpy: Any = pytest.importorskip("numpy")

KINDS = gguf.GGMLQuantizationType
WORDS = gguf.GGUFValueType
NEWER = {"Q2_0": "42, added to ggml after gguf 0.19"}
REMOVED = {
    name: "interleaved on disk until the end of 2024, then removed"
    for name in ("Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8")
}
FIRST_OF_IK = 133
"""Types from this number on are ik_llama.cpp's, which the package does not know."""
RANGES = {f"{sign}INT{bits}": bits for sign in ("U", "") for bits in (8, 16, 32, 64)}


class Key(NamedTuple):
    """A key of a header: `inner` is the type of an array's values."""

    name: str
    word: str
    value: Any
    inner: str = ""


class Stored(NamedTuple):
    """A tensor to write; its bytes are all `fill`."""

    name: str
    kind: str
    shape: tuple[int, ...]


def write(
    path: Path, keys: Iterable[Key], tensors: Iterable[Stored], alignment: int = 0, **options: Any
) -> None:
    writer = gguf.GGUFWriter(path, "llama", **options)
    if alignment:
        writer.add_custom_alignment(alignment)
    for key in keys:
        writer.add_key_value(key.name, key.value, WORDS[key.word], WORDS[key.inner] if key.inner else None)
    for index, tensor in enumerate(tensors):
        kind = KINDS[tensor.kind]
        raw = numpy.full(
            gguf.quant_shape_to_byte_shape(tensor.shape, kind), index % 255 + 1, dtype=numpy.uint8
        )
        writer.add_tensor(tensor.name, raw, raw_dtype=kind)
    finish(writer)


def finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def plain(value: Any) -> Any:
    """A value that compares by its bits: NaN equals itself, True is 1."""
    return (
        struct.pack("<d", value)
        if isinstance(value, float)
        else int(value)
        if isinstance(value, bool)
        else value
    )


def compare(path: Path, theirs: Any = None) -> GGUFFile:
    """Everything that both readers say of a file."""
    ours, theirs = read_gguf(path), theirs or gguf.GGUFReader(path)
    assert ours.version == theirs.fields["GGUF.version"].contents()
    assert ours.alignment == theirs.alignment
    assert ours.data_offset == theirs.data_offset
    assert [name for name in theirs.fields if not name.startswith("GGUF.")] == list(ours.metadata)
    for name, value in ours.metadata.items():
        compare_value(name, value, theirs.fields[name])
    content = path.read_bytes()
    assert len(ours.tensors) == len(theirs.tensors) == theirs.fields["GGUF.tensor_count"].contents()
    for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert mine.name == other.name
        assert mine.shape == tuple(map(int, other.shape))[::-1]
        assert (mine.type.number, mine.type.name) == (int(other.tensor_type), other.tensor_type.name)
        assert prod(mine.shape) == other.n_elements
        assert mine.num_bytes == other.n_bytes
        begin = ours.data_offset + mine.offset
        assert begin == other.data_offset
        assert content[begin : begin + mine.num_bytes] == other.data.tobytes()
    return ours


def compare_value(name: str, value: Any, field: Any) -> None:
    said = field.contents()
    if field.types[0] == WORDS.STRING:
        long = len(said.encode()) > MAX_TEXT_BYTES
        assert value == (Array("text", len(said.encode())) if long else said), name
    elif field.types[0] != WORDS.ARRAY:
        assert plain(value) == plain(said), name
    elif field.types[1] == WORDS.ARRAY:  # the package flattens what we count
        assert value.kind == "array", name
    else:
        assert value.kind == field.types[-1].name.lower(), name
        assert value.num_values == len(said), name
        kept = len(said) <= MAX_NUMBERS and field.types[-1] != WORDS.STRING
        assert list(map(plain, value.values)) == (list(map(plain, said)) if kept else []), name


def rewritten(
    path: Path, keys: Iterable[Key] = (), tensors: Iterable[Stored] = (), alignment: int = 0
) -> GGUFFile:
    """A file that was written, with what was asked for held against what both read, to its last byte."""
    keys, tensors = list(keys), list(tensors)
    write(path, keys, tensors, alignment)
    found = compare(path)
    assert [(t.name, t.type.name, t.shape) for t in found.tensors] == [tuple(tensor) for tensor in tensors]
    assert set(found.metadata) == {
        "general.architecture",
        *(key.name for key in keys),
        *(["general.alignment"] if alignment else []),
    }
    padded = sum(-(-tensor.num_bytes // found.alignment) * found.alignment for tensor in found.tensors)
    assert path.stat().st_size == found.data_offset + padded
    return found


# ---- the table of types


def test_every_type_of_the_package_is_known_with_its_size() -> None:
    assert set(gguf.GGML_QUANT_SIZES) == set(KINDS)
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        ours = TYPE_NUMBERS[int(kind)]  # no exception: each one that the package knows is known here
        assert (ours.name, ours.block, ours.block_bytes, ours.row_bytes) == (kind.name, block, size, 0)


def test_types_that_the_package_does_not_know_are_named() -> None:
    more = {name for name, kind in TYPES.items() if 0 <= kind.number < FIRST_OF_IK} - {
        kind.name for kind in KINDS
    }
    assert more <= {*NEWER, *REMOVED}
    assert not any(
        kind.number in [int(each) for each in KINDS] for name, kind in TYPES.items() if name in more
    )


def test_file_types_have_the_packages_names() -> None:
    theirs = {
        int(each): each.name.removeprefix("MOSTLY_").removeprefix("ALL_") for each in gguf.LlamaFileType
    }
    del theirs[int(gguf.LlamaFileType.GUESSED)]
    assert {number: name for number, name in FILE_TYPES.items() if number in theirs} == theirs


@given(st.sampled_from(sorted(KINDS)), st.lists(st.integers(1, 5), max_size=3), st.integers(1, 9))
def test_tensors_weigh_what_the_package_says(kind: Any, rows: list[int], blocks: int) -> None:
    ours = TYPE_NUMBERS[int(kind)]
    shape = (*rows, blocks * ours.block)
    assert ours.num_bytes(shape) == prod(gguf.quant_shape_to_byte_shape(shape, kind))


def test_what_the_package_quantizes_weighs_the_same() -> None:
    made = []
    for kind in KINDS:
        shape = (3, 2 * TYPES[kind.name].block)
        try:
            data = gguf.quantize(numpy.ones(shape, dtype=numpy.float32), kind)
        except NotImplementedError:
            continue  # most K- and i-quants can only be read in Python
        made.append(kind.name)
        assert data.nbytes == TYPES[kind.name].num_bytes(shape)
    assert {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0"} <= set(made)


# ---- the reader


def test_tensors_of_every_type(tmp_path: Path) -> None:
    shapes: list[Callable[[int], tuple[int, ...]]] = [
        lambda block: (block,),
        lambda block: (3, 2 * block),
        lambda block: (2, 3, block),
        lambda block: (2, 1, 5, 3 * block),
    ]
    tensors = [
        Stored(f"{kind.name}.{len(shape(1))}d", kind.name, shape(TYPES[kind.name].block))
        for kind in KINDS
        for shape in shapes
    ]
    found = rewritten(tmp_path / "x.gguf", tensors=tensors)
    assert len({tensor.type for tensor in found.tensors}) == len(KINDS)


def test_types_that_the_writer_takes_from_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    kinds = {
        "float16": "F16",
        "float32": "F32",
        "float64": "F64",
        "int8": "I8",
        "int16": "I16",
        "int32": "I32",
        "int64": "I64",
    }
    for word in kinds:
        writer.add_tensor(word, numpy.arange(15).reshape(3, 5).astype(word))
    for kind in ("BF16", "Q8_0", "Q4_0"):
        writer.add_tensor(
            kind, gguf.quantize(numpy.ones((2, 64), dtype=numpy.float32), KINDS[kind]), raw_dtype=KINDS[kind]
        )
    finish(writer)
    assert [tensor.type.name for tensor in compare(path).tensors] == [*kinds.values(), "BF16", "Q8_0", "Q4_0"]


def every_key() -> list[Key]:
    """Values of each type at their ends, alone and in arrays short and long."""
    ends: dict[str, list[Any]] = {
        "BOOL": [False, True],
        "STRING": ["", "a", "深度求索 \N{WHALE}", "\0", "x" * 4096, "x" * 4097],
    }
    for word, bits in RANGES.items():
        ends[word] = (
            [0, 1, (1 << bits) - 1] if word.startswith("U") else [-(1 << bits - 1), -1, (1 << bits - 1) - 1]
        )
    ends["FLOAT32"] = [0.0, -0.0, 1.5, 2.0**-149, float("inf"), float("nan")]
    ends["FLOAT64"] = [*ends["FLOAT32"], 5e-324, 1.7976931348623157e308, 0.1]
    keys = [
        Key(f"one.{word}.{index}", word, value)
        for word, values in ends.items()
        for index, value in enumerate(values)
    ]
    for word, values in ends.items():
        for count in (1, MAX_NUMBERS, MAX_NUMBERS + 1, 2000):
            keys.append(Key(f"many.{word}.{count}", "ARRAY", (values * count)[:count], word))
    return keys


def test_values_of_every_type(tmp_path: Path) -> None:
    keys = every_key()
    assert {key.inner or key.word for key in keys} == {word.name for word in WORDS} - {"ARRAY"}
    found = rewritten(tmp_path / "x.gguf", keys).metadata
    assert found["one.UINT64.2"] == (1 << 64) - 1
    assert found["many.INT8.513"] == Array("int8", 513)
    assert found["many.STRING.1"] == Array("string", 1)
    assert found["one.STRING.5"] == Array("text", 4097)


def test_arrays_in_arrays_are_stepped_over(tmp_path: Path) -> None:
    nested = [[1, 2], [3], [4, 5, 6]]
    keys = [
        Key("nested", "ARRAY", nested),
        Key("texts", "ARRAY", [["a", "bc"], [""]]),
        Key("after", "UINT32", 7),
    ]
    found = rewritten(tmp_path / "x.gguf", keys, [Stored("a", "F32", (4,))]).metadata
    assert (found["nested"], found["texts"], found["after"]) == (Array("array", 3), Array("array", 2), 7)


@pytest.mark.parametrize("alignment", [1, 2, 8, 32, 64, 128, 4096, 65536])
def test_alignments(tmp_path: Path, alignment: int) -> None:
    tensors = [
        Stored("a", "F16", (3,)),
        Stored("b", "Q6_K", (3, 256)),
        Stored("c", "I8", (1,)),
        Stored("d", "MXFP4", (5, 32)),
    ]
    found = rewritten(tmp_path / "x.gguf", [], tensors, alignment)
    assert found.alignment == alignment
    assert all(tensor.offset % alignment == 0 for tensor in found.tensors)


def test_headers_alone(tmp_path: Path) -> None:
    """A vocabulary's file holds no tensors."""
    tokens = Key("tokenizer.ggml.tokens", "ARRAY", [f"token {number}" for number in range(3000)])
    found = rewritten(tmp_path / "x.gguf", [tokens])
    assert found.metadata["tokenizer.ggml.tokens"] == Array("string", 3000)


@pytest.mark.parametrize(
    "options",
    [{"split_max_tensors": 3}, {"split_max_size": 600}, {"split_max_tensors": 3, "small_first_shard": True}],
)
def test_parts_that_the_writer_splits(tmp_path: Path, options: dict[str, Any]) -> None:
    tensors = [Stored(f"t{number}", "Q8_0", (number + 1, 32)) for number in range(10)]
    write(tmp_path / "m.gguf", [Key("llama.block_count", "UINT32", 4)], tensors, **options)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 2
    read = [compare(part) for part in parts]
    whole = read_all_parts(parts[0])
    assert whole.metadata["llama.block_count"] == 4
    assert whole.metadata["split.count"] == len(parts)
    assert whole.tensors == tuple(tensor for part in read for tensor in part.tensors)
    assert [(t.name, t.type.name, t.shape) for t in whole.tensors] == [tuple(tensor) for tensor in tensors]


def test_big_endian_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write(path, [], [Stored("a", "F32", (4,))], endianess=gguf.GGUFEndian.BIG)
    assert gguf.GGUFReader(path).tensors[0].n_bytes == 16  # the package reads it
    with pytest.raises(OomlessError, match="is big-endian"):
        read_gguf(path)


# ---- any file


NUMBERS = {word: st.integers(0, (1 << bits) - 1) for word, bits in RANGES.items() if word.startswith("U")}
NUMBERS |= {
    word: st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
    for word, bits in RANGES.items()
    if not word.startswith("U")
}
VALUES: dict[str, st.SearchStrategy[Any]] = {**NUMBERS, "BOOL": st.booleans(), "STRING": st.text(max_size=30)}
VALUES |= {"FLOAT32": st.floats(width=32), "FLOAT64": st.floats()}
NAMES = st.text(min_size=1, max_size=20)


@st.composite
def any_keys(draw: st.DrawFn) -> list[Key]:
    keys = []
    for name in draw(st.lists(NAMES, max_size=6, unique=True)):
        word = draw(st.sampled_from(sorted(VALUES)))
        if draw(st.booleans()):
            keys.append(Key(f"k.{name}", word, draw(VALUES[word])))
        else:
            keys.append(Key(f"k.{name}", "ARRAY", draw(st.lists(VALUES[word], min_size=1, max_size=8)), word))
    return keys


@st.composite
def any_tensors(draw: st.DrawFn) -> list[Stored]:
    tensors = []
    for name in draw(st.lists(NAMES, max_size=6, unique=True)):
        kind = draw(st.sampled_from(sorted(KINDS))).name
        rows = draw(st.lists(st.integers(1, 4), max_size=3))
        tensors.append(Stored(name, kind, (*rows, TYPES[kind].block * draw(st.integers(1, 3)))))
    return tensors


@given(any_keys(), any_tensors(), st.sampled_from([0, 1, 16, 32, 256, 4096]))
def test_any_file_is_read_as_the_package_reads_it(
    keys: list[Key], tensors: list[Stored], alignment: int
) -> None:
    with TemporaryDirectory() as folder:
        rewritten(Path(folder) / "x.gguf", keys, tensors, alignment)


def test_a_changed_byte_is_refused_or_read_alike(tmp_path: Path) -> None:
    """Every byte of a header, changed in two ways: where both readers accept it, they agree; ours may refuse
    more."""
    path = tmp_path / "x.gguf"
    keys = [key for key in every_key() if key.name.startswith("one.") and key.name < "one.STRING.4"]
    tensors = [Stored("a", "F32", (2, 3)), Stored("b", "Q4_K", (2, 256)), Stored("c", "Q8_0", (2, 3, 64))]
    write(
        path,
        [*keys, Key("many", "ARRAY", [1, 2, 3], "INT16"), Key("texts", "ARRAY", ["a", "bc"])],
        tensors,
        64,
    )
    sound = path.read_bytes()
    num_alike = num_refused = 0
    for place in range(read_gguf(path).data_offset):
        for change in (1, 0xFF):
            path.write_bytes(sound[:place] + bytes([sound[place] ^ change]) + sound[place + 1 :])
            try:
                read_gguf(path)
                theirs = gguf.GGUFReader(path)
                assert all(field.contents() is not None for field in theirs.fields.values())
            except (OomlessError, ValueError, KeyError):
                num_refused += 1
            else:
                compare(path, theirs)
                num_alike += 1
    assert min(num_alike, num_refused) > 500


def test_offsets_follow_each_other(tmp_path: Path) -> None:
    """The writer leaves nothing but padding between tensors, in the order of the header."""
    tensors = [
        Stored(f"t{number}", kind.name, (number % 3 + 1, TYPES[kind.name].block))
        for number, kind in enumerate(KINDS)
    ]
    found = rewritten(tmp_path / "x.gguf", tensors=tensors, alignment=64)
    assert found.tensors[0].offset == 0
    assert all(
        -(-(before.offset + before.num_bytes) // 64) * 64 == after.offset
        for before, after in pairwise(found.tensors)
    )
