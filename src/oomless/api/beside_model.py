"""What an engine loads beside the model that it serves, a draft or a tower for images: so much of each card
is kept back for it. Where a file's name does not say what it is, that is said instead."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from ..errors import OomlessError
from ..model.gguf_names import type_in_name
from ..model.load import catalogue_name, load
from ..units import format_bytes, parse_bytes
from .serving import infer

Files = Callable[[str], tuple[str, str]]
"""Reads a GGUF file's name: (model, type)."""

SHARES = {"F32": 2.0, "F16": 1.0, "BF16": 1.0, "Q8_0": 17 / 32}
"""Bytes of a tower's file, as shares of 16 bit; others are as large as that at most."""
PATCHES, PIXELS = (1472 // 16) ** 2, 3 * 16 * 16
"""Of the first picture, and values of a patch: what Qwen3-VL's towers are tried with."""
ONE_SIZE = {"gemma3": (896 // 14) ** 2}
"""Patches of a family whose pictures are all as large."""
OF_REPOSITORY = "mmproj, which -hf takes along,"


def of_repository(place: str, ignored: Sequence[str], served: str | None) -> dict[str, str]:
    """Return the tower that llama-server takes of a repository by itself, where the model has one (llama.cpp
    docs/multimodal.md; --no-mmproj).

    >>> of_repository("unsloth/Qwen3.6-27B-GGUF:Q4_K_M", (), "qwen3.6-27b")
    {'tower': 'mmproj, which -hf takes along,'}
    >>> of_repository("Qwen3.6-27B-Q4_K_M.gguf", (), "qwen3.6-27b")
    {}
    """
    named = place.count("/") == 1 and not place.startswith((".", "/", "~")) and not place.endswith(".gguf")
    if not named or "--no-mmproj" in ignored:
        return {}
    try:
        return {"tower": OF_REPOSITORY} if tower(served, "")[0] else {}
    except OomlessError:
        return {}


def kept_back(
    given: dict[str, Any], served: str | None, beside: Mapping[str, str], files: Files
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return (options, notes) with what the files beside the model take added to --reserve.

    >>> kept_back({}, "qwen3-vl-8b", {"tower": "mmproj-F16.gguf"}, lambda file: ("", ""))[0]
    {'reserve': '1408731072B'}
    """
    notes, total = [], 0
    for what, file in beside.items():
        try:
            needed, name = tower(served, file) if what == "tower" else draft(given, file, files)
        except OomlessError:
            needed, name = 0, ""
        if not needed:
            notes.append(f"{file}: nothing is known of this {what}, which takes memory beside the model")
        elif what == "tower":
            notes.append(
                f"{file} is the tower of {name}: {format_bytes(needed)} of each card are kept for it"
            )
        else:
            notes.append(
                f"{file} is {name}, which drafts: {format_bytes(needed)} of each card are kept for it"
            )
        total += needed
    if total:
        reserve = given.get("reserve")
        given = {**given, "reserve": f"{total + (parse_bytes(reserve) if reserve else 0)}B"}
    return given, tuple(notes)


def tower(served: str | None, file: str) -> tuple[int, str]:
    """Return (bytes, model) of the tower of a model with the buffer that a first, empty picture reserves
    (tools/mtmd/clip.cpp): vectors, positions and patches are F32, the latter as the file where that is F16.

    Logs have 644.26 + 223.30 MiB for Qwen3.5-4B and 887.99 + 248.10 for Qwen3.6-27B, in BF16 both.

    >>> [tower(name, "mmproj-BF16.gguf")[0] >> 20 for name in ("qwen3.5-4b", "qwen3.6-27b")]
    [867, 1126]
    """
    if served is None:
        return 0, ""
    parts = [tensor for tensor in load(served).tensors if tensor.part == "vision"]
    kind = (type_in_name(file) or "F16").upper()
    stays = ("pos", "patch") if kind != "F16" else ("pos",)
    total = widest = 0
    for each in parts:
        whole = len(each.shape) == 1 or any(word in each.name for word in stays)
        total += int(prod(each.shape) * each.repeat * (4 if whole else 2 * SHARES.get(kind, 1.0)))
        if len(each.shape) == 2 and ".blocks." in each.name and "qkv" not in each.name:
            widest = max(widest, max(each.shape) + 2 * min(each.shape))
    patches = ONE_SIZE.get(load(served).family, PATCHES)
    return total + (patches * (widest + PIXELS) * 4 if widest else 0), served


def draft(given: dict[str, Any], file: str, files: Files) -> tuple[int, str]:
    """Return (bytes, model) of a model that drafts: weights, a cache as long as the other's and a buffer."""
    if file.lower().endswith(".gguf"):
        name, kind = files(file)
    else:
        repository, _, kind = file.partition(":")
        name = catalogue_name(repository) or ""
        if not name:
            return 0, ""
    length = given.get("max_model_len") or given.get("context") or 4096
    asked = {
        "engine": given["engine"],
        "quantization": kind or "Q4_K_M",  # what -hf takes of itself (llama.cpp, common/arg.cpp)
        "max_model_len": length,
        "fit": False,
    }
    answer = infer(name, given["gpu"], offline=True, **asked)
    sizes = [
        sum(line.bytes for line in ledger.lines if line.key != "runtime.context") for ledger in answer.ledgers
    ]
    return max(sizes), name
