"""The command line of llama.cpp's llama-quantize for a file type, with the tensors that a request treats on
their own: its K-quants need its own search."""

import shlex
from fnmatch import fnmatchcase
from math import prod

from ..errors import UsageError
from ..model.gguf_model import StoredTensor, file_tensors
from ..model.gguf_types import TYPES, file_type
from ..model.load import load_path
from .checkpoint.source import read_source
from .weights import CompressRequest

BACKSLASH_DOT = r"\."


def quantize_files(request: CompressRequest) -> tuple[dict[str, str], int, int]:
    """Return (the script, bytes of its input, bytes of its largest tensor in F32)."""
    if request.skip:
        raise UsageError("--skip takes no llama-quantize", "a GGUF file has all tensors")
    source = read_source(request.source)
    mix = file_type(request.to)[0]
    pieces = [piece for piece, _ in file_tensors(load_path(source.folder), mix)]
    options = []
    for pattern, form in [*((pattern, "bf16") for pattern in request.keep), *request.formats]:
        if form.upper() not in TYPES:
            raise UsageError(f"{pattern}={form}: no type of GGUF tensors", "q8_0, q6_k, bf16 ...")
        for name in meant(pattern, pieces):
            options += ["--tensor-type", f"^{name.replace('.', BACKSLASH_DOT)}$={form.lower()}"]
    name = source.folder.resolve().name
    given, made = f"bf16/{name}-BF16.gguf", f"{name}-{mix}.gguf"
    lines = [
        "set -eu",
        shlex.join(["oomless", "compress", request.source, "--to", "gguf-bf16", "--out", "bf16"]),
        shlex.join(["llama-quantize", *options, given, made, mix]),
    ]
    sizes = [prod(piece.shape) for piece in pieces]
    return {"run.sh": "\n".join(lines) + "\n"}, 2 * sum(sizes), 4 * max(sizes)


def meant(pattern: str, pieces: list[StoredTensor]) -> list[str]:
    """Return the tensors that a pattern means, by llama.cpp's names or by the checkpoint's."""
    found = [
        piece.name
        for piece in pieces
        if any(
            fnmatchcase(name.removesuffix(".weight"), pattern)
            for name in (piece.name, piece.group.name.format(piece.layer))
        )
    ]
    if not found:
        raise UsageError(f"{pattern[:80]!r} names no tensor", "patterns are globs: '*.ffn_down', 'blk.0.*'")
    return found
