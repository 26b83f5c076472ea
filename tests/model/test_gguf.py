"""GGUF headers: what files of all kinds say is read exactly, what no writer writes is one clear error in
bounded cost."""

import tracemalloc
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless.errors import OomlessError, UnsupportedError
from oomless.model.gguf import (
    MAX_HEADER_BYTES,
    MAX_KEYS,
    MAX_NESTED,
    MAX_STRINGS,
    MAX_TENSORS,
    Array,
    GGUFFile,
    parse_gguf,
    read_all_parts,
    read_gguf,
)
from oomless.model.gguf_metadata import model_from_gguf
from oomless.model.gguf_mixes import KvB
from oomless.model.gguf_model import as_gguf, pieces
from oomless.model.gguf_types import TYPES
from oomless.model.load import load
from oomless.model.model import Model

KINDS: dict[type, tuple[int, str]] = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}
HUGE = 1 << 40


def text(value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return pack("<Q", len(content)) + content


def key(name: str, value: Any) -> bytes:
    """One key of a header; raw bytes are a type and a value already packed, a list of texts is an array of
    them."""
    if isinstance(value, bytes):
        return text(name) + value
    if isinstance(value, str):
        return text(name) + pack("<I", 8) + text(value)
    if isinstance(value, list):
        return text(name) + pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    kind, form = KINDS[type(value)]
    return text(name) + pack("<I", kind) + pack(form, value)


def tensor(name: str, shape: tuple[int, ...], number: int = 0, offset: int = 0) -> bytes:
    return text(name) + pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), number, offset)


def gguf(
    keys: list[bytes],
    tensors: list[bytes],
    num_data: int = 0,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    num_tensors, num_keys = counts or (len(tensors), len(keys))
    content = b"GGUF" + pack("<IQQ", version, num_tensors, num_keys) + b"".join(keys) + b"".join(tensors)
    return content + bytes(-len(content) % 32 + num_data)


def parse(content: bytes, file_size: int | None = None) -> GGUFFile:
    size = len(content) if file_size is None else file_size
    return parse_gguf(lambda offset, length: content[offset : offset + length], size, "x.gguf")


def fault_of(content: bytes, file_size: int | None = None) -> str:
    with pytest.raises(OomlessError) as caught:
        parse(content, file_size)
    assert caught.value.code == 1
    assert caught.value.hint
    assert caught.value.message.startswith("x.gguf: ")
    return caught.value.message


def test_a_header_is_read() -> None:
    keys = [
        key("general.architecture", "llama"),
        key("general.alignment", 64),
        key("f", 1.5),
        key("b", True),
        key("negative", pack("<Ib", 1, -3)),
        key("wide", pack("<Id", 12, 0.25)),
        key("layers", pack("<IIQ3I", 9, 4, 3, 7, 8, 9)),
        key("long", pack("<IIQ", 9, 6, 100_000) + bytes(400_000)),
        key("tokenizer.ggml.tokens", ["a", "", "<|end|>"]),
        key("tokenizer.chat_template", "x" * 5000),
    ]
    tensors = [tensor("a", (2, 256), 12), tensor("b", (3,), 0, 320)]
    content = gguf(keys, tensors)
    header_end = len(content)
    content += bytes(-header_end % 64 + 320 + 12)
    file = parse(content)
    assert file.version == 3
    assert file.alignment == 64
    assert file.data_offset % 64 == 0
    assert file.metadata == {
        "general.architecture": "llama",
        "general.alignment": 64,
        "f": 1.5,
        "b": 1,
        "negative": -3,
        "wide": 0.25,
        "layers": Array("uint32", 3, (7, 8, 9)),
        "long": Array("float32", 100_000),
        "tokenizer.ggml.tokens": Array("string", 3),
        "tokenizer.chat_template": Array("text", 5000),
    }
    assert [(t.name, t.type.name, t.shape, t.offset, t.num_bytes) for t in file.tensors] == [
        ("a", "Q4_K", (2, 256), 0, 288),
        ("b", "F32", (3,), 320, 12),
    ]
    assert parse(gguf([], [], version=2)).version == 2


def test_tensor_data_is_never_read() -> None:
    content = gguf([key("k", "v")], [tensor("a", (1 << 20, 1 << 16))])
    reads: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        reads.append((offset, length))
        return content[offset : offset + length]

    parse_gguf(read, len(content) + (1 << 38), "x.gguf")
    assert reads == [(0, 1 << 20)]


def test_a_long_tokenizer_takes_few_requests_and_no_memory() -> None:
    tokens = [f"token {number:09}" for number in range(300_000)]
    content = gguf([key("tokenizer.ggml.tokens", tokens), key("last", 5)], [])
    reads: list[int] = []

    def read(offset: int, length: int) -> bytes:
        reads.append(length)
        return content[offset : offset + length]

    assert parse_gguf(read, len(content), "x.gguf").metadata["last"] == 5
    assert len(reads) <= 5


ONE = [key("k", 1)]
WIDE = pack("<IIQ", 9, 4, 1 << 63)
FAULTS: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "too short"),
    "short file": (b"GGUF\3\0\0\0", "too short"),
    "magic": (b"GGML" + bytes(40), "begins with b'GGML'"),
    "zip": (b"PK\3\4" + bytes(40), "not with GGUF"),
    "version 1": (gguf([], [], version=1), "GGUF version 1"),
    "version 0": (gguf([], [], version=0), "GGUF version 0"),
    "version 4": (gguf([], [], version=4), "GGUF version 4"),
    "big endian": (b"GGUF" + pack(">IQQ", 3, 0, 0), "big-endian"),
    "2^40 keys": (gguf(ONE, [], counts=(0, HUGE)), "1,099,511,627,776 keys do not fit"),
    "2^40 tensors": (gguf(ONE, [], counts=(HUGE, 1)), "1,099,511,627,776 tensors do not fit"),
    "2^63 keys": (gguf(ONE, [], counts=(0, 1 << 63)), "keys do not fit"),
    # llama.cpp#27188: an array of 2^63 values, which hung a reader; here cut at 43 bytes, whole below
    "43 bytes": (b"GGUF" + pack("<IQQ", 3, 0, 1) + text("a") + pack("<IIQ", 9, 4, 1 << 63)[:10], "43 bytes"),
    "array of 2^63": (gguf([key("a", WIDE)], []), "9,223,372,036,854,775,808 values of 'a' do not fit"),
    "strings of 2^63": (gguf([key("a", pack("<IIQ", 9, 8, 1 << 63))], []), "do not fit"),
    "nested of 2^62": (gguf([key("a", pack("<IIQIQ", 9, 9, 1, 9, 1 << 62))], []), "do not fit"),
    "string past the end": (gguf([key("a", pack("<IQ", 8, 1 << 40))], []), "do not fit into the"),
    "string of 2^64": (gguf([key("a", pack("<IQ", 8, (1 << 64) - 1))], []), "do not fit"),
    "string in an array": (gguf([key("a", pack("<IIQQ", 9, 8, 1, 1 << 50))], []), "'a' ends past"),
    "nested deep": (
        gguf([key("a", pack("<I", 9) + pack("<IQ", 9, 1) * 3000)], []),
        "nested more than 4 deep",
    ),
    "n_dims": (gguf([], [text("t") + pack("<I5QIQ", 5, 1, 1, 1, 1, 1, 0, 0)]), "tensor 't' has 5 dimensions"),
    "n_dims 2^32": (
        gguf([], [text("t") + pack("<IIQ", 0xFFFFFFFF, 0, 0)]),
        "4,294,967,295 dimensions",
    ),  # #25378
    "no dims": (gguf([], [text("t") + pack("<IIQQ", 0, 0, 0, 0)]), "0 dimensions"),
    "dimension 0": (gguf([], [tensor("t", (4, 0))]), "impossible shape [4, 0]"),  # #24263
    "product 2^64": (
        gguf([], [tensor("t", (4194305, 4194305, 211106198978564))]),
        "impossible shape",
    ),  # #25378
    "wrapped rows": (gguf([], [tensor("t", ((1 << 42) + 1, 1 << 21), 0)]), "impossible shape"),  # #18674
    "padding wraps": (gguf([], [tensor("t", (1073741825, 1073741823, 4))]), "past all files"),  # #26978
    "empty key": (gguf([key("", 1)], []), "key 0 is empty"),  # #24263
    "empty name": (gguf([], [tensor("", (4,))]), "a tensor's name is empty"),
    "long key": (gguf([key("k" * 300, 1)], []), "300 bytes of key 0, 255 are allowed"),
    "key of no text": (gguf([text(b"\xff\xfe") + pack("<II", 4, 1)], []), "key 0 is no UTF-8 text"),
    "key twice": (gguf([key("k", 1), key("k", 2)], []), "key 'k' is there twice"),
    "alignment 0": (gguf([key("general.alignment", 0)], []), "alignment 0 is no power of two"),
    "alignment 24": (gguf([key("general.alignment", 24)], []), "alignment 24 is no power of two"),
    "alignment huge": (gguf([key("general.alignment", 1 << 31)], []), "no power of two up to"),  # #24997
    "alignment's kind": (
        gguf([key("general.alignment", pack("<II", 5, 32))], []),
        "of type int32, not uint32",
    ),  # #26318
    "architecture's kind": (gguf([key("general.architecture", 4)], []), "of type uint32, not string"),
    "scores' kind": (
        gguf([key("tokenizer.ggml.scores", pack("<IIQB", 9, 0, 1, 1))], []),
        "array of uint8, not array of float32",
    ),  # #26690
    "tokens' kind": (gguf([key("tokenizer.ggml.tokens", 4)], []), "not array of string"),
    "value type": (gguf([key("k", pack("<II", 99, 1))], []), "'k' has the unknown value type 99"),
    "array's type": (
        gguf([key("k", pack("<IIQ", 9, 13, 1) + bytes(16))], []),
        "array of the unknown value type 13",
    ),
    "bool of 2": (gguf([key("k", pack("<IB", 7, 2))], []), "a bool of 2"),
    "tensor type": (gguf([], [tensor("t", (4,), 4)], 16), "tensor 't' has the unknown type 4"),
    "tensor type 2^31": (gguf([], [tensor("t", (4,), 1 << 31)], 16), "unknown type 2147483648"),
    "part of a block": (
        gguf([], [tensor("t", (2, 300), 12)], 999),
        "rows of 300 values are no multiple of Q4_K's block of 256",
    ),
    "truncated data": (gguf([], [tensor("t", (4096,))], 100), "its tensors end at"),
    "offset not aligned": (
        gguf([], [tensor("t", (8,), 0, 8)], 999),
        "'t' lies at 8, which is no multiple of 32",
    ),
    "offset far": (gguf([], [tensor("t", (8,), 0, 1 << 50)], 999), "its tensors end at 1,125,899,906,842,7"),
    "offset 2^64": (gguf([], [tensor("t", (8,), 0, (1 << 64) - 32)], 999), "past all files"),
    "overlap": (gguf([], [tensor("t", (16,)), tensor("u", (8,), 0, 32)], 999), "tensors 't' and 'u' overlap"),
    "same place": (gguf([], [tensor("t", (16,)), tensor("u", (8,))], 999), "overlap"),
    "name twice": (
        gguf([], [tensor("t", (8,)), tensor("t", (8,), 0, 32)], 999),
        "1 tensor names are there twice",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_no_writer_writes_is_a_named_fault(case: str) -> None:
    content, expected = FAULTS[case]
    assert expected in fault_of(content)


def test_every_cut_of_a_file_is_a_fault() -> None:
    content = gguf(
        [key("general.architecture", "llama"), key("l", ["a", "bc"])],
        [tensor("a", (2, 32), 8), tensor("b", (4,), 0, 96)],
        112,
    )
    parse(content)
    for length in range(len(content)):
        fault_of(content[:length])


def zeros(head: bytes, file_size: int, asked: list[int]) -> None:
    """Parse a head that endless zeros follow, as a sparse file would give them."""

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        begin = head[offset : offset + length]
        return begin + bytes(length - len(begin))

    parse_gguf(read, file_size, "x.gguf")


COSTLY = {
    "strings": gguf([key("a", pack("<IIQ", 9, 8, MAX_STRINGS))], [], counts=(0, 2))[:-8],
    "nested": gguf([key("a", pack("<IIQ", 9, 9, MAX_NESTED))], [], counts=(0, 2))[:-8],
    "strings of strings": gguf([key("a", pack("<IIQIQ", 9, 9, 2, 8, MAX_STRINGS))], [], counts=(0, 2)),
    "a long header": gguf([key("a", pack("<IIQ", 9, 0, MAX_HEADER_BYTES))], [], counts=(0, 1)),
    "keys": b"GGUF"
    + pack("<IQQ", 3, 0, MAX_KEYS)
    + b"".join(key(f"{n:255}", "x" * 4096) for n in range(MAX_KEYS - 1)),
    "numbers": b"GGUF"
    + pack("<IQQ", 3, 0, MAX_KEYS)
    + b"".join(key(str(n), pack("<IIQ", 9, 4, 512) + b"abcd" * 512) for n in range(4095)),
    "tensors": b"GGUF"
    + pack("<IQQ", 3, MAX_TENSORS, 0)
    + b"".join(tensor(f"{n:255}", (8,), 0, 32 * n) for n in range(MAX_TENSORS - 1)),
    "too many keys": gguf([], [], counts=(0, MAX_KEYS + 1)),
    "too many tensors": gguf([], [], counts=(MAX_TENSORS + 1, 0)),
}


@pytest.mark.parametrize("case", COSTLY)
def test_the_costliest_headers_stay_cheap(case: str) -> None:
    asked: list[int] = []
    with pytest.raises(OomlessError):
        zeros(COSTLY[case], 1 << 50, asked)
    assert sum(asked) < 2 * MAX_HEADER_BYTES
    assert len(asked) < 100


@pytest.mark.parametrize("case", ["keys", "numbers", pytest.param("tensors", marks=pytest.mark.slow)])
def test_the_largest_headers_stay_small(case: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(OomlessError):
            zeros(COSTLY[case], 1 << 50, [])
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


SOUND = gguf(
    [
        key("general.architecture", "llama"),
        key("llama.block_count", 1),
        key("tokenizer.ggml.tokens", ["a", "b"]),
        key("x", 1.0),
    ],
    [tensor("token_embd.weight", (32, 64), 8), tensor("output_norm.weight", (64,), 0, 2176)],
    2176 + 256,
)


def total(content: bytes) -> None:
    """Either a file and perhaps a model, or an OomlessError."""
    fault = "x.gguf"
    try:
        model_from_gguf(parse(content), "x", "x.gguf")
    except OomlessError as error:
        fault = error.message
    assert "x.gguf" in fault


@given(st.binary(max_size=300))
def test_any_bytes_after_the_magic(tail: bytes) -> None:
    total(b"GGUF" + pack("<I", 3) + tail)


@given(st.integers(0, len(SOUND) - 2500), st.binary(min_size=1, max_size=12))
def test_any_change_of_a_sound_header(place: int, change: bytes) -> None:
    total(SOUND[:place] + change + SOUND[place + len(change) :])


@given(
    st.lists(st.tuples(st.text(max_size=6), st.integers(0, 14), st.binary(max_size=40)), max_size=4),
    st.lists(
        st.tuples(
            st.lists(st.integers(0, (1 << 64) - 1), max_size=6), st.integers(0, 400), st.integers(0, 1 << 20)
        ),
        max_size=4,
    ),
)
def test_any_keys_and_tensors(
    keys: list[tuple[str, int, bytes]], tensors: list[tuple[list[int], int, int]]
) -> None:
    packed = [key(name, pack("<I", kind) + tail) for name, kind, tail in keys]
    infos = [
        tensor(str(index), tuple(shape), number, offset)
        for index, (shape, number, offset) in enumerate(tensors)
    ]
    total(gguf(packed, infos, 100))


@given(
    st.sampled_from(["llama", "qwen2", "qwen3moe", "deepseek2"]),
    st.dictionaries(
        st.sampled_from(
            [
                "block_count",
                "context_length",
                "embedding_length",
                "feed_forward_length",
                "attention.head_count",
            ]
        )
        | st.sampled_from(
            ["attention.head_count_kv", "attention.key_length", "expert_count", "expert_used_count"]
        )
        | st.sampled_from(
            ["rope.dimension_count", "rope.scaling.type", "attention.kv_lora_rank", "attention.value_length"]
        ),
        st.integers(0, 300)
        | st.integers(0, (1 << 32) - 1)
        | st.floats(width=32)
        | st.text(max_size=4)
        | st.booleans(),
    ),
)
def test_any_hyperparameters(architecture: str, values: dict[str, Any]) -> None:
    keys = [
        key("general.architecture", architecture),
        *(key(f"{architecture}.{name}", value) for name, value in values.items()),
    ]
    total(gguf(keys, [tensor("token_embd.weight", (32, 64), 8)], 2176))


# ---- models


def header_of(
    name: str, mix: str, hyperparameters: dict[str, Any], kv_b: KvB = "split", drop: str = ""
) -> tuple[bytes, int]:
    """(header, file size) of the file that llama.cpp would write for a catalogue model."""
    architecture = hyperparameters["general.architecture"]
    keys = [
        key(k if k.startswith("general") else f"{architecture}.{k}", value)
        for k, value in hyperparameters.items()
    ]
    stored = as_gguf(load(name), mix, kv_b)
    types = {(t.name, layer): t.format.name for t in stored.tensors for layer in t.layers or (-1,)}
    plain = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    infos, offset = [], 0
    for piece in pieces(load(name), kv_b):
        if piece.name == drop:
            continue
        word = types[piece.group.name, piece.layer]
        kind = TYPES[plain.get(word, word)]
        infos.append(tensor(piece.name, piece.shape, kind.number, offset))
        offset += -(-kind.num_bytes(piece.shape) // 32) * 32
    header = gguf(keys, infos)
    return header, len(header) + offset


QWEN = {
    "general.architecture": "qwen2",
    "general.file_type": 15,
    "block_count": 28,
    "context_length": 131072,
    "embedding_length": 3584,
    "feed_forward_length": 18944,
    "attention.head_count": 28,
    "attention.head_count_kv": 4,
    "rope.freq_base": 10000.0,
}
LLAMA = {
    "general.architecture": "llama",
    "general.file_type": 18,
    "block_count": 32,
    "context_length": 131072,
    "embedding_length": 4096,
    "feed_forward_length": 14336,
    "attention.head_count": 32,
    "attention.head_count_kv": pack("<IIQ32I", 9, 4, 32, *[8] * 32),
    "attention.key_length": 128,
    "rope.dimension_count": 128,
    "rope.freq_base": 500000.0,
}
LITE = {
    "general.architecture": "deepseek2",
    "general.file_type": 2,
    "block_count": 27,
    "context_length": 163840,
    "embedding_length": 2048,
    "feed_forward_length": 10944,
    "attention.head_count": 16,
    "attention.head_count_kv": 16,
    "attention.kv_lora_rank": 512,
    "attention.key_length": 192,
    "attention.value_length": 128,
    "rope.dimension_count": 64,
    "rope.freq_base": 10000.0,
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 40.0,
    "rope.scaling.original_context_length": 4096,
    "leading_dense_block_count": 1,
    "expert_count": 64,
    "expert_used_count": 6,
    "expert_shared_count": 2,
    "expert_feed_forward_length": 1408,
}
LITE_2025 = LITE | {
    "attention.head_count_kv": 1,
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
}
QWEN3_MOE = {
    "general.architecture": "qwen3moe",
    "general.file_type": 7,
    "block_count": 48,
    "context_length": 40960,
    "embedding_length": 2048,
    "feed_forward_length": 6144,
    "attention.head_count": 32,
    "attention.head_count_kv": 4,
    "attention.key_length": 128,
    "expert_count": 128,
    "expert_used_count": 8,
    "expert_feed_forward_length": 768,
    "rope.freq_base": 1000000.0,
}


def read_model(name: str, mix: str, hyperparameters: dict[str, Any], kv_b: KvB = "split") -> Model:
    content, size = header_of(name, mix, hyperparameters, kv_b)
    file = parse(content, size)
    model = model_from_gguf(file, name, "x.gguf")
    assert (
        model.checkpoint_bytes
        == sum(t.num_bytes for t in file.tensors)
        == sum(t.num_bytes for t in model.tensors)
    )
    assert model.checkpoint_bytes == as_gguf(load(name), mix, kv_b).checkpoint_bytes
    assert not model.warnings
    return model


@pytest.mark.parametrize(
    ("name", "mix", "hyperparameters", "extra"),
    [
        ("deepseek-r1-distill-qwen-7b", "Q4_K_M", QWEN, 0),
        ("deepseek-r1-distill-llama-8b", "Q6_K", LLAMA, 64),  # the factors of its rotary frequencies
        ("deepseek-v2-lite", "Q4_0", LITE_2025, 0),
        ("qwen3-30b-a3b", "Q8_0", QWEN3_MOE, 0),
    ],
)
def test_a_model_is_read_from_its_hyperparameters(
    name: str, mix: str, hyperparameters: dict[str, Any], extra: int
) -> None:
    model, original = read_model(name, mix, hyperparameters), load(name)
    assert model.layers == original.layers
    assert model.num_parameters == original.num_parameters + extra
    assert model.quantization == f"gguf {mix}"
    assert (model.hidden_size, model.vocab_size, model.tied) == (
        original.hidden_size,
        original.vocab_size,
        original.tied,
    )


def test_kv_b_whole_split_and_both() -> None:
    original = load("deepseek-v2-lite")
    whole = read_model("deepseek-v2-lite", "Q4_0", LITE, "whole")
    both = read_model("deepseek-v2-lite", "Q4_0", LITE, "both")
    assert whole.layers == both.layers == original.layers
    assert whole.num_parameters == original.num_parameters
    # the 1.02 B more of DeepSeek-V3's files of March 2025 (knowledge: serving_memory.md), here 27 layers of
    # 16 heads
    assert both.num_parameters == original.num_parameters + 27 * 16 * 256 * 512
    # ollama#5136, deepseek-v2:16b Q4_0: 8,376 MiB of weights on the card, 112.5 MiB of embedding on the host
    embedding = next(t for t in whole.tensors if t.lookup)
    assert embedding.num_bytes == 102400 * 2048 // 32 * 18
    assert round((whole.checkpoint_bytes - embedding.num_bytes) / 2**20) == 8376


def test_a_missing_tensor_is_named() -> None:
    content, size = header_of("deepseek-r1-distill-qwen-7b", "Q8_0", QWEN, drop="blk.3.attn_q.bias")
    with pytest.raises(OomlessError, match=r"x.gguf: blk.3.attn_q.bias \[3584\] is missing"):
        model_from_gguf(parse(content, size), "x", "x.gguf")


def test_a_tensor_of_another_shape_is_named() -> None:
    content, size = header_of("deepseek-r1-distill-qwen-7b", "Q8_0", QWEN | {"feed_forward_length": 18912})
    with pytest.raises(
        OomlessError, match=r"blk.0.ffn_down.weight \[3584, 18912\] is \[3584, 18944\].* and 81 more"
    ):
        model_from_gguf(parse(content, size), "x", "x.gguf")


def test_more_tensors_than_explained_are_counted_and_warned_of() -> None:
    content, size = header_of("deepseek-r1-distill-qwen-7b", "Q8_0", QWEN | {"block_count": 27})
    model = model_from_gguf(parse(content, size), "x", "x.gguf")
    assert model.checkpoint_bytes == sum(t.num_bytes for t in model.tensors)
    assert (
        "12 tensors are not explained by its hyperparameters, the first is 'blk.27.attn_k.bias'"
        in model.warnings[0]
    )


def test_an_unknown_architecture_is_refused_by_name() -> None:
    file = parse(gguf([key("general.architecture", "mamba")], [tensor("a", (8,))], 32))
    with pytest.raises(UnsupportedError, match=r"architecture 'mamba'; the header alone says 32 bytes"):
        model_from_gguf(file, "x", "x.gguf")


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"block_count": 2.5}, "num_hidden_layers is 2.5"), ({"block_count": "x"}, "block_count")],
)
def test_hyperparameters_of_the_wrong_kind(change: dict[str, Any], fault: str) -> None:
    content, size = header_of("deepseek-r1-distill-qwen-7b", "Q8_0", QWEN | change)
    with pytest.raises(OomlessError, match=fault if "num" in fault else "num_hidden_layers") as caught:
        model_from_gguf(parse(content, size), "x", "x.gguf")
    assert "x.gguf" in caught.value.message


def test_heads_that_differ_by_layer_are_refused() -> None:
    varied = LLAMA | {"attention.head_count_kv": pack("<IIQ32I", 9, 4, 32, *[8] * 31, 4)}
    content, size = header_of("deepseek-r1-distill-llama-8b", "Q6_K", varied)
    with pytest.raises(
        UnsupportedError, match=r"x.gguf: llama.attention.head_count_kv differs from layer to layer"
    ):
        model_from_gguf(parse(content, size), "x", "x.gguf")


# ---- files


def test_files_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.gguf"):
        with pytest.raises(OomlessError, match="no such file"):
            read_gguf(path)


def split(number: int, tensors: list[bytes], count: int = 2, total: int = 2) -> bytes:
    keys = [key("split.no", pack("<IH", 2, number)), key("split.count", pack("<IH", 2, count))]
    return gguf([*keys, key("split.tensors.count", pack("<Ii", 5, total))], tensors, 32)


def test_parts_of_a_split_file_are_read_together(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    first.write_bytes(split(0, [tensor("a", (8,))]))
    with pytest.raises(OomlessError, match=r"m-00002-of-00002.gguf: no such file"):
        read_all_parts(first)
    second = first.with_name("m-00002-of-00002.gguf")
    second.write_bytes(split(1, [tensor("b", (8,))]))
    for path in (first, second):
        assert [t.name for t in read_all_parts(path).tensors] == ["a", "b"]
    second.write_bytes(split(1, [tensor("a", (8,))]))
    with pytest.raises(OomlessError, match="do not belong together"):
        read_all_parts(first)
    alone = tmp_path / "m.gguf"
    alone.write_bytes(first.read_bytes())
    with pytest.raises(OomlessError, match="is one of 2 parts"):
        read_all_parts(alone)


# ---- oracle: the gguf package


def test_the_gguf_package_writes_what_is_read(tmp_path: Path) -> None:
    package = pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "x.gguf"
    writer = package.GGUFWriter(path, "llama")
    writer.add_block_count(3)
    writer.add_rope_freq_base(1e6)
    writer.add_head_count_kv([1, 2, 3])
    writer.add_token_list([f"t{number}" for number in range(1000)])
    writer.add_token_scores([0.5] * 1000)
    writer.add_token_types([1] * 1000)
    writer.add_uint64("big", 1 << 63)
    writer.add_bool("yes", True)
    writer.add_custom_alignment(128)
    shapes = {"F32": (5, 7), "F16": (3, 2, 9), "Q8_0": (4, 64), "Q4_0": (2, 3, 32), "Q5_1": (96,)}
    for word, shape in shapes.items():
        kind = package.GGMLQuantizationType[word]
        data = package.quants.quantize(numpy.ones(shape, dtype=numpy.float32), kind)
        writer.add_tensor(f"tensor.{word}", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    ours, theirs = read_gguf(path), package.GGUFReader(path)
    assert ours.alignment == theirs.alignment == 128
    assert ours.data_offset == theirs.data_offset
    assert {k for k in theirs.fields if not k.startswith("GGUF.")} == set(ours.metadata)
    for name, value in ours.metadata.items():
        said = theirs.get_field(name).contents()
        if isinstance(value, Array):
            assert value.num_values == len(said)
            assert list(value.values) in ([], said)
        else:
            assert value == said
    assert [t.name for t in ours.tensors] == [t.name for t in theirs.tensors]
    for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert mine.shape == tuple(map(int, other.shape))[::-1] == shapes[mine.type.name]
        assert mine.type.number == other.tensor_type
        assert mine.num_bytes == other.n_bytes
        assert mine.offset + ours.data_offset == other.data_offset
