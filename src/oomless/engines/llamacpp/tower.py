"""What reads images: a file of its own beside llama-server's model (--mmproj), a part of Ollama's."""

from math import prod

from ...ledger import Line, exact, ranged
from ...model.model import Model
from ...run.serving import Resolved
from ..rank import Stage
from .batch import F32
from .release import LlamaRules, rules_of

SHARES = {"F32": 2.0, "F16": 1.0, "BF16": 1.0, "Q8_0": 17 / 32}
"""Bytes of a tower's file, as shares of 16 bit; others are as large as that at most."""
PATCHES, PIXELS = (1472 // 16) ** 2, 3 * 16 * 16
"""Of the first picture, and values of a patch: what Qwen3-VL's towers are tried with."""
MERGED = 4
"""Patches of one of their tokens."""
FIRST = {0: (560 // 14) ** 2, 37**2: 8 * 8}
"""Patches of their first picture by a build's picture_tokens: of a file's image_size, of eight a side; else
PATCHES."""
HEADS = 16
"""Of a tower."""


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


def picture_bytes(model: Model, patches: int, scores: int = 0) -> int:
    """Return the buffer of a picture of so many patches (tools/mtmd/clip.cpp, warmup): F32 values of a patch,
    of what a block widens it to, and twice of the block, and scores of all pairs for so many heads, where no
    kernel of flash attention spares them. Logs have 223.30 MiB for Qwen3.5-4B, 248.10 for Qwen3.6-27B and
    121.25 for Gemma-3-4B; 114,296.55 MiB for a picture of 3840 x 2160 in March 2025 (llama.cpp#12586).

    >>> from ...model.load import load
    >>> pictures = (("qwen3.5-4b", 8464), ("qwen3.6-27b", 8464), ("gemma-3-4b", 4096))
    >>> [round(picture_bytes(load(name), patches) / 2**20) for name, patches in pictures]
    [223, 238, 115]
    >>> round(picture_bytes(load("qwen2-vl-7b"), 276 * 156, HEADS) / 2**20)
    114536
    """
    tower = (each for each in model.tensors if each.part == "vision" and ".blocks." in each.name)
    blocks = [sorted(each.shape) for each in tower if len(each.shape) == 2 and "qkv" not in each.name]
    widest = max((wide + 2 * narrow for narrow, wide in blocks), default=0)
    return patches * (widest + PIXELS + scores * patches) * F32 if widest else 0


def first_patches(model: Model, rules: LlamaRules) -> int:
    """Return the patches of the first, empty picture, for which a build reserves a buffer."""
    dynamic = model.family in rules.takes_any_picture
    return (
        FIRST.get(rules.picture_tokens, PATCHES)
        if dynamic
        else rules.patches_of_all.of(model.family) or PATCHES
    )


def first_picture(model: Model, rules: LlamaRules) -> int:
    known = model.family in rules.takes_any_picture or rules.patches_of_all.of(model.family)
    return picture_bytes(model, first_patches(model, rules), rules.tower_scores if known else 0)


def token_pixels(model: Model) -> int:
    """Return the pixels of a picture's token, which processors have twice and in three colours.

    >>> from ...model.load import load
    >>> [token_pixels(load(name)) for name in ("qwen2.5-vl-7b", "qwen3.6-27b")]
    [784, 1024]
    """
    return model.vision.item_values // model.vision.item_tokens // 6 if model.vision else 1


def largest_picture(model: Model, asked: Resolved) -> int:
    """Return the buffer of the largest picture that may come: of a family whose pictures keep their size, as
    many tokens as a build admits, or --image-max-tokens."""
    rules, seen = rules_of(asked), model.vision
    if model.family not in rules.takes_any_picture or seen is None:
        return 0
    tokens = (asked.max_pixels or 0) // token_pixels(model) or rules.picture_tokens or seen.item_tokens
    return picture_bytes(model, MERGED * tokens, rules.tower_scores)


def reserved_patches(model: Model, asked: Resolved) -> int:
    """Return the patches of the picture that Ollama's own engine reserves room for; 0: llama.cpp runs it.

    >>> from ...model.load import load
    >>> releases = ("2025-08", "2026-01", "2026-08")
    >>> [
    ...     reserved_patches(load("qwen2.5-vl-7b"), Resolved(engine="ollama", engine_version=each))
    ...     for each in releases
    ... ]
    [4900, 10404, 0]
    """
    rules = rules_of(asked)
    return 0 if rules.runs_llama_server else rules.patches_reserved.of(model.family)


def scores_bytes(model: Model, rules: LlamaRules) -> int:
    """Return the bytes of the scores of all pairs of patches, of families whose pictures are all as large:
    logs of gemma3 have projector.graph 1.0 GiB."""
    return HEADS * rules.patches_of_all.of(model.family) ** 2 * F32


def tower_lines(model: Model, asked: Resolved, stage: Stage, graph: int) -> tuple[Line, ...]:
    """What Ollama's card of the output (its first one, of llama.cpp's runner) holds of the tower in its
    model's file; of llama-server's, whose file is kept room for, what a larger picture than the first takes.
    `graph`: the buffer of the text's graph, which a picture's graph is served from too."""
    rules, what = rules_of(asked), "buffer of a first picture"
    own = reserved_patches(model, asked) if rules.has_tower_in_file else 0
    if stage.position if not own else not stage.last:
        return ()
    if not rules.has_tower_in_file:
        more = largest_picture(model, asked) - first_picture(model, rules) if asked.images_per_prompt else 0
        if more <= 0:
            return ()
        said, source = "of the largest picture beyond the first", "ggml-org/llama.cpp tools/mtmd/clip.cpp"
        what, sizes = "buffer of a picture", (0, 0, more)
        return (ranged("activations.running", "engine", what, sizes, "assumed", said, source),)
    size, patches = tower_bytes(model, "F16"), own or first_patches(model, rules)
    if not size or model.family in rules.drops_encoders:
        return ()
    buffer = picture_bytes(model, patches)
    scores = rules.tower_scores * patches**2 * F32
    sizes = (buffer, buffer, buffer * 3 // 2 + scores)
    if own:
        spared = rules.flashes_towers and asked.flash_attn and model.family not in rules.writes_tower_scores
        more, runs = buffer + scores * (not spared) - graph, rules.reserves_picture or asked.images_per_prompt
        sizes = (max(more, 0), max(more - buffer, 0), max(more + buffer // 2, 0)) if runs else (0, 0, 0)
    source = "ollama runner/ollamarunner/runner.go, reserveWorstCaseGraph; llama.cpp tools/mtmd/clip.cpp"
    tower = exact("weights.vision", "engine", "tower of images", size, "16 bit, vectors 32", source)
    picture = ranged("activations.running", "engine", what, sizes, "assumed", f"{patches:,} patches", source)
    return (tower, picture) if sizes[-1] else (tower,)
