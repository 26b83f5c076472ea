"""Models that hear: Qwen2-Audio, Qwen2.5-Omni, Qwen3-Omni, Qwen3-ASR, Voxtral. Whisper's encoder before a
plain decoder, and in the omni models a Qwen-VL tower beside it.

Of the omni models engines serve the part that thinks (vllm 0.33: qwen2_5_omni_thinker.py, which leaves
talker. and token2wav. unread): what speaks is not counted. Checked against transformers' classes on the meta
device.
"""

from ..config import MAX_LAYERS, Config
from ..model import WHOLE, Model
from ..scope import columns, rows
from .qwen_vl import MOST_PIXELS, largest_image, read_old_tower, read_tower, with_axes
from .rope_and_storage import unread_inside, with_outer
from .vision import Tower

TEXT = {
    "qwen2_audio": "qwen2",
    "qwen2_5_omni": "qwen2",
    "qwen3_omni_moe": "qwen3_moe",
    "qwen3_asr": "qwen3",
    "voxtral": "llama",
}
"""The decoder that each has."""
SPEAKS = ("code2wav_config", "talker_config", "token2wav_config")
WITHOUT_EFFECT = (
    "assistant_token_id",
    "audio_end_token_id",
    "audio_start_token_id",
    "audio_token_id",
    "audio_token_index",
    "enable_audio_output",
    "enable_talker",
    "position_id_per_seconds",
    "projector_hidden_act",
    "seconds_per_chunk",
    "timestamp_token_id",
    "token_classification_bias",
    "user_token_id",
    "video_token_id",
    "video_token_index",
    "vision_end_token_id",
    "vision_start_token_id",
    "vocab_size",
)


def read(config: Config, name: str) -> Model:
    """The decoder under text_config, the encoder under audio_config, a tower under vision_config; in the omni
    models all under thinker_config."""
    from . import read_nested

    family = config.word("model_type")
    outer, notes = config, tuple[str, ...]()
    if config.has("thinker_config"):
        for key in (*SPEAKS, *WITHOUT_EFFECT):
            config.has(key)
        config = with_outer(config, "thinker_config")
        config.has("model_type")
        notes = ("what speaks is not counted: engines serve the part that thinks",)
    for key in WITHOUT_EFFECT:
        config.has(key)
    text = with_outer(config, "text_config")
    given = text.values
    text.values = {**given, "model_type": TEXT[family]}
    model = read_nested(text, name)
    text.values = given
    audio = config.section("audio_config")
    tower = read_new(audio, model) if family in NEW else read_whisper(audio, model, family)
    tensors = [*model.tensors, *tower.tensors]
    seen = None
    if config.has("vision_config"):
        vision = config.section("vision_config")
        old = family == "qwen2_5_omni"
        eyes = read_old_tower(vision, "qwen2_5_vl", model) if old else read_tower(vision, model.dtype)
        tensors += eyes.tensors
        seen = largest_image(vision, MOST_PIXELS["qwen2_5_vl"] if old else 1 << 24)
        model = model._replace(ropes=with_axes(model.ropes))
    outer.check()
    inside = (*unread_inside(text), *(unread_inside(config) if config is not outer else ()))
    return model._replace(
        family=family, tensors=tuple(tensors), vision=seen, warnings=(*model.warnings, *notes, *inside)
    )


NEW = ("qwen3_omni_moe", "qwen3_asr")
"""Those whose encoder has three convolutions over the picture of a sound, and is divided among ranks."""


def size(audio: Config, own: str, other: str, default: int) -> int:
    """One of two spellings: Whisper's, or that of other encoders (Voxtral's)."""
    return audio.size(other if audio.has(other) else own, default)


def blocks(tower: Tower, audio: Config, key_bias: bool, divided: bool) -> int:
    """Whisper's layers, of which keys have a bias in Qwen3's alone. The number of them."""
    width, num_layers = tower.width, size(audio, "encoder_layers", "num_hidden_layers", 32)
    num_layers = min(num_layers, MAX_LAYERS)
    heads = size(audio, "encoder_attention_heads", "num_attention_heads", 20)
    inner = size(audio, "encoder_ffn_dim", "intermediate_size", 5120)
    whole = not divided
    by_heads, by_inner = (WHOLE, WHOLE) if whole else (columns(heads), columns(inner))
    from_heads, from_inner = (WHOLE, WHOLE) if whole else (rows(heads), rows(inner))
    tower.linear("audio.blocks.attn.qkv", 3 * width, width, by_heads, bias=False, repeat=num_layers)
    tower.add("audio.blocks.attn.qkv.bias", (width * (3 if key_bias else 2),), repeat=num_layers)
    tower.linear("audio.blocks.attn.out", width, width, from_heads, repeat=num_layers)
    tower.linear("audio.blocks.fc1", inner, width, by_inner, repeat=num_layers)
    tower.linear("audio.blocks.fc2", width, inner, from_inner, repeat=num_layers)
    tower.norm("audio.blocks.norms", width, repeat=2 * num_layers)
    tower.norm("audio.post_norm", width)
    for key in AUDIO_WITHOUT_EFFECT:
        audio.has(key)
    return inner


AUDIO_WITHOUT_EFFECT = (
    "activation_dropout",
    "activation_function",
    "conv_chunksize",
    "encoder_layerdrop",
    "head_dim",
    "layerdrop",
    "max_position_embeddings",
    "n_window",
    "n_window_infer",
    "num_key_value_heads",
    "scale_embedding",
    "vocab_size",
)


def read_whisper(audio: Config, model: Model, family: str) -> Tower:
    """Two convolutions over mel bins, a table of positions (Qwen2.5's are computed), the layers, and a
    projector: two linear layers over four frames together in Voxtral."""
    tower = Tower(size(audio, "d_model", "hidden_size", 1280), model.dtype)
    width, out = tower.width, model.hidden_size
    tower.add("audio.conv1.weight", (width, audio.size("num_mel_bins", 128), 3))
    tower.add("audio.conv2.weight", (width, width, 3))
    tower.add("audio.conv.bias", (width,), repeat=2)
    positions = audio.size("max_source_positions", 1500)
    inner = blocks(tower, audio, key_bias=False, divided=False)
    if family == "qwen2_5_omni":
        out = audio.size("output_dim", out)
        tower.add("audio.begin_and_end", (2, out))
    else:
        tower.add("audio.positions", (positions, width))
    if family == "voxtral":
        tower.linear("audio.projector.linear_1", out, inner, bias=False)
        tower.linear("audio.projector.linear_2", out, out, bias=False)
    else:
        tower.linear("audio.projector", out, width)
    return tower


def read_new(audio: Config, model: Model) -> Tower:
    """Three strided convolutions of a picture's kind, a linear layer over what they leave of the mel bins,
    the layers, two linear layers."""
    tower = Tower(audio.size("d_model", 1280), model.dtype)
    width, channels = tower.width, audio.size("downsample_hidden_size", 480)
    bins = audio.size("num_mel_bins", 128)
    audio.has("max_source_positions")
    tower.add("audio.conv1.weight", (channels, 1, 3, 3))
    tower.add("audio.conv.weight", (channels, channels, 3, 3), repeat=2)
    tower.add("audio.conv.bias", (channels,), repeat=3)
    for _ in range(3):
        bins = (bins + 1) // 2
    tower.linear("audio.conv_out", width, channels * bins, bias=False)
    blocks(tower, audio, key_bias=True, divided=True)
    tower.linear("audio.projector.linear_1", width, width)
    tower.linear("audio.projector.linear_2", audio.size("output_dim", model.hidden_size), width)
    return tower
