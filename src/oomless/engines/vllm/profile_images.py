"""What images add to vLLM's profile run: themselves, the tokens made of them, and the tower while it runs."""

from math import prod
from typing import TYPE_CHECKING

from ...facts import Constant
from ...ledger import Line, ranged
from ...model.images import (
    ROTATED,
    ROTATED_IN_F32,
    block_width,
    inner_width,
    largest_image,
    num_patches,
    num_scores,
    patch_of,
)
from ...model.model import Model, Vision
from ...run.cards import Card
from ...run.option_values import MANY_IMAGES
from ...run.serving import Resolved
from ..overhead_lines import up_to
from ..rank import Stage
from .after_loading import deepstack_layers
from .release import UNSCORED, VllmRules

if TYPE_CHECKING:
    from .profile import ProfileRun


def vision_bytes(model: Model, asked: Resolved, stage: Stage, rules: VllmRules, width: int) -> int:
    """Images of the profile run and the tokens made of them, which stay while the language model runs: as
    many as a batch holds.

    v1/core/encoder_cache_manager.py and gpu_model_runner.py profile_run of 0.8.5 to 0.25; 0.33 lets the
    pixels go.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> vision_bytes(
    ...     load("gemma-3-12b"),
    ...     Resolved(max_num_batched_tokens=8192),
    ...     Stage(0, 1, 0, 48),
    ...     RELEASES.at("0.19.0"),
    ...     2,
    ... )
    217055232
    """
    vision = largest_image(model, asked.max_pixels)
    if vision is None or rules.v0 or not stage.first:
        return 0
    limit = asked.images_per_prompt
    if limit == 0:
        return 0
    if stamps_videos(model, asked, rules):
        return stamped_video_bytes(model, width)
    of_prompt = max(
        min(
            MANY_IMAGES if limit is None else limit,
            (asked.max_model_len or vision.item_tokens) // vision.item_tokens,
        ),
        1,
    )
    of_batch = (asked.max_num_batched_tokens or 0) // vision.item_tokens
    items = max(min(of_batch, (asked.max_num_seqs or of_batch) * of_prompt), 1)
    values = 0 if rules.drops_pixels else vision.item_values
    return items * (vision.item_tokens * model.hidden_size + values) * width


VIDEO_TOKENS = 12288
"""Tokens of Qwen3-VL's longest video: 25,165,824 values of a channel, of which 2 x 32 x 32 are a token's."""
STAMPED_TOKENS = 12.5
"""Tokens that vLLM counts for one of them, its time and its ends with it."""


def stamps_videos(model: Model, asked: Resolved, rules: VllmRules) -> bool:
    """Return whether the profile run holds a video whose times are counted too."""
    seen = model.vision is not None and asked.images_per_prompt is None
    return seen and model.family in rules.caches_times_of_videos


def stamped_video_bytes(model: Model, width: int) -> int:
    """Return what the profile run of 0.11 and 0.12 keeps of such a video: a cache for every token that it
    counts, the times too, of the tower's output and of what each of its deepstack layers adds.

    v1/worker/gpu_model_runner.py, expanded_outputs; models/qwen3_vl.py, get_max_video_tokens. Logs of 0.11
    say "a budget of 153600 tokens"; Qwen3-VL-30B-A3B:

    >>> from ...units import GIB
    >>> from ...model.load import load
    >>> round(stamped_video_bytes(load("qwen3-vl-30b-a3b"), 2) / GIB, 2)
    2.34
    """
    deep = deepstack_layers(model)
    return int(VIDEO_TOKENS * STAMPED_TOKENS) * (1 + deep) * model.hidden_size * width


MAX_FRAMES = 14
"""Frames of the dummy video at most (models/qwen2_vl.py, _MAX_FRAMES_PER_VIDEO: 14, or 16), two of which are
one image's tokens."""


def images_of_video(model: Model, asked: Resolved, rules: VllmRules) -> int:
    """Return how many images the dummy video of the profile run is as large as: it fills what an image leaves
    of the model's length, and is run where it has more tokens than an image (models/qwen2_vl.py,
    get_num_frames_with_most_features). Where --limit-mm-per-prompt is given a video may be off.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> model, rules = load("qwen2.5-vl-3b"), RELEASES.at(None)
    >>> [images_of_video(model, Resolved(max_model_len=each), rules) for each in (8192, 65536, 128000)]
    [1, 3, 6]
    """
    vision = largest_image(model, asked.max_pixels)
    if vision is None or model.family not in rules.tries_videos or asked.images_per_prompt is not None:
        return 1
    left = asked.max_model_len // vision.item_tokens - 1
    return max(min(left, MAX_FRAMES // 2), 1)


def encoder_bytes(
    model: Model,
    asked: Resolved,
    seen: int,
    width: int,
    ranks: int,
    rotated_in_f32: bool = False,
    reduced: bool = False,
) -> int:
    """Return what a vision tower takes while it runs alone, before the language model: patches x b x the
    larger of attention and feed-forward, beside the images. Their tokens are made of its last block's output.

    Of a block's attention, in hidden sizes of a patch: position embeddings, the block's input and its norm
    and output, 4; merged projections, queries and keys side by side, those rotated, the context, 8 on one
    rank. Of its feed-forward: 3, and twice the inner width (qwen3_vl.py and qwen2_5_vl.py of 0.20; PyTorch
    keeps the arguments of a module's call to its end). To 0.11 each rank gathers all heads' projections.
    `rotated_in_f32`: beside the projections and their copies four of F32 (qwen2_vl.py of 0.6.3). `reduced`:
    the sum over ranks is another tensor than what is summed (device_communicators/pynccl.py, all_reduce).

    Qwen3.5-9B, one image of 65,536 patches; a pool of 0.20 on an RTX 5090 leaves 1.7 GiB for it:

    >>> from ...units import GIB
    >>> from ...model.load import load
    >>> model = load("qwen3.5-9b")
    >>> [round(encoder_bytes(model, Resolved(), 335544320, 2, ranks) / GIB, 2) for ranks in (1, 2)]
    [1.88, 1.31]
    """
    vision = largest_image(model, asked.max_pixels)
    if not seen or vision is None:
        return 0
    patch = patch_of(model)
    inner = inner_width(model)
    if not patch or not inner:
        return 0
    values, hidden = _num_items(model, vision, seen, width) * vision.item_values, patch[0]
    own = ROTATED_IN_F32 if rotated_in_f32 else ROTATED
    block = block_width(hidden, inner, own, ranks, reduced)
    return (values // prod(patch[1:]) * block + values) * width


def _num_items(model: Model, vision: Vision, seen: int, width: int) -> int:
    """Return how many images are in a batch that takes `seen` bytes."""
    return max(seen // width // (vision.item_tokens * model.hidden_size + vision.item_values), 1)


MOONVIT_HEADS, MOONVIT_MERGED = 16, 4
"""Heads of its tower, which no rank divides, and patches of a token."""


SCORED_CARDS = ("gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1152", "gfx1153", "gfx1200")
"""Cards on which PyTorch leaves AOTriton's kernels off (unslothai/unsloth#8323 lists where they are on)."""


def scores_bytes(
    model: Model, asked: Resolved, seen: int, width: int, rules: VllmRules, capability: str
) -> tuple[int, int]:
    """Return (least, most) of what a tower's attention takes where PyTorch's fused kernels do not run: F32
    scores of each head and their softmax.

    On Radeon cards a tower has no other than PyTorch's (platforms/rocm.py, get_vit_attn_backend), which some
    of them have only with TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL. One image at a time. The scores of
    Qwen3-VL-2B alone are the 256 GiB that vllm#27706 asks for, those of Qwen3.5-0.8B the 192 of
    gpustack#4963:

    >>> from ...units import GIB
    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> for name in ("qwen3-vl-2b", "qwen3.5-0.8b"):
    ...     [
    ...         each / GIB
    ...         for each in scores_bytes(load(name), Resolved(), 1, 2, RELEASES.at("0.17.1"), "gfx1101")
    ...     ]
    [256.0, 512.0]
    [192.0, 384.0]
    """
    if not seen:
        return 0, 0
    if model.family in rules.scores_of_moonvit:
        return _moonvit_scores(model, seen, width, rules)
    vision, patch = largest_image(model, asked.max_pixels), patch_of(model)
    if vision is None or not patch or capability not in SCORED_CARDS:
        return 0, 0
    scores = num_scores(model, vision) * 4
    return scores, 2 * scores


def _moonvit_scores(model: Model, seen: int, width: int, rules: VllmRules) -> tuple[int, int]:
    """Return (least, most) of what MoonViT's attention takes without flash_attn: a mask over all patches of a
    batch, and of each head F32 scores and their softmax, since PyTorch's fused kernels want four dimensions
    and get three (models/moonvit.py of 0.8.5, sdpa_attention).

    Kimi-VL with two images; logs that run out ask for 7 to 64 GiB, the mask of 64 images for 1,029:

    >>> from ...units import GIB
    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> model = load("kimi-vl-a3b")
    >>> seen = 2 * 2 * (model.vision.item_tokens * model.hidden_size + model.vision.item_values)
    >>> for release in ("0.9.2", "0.9.2 (no flash_attn)"):
    ...     [each / GIB for each in _moonvit_scores(model, seen, 2, RELEASES.at(release))]
    [0.0, 8.0625]
    [8.0625, 8.0625]
    """
    if model.vision is None:
        return 0, 0
    patches = _num_items(model, model.vision, seen, width) * model.vision.item_tokens * MOONVIT_MERGED
    most = patches**2 * (1 + MOONVIT_HEADS * 2 * 4)
    if UNSCORED not in rules.text:
        return 0, most
    return (most, most) if f"no {UNSCORED}" in rules.text else (0, 0)


def tower_bytes(model: Model, asked: Resolved, images: int, rules: VllmRules, width: int, card: Card) -> int:
    """Return the peak of a vision tower, which runs alone before the language model; 0 where none does.
    `images`: bytes of one batch of images and their tokens. What is kept of a video whose times are counted
    is more than its tower takes."""
    if stamps_videos(model, asked, rules):
        return 0
    seen = images * images_of_video(model, asked, rules)
    replicated = asked.mm_encoder_tp_mode == "data"
    ranks = 1 if rules.gathers_heads_of_images or replicated else asked.layout.tp
    if model.family in rules.takes_images_apart and model.vision and seen:
        one = model.vision.item_values * width
        placed = _places_bytes(model, model.vision, width)
        return max(encoder_bytes(model, asked, one, width, 1) - one, placed) + seen
    chunked = model.family in rules.sees_images_in_chunks and card.is_nvidia and _place_rows(model)
    if chunked and model.vision and seen:
        return _chunked_bytes(model, model.vision, asked, seen, width, card)
    in_f32 = rules.rotates_images_in_f32 and model.family in rules.tries_videos
    reduced = asked.layout.tp > 1 and not replicated
    return encoder_bytes(model, asked, seen, width, ranks, in_f32, reduced)


def _chunked_bytes(model: Model, vision: Vision, asked: Resolved, seen: int, width: int, card: Card) -> int:
    """Return the peak of a tower that sees as many images at once as the rows of ones and zeros of their
    places, twice over, fit a tenth of the card, whether or not they are made (models/gemma4_mm.py of 0.22 to
    0.33, _encoder_chunk): one chunk, all images, and the states of all patches. ROCm's attention under a mask
    takes more (b5-032).

    Gemma-4-31B on an RTX PRO 6000 has 1.5 GiB beside its pool for 29 images (0.23, id 63102470423):

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> model = load("gemma-4-31b")
    >>> seen = 29 * 2 * (280 * model.hidden_size + model.vision.item_values)
    >>> found = _chunked_bytes(model, model.vision, Resolved(), seen, 2, parse_gpu("rtx-pro-6000").card)
    >>> round(found / 2**30, 2)
    1.47
    """
    patches = num_patches(model, vision)
    item = width * (vision.item_tokens * model.hidden_size + vision.item_values)
    items = seen // item
    chunk = max(min(items, card.memory_bytes // 10 // (8 * 2 * sum(_place_rows(model)) * patches)), 1)
    states = items * patches * patch_of(model)[0] * width
    return encoder_bytes(model, asked, chunk * item, width, 1) + (items - chunk) * item + states


def _place_rows(model: Model) -> list[int]:
    """Return the rows of a tower's table of places: of both sides, in one number."""
    return [prod(each.shape[:2]) for each in model.tensors if "position_embedding_table" in each.name]


def _places_bytes(model: Model, vision: Vision, width: int) -> int:
    """Return what the places of one image's patches take as rows of ones and zeros, 8 B and a copy in the
    model's type (transformers 5.5 to 5.9, modeling_gemma4.py, _position_embeddings; 5.10 looks them up).

    >>> from ...model.load import load
    >>> model = load("gemma-4-31b")
    >>> _places_bytes(model, model.vision, 2)
    516096000
    """
    return num_patches(model, vision) * sum(_place_rows(model)) * (8 + width)


def untried_lines(run: "ProfileRun") -> list[Line]:
    """Return what images take, where any come, beside a pool that was cut without them."""
    if run.sees_images:
        return []
    images = vision_bytes(run.model, run.asked, run.stage, run.rules, run.width)
    card = run.hardware.card
    tower = max(images, tower_bytes(run.model, run.asked, images, run.rules, run.width, card))
    if not tower:
        return []
    what, formula = "images, which nothing tried", f"up to {tower:,} B in their tower, where any come"
    source = "vllm/v1/worker, profile_run"
    return [ranged("temporaries.running", "engine", what, (0, 0, tower), "assumed", formula, source)]


def with_tower(
    lines: list[Line], tower: int, spread: Constant, scores: tuple[int, int] = (0, 0)
) -> list[Line]:
    """Return the profile run's lines, the last raised to what the tower takes over the others where that is
    more than the language model takes. `scores`: least and most of its attention, by a package."""
    *others, last = lines
    value, low, high = (int(tower * each) for each in (spread.value, spread.low, spread.high))
    value, low, high = value + scores[1], low + scores[0], high + scores[1]
    most = high - sum(line.high_bytes for line in others)
    if value <= sum(line.bytes for line in lines):
        return [*others, up_to(last, most)]
    left = value - sum(line.bytes for line in others)
    raised = last._replace(
        bytes=left,
        low_bytes=min(max(last.low_bytes, low - sum(line.low_bytes for line in others)), left),
        kind="assumed",
        formula=f"images of the profile run in their tower, {value:,} B, less what follows takes alone"
        + (f"; {scores[1]:,} B of it are scores, which flash_attn does not make" if scores[1] else ""),
        source=spread.source,
    )
    return [*others, up_to(raised, max(most, left))]
