"""Models around a language model: DeepSeek-VL2, -OCR, -OCR-2 and Baidu's Unlimited-OCR (with their vision
towers; windows of the latter are of its attention, not of vLLM's cache) and Janus (language part alone)."""

from collections.abc import Iterator
from typing import Any

from ...errors import UnsupportedError
from ..config import MAX_LAYERS, Config
from ..model import Model, Tensor
from ..storage import BF16, Shape

Parts = Iterator[tuple[str, int, Shape]]
"""Name, how many, shape."""


def read(config: Config, name: str) -> Model:
    """The language model under language_config, with the tower that the projector and architecture name."""
    from . import build  # a family reads another one's config: only here do the two files know each other

    language = config.section("language_config")
    config.check()
    if not language.values:
        config.fault("language_config is missing")
        config.check()
    model = build(_defaults(language.values), name, language.where)
    projector = config.section("projector_config")
    vision = config.section("vision_config")
    for key in ("aligner_config", "gen_aligner_config", "gen_head_config", "gen_vision_config"):
        config.section(key)
    for key in ("candidate_resolutions", "global_view_pos", "rswa_window", "tile_tag", "torch_dtype"):
        config.has(key)
    if config.word("model_type") == "multi_modality":
        warning = (
            "the vision tower, aligners and image generator of Janus are not counted: no "
            "published count to check them"
        )
        return model._replace(family="multi_modality", warnings=(*model.warnings, warning))
    family, parts = _tower(name, projector, vision, model.hidden_size)
    tensors = tuple(Tensor(part, shape, BF16, repeat=num, part="vision") for part, num, shape in parts)
    return model._replace(family=family, tensors=(*model.tensors, *tensors))


def _defaults(language: dict[str, Any]) -> dict[str, Any]:
    """DeepSeek-V2's class has defaults for what VL2's and OCR's configs leave out; Janus has a llama."""
    if not str(language.get("model_type")).startswith("deepseek"):
        return language
    return {"moe_layer_freq": 1, "tie_word_embeddings": False, **language}


def _tower(name: str, projector: Config, vision: Config, hidden: int) -> tuple[str, Parts]:
    """Return which family and vision tower a config means. OCR's configs say deepseek_vl_v2 too and have no
    vision_config: the projector stands for it."""
    into, out = projector.size("input_dim"), projector.size("n_embed")
    projector.check()
    kind = projector.word("projector_type")
    match kind:
        case "downsample_mlp_gelu":
            return "deepseek_vl_v2", _vl2(vision, into, hidden)
        case "linear" if into == 896:
            return "deepseek_ocr2", _ocr2(into, out)
        case "linear":
            return "deepseek_ocr", _ocr(into, out)
    raise UnsupportedError(
        f"{name}: projector {kind!r} is not known", "known are downsample_mlp_gelu and linear"
    )


def _vl2(vision: Config, into: int, hidden: int) -> Parts:
    """SigLIP-SO400M with its attention-pool head, 428,225,600 in all, and 4*1152*h + h + h*h + h + 2h of
    projector."""
    width, heads_layers = vision.size("width"), vision.size("layers", most=MAX_LAYERS)
    inner = int(width * vision.number("mlp_ratio", 4.0))
    patches = (vision.size("image_size") // vision.size("patch_size")) ** 2
    patch = vision.size("patch_size")
    vision.check()
    yield "vision.patch_embed.weight", 1, (width, 3, patch, patch)
    yield "vision.patch_embed.bias", 1, (width,)
    yield "vision.pos_embed", 1, (patches, width)
    for linear in ((3 * width, width), (width, width), (inner, width), (width, inner)):
        yield "vision.blocks.linear.weight", heads_layers, linear
        yield "vision.blocks.linear.bias", heads_layers, linear[:1]
    yield "vision.blocks.norm", 4 * heads_layers, (width,)
    yield "vision.norm", 2, (width,)
    yield "vision.attn_pool.latent", 1, (1, width)
    for linear in ((width, width), (2 * width, width), (width, width), (inner, width), (width, inner)):
        yield "vision.attn_pool.linear.weight", 1, linear
        yield "vision.attn_pool.linear.bias", 1, linear[:1]
    yield "vision.attn_pool.norm", 2, (width,)
    yield "projector.0.weight", 1, (hidden, 4 * into)
    yield "projector.0.bias", 1, (hidden,)
    yield "projector.2.weight", 1, (hidden, hidden)
    yield "projector.2.bias", 1, (hidden,)
    yield "projector.separators", 2, (hidden,)


def _sam(out: int) -> Parts:
    """SAM ViT-B at 1024 pixels, windows of 14 but for 4 global layers, and two strided convolutions to `out`
    channels."""
    width, layers, global_layers, neck = 768, 12, 4, 256
    yield "sam.patch_embed.weight", 1, (width, 3, 16, 16)
    yield "sam.patch_embed.bias", 1, (width,)
    yield "sam.pos_embed", 1, (64, 64, width)
    for linear in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width)):
        yield "sam.blocks.linear.weight", layers, linear
        yield "sam.blocks.linear.bias", layers, linear[:1]
    yield "sam.blocks.norm", 4 * layers, (width,)
    yield "sam.blocks.rel_pos.window", 2 * (layers - global_layers), (2 * 14 - 1, 64)
    yield "sam.blocks.rel_pos.global", 2 * global_layers, (2 * 64 - 1, 64)
    yield "sam.neck.0", 1, (neck, width, 1, 1)
    yield "sam.neck.2", 1, (neck, neck, 3, 3)
    yield "sam.neck.norm", 4, (neck,)
    yield "sam.net_2", 1, (512, neck, 3, 3)
    yield "sam.net_3", 1, (out, 512, 3, 3)


def _ocr(into: int, out: int) -> Parts:
    """DeepEncoder: SAM-B, CLIP-L/14 at 224 pixels, a linear projector, two separators: 401,372,160."""
    yield from _sam(1024)
    width, layers = 1024, 24
    yield "clip.class_embedding", 1, (width,)
    yield "clip.patch_embed.weight", 1, (width, 3, 14, 14)
    yield "clip.pos_embed", 1, (257, width)
    yield "clip.pre_norm", 2, (width,)
    for linear in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width)):
        yield "clip.layers.linear.weight", layers, linear
        yield "clip.layers.linear.bias", layers, linear[:1]
    yield "clip.layers.norm", 4 * layers, (width,)
    yield "projector.weight", 1, (out, into)
    yield "projector.bias", 1, (out,)
    yield "separators", 2, (out,)


def _ocr2(into: int, out: int) -> Parts:
    """DeepEncoder V2: SAM-B to 896 channels, a Qwen2-0.5B stack over learned queries, a linear projector:
    454,385,280."""
    yield from _sam(into)
    layers, kv, inner = 24, 128, 4864
    for rows in (into, kv, kv):
        yield "qwen2.layers.qkv.weight", layers, (rows, into)
        yield "qwen2.layers.qkv.bias", layers, (rows,)
    yield "qwen2.layers.o_proj.weight", layers, (into, into)
    yield "qwen2.layers.mlp.weight", 3 * layers, (inner, into)
    yield "qwen2.layers.norm", 2 * layers, (into,)
    yield "qwen2.norm", 1, (into,)
    yield "queries.768", 1, (144, into)
    yield "queries.1024", 1, (256, into)
    yield "projector.weight", 1, (out, into)
    yield "projector.bias", 1, (out,)
    yield "separator", 1, (out,)
