"""What the images of a micro-batch take in training: the tower's work, what it keeps for its backward, and
how far their tokens may lengthen a sequence."""

from typing import NamedTuple

from ...frameworks import framework
from ...ledger import Key
from ...model.images import (
    ROTATED,
    ROTATED_IN_F32,
    block_width,
    inner_width,
    largest_image,
    num_blocks,
    num_patches,
    num_scores,
    patch_of,
)
from ...model.model import Model, Vision
from ...run.training import TrainingResolved
from .phases import PhasePart

ADAPTED = ("all-linear",)
"""Targets among which are matrices of a tower, where a framework does not leave it out."""
PIXEL_BYTES = 4
"""Of a processor's pixel_values, which stay with the batch."""


class SeenImages(NamedTuple):
    """Bytes of a tower's images in one micro-batch, each (at least, at most)."""

    pixels: tuple[int, int] = (0, 0)
    running: tuple[int, int] = (0, 0)
    """While it runs forward, before any layer of the language model."""
    kept: tuple[int, int] = (0, 0)
    """From there to its own backward, the last of the step."""
    backward: tuple[int, int] = (0, 0)
    """Beside what is kept, in the backward of a block."""

    def running_part(self) -> PhasePart:
        return _part("activations.running", "the tower, on images", self.running)

    def kept_part(self) -> PhasePart:
        return _part("activations.kept", "activations kept by the tower", self.kept)

    def backward_part(self) -> PhasePart:
        return _part("activations.running", "the tower's block that runs", self.backward)


def _part(key: Key, what: str, sizes: tuple[int, int]) -> PhasePart:
    least, most = sizes
    formula = f"{least:,} B, and {most:,} where as much comes as may"
    return PhasePart(key, what, least, formula, most)


def images_of(model: Model, request: TrainingResolved) -> tuple[Vision | None, int, int]:
    """Return one image of a micro-batch, and how many there are, at least and at most.

    Where nobody says, a sample has none or one, as large as the limit of pixels lets it be and a sequence, or
    a prompt, has room for; a pack of samples is full of them where there is a limit. Where no length bounds
    them, the model's does.

    >>> from ...model.load import load
    >>> asked = TrainingResolved(framework="ms-swift", seq_len=1024, max_pixels=1003520, micro_batch=2)
    >>> image, least, most = images_of(load("qwen2.5-vl-7b"), asked)
    >>> image.item_tokens, least, most
    (1024, 0, 2)
    >>> images_of(load("qwen2.5-vl-7b"), asked._replace(images_per_sample=3))[0].item_tokens
    1280
    """
    image = largest_image(model, request.max_pixels)
    if image is None or request.images_per_sample == 0:
        return None, 0, 0
    if request.images_per_sample:
        return (
            image,
            request.images_per_sample * request.sequences,
            request.images_per_sample * request.sequences,
        )
    if beside_length(request):
        a_sample = max((model.max_positions - request.seq_len) // image.item_tokens, 1)
        return image, 0, request.sequences * a_sample
    room = request.query_len if request.task == "grpo" and request.query_len else request.seq_len
    if image.item_tokens > room:
        return Vision(room, image.item_values * room // image.item_tokens), 0, request.sequences
    fills = request.packed and request.max_pixels is not None
    return image, 0, request.sequences * (room // image.item_tokens if fills else 1)


def beside_length(request: TrainingResolved) -> bool:
    """Return whether --seq-len bounds a sample's text alone, and tokens of images come beside it."""
    return framework(request.framework).habits(request.framework_version).images_beside


def lengthened(model: Model, request: TrainingResolved) -> int:
    """Return the tokens of a sequence at most, those of images beside it among them.

    >>> from ...model.load import load
    >>> asked = TrainingResolved(framework="ms-swift", seq_len=2048, framework_version="ms-swift 2.5")
    >>> lengthened(load("qwen2-vl-7b"), asked)
    18432
    """
    image, _, most = images_of(model, request)
    if image is None or not beside_length(request):
        return request.seq_len
    return request.seq_len + image.item_tokens * most // request.sequences


def tower_of(model: Model, request: TrainingResolved, compute: int) -> SeenImages:
    """Return what images take; nothing where the model sees none, or its tower's blocks are not known.

    A block's work: patches x values at once x b, one block at a time, which goes if the tower is frozen. One
    that is trained keeps of each block 8 hidden states and twice what the first matrix of its feed-forward
    gives, or its input alone where blocks are computed again. Masks over patches of several images make
    scores of each head, F32 and their softmax. Ignored: the merger, 1 % of a block; the tokens themselves.

    >>> from ...model.load import load
    >>> from ...units import GIB
    >>> asked = TrainingResolved(
    ...     framework="ms-swift", framework_version="transformers 4.49", images_per_sample=1
    ... )
    >>> asked = asked._replace(max_pixels=1003520, attention="auto", recompute="full", method="lora")
    >>> found = tower_of(load("qwen2.5-vl-7b"), asked, 2)
    >>> [round(each / GIB, 2) for each in found.running], found.kept
    ([1.76, 3.32], (0, 0))
    """
    image, least, most = images_of(model, request)
    blocks, inner, patch = num_blocks(model), inner_width(model), patch_of(model)
    if image is None or not blocks or not inner or not num_patches(model, image):
        return SeenImages()
    rules, of = framework(request.framework).habits(request.framework_version), framework(request.framework)
    hidden = patch[0]
    own = ROTATED_IN_F32 if model.family in rules.masks_images else ROTATED
    scored = model.family in rules.masks_images and request.attention != "flash"
    checked = request.recompute == "full" and model.family not in rules.unchecked_towers
    a_block = 8 * hidden + 2 * inner
    adapted = request.method != "full" and not of.freezes_tower and request.lora_targets == ADAPTED
    flows = request.method != "full" and rules.towers_flow and request.recompute == "full"
    found = []
    for count in (least, most):
        patches = count * num_patches(model, image)
        scores = 4 * count**2 * num_scores(model, image) if scored else 0
        running = patches * block_width(hidden, inner, own) * compute + scores
        kept = blocks * (patches * (hidden if checked else a_block) * compute + (0 if checked else scores))
        backward = patches * (a_block + 3 * hidden + inner) * compute + 2 * scores
        found.append((count * image.item_values * PIXEL_BYTES, running, scores, kept, backward))
    (pixels, running, _, kept, backward), (all_pixels, most_running, scores, most_kept, most_backward) = found
    trained, may_keep = bool(request.trained_tower), bool(request.trained_tower) or adapted or flows
    return SeenImages(
        (pixels, all_pixels),
        (running, most_running + scores),
        (kept * trained, most_kept * may_keep),
        (backward * trained, most_backward * may_keep),
    )


def on_images(model: Model, request: TrainingResolved) -> list[str]:
    """Return what is assumed of images."""
    if request.images_per_sample == 0:
        return []
    image, least, most = images_of(model, request)
    if image is None or framework(request.framework).megatron_core or not num_blocks(model):
        return [
            "a batch of text: the activations of the vision tower are not counted, and tokens of images "
            "count as those of --seq-len"
        ]
    a_sample, tokens = most // request.sequences, image.item_tokens
    if least:
        found = [
            f"{a_sample} images a sample, each of {tokens:,} tokens: --images and --max-pixels say otherwise"
        ]
    else:
        found = [
            f"no image a sample, or as many as {a_sample}, each of up to {tokens:,} tokens: --images and "
            "--max-pixels say otherwise"
        ]
    if beside_length(request):
        found.append(
            "tokens of images come beside those of --seq-len, which this release counts without them"
        )
    return found
