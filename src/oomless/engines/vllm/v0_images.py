"""What vLLM's first engine tries in its profile run for a model that sees images."""

from ... import facts
from ...ledger import Line
from ...model.attention import GQA
from ...model.images import largest_image, num_scores
from ...model.model import Model, Vision
from ...run.serving import Resolved
from ..overhead_lines import up_to
from .profile import ProfileRun, profile_lines
from .profile_images import MAX_FRAMES, tower_bytes, with_tower
from .release import VllmRules


def v0_profile_lines(run: ProfileRun, room: int) -> list[Line]:
    """The lines of a profile run with images. `room`: bytes that a rank may use.

    Up to 0.6.5 Qwen2-VL's sequences are as many as a batch holds of an image and a video, and have an image;
    later ones hold a video too. With models and releases that are not known it may be anything up to the
    budget.
    """
    model, asked, rules, lines = run.model, run.asked, run.rules, profile_lines(run)
    if not any(tensor.part == "vision" for tensor in model.tensors):
        return lines
    if model.family in rules.v0_tries_tiles:
        return with_tiles(lines, model, asked, rules)
    capped = model.family in rules.tries_videos and rules.v0_caps_images
    if capped:
        asked = asked._replace(max_pixels=min(asked.max_pixels or MOST_PIXELS, MOST_PIXELS))
        run = run._replace(asked=asked)
    vision, filled = (
        largest_image(model, asked.max_pixels),
        rules.v0_fills_with_images and "amd" not in run.tags,
    )
    if vision is not None and filled and (capped or model.family in rules.v0_tries_one_image):
        return with_images(lines, run, vision)
    sliced = model.family in rules.v0_scores_slices
    if vision is not None and sliced and vision.item_tokens == SLICED_TOKENS:
        slice_ = Vision(vision.item_tokens // SLICES, vision.item_values // SLICES)
        return with_images(lines, run, slice_, num_scores(model, slice_) * SLICE_SCORE_BYTES)
    if vision is None or model.family not in rules.tries_videos or not rules.v0_tries_one_with_images:
        *others, last = lines
        formula = f"{last.formula}; images of the profile run of V0 are not counted"
        high = max(room - sum(line.high_bytes for line in others), last.high_bytes)
        return [*others, last._replace(kind="assumed", high_bytes=high, formula=formula)]
    return with_video(lines, run, vision)


def with_video(lines: list[Line], run: ProfileRun, vision: Vision) -> list[Line]:
    """Return the lines of a run in which a sequence holds its images and a video, which fills what they leave
    of a batch and more: 49,152 tokens of 32,768. So one alone is tried in a batch too short for them. Up to
    0.7.3 that is read as text, without its images; from 0.8 on it is as long as they are
    (multimodal/profiling.py; worker/model_runner.py, profile_run).

    Qwen2-VL-7B of 8,192 tokens left 1.16 GiB on 0.6.6, Qwen2.5-VL-3B of 32,768 left 4.06 on 0.7 (code index
    ids 61933690157, 13138011193), Qwen2.5-VL-7B of 8,192 about 5.4 on 0.8.4 (gpustack#1800).
    """
    asked, rules = run.asked, run.rules
    batch, limit = run.tokens, asked.images_per_prompt
    images = 1 if limit is None else limit
    video = max(batch // vision.item_tokens - images, 0) + 1
    if rules.v0_lengthens_for_images:
        video = min(video, MAX_FRAMES // 2)
    least = (images + video if limit is None else max(images, 1)) * vision.item_tokens
    longest = (images + video) * vision.item_tokens
    whole = asked._replace(max_num_seqs=min(asked.max_num_seqs or 1, max(batch // longest, 1)))

    def text(tokens: int) -> list[Line]:
        return _as_text(run._replace(asked=whole._replace(max_num_batched_tokens=tokens)))

    def seen(tokens: int) -> list[Line]:
        return _with_images(text(tokens), run, vision, tokens, images)

    if batch < least and not rules.v0_lengthens_for_images:
        return _between(text(batch), text(batch), text(longest) if rules.v0_may_read_images_as_text else None)
    if batch < longest and rules.v0_lengthens_for_images:
        return _between(seen(longest), seen(max(batch, least)), None)
    return _between(text(batch), text(batch), seen(batch))


MOST_PIXELS = 1280 * 28 * 28
"""Of an image in Qwen2-VL's profile run where it is capped."""
SLICED_TOKENS, SLICES = 640, 10
"""Tokens of the largest image of MiniCPM-V 2.6, of ten slices; the dummy image is one (minicpmv.py
of 0.5.4 to 0.6.6, dummy_image_for_minicpmv)."""
SLICE_SCORE_BYTES = 10
"""Of a score of na_vit.py: 2, its copy in F32, and the softmax of that."""


def with_images(lines: list[Line], run: ProfileRun, vision: Vision, scored: int = 0) -> list[Line]:
    """Return the lines of a run of as many sequences as a batch holds with an image each, all of which the
    tower sees at once (worker/model_runner.py, profile_run of 0.5.4 to 0.8.5); the room of a video counts
    where a model takes one. `scored`: bytes of an image's scores, where a tower keeps those.

    64 slices of MiniCPM-V 2.6, as many as 4,096 tokens hold, ask for 4.00 GiB of F32 (MiniCPM-V#640); 32
    start on a 3090, where 48 do not (MiniCPM-V#392).

    Gemma-3 masks each sequence by hand (models/gemma3.py, naive_attn_with_masks): where its scores are kept,
    27B in AWQ took 2.87 GiB for one of 4,096 tokens on each of two MI50, 10.32 for one of 8,192
    (vllm-gfx906#10); the upper end has them.
    """
    model, asked, rules = run.model, run.asked, run.rules
    images = 1 if asked.images_per_prompt is None else asked.images_per_prompt
    each, batch = images * vision.item_tokens, run.tokens
    if not each:
        return lines
    video = vision.item_tokens if model.family in rules.tries_videos else 0
    rows = max(min(asked.max_num_seqs or 1, batch // (each + video)), 1)
    tokens = max(batch, each) if rules.v0_lengthens_for_images else batch
    few = asked._replace(max_num_seqs=rows, max_num_batched_tokens=tokens)
    text = _as_text(run._replace(asked=few))
    found = _with_images(text, run, vision, rows * each, rows * images, scored)
    if tokens < each:  # read without its image
        return _between(text, text, found)
    heads = max(
        (core.num_heads for a in model.kinds.attentions if isinstance(core := a.core, GQA)), default=0
    )
    scores = (tokens // rows) ** 2 * heads // asked.layout.tp * rows * SCORE_BYTES
    *others, last = found
    return [*others, up_to(last, last.high_bytes + scores * (model.family in rules.v0_masks_by_hand))]


SCORE_BYTES = 10
"""Bytes of a score in the log of MI50."""


TILES, PADDED = 4, 8
"""Tiles of its largest image, and patches to a multiple of which each is padded."""


def tiled_bytes(model: Model, ranks: int, width: int) -> int:
    """Return what one image takes in the tower of Llama-3.2: pixels in F32, a mask over all its patches, the
    states of five layers and their copy, and beside them a block's feed-forward, or all that is joined
    (models/mllama.py of 0.6.2 to 0.8.5, MllamaVisionModel).

    A profile run has one with each of --max-num-seqs sequences (worker/enc_dec_model_runner.py); a log of 128
    says 36.63 GiB (0.6.6, vllm#12126).

    >>> from ...units import GIB
    >>> from ...model.load import load
    >>> round(128 * tiled_bytes(load("llama-3.2-11b-vision"), 1, 2) / GIB, 1)
    30.4
    """
    shapes = {tensor.name: tensor.shape for tensor in model.tensors if tensor.part == "vision"}
    rows, dim = shapes["vision.gated_positional_embedding.embedding"]
    patch, inner = shapes["vision.patch_embedding.weight"], shapes["vision.blocks.fc1.weight"][0]
    patches = TILES * -(-rows // PADDED) * PADDED
    joined = shapes["vision.projector.weight"][1] // dim  # the output and the states of some layers
    states = max(2 * joined + 2 * inner // dim // ranks, 3 * joined)
    pixels = TILES * (rows - 1) * patch[1] * patch[2] * patch[3]
    return width * patches * (dim * states + patches) + pixels * 4


def with_tiles(lines: list[Line], model: Model, asked: Resolved, rules: VllmRules) -> list[Line]:
    """Return the lines with an image for each sequence of the profile run, on every rank."""
    images = 0 if asked.images_per_prompt == 0 else (asked.max_num_seqs or 0)
    each = tiled_bytes(model, asked.layout.tp, 4 if asked.dtype == "float32" else 2)
    return with_tower(lines, images * each, facts.constant("vllm", "tiles_spread", rules.release))


def _between(lines: list[Line], least: list[Line], most: list[Line] | None) -> list[Line]:
    """Return the lines, the last from the sum of `least` to that of `most` where these lie further apart."""
    *others, last = lines
    low = sum(line.low_bytes for line in least) - sum(line.low_bytes for line in others)
    high = sum(line.high_bytes for line in most or lines) - sum(line.high_bytes for line in others)
    return [*others, up_to(last._replace(low_bytes=min(last.low_bytes, max(low, 0))), high)]


def _as_text(run: ProfileRun) -> list[Line]:
    """Return the lines of a run without images, with what a prompt takes that is read as embeddings."""
    copies = run.constant("v0_embedded_copies")
    each = run.tokens * run.hidden * run.width
    *others, last = profile_lines(run)
    value, low, high = (int(each * copy) for copy in (copies.value, copies.low, copies.high))
    source = f"{last.source}; {copies.source}"
    last = last._replace(formula=f"{last.formula}; embeddings of the prompt {value:,} B", source=source)
    return [*others, _more(last, value, low, high)]


def _with_images(
    lines: list[Line], run: ProfileRun, vision: Vision, tokens: int, images: int, scored: int = 0
) -> list[Line]:
    """Return the lines with `tokens` of images and video, and with the tower, which sees the images at once
    and then the video."""
    asked = run.asked
    if not run.stage.first:
        return lines
    width = 4 if asked.dtype == "float32" else 2
    each = (run.model.hidden_size * vision.item_tokens + vision.item_values) * width
    kept = each * tokens // vision.item_tokens
    alone = asked._replace(images_per_prompt=1)
    at_once = min(max(images, 1) * each, kept)
    tower = tower_bytes(run.model, alone, at_once, run.rules, width, run.hardware.card) + kept - at_once
    tower += max(images, 1) * scored
    *others, last = lines
    last = last._replace(formula=f"{last.formula}; {kept:,} B of images and their tokens")
    spread = facts.constant("vllm", "tower_spread", run.rules.release)
    return with_tower([*others, _more(last, kept, kept, kept)], tower, spread)


def _more(line: Line, value: int, low: int, high: int) -> Line:
    return line._replace(
        bytes=line.bytes + value, low_bytes=line.low_bytes + low, high_bytes=line.high_bytes + high
    )
