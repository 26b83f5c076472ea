"""What a tower for images is made of, and how large an image it is given."""

from math import prod

from .model import Model, Vision


def largest_image(model: Model, max_pixels: int | None) -> Vision | None:
    """Return what the largest image becomes within max_pixels of Qwen's processors (three channels, two
    frames); None: the model sees nothing.

    >>> from .load import load
    >>> largest_image(load("qwen2.5-vl-7b"), 1003520)
    Vision(item_tokens=1280, item_values=6021120, sees_both_ways=False)
    """
    vision = model.vision
    if vision is None or max_pixels is None or "qwen" not in model.family:
        return vision
    pixels = vision.item_values // 6
    most = max(min(max_pixels, pixels), pixels // vision.item_tokens)
    return Vision(vision.item_tokens * most // pixels, vision.item_values * most // pixels)


def patch_of(model: Model) -> tuple[int, ...]:
    """Return the shape of the weight that makes a patch's hidden state of its values; () without a tower."""
    for tensor in model.tensors:
        if tensor.name.startswith("vision.patch_embed") and tensor.name.endswith("weight"):
            return tensor.shape
    return ()


def num_patches(model: Model, vision: Vision) -> int:
    """Return the patches of an image; 0 without a tower.

    >>> from .load import load
    >>> model = load("qwen2.5-vl-7b")
    >>> num_patches(model, model.vision)
    65536
    """
    values = prod(patch_of(model)[1:])
    return vision.item_values // values if values > 1 else 0


HEAD_VALUES, MOST_HEADS = 64, 16
"""Values of a tower's head at least, and its heads at most: 12 of 768 values, 16 of 1,024 to 1,280."""


def num_scores(model: Model, vision: Vision) -> int:
    """Return the scores of one image in a block of its tower: each head's, of each patch with each.

    >>> from .load import load
    >>> num_scores(load("minicpm-v-2.6"), Vision(64, 448 * 448 * 3)) == 16 * 1024**2
    True
    """
    patch = patch_of(model)
    return min(patch[0] // HEAD_VALUES, MOST_HEADS) * (vision.item_values // prod(patch[1:])) ** 2


def inner_width(model: Model) -> int:
    """Return the rows of the first matrix of a block's feed-forward: its inner width, twice where it is gated
    (7B of Qwen2.5-VL: 3,420).

    >>> from .load import load
    >>> inner_width(load("qwen2-vl-7b")), inner_width(load("qwen2.5-vl-7b"))
    (5120, 6840)
    """
    return max(
        (
            tensor.shape[0]
            for tensor in model.tensors
            if tensor.part == "vision" and ".fc1.weight" in tensor.name and "merger" not in tensor.name
        ),
        default=0,
    )


def num_blocks(model: Model) -> int:
    """Return the layers of a tower.

    >>> from .load import load
    >>> num_blocks(load("qwen2.5-vl-7b"))
    32
    """
    of_tower = (each for each in model.tensors if each.name == "vision.blocks.attn.qkv.weight")
    return sum(tensor.repeat for tensor in of_tower)


def block_width(hidden: int, inner: int, own: tuple[int, int], ranks: int = 1, reduced: bool = False) -> int:
    """Return the values of a patch that a block has at once: the larger of attention and feed-forward.

    `own`: hidden sizes beside the projections, and of projections, their copies and the context. `reduced`:
    the sum over ranks is another tensor than what is summed."""
    return max((own[0] + reduced) * hidden + own[1] * hidden // ranks, 3 * hidden + 2 * inner // ranks)


ROTATED_IN_F32, ROTATED = (2, 14), (4, 8)
"""Of `block_width`: beside the projections and their copies four of F32, or none."""
