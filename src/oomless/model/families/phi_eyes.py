"""Phi with eyes: Phi-3 and 3.5-vision (CLIP-L/14), and Phi-4-multimodal (SigLIP, a conformer for sound).

Counts are the hub's: Phi-3.5-vision's 4,146,621,440 to the unit, and Phi-4-multimodal's 5,574,460,384 with
the 830,472,192 elements of its two adapters, which engines load beside the model or not at all.
"""

from typing import Any

from ..config import Config
from ..model import Model, Vision
from .nested import read_nested
from .vision import Tower, clip, siglip

CLIP_L: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 336,
}
"""Of Phi-3.5-vision, whose config names the checkpoint alone (vLLM 0.33, phi3v.py)."""
PHI3_CROPS, PHI4_CROPS = 16, 36
"""num_crops of Phi-3.5-vision's processor and dynamic_hd of Phi-4-multimodal's; a view of the whole comes
with them."""
WITHOUT_EFFECT = (
    "audio_processor",
    "embd_layer",
    "img_processor",
    "speech_lora",
    "vision_lora",
)


def read(config: Config, name: str) -> Model:
    """Phi-3's decoder, the tower, what marks lines and images, and two linear layers."""
    family = config.word("model_type")
    model = read_nested(config, name, model_type="phi3")
    for key in WITHOUT_EFFECT:
        config.has(key)
    hidden = model.hidden_size
    if family == "phi3_v":
        tower = clip(Config(CLIP_L, "CLIP-L/14"), model.dtype)
        tokens, side, crops, merged = 144, 336, PHI3_CROPS, 4 * tower.width
    else:
        tower = siglip(Config({"image_size": 448, "vision_use_head": True}, "SigLIP"), model.dtype)
        tokens, side, crops, merged = 256, 448, PHI4_CROPS, tower.width
    tower.add("projector.separators", (merged,), repeat=2)
    add_pair(tower, "projector", merged, hidden)
    if family == "phi4mm":
        add_conformer(tower, hidden)
    config.check()
    return model._replace(
        family=family,
        tensors=(*model.tensors, *tower.tensors),
        vision=Vision((crops + 1) * tokens, (crops + 1) * 3 * side**2),
    )


def add_pair(tower: Tower, name: str, into: int, out: int, repeat: int = 1) -> None:
    """Two linear layers with biases."""
    tower.linear(f"{name}.0", out, into, repeat=repeat)
    tower.linear(f"{name}.1", out, out, repeat=repeat)


def add_conformer(tower: Tower, hidden: int) -> None:
    """Five convolutions that leave an eighth of the frames, 24 layers of two half MLPs, attention with a
    table of distances and a gated convolution, and a projector each for sound alone and beside an image (vLLM
    0.33, phi4mm_audio.py; its config is the class's own).

    >>> tower = Tower(1152)
    >>> add_conformer(tower, 3072)
    >>> sum(tensor.num_parameters for tensor in tower.tensors)
    466416416
    """
    width, inner, num = 1024, 1536, 24
    tower.add("audio.mean_and_deviation", (MEL_BINS,), repeat=2)
    tower.add("audio.embed.conv.spatial", (width, 1, 3, 3), repeat=3)
    tower.add("audio.embed.conv.pointwise", (width, width, 1, 1), repeat=2)
    tower.add("audio.embed.conv.bias", (width,), repeat=5)
    tower.linear("audio.embed.out", width, width * MEL_BINS // 8)
    tower.add("audio.distances", (1000, 16))
    tower.linear("audio.blocks.ffw_in", 2 * inner, width, repeat=2 * num)
    tower.linear("audio.blocks.ffw_out", width, inner, repeat=2 * num)
    tower.linear("audio.blocks.attn", width, width, repeat=4 * num)
    tower.linear("audio.blocks.conv.gated", 2 * width, width, repeat=num)
    tower.add("audio.blocks.conv.gate_bias", (width,), repeat=2 * num)
    tower.add("audio.blocks.conv.depthwise.weight", (width, 1, 3), repeat=num)
    tower.add("audio.blocks.conv.depthwise.bias", (width,), repeat=num)
    tower.linear("audio.blocks.conv.pointwise", width, width, repeat=2 * num)
    tower.norm("audio.blocks.norms", width, repeat=5 * num)
    add_pair(tower, "audio.projector", width, hidden, repeat=2)


MEL_BINS = 80
"""Of its feature extractor."""
