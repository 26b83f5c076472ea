"""What reads images: a file of its own beside llama-server's model (--mmproj), a part of Ollama's."""

from math import prod

from ...ledger import Line, exact, ranged
from ...model.model import Model
from ...run.serving import Resolved
from ..rank import Stage
from .batch import F32
from .release import rules_of

SHARES = {"F32": 2.0, "F16": 1.0, "BF16": 1.0, "Q8_0": 17 / 32}
"""Bytes of a tower's file, as shares of 16 bit; others are as large as that at most."""
PATCHES, PIXELS = (1472 // 16) ** 2, 3 * 16 * 16
"""Of the first picture, and values of a patch: what Qwen3-VL's towers are tried with."""
ONE_SIZE = {"gemma3": (896 // 14) ** 2}
"""Patches of a family whose pictures are all as large."""
TEXT_ALONE = "gemma3n"
"""Ollama's converter leaves its encoders out (convert_gemma3n.go)."""
HEADS = 16
"""Of a tower, where no kernel of flash attention spares the scores."""


def tower_bytes(model: Model, kind: str) -> int:
    """Return the bytes of the tower's tensors: vectors and positions are F32, and patches but in a file of
    F16. Logs have 644.26 MiB for Qwen3.5-4B and 887.99 for Qwen3.6-27B in BF16.

    >>> from ...model.load import load
    >>> [round(tower_bytes(load(name), "BF16") / 2**20, 1) for name in ("qwen3.5-4b", "qwen3.6-27b")]
    [644.3, 888.0]
    """
    stays = ("pos",) if kind == "F16" else ("pos", "patch")
    total = 0
    for each in model.tensors:
        if each.part == "vision":
            whole = len(each.shape) == 1 or any(word in each.name for word in stays)
            total += int(prod(each.shape) * each.repeat * (F32 if whole else 2 * SHARES.get(kind, 1.0)))
    return total


def first_picture(model: Model) -> int:
    """Return the buffer that a first, empty picture reserves with flash attention (tools/mtmd/clip.cpp,
    warmup): F32 values of a patch, of what a block widens it to, and twice of the block. Logs have 223.30 MiB
    for Qwen3.5-4B, 248.10 for Qwen3.6-27B and 121.25 for Gemma-3-4B.

    >>> from ...model.load import load
    >>> names = ("qwen3.5-4b", "qwen3.6-27b", "gemma-3-4b")
    >>> [round(first_picture(load(name)) / 2**20) for name in names]
    [223, 238, 115]
    """
    tower = (each for each in model.tensors if each.part == "vision" and ".blocks." in each.name)
    blocks = [sorted(each.shape) for each in tower if len(each.shape) == 2 and "qkv" not in each.name]
    widest = max((wide + 2 * narrow for narrow, wide in blocks), default=0)
    return patches_of(model) * (widest + PIXELS) * F32 if widest else 0


def patches_of(model: Model) -> int:
    """Return the patches of the first picture."""
    return ONE_SIZE.get(model.family, PATCHES)


def scores_bytes(model: Model) -> int:
    """Return the bytes of the scores of all pairs of patches: logs of gemma3 have projector.graph 1.0 GiB."""
    return HEADS * patches_of(model) ** 2 * F32


def tower_lines(model: Model, asked: Resolved, stage: Stage) -> tuple[Line, ...]:
    """What Ollama's first card holds of the tower in its model's file. Its own engine may keep scores of all
    pairs of patches: logs of gemma3 have projector.weights 795.9 MiB."""
    size, buffer = tower_bytes(model, "F16"), first_picture(model)
    if asked.engine != "ollama" or stage.position or not size or model.family == TEXT_ALONE:
        return ()
    scores = 0 if rules_of(asked).runs_llama_server else scores_bytes(model)
    value = buffer + scores * (model.family in ONE_SIZE)
    sizes, formula = (value, buffer, buffer * 3 // 2 + scores), f"{patches_of(model):,} patches"
    source = "ollama#12000; ggml-org/llama.cpp tools/mtmd/clip.cpp"
    what = "buffer of a first picture"
    return (
        exact("weights.vision", "engine", "tower of images", size, "16 bit, vectors 32", source),
        ranged("activations.running", "engine", what, sizes, "assumed", formula, source),
    )
