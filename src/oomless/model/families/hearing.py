"""Models that hear and do not speak: Qwen2-Audio, Qwen3-ASR, Voxtral. Whisper's encoder before a plain
decoder. Checked against transformers' classes on the meta device."""

from ..config import MAX_LAYERS, Config
from ..model import Model
from .nested import read_nested, unread_inside, with_outer
from .qwen_omni import SOUND_WITHOUT_EFFECT, encoder_layers, read_sound
from .vision import Tower

TEXT = {"qwen2_audio": "qwen2", "qwen3_asr": "qwen3", "voxtral": "llama"}
"""The decoder that each has."""
WITHOUT_EFFECT = (
    "audio_token_id",
    "audio_token_index",
    "projector_hidden_act",
    "timestamp_token_id",
    "token_classification_bias",
    "vocab_size",
)
WHISPER_WITHOUT_EFFECT = (
    *SOUND_WITHOUT_EFFECT,
    "activation_dropout",
    "encoder_layerdrop",
    "head_dim",
    "layerdrop",
    "num_key_value_heads",
    "scale_embedding",
    "vocab_size",
)


def read(config: Config, name: str) -> Model:
    """The decoder under text_config, and the encoder under audio_config."""
    family = config.word("model_type")
    for key in WITHOUT_EFFECT:
        config.has(key)
    text = with_outer(config, "text_config")
    model = read_nested(text, name, model_type=TEXT[family])
    audio = config.section("audio_config")
    new = family == "qwen3_asr"
    tower = read_sound(audio, model.dtype) if new else read_whisper(audio, model, family)
    config.check()
    return model._replace(
        family=family,
        tensors=(*model.tensors, *tower.tensors),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def size(audio: Config, own: str, other: str, default: int, most: int | None = None) -> int:
    """One of two spellings: Whisper's, or that of other encoders (Voxtral's)."""
    key = other if audio.has(other) else own
    return audio.size(key, default) if most is None else audio.size(key, default, most=most)


def read_whisper(audio: Config, model: Model, family: str) -> Tower:
    """Two convolutions over mel bins, a table of positions, the layers, and a projector: two linear layers
    over four frames together in Voxtral."""
    tower = Tower(size(audio, "d_model", "hidden_size", 1280), model.dtype)
    width, out = tower.width, model.hidden_size
    tower.linear("audio.conv0", width, 3 * audio.size("num_mel_bins", 128))
    tower.linear("audio.conv1", width, 3 * width)
    tower.add("audio.positions", (audio.size("max_source_positions", 1500), width))
    inner = size(audio, "encoder_ffn_dim", "intermediate_size", 5120)
    size(audio, "encoder_attention_heads", "num_attention_heads", 20)
    for key in WHISPER_WITHOUT_EFFECT:
        audio.has(key)
    num_layers = size(audio, "encoder_layers", "num_hidden_layers", 32, MAX_LAYERS)
    encoder_layers(tower, inner, num_layers, key_bias=False)
    if family == "voxtral":
        tower.linear("audio.projector.linear_1", out, inner, bias=False)
        tower.linear("audio.projector.linear_2", out, out, bias=False)
    else:
        tower.linear("audio.projector", out, width)
    return tower
