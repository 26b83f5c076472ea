"""MiniCPM-V: SigLIP, a resampler that makes a fixed number of tokens of a slice, and the decoder that the
version names: Llama 3 (2.5), Qwen2 (2.6), MiniCPM4 (4.0), Qwen3 (4.5). 4.6 has a tower that merges patches
halfway, before Qwen3.5. Counts are the hub's, to the unit."""

from ...errors import UnsupportedError
from ..config import Config
from ..model import Model, Vision
from .nested import read_nested, unread_inside, with_outer
from .vision import Tower, siglip

DECODERS = {2.5: "llama", 2.6: "qwen2", 4.0: "llama", 4.5: "qwen3"}
"""By version, as vLLM's minicpmv.py (0.33) chooses them; a config without one is of 2.5."""
MOST_SLICES = 9
"""max_slice_nums of the published configs; a view of the whole comes with them."""
WITHOUT_EFFECT = (
    "downsample_mode",
    "merge_kernel_size",
    "video_token_id",
    "batch_3d_resampler",
    "batch_vision_input",
    "drop_vision_last_layer",
    "image_size",
    "insert_layer_id",
    "mm_use_im_start_end",
    "patch_size",
    "slice_config",
    "slice_mode",
    "use_image_id",
    "vision_batch_size",
    "version",
)


def read(config: Config, name: str) -> Model:
    """The decoder, whose keys stand beside vision_config, the tower and the resampler."""
    family, version = config.word("model_type"), config.number("version", 2.5)
    for key in WITHOUT_EFFECT:
        config.has(key)
    if family == "minicpmv4_6":
        return read_merging(config, name)
    if version not in DECODERS:
        raise UnsupportedError(
            f"{config.where}: version {version:g} of {family} is not known",
            f"known are {', '.join(map(str, DECODERS))}",
        )
    model = read_nested(config, name, model_type=DECODERS[version])
    vision = config.section("vision_config")
    vision.values = {"vision_use_head": False, **vision.values}
    tower = siglip(vision, model.dtype)
    if config.flag("drop_vision_last_layer", True):
        tower.tensors = [
            each._replace(repeat=each.repeat - 1) if "blocks." in each.name else each
            for each in tower.tensors
        ]
    queries = config.size("query_num", 64)
    add_resampler(tower, queries, model.hidden_size)
    config.check()
    slices = MOST_SLICES + 1
    return model._replace(
        family=family,
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(slices * queries, slices * 3 * 448**2),
    )


def read_merging(config: Config, name: str) -> Model:
    """4.6: four patches become one behind a layer of the tower, and four of those one token. The MTP layer
    that its decoder's config counts is in no checkpoint."""
    text = with_outer(config, "text_config")
    model = read_nested(text, name, mtp_num_hidden_layers=0)
    vision = config.section("vision_config")
    outer = vision.values
    vision.values = {**outer, "vision_use_head": False}
    tower, inner = siglip(vision, model.dtype), vision.size("intermediate_size")
    vision.values = outer
    wide = 4 * tower.width
    tower.linear("vit_merger.attn.qkv", 3 * tower.width, tower.width)
    tower.linear("vit_merger.attn.out", tower.width, tower.width)
    tower.norm("vit_merger.layer_norm1", tower.width)
    tower.norm("vit_merger.pre_norm", wide)
    tower.linear("vit_merger.linear_1", 4 * inner, wide)
    tower.linear("vit_merger.linear_2", tower.width, 4 * inner)
    config.size("merger_times", 1, most=1)
    tower.norm("merger.pre_norm", wide)
    tower.linear("merger.linear_1", wide, wide)
    tower.linear("merger.linear_2", model.hidden_size, wide)
    config.check()
    slices, side = MOST_SLICES + 1, 448
    return model._replace(
        family="minicpmv4_6",
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision(slices * (side // vision.size("patch_size", 14)) ** 2 // 16, slices * 3 * side**2),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def add_resampler(tower: Tower, queries: int, hidden: int) -> None:
    """Learned queries, a projection of what they look at, one attention, three norms and a matrix behind."""
    tower.add("resampler.query", (queries, hidden))
    tower.linear("resampler.kv_proj", hidden, tower.width, bias=False)
    tower.linear("resampler.attn.in_proj", 3 * hidden, hidden)
    tower.linear("resampler.attn.out_proj", hidden, hidden)
    tower.norm("resampler.norms", hidden, repeat=3)
    tower.add("resampler.proj", (hidden, hidden))
