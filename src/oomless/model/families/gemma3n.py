"""Gemma 3n: windows and full layers of equal heads, later layers that read the caches of earlier ones, an
embedding for each layer, four residual streams, a low-rank side path; MobileNet-V5 and a conformer before it.

Counts are the hub's, to the unit: E2B 5,439,438,272, E4B 7,849,978,192 (transformers 5.24, gemma3n).
"""

from collections.abc import Iterator

from ..attention import GQA, Attention, Sliding
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..model import Layer, Model, Rope, Tensor, Vision
from .decoder import decoder
from .gemma import SANDWICH
from .gemma4 import add_conformer, layer_inputs
from .layer_types import read_layer_types
from .nested import unread_inside, with_outer
from .rope_and_storage import read_rope
from .vision import Tower


def read(config: Config, name: str) -> Model:
    """The text part alone, or under text_config with both encoders around it."""
    if config.word("model_type") == "gemma3n_text":
        return read_text(config, name)
    text = with_outer(config, "text_config")
    for key in OUTER_WITHOUT_EFFECT:
        config.has(key)
    model = read_text(text, name)
    tokens = config.size("vision_soft_tokens_per_image", 256)
    tower = read_tower(config.section("vision_config"), model.hidden_size)
    sound = read_audio(config.section("audio_config"), model.hidden_size)
    config.check()
    return model._replace(
        family="gemma3n",
        tensors=(*model.tensors, *tower.tensors, *sound.tensors),
        vision=Vision(tokens, 3 * 768**2),
        warnings=(*model.warnings, *unread_inside(text)),
    )


def read_text(text: Config, name: str) -> Model:
    """35 layers where nothing is said, every fifth of them full; those of the end borrow caches."""
    text.values = {"model_type": "gemma3n_text", **TEXT_DEFAULTS, **text.values}
    num_layers = text.size("num_hidden_layers", most=MAX_LAYERS)
    first_shared = num_layers - text.size("num_kv_shared_layers", 15, least=0, most=num_layers - 1)
    for key in ("activation_sparsity_pattern", "altup_active_idx", "altup_coef_clip", "altup_correct_scale"):
        text.has(key)
    kinds = read_layer_types(text, num_layers) if text.has("layer_types") else default_kinds(num_layers)
    gqa = GQA(
        text.size("num_attention_heads"),
        text.size("num_key_value_heads"),
        text.size("head_dim"),
        qk_norm=True,
    )
    window, attentions = text.size("sliding_window"), list[Attention]()
    for index, kind in enumerate(kinds):
        own = gqa._replace(borrows_cache=index >= first_shared)
        attentions.append(Sliding(own, window) if kind == "sliding_attention" else own)
    widths = read_widths(text, num_layers)
    layers = tuple(Layer(each, Dense(width)) for each, width in zip(attentions, widths, strict=True))
    max_positions = text.size("max_position_embeddings")
    rope = read_rope(text, gqa.head_dim, max_positions, "full_attention", 1e6)
    rope = rope._replace(reaches_scaled=True)
    local = Rope(gqa.head_dim, text.number("rope_local_base_freq", 10000.0), max_positions)
    streams = text.size("altup_num_inputs", 4)
    rank, width = text.size("laurel_rank", 64), text.size("hidden_size_per_layer_input", 256)
    vocab = text.size("vocab_size_per_layer_input", 262144)
    model = decoder(text, name, layers, norms=SANDWICH, ropes=(rope, local), tied=True)
    more = (*layer_inputs(model, width, vocab), *streams_of(model, streams, rank))
    return model._replace(tensors=(*model.tensors, *more), streams=streams)


def default_kinds(num_layers: int) -> list[str]:
    """Every fifth layer is full."""
    return ["sliding_attention" if (layer + 1) % 5 else "full_attention" for layer in range(num_layers)]


def read_widths(text: Config, num_layers: int) -> tuple[int, ...]:
    """The feed-forward width of each layer, said once or in a list."""
    if not isinstance(text.values.get("intermediate_size"), list):
        return (text.size("intermediate_size"),) * num_layers
    widths = text.sizes("intermediate_size", least=1)
    if len(widths) != num_layers:
        text.fault(f"intermediate_size has {len(widths)} entries, not {num_layers}")
        return (1,) * num_layers
    return widths


def streams_of(model: Model, streams: int, rank: int) -> Iterator[Tensor]:
    """Projections into and out of the further streams, and in each layer what predicts, corrects and routes
    them, and the path of `rank`."""
    hidden, dtype, every = model.hidden_size, model.dtype, tuple(range(len(model.layers)))
    yield Tensor("model.altup_projections.weight", (hidden, hidden), dtype, repeat=2 * (streams - 1))
    for name, shape in (
        ("altup.correct_output_scale", (hidden,)),
        ("altup.correction_coefs.weight", (streams, streams)),
        ("altup.prediction_coefs.weight", (streams**2, streams)),
        ("altup.modality_router.weight", (streams, hidden)),
        ("altup.router_norm.weight", (hidden,)),
        ("laurel.linear_left.weight", (rank, hidden)),
        ("laurel.linear_right.weight", (hidden, rank)),
        ("laurel.post_laurel_norm.weight", (hidden,)),
    ):
        yield Tensor(f"model.layers.{{}}.{name}", shape, dtype, layers=every)


def read_tower(vision: Config, hidden: int) -> Tower:
    """MobileNet-V5 of 300M, which the config names and does not describe, and what embeds its output."""
    for key in ("architecture", "do_pooling", "model_args", "num_classes", "vocab_offset"):
        vision.has(key)
    tower = Tower(vision.size("hidden_size", 2048))
    tower.add("mobilenetv5_300m_enc", (MOBILENET_V5,))
    add_embedder(tower, vision.size("vocab_size", 128), hidden, OF_IMAGES)
    return tower


def add_embedder(tower: Tower, vocab: int, hidden: int, names: tuple[str, str, str]) -> None:
    """A table of special tokens, a norm for them and one for the encoder's output, and a projection."""
    table, norms, projector = names
    tower.add(table, (vocab, tower.width))
    tower.norm(norms, tower.width, bias=False, repeat=2)
    tower.linear(projector, hidden, tower.width, bias=False)


def read_audio(audio: Config, hidden: int) -> Tower:
    """Two convolutions, then layers of two half MLPs, attention with relative positions and a gated
    convolution."""
    for key in AUDIO_WITHOUT_EFFECT:
        audio.has(key)
    width, num = audio.size("hidden_size", 1536), audio.size("conf_num_hidden_layers", 12, most=MAX_LAYERS)
    heads, kernel = audio.size("conf_num_attention_heads", 8), audio.size("conf_conv_kernel_size", 5)
    tower = Tower(width)
    add_conformer(tower, (128, 32), audio.size("input_feat_size", 128), num, heads, kernel)
    add_embedder(tower, audio.size("vocab_size", 128), hidden, OF_SOUND)
    return tower


OF_IMAGES = ("embedding", "embedding.norms", "projector")
OF_SOUND = ("audio.embedding", "audio.embedding.norms", "audio.projector")
MOBILENET_V5 = 294_126_912
"""Elements of the encoder: what the hub's counts of E2B and E4B leave, the same for both."""
TEXT_DEFAULTS = {
    "vocab_size": 262400,
    "hidden_size": 2048,
    "intermediate_size": 16384,
    "num_hidden_layers": 35,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "max_position_embeddings": 32768,
    "sliding_window": 512,
}
"""Of transformers' Gemma3nTextConfig (5.24)."""
OUTER_WITHOUT_EFFECT = (
    "audio_soft_tokens_per_image",
    "audio_token_id",
    "boa_token_id",
    "boi_token_id",
    "eoa_token_id",
    "eoi_token_id",
)
AUDIO_WITHOUT_EFFECT = (
    "conf_attention_chunk_size",
    "conf_attention_context_left",
    "conf_attention_context_right",
    "conf_attention_logit_cap",
    "conf_reduction_factor",
    "conf_residual_weight",
    "gradient_clipping",
    "sscp_conv_channel_size",
    "sscp_conv_eps",
    "sscp_conv_group_norm_eps",
    "sscp_conv_kernel_size",
    "sscp_conv_stride_size",
    "vocab_offset",
)
