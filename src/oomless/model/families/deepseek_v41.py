"""DeepSeek-V4.1: a text model whose layers share compressed caches, Engram tables, a DSpark draft and a
vision tower."""

from collections.abc import Iterator

from ..attention import V41
from ..config import MAX_EXPERTS, MAX_LAYERS, Config
from ..feedforward import MoE
from ..layer_weights import ends, equal_layers
from ..model import VOCABULARY, WHOLE, Cut, Layer, Model, Tensor
from ..scope import Scope, Storage, columns, rows
from ..storage import BF16, FP4_E8M0, FP8_32X32_E8M0, FP8_ROW32_E8M0
from .decoder import assembled
from .deepseek import read_experts
from .deepseek_v4 import dspark_tensors, mixed_block, read_attention, read_ropes
from .rope_and_storage import read_dtype

ROUTER_BIASES = 2
"""One for text and one for images."""
PLAIN = Storage(BF16, BF16, BF16)
ENGRAM = Storage(BF16, FP8_32X32_E8M0, FP8_32X32_E8M0)


def read(config: Config, name: str) -> Model:
    """The text part is the model; vision and Engram are parts of their own, since engines may place or leave
    them apart."""
    plain = read_dtype(config)
    quantization = config.section("quantization_config")
    if (
        quantization.values.get("weight_block_size") != [32, 32]
        or quantization.values.get("expert_dtype") != "fp4"
    ):
        config.fault("quantization_config is not the FP8 32x32 with FP4 experts that V4.1 is published in")
    vision = config.section("vision_config")
    vision.used |= {"model_type", "rope_theta"}
    text = config.section("text_config")
    text.values = {**text.values, "model_type": config.word("model_type")}
    hidden, vocab, streams = text.size("hidden_size"), text.size("vocab_size"), text.size("hc_mult")
    num_layers = text.size("num_hidden_layers", most=MAX_LAYERS)
    moe = read_experts(text)._replace(router_biases=ROUTER_BIASES)
    attentions = read_attentions(text, num_layers)
    draft, rank = read_draft(text, attentions[0], moe)
    tied = text.flag("tie_word_embeddings", False)
    stored = Storage(plain, FP8_32X32_E8M0, FP4_E8M0)
    tables = read_engram(text, hidden, streams)
    ropes = read_ropes(text, text.size("max_position_embeddings"))
    config.check()
    layers = tuple(Layer(attention, moe) for attention in attentions)
    tensors = [*ends(hidden, vocab, stored, tied)]
    for layer, indices in equal_layers(layers):
        tensors += mixed_block(layer, hidden, vocab, streams, Scope(indices, stored))
    tensors += tables
    if draft:
        tensors += dspark_tensors(draft, num_layers, hidden, vocab, stored, streams, rank)
    if vision.values:
        tensors += vision_tensors(vision, hidden)
    if unread := [*text.unread(), *vision.unread()]:
        config.fault(f"keys not understood: {', '.join(unread)}")
    return assembled(
        text, name, stored, "fp8", layers, tensors, ropes, tied=tied, draft=draft, streams=streams
    )


def read_draft(text: Config, attention: V41, moe: MoE) -> tuple[tuple[Layer, ...], int]:
    """(the stages of the DSpark draft, the rank of its Markov head): window-only attention, experts of its
    own number."""
    text.size("num_nextn_predict_layers", 0, least=0)  # the stages again
    stages = len(text.sizes("dspark_target_layer_ids")) if text.has("dspark_target_layer_ids") else 0
    if not stages:
        return (), 0
    experts = moe._replace(
        num_experts=text.size("dspark_n_routed_experts", most=MAX_EXPERTS),
        num_active_experts=text.size("dspark_num_experts_per_tok", most=MAX_EXPERTS),
    )
    window_only = attention._replace(ratio=0, owns_cache=False, owns_index=False)
    return (Layer(window_only, experts),) * stages, text.size("dspark_markov_rank")


def read_attentions(text: Config, num_layers: int) -> list[V41]:
    """Each layer's attention; a ratio above 0 says only that the layer reads a compressed cache, four layers
    own one."""
    ratios = text.sizes("compress_ratios", most=1 << 20)
    if len(ratios) < num_layers:
        text.fault(f"compress_ratios has {len(ratios)} entries for num_hidden_layers {num_layers}")
        ratios = (0,) * num_layers
    owners, indexers = text.sizes("kv_source_layer_ids"), text.sizes("index_source_layer_ids")
    shared = read_attention(text)._asdict()
    del shared["kind"], shared["ratio"]
    return [
        V41(**shared, ratio=ratios[layer], owns_cache=layer in owners, owns_index=layer in indexers)
        for layer in range(num_layers)
    ]


def read_engram(text: Config, hidden: int, streams: int) -> Iterator[Tensor]:
    """Engram: a hashed n-gram table (rows x 256, FP8 1x32), its projection to keys and values, and two norms
    a stream."""
    if not text.has("engram_layer_ids"):
        return iter(())
    layer_ids, num_rows = text.sizes("engram_layer_ids"), text.sizes("engram_num_embeddings")
    dim = text.size("engram_head_dim")
    lookups = text.size("engram_n_heads") * (text.size("engram_max_ngram_size", least=2) - 1)
    if len(layer_ids) != len(num_rows):
        text.fault(f"engram_num_embeddings has {len(num_rows)} entries for {len(layer_ids)} engram_layer_ids")
    return _engram_tensors(layer_ids, num_rows, dim, lookups, hidden, streams)


def _engram_tensors(
    layer_ids: tuple[int, ...], num_rows: tuple[int, ...], dim: int, lookups: int, hidden: int, streams: int
) -> Iterator[Tensor]:
    for layer, num in zip(layer_ids, num_rows, strict=True):
        scope = Scope((layer,), ENGRAM, part="engram")
        yield scope.tensor("engram.embedding.weight", (num, dim), FP8_ROW32_E8M0, VOCABULARY)
        yield scope.tensor(
            "engram.wkv.weight",
            ((streams + 1) * hidden, lookups * dim),
            "linear",
            columns((streams + 1) * hidden),
        )
        yield scope.tensor("engram.k_norm.weight", (streams, hidden), BF16)
        yield scope.tensor("engram.q_norm.weight", (streams, hidden), BF16)


def vision_tensors(vision: Config, hidden: int) -> Iterator[Tensor]:
    """The vision tower: a ViT with merged gate and up, an aligner over 3x3 patches, three learned vectors:
    485,268,480 in all."""
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    num_layers = vision.size("num_hidden_layers", most=MAX_LAYERS)
    patch, window = vision.size("patch_size"), vision.size("downsample_ratio")
    heads = vision.size("num_attention_heads")
    for key in ("max_image_tokens", "max_wh_ratio", "min_pixels"):
        vision.has(key)
    tower = Scope(tuple(range(num_layers)), PLAIN, "vision.layers.{}.", "vision")
    outside = Scope((), PLAIN, "vision.", "vision")

    def linear(
        scope: Scope, name: str, out: int, into: int, cut: Cut = WHOLE, bias: bool = True
    ) -> Iterator[Tensor]:
        yield scope.tensor(f"{name}.weight", (out, into), BF16, cut)
        if bias:
            yield scope.tensor(f"{name}.bias", (out,), BF16)

    yield from linear(tower, "attn.wqkv", 3 * width, width, columns(heads))
    yield from linear(tower, "attn.wo", width, width, rows(heads))
    yield from linear(tower, "mlp.w1", 2 * inner, width, columns(inner), bias=False)
    yield from linear(tower, "mlp.w2", width, inner, rows(inner), bias=False)
    for norm in ("attn_norm", "ffn_norm"):
        yield tower.tensor(f"{norm}.weight", (width,), BF16)
    yield from linear(outside, "patch_embed", width, 3 * patch * patch)
    yield outside.tensor("norm.weight", (width,), BF16)
    yield from linear(outside, "aligner.0", hidden, window * window * width)
    yield from linear(outside, "aligner.2", hidden, hidden)
    yield Tensor("vision.learned", (hidden,), BF16, repeat=3, part="vision")
