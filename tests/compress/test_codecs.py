"""Codecs: nearest rounding against torch and the packages that read the formats, and their bytes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import numpy as np
import torch

from oomless.compress.arithmetic import float4, float8
from oomless.compress.arithmetic.bfloat16 import narrow
from oomless.compress.arithmetic.maxima import reduced
from oomless.compress.arithmetic.scratch import Scratch
from oomless.compress.checkpoint.encode import encode
from oomless.compress.codecs.codec import Codec, num_bytes
from oomless.compress.codecs.floats8 import Float8
from oomless.compress.codecs.ggml import WRITES, GgmlBlocks
from oomless.compress.codecs.registry import WORDS, codec
from oomless.compress.codecs.tile import NotFinite, Tile
from oomless.errors import OomlessError, UnsupportedError, UsageError

pytestmark = pytest.mark.torch
SEEDS = st.integers(0, 2**32 - 1)
CODECS: list[Codec] = [codec(word, "BF16") for word in (*WORDS, "int2-g32", "int2-asym-g32", "fp8-deepseek")]
CODECS += [codec("int4", dtype) for dtype in ("F16", "F32")] + [GgmlBlocks(name) for name in WRITES]
codecs = pytest.mark.parametrize("each", CODECS, ids=lambda each: f"{each.name}-{each.kind}")
HALF_STEPS = {
    "bf16": 2**-8, "f16": 2**-10, "f32": 0, "int8": 1 / 254, "int4": 1 / 14, "int2": 1 / 2, "fp8": 1 / 28,
    "mxfp4": 1 / 4, "mxfp8": 1 / 14, "nvfp4": 1 / 5, "nf4": 0.152, "q8_0": 1 / 254,
    "2:4": 1.0, "q4": 1 / 8, "q5": 1 / 16, "tq": 1.0,
}  # fmt: skip
"""The largest error of a format's own arithmetic as a share of a group's largest magnitude: half of the
widest step, or what is cut off above the largest code."""


def weights(seed: int, rows: int = 40, columns: int = 256) -> np.ndarray[Any, Any]:
    """Bits of bfloat16 with outliers, zeros and a row of zeros."""
    chance = np.random.default_rng(seed)
    values = (chance.standard_normal((rows, columns)) * chance.choice([1e-4, 0.02, 3.0])).astype(np.float32)
    values[:, chance.integers(columns)] *= 20
    values[chance.integers(rows)] = 0
    bits = np.empty(values.shape, np.uint16)
    narrow(values, bits, Scratch())
    return bits


def as_float(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def known(each: Codec, values: np.ndarray[Any, Any]) -> Any:
    return np.abs(values).max().reshape(1, 1) if each.scope in ("tensor", "fused") else None


def stored(each: Codec, raw: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    """All parts of a matrix, as a file would hold them."""
    parts = encode(each, raw, known(each, values), Scratch())
    whole = each.whole(raw.shape, known(each, values))
    return tuple(
        np.asarray(whole[part.suffix]) if part.once else array.copy()
        for part, array in zip(each.parts, parts, strict=True)
    )


def read(each: Codec, parts: tuple[Any, ...], shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    out = np.empty(shape, np.float32)
    each.decode(parts, out, Scratch())
    return out


@codecs
def test_bytes_are_those_of_the_parts_and_of_the_format(each: Codec) -> None:
    bits = weights(1, 256, 512)
    parts = stored(each, bits, as_float(bits))
    for part, array in zip(each.parts, parts, strict=True):
        assert array.nbytes == part.num_bytes(bits.shape), part.suffix
    assert sum(array.nbytes for array in parts) == num_bytes(each, bits.shape)
    tables = (
        64 + len(parts[-1]) if each.name == "nf4" else 0
    )  # bitsandbytes' table and its JSON, whose size varies
    assert num_bytes(each, bits.shape) == each.form.num_bytes(bits.shape) + tables


@codecs
@given(seed=SEEDS)
def test_what_is_read_is_as_near_as_the_format_allows(each: Codec, seed: int) -> None:
    bits = weights(seed)
    values = as_float(bits)
    again = read(each, stored(each, bits, values), values.shape)
    largest = np.abs(values).max()
    step = next(share for name, share in HALF_STEPS.items() if each.name.startswith(name))
    assert np.abs(again - values).max() <= largest * step * 1.02
    if each.name not in ("q4_0", "q4_1", "q5_0", "q5_1", "tq1_0", "tq2_0"):
        assert not again[np.abs(values).max(axis=1) == 0].any()


@codecs
@given(seed=SEEDS)
def test_float32_and_bfloat16_of_the_same_numbers_become_the_same_codes(each: Codec, seed: int) -> None:
    bits = weights(seed)
    values = as_float(bits)
    narrow_parts, wide_parts = stored(each, bits, values), stored(each, values, values)
    assert all(np.array_equal(one, two) for one, two in zip(narrow_parts, wide_parts, strict=True))


@codecs
@given(seed=SEEDS, rows=st.integers(1, 5))
def test_a_block_is_encoded_alike_in_one_piece_and_in_many(each: Codec, seed: int, rows: int) -> None:
    step = each.step[0]
    bits = weights(seed, step * rows, 512)
    values = as_float(bits)
    whole = stored(each, bits, values)
    for number, part in enumerate(each.parts):
        if part.once:
            continue
        pieces = [
            encode(each, bits[row : row + step], known(each, values), Scratch())[number].copy()
            for row in range(0, bits.shape[0], step)
        ]
        assert np.array_equal(np.concatenate(pieces), whole[number])


@codecs
@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_is_refused(each: Codec, wrong: float) -> None:
    if each.container == "plain" or each.name in ("f32", "f16", "bf16"):
        return  # a cast can hold it
    values = as_float(weights(3))
    values[7, 33] = wrong
    raw = values.copy()
    with pytest.raises(NotFinite), np.errstate(all="ignore"):
        Tile(raw, Scratch()).maxima(0) if each.scope in ("tensor", "fused") else stored(each, raw, values)


@given(seed=SEEDS)
def test_e4m3_is_torchs(seed: int) -> None:
    values = as_float(weights(seed, 8, 250)) * np.float32(100)
    pairs = np.stack([np.abs(values)[:, 0::2], np.abs(values)[:, 1::2]])
    codes = np.empty(values.shape, np.uint8)
    words = float8.encode(np.ascontiguousarray(pairs), np.ones((1, 1), np.float32), Scratch())
    float8.store(words, codes, Scratch())
    Tile(values, Scratch()).set_signs(codes, 7)
    expected = torch.from_numpy(values).clamp(-448, 448).to(torch.float8_e4m3fn)
    assert np.array_equal(codes, expected.view(torch.uint8).numpy())
    assert np.array_equal(float8.values()[codes], expected.float().numpy())


SCALES: dict[str, Callable[[Any, tuple[int, int]], Any]] = {
    "any": lambda chance, shape: chance.random(shape) * 1e-3,
    "powers of two": lambda chance, shape: 2.0 ** chance.integers(-20, 5, shape),
    "ties": lambda chance, shape: np.full(shape, 1 + 2.0**-8),
    "hardly a number": lambda chance, shape: chance.random(shape) * 2.0**-130,
    "huge": lambda chance, shape: chance.random(shape) * 1e30,
    "odd": lambda chance, shape: chance.choice([0, np.inf, np.nan, -0.3, 100.0], shape),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("shape", [(300, 4098), (1, 2), (128, 2048)])
def test_fp8_blocks_become_the_bfloat16_of_their_products(kind: str, shape: tuple[int, int]) -> None:
    """Rounded once from float32's product, ties to even: whatever the scales are, and for every code."""
    chance = np.random.default_rng(5)
    codes = chance.integers(0, 256, shape).astype(np.uint8)
    scales = SCALES[kind](chance, (-(-shape[0] // 128), -(-shape[1] // 128))).astype(np.float32)
    spread = np.repeat(np.repeat(scales, 128, 0), 128, 1)[: shape[0], : shape[1]]
    products = float8.values()[codes] * spread
    expected, found = np.empty((2, *shape), np.uint16)
    narrow(products, expected, Scratch())
    Float8((128, 128), "F32", own=True).decode_narrow((codes, scales), found, Scratch())
    numbers = ~np.isnan(products)
    assert (found[numbers] == expected[numbers]).all()
    assert ((found[~numbers] & 0x7FFF) > 0x7F80).all()


def test_e2m1_is_the_nearest_of_its_eight_values() -> None:
    """Every multiple of an eighth: all borders, ties included. Both ways agree but on ties."""
    magnitudes = np.arange(0, 6.25, 0.125).astype(np.float32).reshape(1, -1)
    even, away = np.empty(magnitudes.shape, np.uint8), np.empty(magnitudes.shape, np.uint8)
    float4.encode(magnitudes, even, Scratch())
    float4.encode_away(magnitudes * 4, away, Scratch())
    distances = np.abs(magnitudes[..., None] - float4.values()[:8])
    tie = (distances == distances.min(axis=2, keepdims=True)).sum(axis=2) > 1
    for codes in (even, away):
        assert np.array_equal(
            np.take_along_axis(distances, codes[..., None].astype(int), 2)[..., 0], distances.min(axis=2)
        )
    assert np.array_equal(even != away, tie & (even % 2 == 0) & (away % 2 == 1))
    assert not (even[tie] % 2).any()


@given(seed=SEEDS)
def test_mxfp4_of_bfloat16_in_integers_is_mxfp4_of_float32(seed: int) -> None:
    each = codec("mxfp4", "BF16")
    bits = weights(seed, 16, 512)
    narrow_parts, wide_parts = (
        stored(each, bits, as_float(bits)),
        stored(each, as_float(bits), as_float(bits)),
    )
    assert np.array_equal(narrow_parts[0], wide_parts[0])


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0"])
@given(seed=SEEDS)
def test_gguf_blocks_are_gguf_pys_to_the_byte(name: str, seed: int) -> None:
    gguf = pytest.importorskip("gguf")
    bits = weights(seed)
    values = as_float(bits)
    with np.errstate(all="ignore"):
        expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
    for raw in (bits, values):
        assert np.array_equal(stored(GgmlBlocks(name), raw, values)[0], expected)


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("int3", UnsupportedError),
        ("int5-g64", UnsupportedError),
        ("int4-g7", UsageError),
        ("fp9", UsageError),
    ],
)
def test_words_that_are_no_formats(word: str, error: type[OomlessError]) -> None:
    with pytest.raises(error):
        codec(word, "BF16")


@given(seed=SEEDS, group=st.sampled_from([0, 4, 8, 16, 32, 64, 96, 128]), rows=st.integers(1, 5))
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("operation", ["maximum", "minimum"])
def test_groups_are_reduced_as_numpy_reduces_them(
    operation: str, dtype: type, seed: int, group: int, rows: int
) -> None:
    values: np.ndarray[Any, Any] = np.random.default_rng(seed).integers(0, 30_000, (rows, 384)).astype(dtype)
    expected = getattr(values.reshape(rows, -1, group or 384), "max" if operation == "maximum" else "min")(2)
    scratch = Scratch()
    for _ in range(2):  # the second time in memory that holds what was there
        assert np.array_equal(reduced(values, group, operation, scratch), expected)


@given(seed=SEEDS, sign=st.sampled_from([-1, 0, 1]))
def test_the_largest_magnitude_of_a_tile(seed: int, sign: int) -> None:
    """Of all signs, and where all are negative or all positive."""
    bits = weights(seed)
    if sign:
        bits = bits & 0x7FFF | (0x8000 if sign < 0 else 0)
    for raw in (bits.astype(np.uint16), as_float(bits)):
        assert Tile(raw, Scratch()).largest()[0, 0] == np.abs(as_float(bits)).max()
