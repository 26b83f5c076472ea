"""DeepSeek-V4: compressed attention by layer, hyper-connections, hash-routed first layers, an MTP or a DSpark
draft."""

from collections.abc import Iterator

from ...errors import UnsupportedError
from ..attention import V4
from ..config import MAX_LAYERS, Config
from ..layer_weights import block_tensors, ends, equal_layers
from ..model import EMBEDDING, HEAD, Layer, Model, Rope, Tensor
from ..scope import Scope, Storage
from ..storage import BF16, F32, FP4_E8M0, FP8_BLOCK_E8M0, Format
from .decoder import assembled
from .deepseek import read_experts
from .rope_and_storage import read_rope, read_storage


def read(config: Config, name: str) -> Model:
    """One compress_ratio a layer; entries past num_hidden_layers belong to the draft and are 0."""
    hidden, vocab = config.size("hidden_size"), config.size("vocab_size")
    num_layers = config.size("num_hidden_layers", most=MAX_LAYERS)
    max_positions = config.size("max_position_embeddings")
    ratios = config.sizes("compress_ratios", most=1 << 20)
    if len(ratios) < num_layers:
        config.fault(f"compress_ratios has {len(ratios)} entries for num_hidden_layers {num_layers}")
    streams = config.size("hc_mult")
    num_hash = config.size("num_hash_layers", 0, least=0, most=MAX_LAYERS)
    dspark = len(config.sizes("dspark_target_layer_ids")) if config.has("dspark_target_layer_ids") else 0
    num_mtp = config.size("num_nextn_predict_layers", 0, least=0, most=MAX_LAYERS)
    rank = config.size("dspark_markov_rank") if dspark else 0
    moe = read_experts(config)
    attentions = read_attentions(config, ratios[:num_layers])
    window_only = read_attentions(config, (0,))[0]
    plain, quantization = read_storage(config)
    stored = Storage(plain.plain, plain.linear, read_expert_format(config, plain.linear))
    if config.flag("tie_word_embeddings", False):
        config.fault("tie_word_embeddings is true, which no V4 release is")
    config.check()
    layers = tuple(
        Layer(attention, moe._replace(hash_routed=index < num_hash))
        for index, attention in enumerate(attentions)
    )
    # releases with DSpark keep num_nextn_predict_layers 1 although they store three draft stages and no MTP
    # layer
    draft = (Layer(window_only, moe),) * (dspark or num_mtp)
    tensors = [
        *ends(hidden, vocab, stored, tied=False),
        *head_mixer(hidden, streams, Scope((), stored, "model.")),
    ]
    tensors += stack_tensors(layers, hidden, vocab, stored, streams)
    if dspark:
        tensors += dspark_tensors(draft, num_layers, hidden, vocab, stored, streams, rank)
        last = Scope((num_layers + dspark - 1,), stored, "model.mtp.{}.", "mtp")
        tensors += head_mixer(hidden, streams, last)
    elif num_mtp:
        tensors += mtp_tensors(draft, num_layers, hidden, vocab, stored, streams)
    ropes = read_ropes(config, max_positions)
    model = assembled(
        config, name, stored, quantization, layers, tensors, ropes, draft=draft, streams=streams
    )
    return model._replace(num_mtp=num_mtp) if dspark else model


def read_attentions(config: Config, ratios: tuple[int, ...]) -> list[V4]:
    """The attention of each layer."""
    if bad := set(ratios) - {0, 4, 128}:
        config.fault(f"compress_ratios holds {min(bad)}; known are 0, 4 and 128")
    attention = read_attention(config)
    return [attention._replace(ratio=ratio) for ratio in ratios]


def read_attention(config: Config) -> V4:
    """The window's part, which all layers of V4 and V4.1 share; one shared head of keys, which are values."""
    config.size("num_key_value_heads", 1)
    return V4(
        num_heads=config.size("num_attention_heads"),
        head_dim=config.size("head_dim"),
        rope_dim=config.size("qk_rope_head_dim"),
        q_lora_rank=config.size("q_lora_rank"),
        o_groups=config.size("o_groups"),
        o_lora_rank=config.size("o_lora_rank"),
        window=config.size("sliding_window"),
        ratio=0,
        index_heads=config.size("index_n_heads"),
        index_head_dim=config.size("index_head_dim"),
        index_topk=config.size("index_topk"),
    )


def read_expert_format(config: Config, linear: Format) -> Format:
    """Routed experts are FP4 in the releases and FP8 in the Base checkpoints; the config says which."""
    match config.word("expert_dtype", "same"):
        case "fp4":
            return FP4_E8M0
        case "fp8" | "same":
            return linear
        case other:
            raise UnsupportedError(
                f"{config.where}: expert_dtype {other!r} is not known", "known are fp4 and fp8"
            )


def read_ropes(config: Config, max_positions: int) -> tuple[Rope, ...]:
    """Two tables: the window's plain one and the compressed cache's, with its own theta."""
    rope = read_rope(config, config.size("qk_rope_head_dim"), max_positions)
    return rope, rope._replace(theta=config.number("compress_rope_theta", rope.theta))


def stack_tensors(
    layers: tuple[Layer, ...], hidden: int, vocab: int, stored: Storage, streams: int
) -> Iterator[Tensor]:
    """Blocks with the mixers of their residual streams."""
    for layer, indices in equal_layers(layers):
        yield from mixed_block(layer, hidden, vocab, streams, Scope(indices, stored))


def mixed_block(layer: Layer, hidden: int, vocab: int, streams: int, scope: Scope) -> Iterator[Tensor]:
    """A block and its two hyper-connection mixers (F32): 2 * (24*s*h + 24 + 3) for s = 4 streams, 24 = s*s +
    2s."""
    yield from block_tensors(layer, hidden, vocab, scope)
    mixes = streams * (streams + 2)
    for where in ("attn", "ffn"):
        yield scope.tensor(f"hc_{where}_fn", (mixes, streams * hidden), F32)
        yield scope.tensor(f"hc_{where}_base", (mixes,), F32)
        yield scope.tensor(f"hc_{where}_scale", (3,), F32)


def head_mixer(hidden: int, streams: int, scope: Scope) -> Iterator[Tensor]:
    """The mixer that folds the streams before a head: s*s*h + s + 1, F32."""
    yield scope.tensor("hc_head_fn", (streams, streams * hidden), F32)
    yield scope.tensor("hc_head_base", (streams,), F32)
    yield scope.tensor("hc_head_scale", (1,), F32)


def mtp_tensors(
    draft: tuple[Layer, ...], first: int, hidden: int, vocab: int, stored: Storage, streams: int
) -> Iterator[Tensor]:
    """The preview's MTP layer. Base checkpoints (FP8 experts) store embedding and head again
    (models_index.csv)."""
    scope = Scope(tuple(range(first, first + len(draft))), stored, "model.mtp.{}.", "mtp")
    yield from mixed_block(draft[0], hidden, vocab, streams, scope)
    for projection in ("e_proj", "h_proj"):
        yield scope.tensor(f"{projection}.weight", (hidden, hidden), "linear")
    for norm in ("enorm", "hnorm", "norm"):
        yield scope.tensor(f"{norm}.weight", (hidden,), "plain")
    yield from head_mixer(hidden, streams, scope)
    if stored.expert == FP8_BLOCK_E8M0:
        yield scope.tensor("emb.tok_emb.weight", (vocab, hidden), "plain")._replace(copy_of=EMBEDDING)
        yield scope.tensor("head.weight", (vocab, hidden), "plain")._replace(copy_of=HEAD)


def dspark_tensors(
    draft: tuple[Layer, ...], first: int, hidden: int, vocab: int, stored: Storage, streams: int, rank: int
) -> Iterator[Tensor]:
    """The DSpark draft: window-only stages, a projection of the target's states, a Markov and a confidence
    head."""
    stages = len(draft)
    scope = Scope(tuple(range(first, first + stages)), stored, "model.mtp.{}.", "mtp")
    yield from mixed_block(draft[0], hidden, vocab, streams, scope)
    head = Scope((first,), stored, "model.mtp.{}.", "mtp")
    yield head.tensor("main_proj.weight", (hidden, stages * hidden), "linear")
    yield head.tensor("main_norm.weight", (hidden,), "plain")
    last = Scope((first + stages - 1,), stored, "model.mtp.{}.", "mtp")
    yield last.tensor("norm.weight", (hidden,), "plain")
    yield last.tensor("markov_head.markov_w1.weight", (vocab, rank), BF16)
    yield last.tensor("markov_head.markov_w2.weight", (vocab, rank), BF16)
    yield last.tensor("confidence_head.proj.weight", (1, hidden + rank), "plain")
