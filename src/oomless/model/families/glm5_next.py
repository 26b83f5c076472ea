"""GLM-5.3-Flash: Kimi delta attention in three of four layers; in the fourth latent attention without
positions, behind an indexer that pools its keys; experts, residual streams, an MTP layer and a tower
(transformers: models/glm5_next, vllm: models/glm5next)."""

from collections.abc import Iterator

from ..attention import DSA, Attention
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense, FeedForward
from ..layer_weights import ends
from ..model import WHOLE, Layer, Model, Rope, Tensor
from ..scope import Scope, Storage
from ..storage import F32, Format
from .decoder import assembled
from .deepseek import mtp_tensors, read_experts
from .deepseek_v4 import stack_tensors
from .glm_vl import add_merger
from .kimi_linear import read_delta
from .latent_attention import read_dsa
from .layer_types import STATES, read_layer_types
from .nested import unread_inside, with_outer
from .qwen_vl import largest_image, with_eyes
from .rope_and_storage import read_storage
from .vision import Tower

MOST_PIXELS = 28 * 28 * 12288
"""longest_edge of the published processors, in pixels."""


def read(config: Config, name: str) -> Model:
    """The text model and its tower."""
    for each in ("image", "video"):
        for key in (f"{each}_token_id", f"{each}_start_token_id", f"{each}_end_token_id"):
            config.has(key)
    text = with_outer(config, "text_config")
    model = read_text(text, name)
    vision = config.section("vision_config")
    tower = read_tower(vision, model.dtype)
    config.check()
    seeing = with_eyes(model, "glm5_next", tower, largest_image(vision, MOST_PIXELS))
    return seeing._replace(warnings=(*model.warnings, *unread_inside(text)))


def read_text(config: Config, name: str) -> Model:
    """Blocks with the mixers of their streams, whose heads only add them up; the MTP layer has attention of
    the fourth kind."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    full, delta = read_dsa(config), read_delta(config)
    full = full._replace(index_pool=config.size("index_kpool", 1))
    kinds = read_layer_types(config, num_layers, STATES)
    moe = read_experts(config)._replace(router_biases=1)
    dense: FeedForward = Dense(config.size("intermediate_size"))
    num_dense = config.size("first_k_dense_replace", 0, least=0, most=MAX_LAYERS)
    streams = config.size("hc_mult")
    num_mtp = config.size("num_nextn_predict_layers", 0, least=0, most=MAX_LAYERS)
    stored, quantization = read_storage(config)
    tied = config.flag("tie_word_embeddings", False)
    ropes = (Rope(0, 10000.0, config.size("max_position_embeddings")),)
    config.check()
    attentions: list[Attention] = [full if kind == "full_attention" else delta for kind in kinds]
    layers = tuple(Layer(each, dense if at < num_dense else moe) for at, each in enumerate(attentions))
    draft = (Layer(full, moe),) * num_mtp
    tensors = (
        *ends(hidden, vocab, stored, tied),
        *stack_tensors(layers, hidden, vocab, stored, streams),
        *pooling_tensors(
            full, hidden, tuple(at for at, each in enumerate(attentions) if each == full), stored
        ),
        *(each for each in mtp_tensors(draft, num_layers, hidden, vocab, stored) if not each.copy_of),
    )
    return assembled(
        config, name, stored, quantization, layers, tensors, ropes, tied=tied, draft=draft, streams=streams
    )


def pooling_tensors(full: DSA, hidden: int, layers: tuple[int, ...], stored: Storage) -> Iterator[Tensor]:
    """What weighs the keys that an indexer pools: a table of the places in a pool, and a gate."""
    scope = Scope(layers, stored)
    yield scope.tensor(
        "self_attn.indexer.index_kpool_compress_ape", (full.index_pool, full.index_head_dim), F32
    )
    yield scope.tensor("self_attn.indexer.index_kpool_compress_gate", (full.index_head_dim, hidden), "plain")


def read_tower(vision: Config, dtype: Format) -> Tower:
    """Gated blocks with biases and norms on queries and keys, a convolution that brings patches together, and
    the merger."""
    width, patch = vision.size("hidden_size"), vision.size("patch_size")
    tower = Tower(width, dtype)
    shape = (vision.size("in_channels", 3), vision.size("temporal_patch_size"), patch, patch)
    tower.add("patch_embed.weight", (width, *shape))
    tower.add("patch_embed.bias", (width,))
    num_blocks, heads = vision.size("depth", most=MAX_LAYERS), vision.size("num_heads")
    tower.add("blocks.attn.q_norm.weight", (width // heads,), WHOLE, num_blocks)
    tower.add("blocks.attn.k_norm.weight", (width // heads,), WHOLE, num_blocks)
    tower.blocks(
        num_blocks,
        vision.size("intermediate_size"),
        heads,
        bias=vision.flag("attention_bias", True),
        gated=True,
        norm_bias=False,
    )
    add_merger(tower, vision, vision.size("projection_intermediate_size"))
    return tower
