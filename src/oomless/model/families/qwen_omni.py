"""Qwen that hears: the thinker of Qwen2.5-Omni and of Qwen3-Omni, a decoder as Qwen-VL's behind its tower and
an encoder of sound. Engines load no more than the thinker (vLLM: models/qwen2_5_omni_thinker.py)."""

from ..config import MAX_LAYERS, Config
from ..model import Model
from ..storage import Format
from .nested import read_nested, unread_inside, with_outer
from .qwen_vl import MOST_PIXELS, largest_image, read_old_tower, read_tower, with_eyes
from .vision import Tower

TEXT = {"qwen2_5_omni": "qwen2", "qwen3_omni_moe": "qwen3_moe"}
"""The decoder that each has."""
SPEAKING = ("talker_config", "token2wav_config", "code2wav_config")
"""What speaks, beside the thinker."""
WITHOUT_EFFECT = (
    "assistant_token_id",
    "audio_end_token_id",
    "audio_start_token_id",
    "audio_token_id",
    "audio_token_index",
    "enable_audio_output",
    "enable_talker",
    "im_end_token_id",
    "im_start_token_id",
    "position_id_per_seconds",
    "seconds_per_chunk",
    "system_token_id",
    "tts_bos_token_id",
    "tts_eos_token_id",
    "tts_pad_token_id",
    "user_token_id",
    "video_token_id",
    "video_token_index",
    "vision_end_token_id",
    "vision_start_token_id",
    "vision_token_id",
)
SOUND_WITHOUT_EFFECT = ("conv_chunksize", "max_source_positions", "n_window", "n_window_infer")


def read(config: Config, name: str) -> Model:
    """The decoder under text_config, the tower and the encoder; what speaks is said, not counted."""
    family = config.word("model_type").removesuffix("_thinker")
    speaks = [key for key in SPEAKING if config.has(key)]
    thinker = with_outer(config, "thinker_config") if config.has("thinker_config") else config
    for key in WITHOUT_EFFECT:
        thinker.has(key)
        config.has(key)
    text = with_outer(thinker, "text_config")
    model = read_nested(text, name, model_type=TEXT[family])
    vision, sound = thinker.section("vision_config"), thinker.section("audio_config")
    seen = family == "qwen2_5_omni"
    tower = read_old_tower(vision, "qwen2_5_vl", model) if seen else read_tower(vision, model.dtype)
    heard = read_sound(sound, model.dtype)
    config.check()
    pixels = MOST_PIXELS["qwen2_5_vl"] if seen else 1 << 24
    model = with_eyes(model, family, tower, largest_image(vision, pixels))
    unheard = "what speaks (talker, vocoder) is not counted: engines load the thinker alone"
    return model._replace(
        tensors=(*model.tensors, *heard.tensors),
        warnings=(*model.warnings, *unread_inside(text), *([unheard] if speaks else ())),
    )


def read_sound(sound: Config, dtype: Format) -> Tower:
    """Whisper's encoder layers, whole on each rank, behind two convolutions of a row of mel bins
    (Qwen2.5-Omni; its keys have no bias) or three of a picture of them.

    >>> from ..storage import BF16
    >>> sum(tensor.num_parameters for tensor in read_sound(Config({}, "example"), BF16).tensors)
    639647232
    """
    for key in SOUND_WITHOUT_EFFECT:
        sound.has(key)
    width, num_layers = sound.size("d_model", 1280), sound.size("encoder_layers", 32, most=MAX_LAYERS)
    inner, out = sound.size("encoder_ffn_dim", 5120), sound.size("output_dim", 3584)
    bins = sound.size("num_mel_bins", 128)
    sound.size("encoder_attention_heads", 20)
    pictures = sound.size("downsample_hidden_size") if sound.has("downsample_hidden_size") else 0
    tower = Tower(width, dtype)
    if pictures:
        tower.add("audio.conv0.weight", (pictures, 1, 3, 3))
        tower.add("audio.conv.weight", (pictures, pictures, 3, 3), repeat=2)
        tower.add("audio.conv.bias", (pictures,), repeat=3)
        tower.linear("audio.conv_out", width, pictures * -(-bins // 8), bias=False)
        tower.linear("audio.proj1", width, width)
    else:
        tower.linear("audio.conv0", width, 3 * bins)
        tower.linear("audio.conv1", width, 3 * width)
        tower.add("audio.bos_eos.weight", (2, out))
    encoder_layers(tower, inner, num_layers, key_bias=bool(pictures))
    tower.linear("audio.proj", out, width)
    return tower


def encoder_layers(tower: Tower, inner: int, num_layers: int, *, key_bias: bool) -> None:
    """Whisper's layers, and the norm behind them."""
    width = tower.width
    tower.linear("audio.blocks.attn.qkv", 3 * width, width, bias=False, repeat=num_layers)
    tower.add("audio.blocks.attn.qkv.bias", ((3 if key_bias else 2) * width,), repeat=num_layers)
    tower.linear("audio.blocks.attn.out", width, width, repeat=num_layers)
    tower.linear("audio.blocks.fc1", inner, width, repeat=num_layers)
    tower.linear("audio.blocks.fc2", width, inner, repeat=num_layers)
    tower.norm("audio.blocks.norms", width, repeat=2 * num_layers)
    tower.norm("audio.post_norm", width)
