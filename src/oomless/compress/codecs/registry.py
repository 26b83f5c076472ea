"""Codecs by the words of the command line, and by the entries of a checkpoint's config."""

import re
from typing import Any

from ...errors import UnsupportedError, UsageError, did_you_mean
from .codec import Codec
from .floats8 import Float8
from .ggml import WRITES, GgmlBlocks
from .integers import Integers
from .microscaled import Microscaled, Nvfp4
from .normal_float import NormalFloat
from .plain import NAMES, Plain
from .pruned import Pruned

WORDS = (
    "bf16",
    "f16",
    "f32",
    "int8",
    "int8-packed",
    "int8-g128",
    "int4",
    "int4-g32",
    "int4-g64",
    "int4-g128",
    "int4-asym",
    "int4-asym-g32",
    "int4-asym-g64",
    "int4-asym-g128",
    "fp8",
    "fp8-block",
    "fp8-channel",
    "fp8-tensor",
    "mxfp4",
    "mxfp8",
    "nvfp4",
    "nf4",
    "2:4",
)
"""What help lists; other groups and 2 bits are read too: int2-g32, int4-g256."""
GGUF_PREFIX = "gguf-"
GGUF_WORDS = tuple(
    f"{GGUF_PREFIX}{name}" if name in ("f32", "f16", "bf16", "mxfp4") else name
    for name in map(str.lower, WRITES)
)
"""Types of GGUF files; those that safetensors have too say which file is meant."""
GROUPED = re.compile(r"int(\d+)(-asym)?(?:-g(\d+))?")
DEFAULT_GROUP = 128
BLOCK, CHANNEL, TENSOR = (128, 128), (1, 0), (0, 0)


def codec(word: str, dtype: str, deepseek: bool = False) -> Codec:
    """Return the codec of a word; `dtype` is the model's own type, in which engines expect scales.

    `fp8` is what the model's own publisher would write: DeepSeek's names for DeepSeek, else
    compressed-tensors'.

    >>> codec("int4", "BF16").name, codec("fp8", "BF16", deepseek=True).name, codec("fp8", "BF16").name
    ('int4-g128', 'fp8', 'fp8-block')
    """
    wanted = word.lower()
    plain = {name: dtype for dtype, name in NAMES.items()}
    match wanted:
        case "bf16" | "f16" | "f32":
            return Plain(plain[wanted])
        case "fp8":
            return Float8(BLOCK, "F32", own=True) if deepseek else Float8(BLOCK, dtype, own=False)
        case "fp8-deepseek":
            return Float8(BLOCK, "F32", own=True)
        case "fp8-block" | "fp8-channel" | "fp8-tensor":
            block = {"block": BLOCK, "channel": CHANNEL, "tensor": TENSOR}[wanted[4:]]
            return Float8(block, dtype, own=False)
        case "mxfp4" | "mxfp8":
            return Microscaled(int(wanted[-1]))
        case "nvfp4":
            return Nvfp4()
        case "nf4":
            return NormalFloat(dtype)
        case "2:4":
            return Pruned(dtype)
        case "int8-packed":
            return Integers(8, 0, False, dtype, packed=True)
    if wanted in GGUF_WORDS:
        return GgmlBlocks(wanted.removeprefix(GGUF_PREFIX).upper())
    if found := GROUPED.fullmatch(wanted):
        return integers(int(found[1]), bool(found[2]), found[3], dtype, word)
    raise UsageError(f"unknown format {word[:60]!r}", did_you_mean(wanted, [*WORDS, *GGUF_WORDS]))


def integers(bits: int, zeros: bool, group: str | None, dtype: str, word: str) -> Integers:
    """Return the codec of whole numbers; int8 alone means a scale a row and products of integers."""
    if bits not in (2, 4, 8):
        raise UnsupportedError(
            f"{word[:60]}: only 2, 4 and 8 bits are packed alike by every release of compressed-tensors",
            "choose int4 or int8",
        )
    if bits == 8 and not zeros and group is None:
        return Integers(8, 0, False, dtype, packed=False)
    size = int(group) if group else DEFAULT_GROUP
    if size % (32 // bits) or not 16 <= size <= 4096:
        raise UsageError(f"{word[:60]}: a group of {size}", "groups are multiples of 16 from 16 to 4096")
    return Integers(bits, size, zeros, dtype, packed=True)


def codec_of_scheme(weights: dict[str, Any], form: str, dtype: str) -> Codec | None:
    """Return the codec that an entry of compressed-tensors' config_groups means; None for one that is not
    read."""
    kind, bits, strategy = weights.get("type", "int"), weights.get("num_bits"), weights.get("strategy")
    group, zeros = weights.get("group_size") or 0, not weights.get("symmetric", True)
    match kind, bits, strategy:
        case "int", 8, "channel" if form in ("int-quantized", "naive-quantized"):
            return Integers(8, 0, zeros, dtype, packed=False)
        case "int", 2 | 4 | 8, "group" | "channel" if form == "pack-quantized":
            return Integers(int(bits), int(group) if strategy == "group" else 0, zeros, dtype, packed=True)
        case "float", 8, "block" | "channel" | "tensor":
            return Float8({"block": BLOCK, "channel": CHANNEL, "tensor": TENSOR}[strategy], dtype, own=False)
        case "float", 4 | 8, "group" if group == 32:
            return Microscaled(int(bits))
        case "float", 4, "tensor_group":
            return Nvfp4()
    return None
