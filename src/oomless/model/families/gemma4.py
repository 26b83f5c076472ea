"""Gemma 4: full layers with wide heads whose keys are their values, experts beside a dense block, a ViT with
a table for two axes.

The E models have an embedding for each layer beside the one for all, later layers that read the caches of
earlier ones, and a conformer for sound. Checked against the hub's element counts and transformers' classes on
the meta device.
"""

from collections.abc import Iterator

from ..attention import GQA, Attention, Sliding
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward, MoE
from ..layer_weights import BlockNorms
from ..model import VOCABULARY, Layer, Model, Rope, Tensor, Vision
from ..scope import columns
from .decoder import decoder
from .gemma import SANDWICH, read_kinds
from .nested import unread_inside, with_outer
from .rope_and_storage import read_rope
from .vision import Tower


def read(config: Config, name: str) -> Model:
    """The text part under text_config, the tower, and the encoder for sound where there is one."""
    family = config.word("model_type")
    if family.endswith("_text"):
        return read_text(config, name)
    text = with_outer(config, "text_config")
    canvas = config.size("canvas_length", 256) if family == "diffusion_gemma" else 0
    if canvas:
        text.values = {**DIFFUSION_DEFAULTS, **text.values}
    for key in (
        "audio_token_id",
        "boa_token_id",
        "boi_token_id",
        "eoa_token_id",
        "eoa_token_index",
        "eoi_token_id",
        "video_token_id",
    ):
        config.has(key)
    model, both = read_text(text, name), text.word("use_bidirectional_attention", "") == "vision"
    vision = config.section("vision_config")
    tokens = config.size("vision_soft_tokens_per_image", 280)
    unified = family == "gemma4_unified"
    tower = (read_embedder if unified else read_tower)(vision, model.hidden_size)
    patches = tokens * vision.size("pooling_kernel_size", 3) ** 2
    values = patches * 3 * vision.size("patch_size", 16) ** 2
    vision.flag("use_clipped_linears", False)
    sound: list[Tensor] = []
    if config.has("audio_config") and config.values["audio_config"] is not None:
        audio = config.section("audio_config")
        sound = (read_samples if unified else read_audio)(audio, model.hidden_size).tensors
    config.check()
    return model._replace(
        family="gemma4",
        canvas=canvas,
        tensors=(*model.tensors, *(self_conditioning(model) if canvas else ()), *tower.tensors, *sound),
        vision=Vision(tokens, values, both and not canvas),
        warnings=(*model.warnings, *unread_inside(text)),
    )


DIFFUSION_DEFAULTS = {"enable_moe_block": True, "attention_k_eq_v": True, "global_head_dim": 512}
"""What DiffusionGemma's class has without a key (transformers 5.24)."""


def self_conditioning(model: Model) -> Iterator[Tensor]:
    """What DiffusionGemma makes of its last guess at a block: a gated block as wide as the dense one of a
    layer, and a norm."""
    ffn, hidden, dtype = model.layers[0].ffn, model.hidden_size, model.dtype
    width = ffn.dense_width if isinstance(ffn, MoE) else ffn.intermediate_size
    yield Tensor("model.self_conditioning.pre_norm.weight", (hidden,), dtype)
    yield Tensor("model.self_conditioning.gate_up_proj.weight", (2 * width, hidden), dtype)
    yield Tensor("model.self_conditioning.down_proj.weight", (hidden, width), dtype)


def read_text(text: Config, name: str) -> Model:
    """Sliding and full layers of different head widths; four norms a layer, three more beside experts, and
    one scalar."""
    num_layers = text.size("num_hidden_layers", most=MAX_LAYERS)
    for key in (
        "per_layer_config",
        "expert_intermediate_size",
        "use_bidirectional_attention",
        "use_double_wide_mlp",
        "vocab_size_per_layer_input",
    ):
        text.has(key)
    first_shared = num_layers - text.size("num_kv_shared_layers", 0, least=0, most=num_layers - 1)
    attentions = read_attentions(text, num_layers, first_shared)
    ffns = read_ffns(text, num_layers, first_shared)
    ffn, norms = ffns[0], SANDWICH
    if isinstance(ffn, MoE):
        norms = BlockNorms((*SANDWICH.names, "pre_feedforward_2", "post_feedforward_1", "post_feedforward_2"))
    layers = tuple(Layer(each, block) for each, block in zip(attentions, ffns, strict=True))
    model = decoder(text, name, layers, norms=norms, ropes=read_ropes(text), tied=True)
    every, hidden = tuple(range(num_layers)), model.hidden_size
    extra = [Tensor("model.layers.{}.layer_scalar", (1,), model.dtype, layers=every)]
    if isinstance(ffn, MoE):
        extra.append(Tensor("model.layers.{}.router.scale", (hidden,), model.dtype, layers=every))
        extra.append(
            Tensor("model.layers.{}.router.per_expert_scale", (ffn.num_experts,), model.dtype, layers=every)
        )
    if width := text.size("hidden_size_per_layer_input", 0, least=0):
        extra += layer_inputs(model, width, text.size("vocab_size_per_layer_input", model.vocab_size))
    return model._replace(tensors=(*model.tensors, *extra))


def read_attentions(text: Config, num_layers: int, first_shared: int) -> list[Attention]:
    """The attention of each layer: windows over narrow heads, full layers with wide ones; from `first_shared`
    on a layer reads an earlier one's cache."""
    heads, kv_heads = text.size("num_attention_heads"), text.size("num_key_value_heads")
    bias = text.flag("attention_bias", False)
    local = GQA(heads, kv_heads, text.size("head_dim"), bias, bias, qk_norm=True)
    wide = local._replace(
        num_kv_heads=text.size("num_global_key_value_heads", kv_heads),
        head_dim=global_width(text),
        shares_values=text.flag("attention_k_eq_v", False),
    )
    window, found = text.size("sliding_window"), list[Attention]()
    for index, kind in enumerate(read_kinds(text, num_layers, 6)):
        gqa = (local if kind == "sliding_attention" else wide)._replace(borrows_cache=index >= first_shared)
        found.append(Sliding(gqa, window) if kind == "sliding_attention" else gqa)
    return found


def read_ffns(text: Config, num_layers: int, first_shared: int) -> list[FeedForward]:
    """The feed-forward block of each layer: dense, in some models with experts beside; of twice the width
    where layers that share a cache are said to have that."""
    dense = Dense(text.size("intermediate_size"))
    ffn: FeedForward = dense
    for key in ("num_experts", "top_k_experts", "moe_intermediate_size"):
        text.has(key)
    if text.flag("enable_moe_block", False):
        ffn = MoE(
            text.size("num_experts", most=MAX_EXPERTS),
            text.size("top_k_experts", most=MAX_EXPERTS),
            text.size("moe_intermediate_size"),
            dense_width=dense.intermediate_size,
        )
    double = Dense(2 * dense.intermediate_size) if text.flag("use_double_wide_mlp", False) else ffn
    return [double if index >= first_shared else ffn for index in range(num_layers)]


def read_ropes(text: Config) -> tuple[Rope, ...]:
    """Two tables: the wide heads', and the windows' plain one."""
    max_positions, width = text.size("max_position_embeddings"), text.size("head_dim")
    theta = read_rope(text, width, max_positions, "sliding_attention").theta
    full = read_rope(text, global_width(text), max_positions, "full_attention", 1e6)
    return full, Rope(width, theta, max_positions)


def global_width(text: Config) -> int:
    """Width of a head of full layers: global_head_dim, or what transformers 5 lists for single layers."""
    listed = text.values.get("per_layer_config")
    if text.has("global_head_dim") or not isinstance(listed, dict):
        return text.size("global_head_dim")
    widths = {
        Config(each, "per_layer_config").size("head_dim", 0, least=0)
        for each in listed.values()
        if isinstance(each, dict)
    }
    if len(widths) != 1 or 0 in widths:
        text.fault("per_layer_config does not give one head_dim")
        return 1
    return widths.pop()


def layer_inputs(model: Model, width: int, vocab: int) -> Iterator[Tensor]:
    """The embedding for each layer: one wide table, its projection, and a gate, a projection and a norm a
    layer."""
    hidden, num_layers, dtype = model.hidden_size, len(model.layers), model.dtype
    every = tuple(range(num_layers))
    yield Tensor(
        "model.embed_tokens_per_layer.weight", (vocab, num_layers * width), dtype, VOCABULARY, lookup=True
    )
    yield Tensor(
        "model.per_layer_model_projection.weight",
        (num_layers * width, hidden),
        dtype,
        columns(num_layers * width),
    )
    yield Tensor("model.per_layer_projection_norm.weight", (width,), dtype)
    yield Tensor("model.layers.{}.per_layer_input_gate.weight", (width, hidden), dtype, layers=every)
    yield Tensor("model.layers.{}.per_layer_projection.weight", (hidden, width), dtype, layers=every)
    yield Tensor("model.layers.{}.post_per_layer_input_norm.weight", (hidden,), dtype, layers=every)


def read_audio(audio: Config, hidden: int) -> Tower:
    """A conformer: two convolutions, then layers of two half MLPs, attention with relative positions and a
    gated convolution."""
    for key in AUDIO_WITHOUT_EFFECT:
        audio.has(key)
    width, num_layers = audio.size("hidden_size", 1024), audio.size("num_hidden_layers", 12, most=MAX_LAYERS)
    heads, out = audio.size("num_attention_heads", 8), audio.size("output_proj_dims", 1536)
    channels = (
        audio.sizes("subsampling_conv_channels") if audio.has("subsampling_conv_channels") else (128, 32)
    )
    if len(channels) != 2:
        audio.fault(f"subsampling_conv_channels has {len(channels)} numbers, not two")
        channels = (128, 32)
    tower = Tower(width)
    add_conformer(tower, channels, MEL_BINS, num_layers, heads, audio.size("conv_kernel_size", 5))
    tower.linear("audio.output_proj", out, width)
    tower.linear("audio.projector", hidden, out, bias=False)
    return tower


def add_conformer(
    tower: Tower, channels: tuple[int, ...], mel_bins: int, num_layers: int, heads: int, kernel: int
) -> None:
    """The convolutions and the layers of a conformer, Gemma 3n's as well."""
    width, (first, second) = tower.width, channels
    tower.add("audio.conv0.weight", (first, 1, 3, 3))
    tower.add("audio.conv1.weight", (second, first, 3, 3))
    tower.norm("audio.conv0.norm", first, bias=False)
    tower.norm("audio.conv1.norm", second, bias=False)
    tower.linear("audio.input_proj", width, mel_bins // 4 * second, bias=False)
    for part, rows_, columns_, each in (
        ("ffw_in", 4 * width, width, 2),
        ("ffw_out", width, 4 * width, 2),
        ("attn", width, width, 5),
        ("conv_start", 2 * width, width, 1),
        ("conv_end", width, width, 1),
    ):
        tower.linear(f"audio.blocks.{part}", rows_, columns_, bias=False, repeat=each * num_layers)
    tower.add("audio.blocks.depthwise.weight", (width, 1, kernel), repeat=num_layers)
    tower.norm("audio.blocks.norms", width, bias=False, repeat=NORMS_OF_A_CONFORMER_LAYER * num_layers)
    tower.add("audio.blocks.per_dim_scale", (width // heads or 1,), repeat=num_layers)


MEL_BINS = 128
"""Of the feature extractor; two convolutions of stride 2 leave a quarter of them."""
NORMS_OF_A_CONFORMER_LAYER = 9
"""Before and after each half MLP, before and after attention, two in the convolution, one at the end."""
AUDIO_WITHOUT_EFFECT = (
    "attention_chunk_size",
    "attention_context_left",
    "attention_context_right",
    "attention_invalid_logits_value",
    "attention_logit_cap",
    "gradient_clipping",
    "residual_weight",
    "use_clipped_linears",
)


def read_embedder(vision: Config, hidden: int) -> Tower:
    """What Gemma 4 12B has for a tower: one linear layer over merged patches, a table for two axes, three
    norms (transformers 5.24, gemma4_unified).

    >>> tower = read_embedder(Config({}, "example"), 3840)
    >>> sum(tensor.num_parameters for tensor in tower.tensors)
    49922304
    """
    width = vision.size("mm_embed_dim", 3840)
    pixels = 3 * (vision.size("patch_size", 16) * vision.size("pooling_kernel_size", 3)) ** 2
    for key in ("model_patch_size", "num_soft_tokens"):
        vision.has(key)
    tower = Tower(width)
    tower.norm("patch_ln1", pixels)
    tower.linear("patch_dense", width, pixels)
    tower.norm("patch_ln2", width)
    tower.add("pos_embedding", (vision.size("mm_posemb_size", 1120), 2, width))
    tower.norm("pos_norm", width)
    tower.linear("projector", hidden, vision.size("output_proj_dims", 3840), bias=False)
    return tower


def read_samples(audio: Config, hidden: int) -> Tower:
    """One linear layer over the samples of a frame."""
    width = audio.size("audio_embed_dim", 640)
    for key in ("audio_samples_per_token", "hidden_size", "output_proj_dims"):
        audio.has(key)
    tower = Tower(width)
    tower.linear("audio.projector", hidden, width, bias=False)
    return tower


def read_tower(vision: Config, hidden: int) -> Tower:
    """A ViT with gated MLPs, four norms a block and norms on queries and keys, without biases."""
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    num_layers, heads = vision.size("num_hidden_layers", most=MAX_LAYERS), vision.size("num_attention_heads")
    head_dim = vision.size("head_dim")
    tower = Tower(width)
    tower.linear("patch_embedder.input_proj", width, 3 * vision.size("patch_size") ** 2, bias=False)
    tower.add("patch_embedder.position_embedding_table", (2, vision.size("position_embedding_size"), width))
    tower.blocks(
        num_layers, inner, heads, bias=False, gated=True, norm_bias=False, attention_width=heads * head_dim
    )
    tower.norm("blocks.more_norms", width, bias=False, repeat=2 * num_layers)
    tower.norm("blocks.qk_norms", head_dim, bias=False, repeat=2 * num_layers)
    tower.linear("projector", hidden, width, bias=False)
    if vision.flag("standardize", False):
        tower.add("standardize", (width,), repeat=2)
    return tower
