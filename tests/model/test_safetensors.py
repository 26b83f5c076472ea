"""Safetensors headers under suspicion: what the format allows is read, all else is one clear error in bounded
cost."""

import json
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_hub import checkpoint, shard
from oomless.errors import OomlessError
from oomless.model.checkpoint import INDEX_NAME, parse_index, read_checkpoint
from oomless.model.safetensors import (
    BITS,
    MAX_HEADER_BYTES,
    MAX_MARKS,
    Stored,
    parse_header,
    read_header,
    totals,
)

A: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
PLAIN = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def content(header: object, num_data: int = 0) -> bytes:
    """A whole file; `header` as JSON text or as what json.dumps takes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(num_data)


def fault_of(file: bytes) -> str:
    with pytest.raises(OomlessError) as caught:
        parse_header(file, len(file), "x.safetensors")
    assert caught.value.code == 1
    assert caught.value.hint
    assert "x.safetensors" in caught.value.message
    assert len(caught.value.message) < 500
    return caught.value.message


def by_package(file: bytes) -> list[tuple[str, dict[str, Any]]]:
    """What the safetensors package finds; an exception of its own where it refuses."""
    found: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(file)  # type: ignore[no-untyped-call]  # the library has no types
    return found


@contextmanager
def bounded() -> Iterator[None]:
    """Below 200 MB of Python's memory, and no hang: a busy machine and tracemalloc make 2 s several times as
    long, so the clock only catches what grows with the square."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200e6
    assert time.process_time() - start < 30


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    name = 'name with "quotes" \\ and é 名'
    file = shard(
        {"a": ("F32", (2, 3)), "scalar": ("I64", ()), "empty": ("F16", (0, 5)), name: ("BF16", (4,))}
    )
    path.write_bytes(file.content + bytes(file.num_zeros))
    stored = read_header(path)
    starts = [tensor.start for tensor in stored]
    assert starts == [len(file.content) + place for place in (0, 24, 32, 32)]
    assert tuple(tensor._replace(start=0) for tensor in stored) == (
        Stored("a", "F32", (2, 3), 24),
        Stored("scalar", "I64", (), 8),
        Stored("empty", "F16", (0, 5), 0),
        Stored(name, "BF16", (4,), 8),
    )
    assert totals(stored) == {"F32": 6, "I64": 1, "F16": 0, "BF16": 4}


AGREED: dict[str, bytes] = {
    "plain": content({"a": A}, 8),
    "compact": content(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    "no tensor": content(b"{}"),
    "white space": content(b' { "a" :\n{ "shape" : [ 2 ] ,\t"data_offsets":[0 , 8],"dtype":"F32" } } \n', 8),
    "metadata": content(b'{"__metadata__":{"k" : "v\\n}{" , "":""} , "a":' + PLAIN + b"}", 8),
    "empty metadata": content(b'{"__metadata__":{ }}'),
    "metadata with a number": content({"__metadata__": {"k": 1}}),
    "metadata is a text": content({"__metadata__": "k"}),
    "metadata twice": content(b'{"__metadata__":{},"__metadata__":{}}'),
    "metadata with a trailing comma": content(b'{"__metadata__":{"a":"b",}}'),
    "escaped name": content(b'{"\\u00e9\\n":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    "escaped dtype": content(b'{"a":{"dtype":"F\\u00332","shape":[2],"data_offsets":[0,8]}}', 8),
    "half a surrogate": content(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    "other key": content({"a": A | {"x": 1}}, 8),
    "key twice": content(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    "no dtype": content({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8),
    "no shape": content({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, 8),
    "no offsets": content({"a": {"dtype": "F32", "shape": [2]}}, 8),
    "three offsets": content({"a": A | {"data_offsets": [0, 8, 8]}}, 8),
    "dtype is a number": content({"a": A | {"dtype": 3}}, 8),
    "unknown dtype": content({"a": A | {"dtype": "F33"}}, 8),
    "shape is a text": content({"a": A | {"shape": "2"}}, 8),
    "dimension is a text": content({"a": A | {"shape": ["2"]}}, 8),
    "dimension is true": content({"a": A | {"shape": [True], "data_offsets": [0, 4]}}, 4),
    "dimension is 2.0": content({"a": A | {"shape": [2.0]}}, 8),
    "dimension is NaN": content({"a": A | {"shape": [float("nan")]}}, 8),
    "dimension is -2": content({"a": A | {"shape": [-2]}}, 8),
    "dimension is null": content({"a": A | {"shape": [None]}}, 8),
    "dimension of 20 digits": content({"a": A | {"shape": [10**20]}}, 8),
    "dimension of 5000 digits": content(PLAIN.replace(b"[2]", b"[1%05000d]" % 0).join([b'{"a":', b"}"]), 8),
    "dimension with a leading zero": content(b'{"a":{"dtype":"F32","shape":[02],"data_offsets":[0,8]}}', 8),
    "negative offset": content({"a": A | {"data_offsets": [-8, 0]}}, 8),
    "product overflows": content({"a": A | {"shape": [2**32, 2**32, 2**32]}}, 8),
    "product overflows before a zero": content(
        {"a": A | {"shape": [2**62, 2**62, 0], "data_offsets": [0, 0]}}
    ),
    "product after a zero": content({"a": A | {"shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}),
    "many dimensions": content({"a": A | {"shape": [1] * 100, "data_offsets": [0, 4]}}, 4),
    "too few bytes": content({"a": A | {"data_offsets": [0, 4]}}, 4),
    "offsets reversed": content({"a": A | {"data_offsets": [8, 0]}}, 8),
    "overlap": content({"a": A, "b": A | {"data_offsets": [4, 12]}}, 12),
    "same place": content({"a": A, "b": A}, 8),
    "gap": content({"a": A, "b": A | {"data_offsets": [12, 20]}}, 20),
    "gap at the start": content({"a": A | {"data_offsets": [4, 12]}}, 12),
    "out of order": content({"b": A | {"data_offsets": [8, 16]}, "a": A}, 16),
    "empty tensor inside": content({"a": A, "z": A | {"shape": [0], "data_offsets": [4, 4]}}, 8),
    "empty tensor at the start": content({"a": A, "z": A | {"shape": [0], "data_offsets": [0, 0]}}, 8),
    "empty tensor at the end": content({"a": A, "z": A | {"shape": [0], "data_offsets": [8, 8]}}, 8),
    "empty tensor past the end": content({"a": A, "z": A | {"shape": [0], "data_offsets": [9, 9]}}, 8),
    "data cut off": content({"a": A}, 7),
    "data left over": content({"a": A}, 9),
    "fp4 of half a byte": content({"a": A | {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, 2),
    "fp4": content({"a": A | {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}, 2),
    "fp6": content({"a": A | {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, 3),
    "empty file": b"",
    "seven bytes": b"1234567",
    "empty header": content(b""),
    "header cut off": content({"a": A})[:-4],
    "length of 2**60": (1 << 60).to_bytes(8, "little") + b"{}",
    "length of 2**64 - 1": b"\xff" * 8 + b"{}",
    "length past the end": (3).to_bytes(8, "little") + b"{}",
    "no JSON": content(b'{"a":'),
    "trailing comma": content(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},}', 8),
    "text after the header": content(b"{} {}"),
    "a list": content(b"[]"),
    "a number": content(b"3"),
    "an entry is a number": content(b'{"a":3}'),
    "an entry is a text": content({"a": "F32"}),
    "an entry as the header": content(A, 8),
    "names of fields": content(
        {"dtype": A, "shape": A | {"data_offsets": [8, 16]}, "data_offsets": A | {"data_offsets": [16, 24]}},
        24,
    ),
    "an entry as metadata": content({"__metadata__": A}, 8),
    "offsets are a text": content({"a": A | {"data_offsets": "08"}}, 8),
    "offsets are null": content({"a": A | {"data_offsets": None}}, 8),
    "shape is an object": content({"a": A | {"shape": {}}}, 8),
    "an object in an entry": content({"a": A | {"x": A}}, 8),
    "invalid UTF-8": content(b'{"\xff":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    "nested": content(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    "nested in an entry": content(b'{"a":{"dtype":' + b"[" * 10_000 + b"]" * 10_000 + b"}}"),
    "control character": content(b'{"a\n":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
}


@pytest.mark.parametrize("name", AGREED)
def test_accepts_and_refuses_as_the_package_does(name: str) -> None:
    file = AGREED[name]
    try:
        expected = dict(by_package(file))
    except Exception:  # its errors have no common base
        fault_of(file)
        return
    stored = parse_header(file, len(file), "x")
    assert {tensor.name for tensor in stored} == expected.keys()
    assert all(list(tensor.shape) == expected[tensor.name]["shape"] for tensor in stored)
    assert all(tensor.num_bytes == len(expected[tensor.name]["data"]) for tensor in stored)


@pytest.mark.parametrize("dtype", BITS)
def test_knows_every_dtype_as_the_package_does(dtype: str) -> None:
    file = content({"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, BITS[dtype]]}}, BITS[dtype])
    assert parse_header(file, len(file), "x") == (
        Stored("a", dtype, (8,), BITS[dtype], len(file) - BITS[dtype]),
    )
    assert by_package(file)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (
            content(b'{"a":' + PLAIN + b',"a":' + PLAIN + b"}", 8),
            "header: not valid JSON (a is listed twice)",
        ),
        (content(b'{"__metadata__":{"k":"1","k":"2"}}'), "header: not valid JSON (k is listed twice)"),
        (AGREED["overlap"], "tensor b: overlaps the tensor before it"),
        (AGREED["empty tensor inside"], "tensor z: overlaps"),
        (AGREED["gap"], "tensor b: leaves a gap before it: starts at 12, the data before it ends at 8"),
        (AGREED["data cut off"], "it is truncated"),
        (AGREED["unknown dtype"], "tensor a: unknown dtype F33"),
        (AGREED["no shape"], "tensor a: shape missing"),
        (AGREED["dimension is true"], "tensor a: shape is [True], not a list of whole numbers"),
        (AGREED["product overflows"], "overflows 2**63"),
        (AGREED["too few bytes"], "tensor a: offsets 0 to 4, but F32 [2] takes 8 bytes"),
        (AGREED["length of 2**60"], "claims 1,152,921,504,606,846,976 bytes"),
        (AGREED["length past the end"], "ends past the 10 of the file"),
        (AGREED["seven bytes"], "7 bytes is too short"),
        (AGREED["nested"], "nested too deeply"),
        (AGREED["invalid UTF-8"], "'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_says_what_is_wrong(file: bytes, words: str) -> None:
    assert words in fault_of(file)


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in fault_of(content({"\x1b[31mred": A | {"dtype": "F33"}}, 8))


@pytest.mark.parametrize("sort_keys", [False, True])
def test_a_hundred_thousand_tensors(sort_keys: bool) -> None:
    header = {f"model.layers.{i}.weight": A | {"data_offsets": [8 * i, 8 * i + 8]} for i in range(100_000)}
    file = content(json.dumps(header, sort_keys=sort_keys).encode())
    start = time.process_time()
    assert len(parse_header(file, len(file) + 800_000, "x")) == 100_000
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":' + b"[]," * 5_000_000,
        b'{"a":[' + b"[]," * 500_000 + b"[]]}",
        b'{"a":{"dtype":"F32","shape":[' + b"1," * 2_000_000 + b'1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[' + b",".join([b"9" * 4000] * 4000) + b'],"data_offsets":[0,4]}}',
        b'{"__metadata__":{' + b",".join(b'"%x":"%x"' % (i, i) for i in range(360_000)) + b',"k":1}}',
        b"{" + b",".join(b'"%x":{}' % i for i in range(430_000)) + b"}",
        pytest.param(
            b"{" + b",".join(b'"%x":{"data_offsets":[]}' % i for i in range(240_000)) + b"}",
            marks=pytest.mark.slow,
        ),
        b'{"' + b"a" * 16_000_000 + b'":{}}',
        b'{"\xf0\x9f\x98\x80' + b"a" * 16_000_000 + b'":{}}',
        b" " * 16_000_000 + b"{}x",
        b" " * 60_000_000 + b"{}x",
    ],
    ids=[
        "lists",
        "some lists",
        "dimensions",
        "digits",
        "metadata",
        "objects",
        "faults",
        "name",
        "wide name",
        "spaces",
        "more spaces",
    ],
)
def test_hostile_headers_cost_little(text: bytes) -> None:
    file = content(text)
    with bounded(), pytest.raises(OomlessError):
        parse_header(file, len(file), "x")


def test_more_tensors_than_any_checkpoint_are_refused() -> None:
    entry = b'"%05x":{"dtype":"U8","shape":[0,0],"data_offsets":[0,0]}'
    for num_tensors in (MAX_MARKS // 22, MAX_MARKS // 22 + 1):
        file = content(b"{" + b",".join(entry % i for i in range(num_tensors)) + b"}")
        if num_tensors == 100_000:
            with bounded():
                assert len(parse_header(file, len(file), "x")) == num_tensors
        else:
            assert "list too many values" in fault_of(file)


def test_a_header_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER_BYTES + 100)  # a sparse file
    with bounded(), pytest.raises(OomlessError):
        read_header(path)


def test_a_header_just_below_the_limit_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER_BYTES - 8).to_bytes(8, "little") + b'{"a":[')
        file.truncate(MAX_HEADER_BYTES)
    with bounded(), pytest.raises(OomlessError):
        read_header(path)


def test_data_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    head = shard({"a": ("BF16", (1 << 20, 1 << 14))})
    with path.open("wb") as file:
        file.write(head.content)
        file.truncate(head.size)  # 32 GiB, sparse
    with bounded():
        assert totals(read_header(path)) == {"BF16": 1 << 34}


entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*BITS, "F33", 3]),
        "shape": st.lists(st.integers(-1, 9) | st.sampled_from([2**40, True, 2.5, "x"]), max_size=3),
        "data_offsets": st.lists(st.integers(-1, 40), min_size=1, max_size=3),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60)
    | st.dictionaries(st.text(max_size=3), entries, max_size=3).map(lambda h: content(h, 16))
)
def test_random_files_give_tensors_or_one_error(file: bytes) -> None:
    try:
        stored = parse_header(file, len(file), "x")
    except OomlessError:
        return
    assert len(by_package(file)) == len(stored)


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(sorted(AGREED)), st.integers(0, 200), st.binary(max_size=3), st.integers(0, 3))
def test_mutated_files_give_tensors_or_one_error(name: str, at: int, put: bytes, cut: int) -> None:
    file = AGREED[name][:at] + put + AGREED[name][at + cut :]
    file = content(file[8:-8], 8) if at % 2 and len(file) > 16 else file  # half of them with a right length
    try:
        stored = parse_header(file, len(file), "x")
    except OomlessError:
        return
    assert len(by_package(file)) == len(stored)  # stricter than the package, never laxer


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8), st.lists(st.integers(0, 5), max_size=4), max_size=6))
def test_whatever_is_written_is_read_back(shapes: dict[str, list[int]]) -> None:
    shapes.pop("__metadata__", None)
    file = shard({name: ("F16", tuple(shape)) for name, shape in shapes.items()})
    whole = file.content + bytes(file.num_zeros)
    stored = parse_header(whole, len(whole), "x")
    assert {tensor.name: list(tensor.shape) for tensor in stored} == shapes
    assert {name: tensor["shape"] for name, tensor in by_package(whole)} == shapes


def write(folder: Path, files: dict[str, Any]) -> None:
    for name, file in files.items():
        (folder / name).write_bytes(file if isinstance(file, bytes) else file.content + bytes(file.num_zeros))


TWO: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
    "model-00001-of-00002.safetensors": {"a": ("BF16", (3,))},
    "model-00002-of-00002.safetensors": {"b": ("F32", (5,))},
}


def test_a_folder_with_an_index(tmp_path: Path) -> None:
    write(tmp_path, checkpoint(TWO))
    expected = (Stored("a", "BF16", (3,), 6), Stored("b", "F32", (5,), 20))
    found = read_checkpoint(tmp_path)
    assert tuple(tensor._replace(start=0) for tensor in found) == expected
    assert read_checkpoint(tmp_path / INDEX_NAME) == found
    assert read_checkpoint(tmp_path / "model-00001-of-00002.safetensors") == found[:1]


def test_an_index_holds_what_it_says(tmp_path: Path) -> None:
    files = checkpoint(TWO)
    write(tmp_path, files)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(OomlessError, match=r"1 of 2 files are missing, first model-00002-of-00002"):
        read_checkpoint(tmp_path)
    write(tmp_path, {"model-00002-of-00002.safetensors": shard({"c": ("F32", (5,))})})
    with pytest.raises(
        OomlessError, match=r"1 tensors of the index are not in their files, first b in model-00002"
    ):
        read_checkpoint(tmp_path)


def test_a_tensor_stored_twice_counts_where_the_index_places_it(tmp_path: Path) -> None:
    write(tmp_path, checkpoint(TWO))
    second = shard({"b": ("F32", (5,)), "a": ("BF16", (3,)), "x": ("U8", (1,))})
    write(tmp_path, {"model-00002-of-00002.safetensors": second})
    assert totals(read_checkpoint(tmp_path)) == {"BF16": 3, "F32": 5, "U8": 1}


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) == ()
    write(tmp_path, {"model-00001-of-00002.safetensors": shard({"a": ("BF16", (3,))})})
    with pytest.raises(OomlessError, match="1 of 2 files are missing"):
        read_checkpoint(tmp_path)
    write(tmp_path, {"model-00002-of-00002.safetensors": shard({"b": ("BF16", (4,))})})
    assert totals(read_checkpoint(tmp_path)) == {"BF16": 7}
    write(tmp_path, {"model.safetensors": shard({"c": ("BF16", (1,))})})
    assert totals(read_checkpoint(tmp_path)) == {"BF16": 1}


@pytest.mark.parametrize(
    "file", ["../a.safetensors", "/a.safetensors", "b/a.safetensors", "..", "a.bin", "a\\b.safetensors", 3]
)
def test_an_index_cannot_point_elsewhere(file: object) -> None:
    with pytest.raises(OomlessError, match=r"i\.json"):
        parse_index(json.dumps({"weight_map": {"a": file}}).encode(), "i.json")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"weight_map":{}}',
        b'{"weight_map":3}',
        b'{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}',
        b"\xff",
        b"[" * 10_000,
        b'{"weight_map":{"a":NaN}}',
        b"[" + b"[]," * 9_000_000,
        b'{"weight_map":{' + b" " * 40_000_000,
        b'{"\xf0\x9f\x98\x80' + b"a" * 30_000_000 + b'":{}}',
        b'{"weight_map":{' + b",".join(b'"%x":"%x"' % (i, i) for i in range(360_000)) + b"}}",
    ],
)
def test_a_bad_index_is_one_error(text: bytes) -> None:
    with bounded(), pytest.raises(OomlessError):
        parse_index(text, "i.json")


@pytest.mark.parametrize("name", ["none.safetensors", "none.json", "none"])
def test_a_missing_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(OomlessError, match=name):
        read_checkpoint(tmp_path / name)
