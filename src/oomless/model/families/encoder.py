"""Encoders: every token sees all others, nothing is decoded, a vector comes out. BERT and its like normalise
the sum of each block and its input; ModernBERT normalises what a block reads."""

from ..attention import GQA, Sliding
from ..config import MAX_LAYERS, Config
from ..feedforward import Dense
from ..layer_weights import PAIR, stack_tensors
from ..model import EMBEDDING, VOCABULARY, Layer, Model, Tensor
from ..scope import Scope, Storage
from ..storage import Shape
from .decoder import assembled
from .pre_llama import LAYER_NORMS, NAMES
from .rope_and_storage import read_rope, read_storage

ROTARY = ("modernbert", "new", "nomic_bert")
"""Families with a rotation in place of a table of positions, and a gate."""
UNBIASED = ("modernbert", "nomic_bert")
NO_POOLER = ("distilbert", "mobilebert", *ROTARY)
"""Families whose AutoModel has no matrix behind the first token."""
SPELLINGS = {
    **NAMES,
    "dim": "hidden_size",
    "dropout": "hidden_dropout_prob",
    "hidden_dim": "intermediate_size",
    "n_inner": "intermediate_size",
}
ELSEWHERE = (
    "activation,classifier_,cls_,decoder_b,determin,global_r,gradient_c,local_r,mlp_d,norm_b,position_e,qa_,"
    "refer,repad,seq_cl,sinusoid,sparse_,tie_weights_"
)
"""How keys begin that change no tensor."""


def read(config: Config, name: str) -> Model:
    """Return the encoder with its tables, its first norm, and the head that its class has."""
    family = config.word("model_type")
    config.values = {"torch_dtype": "float32"} | {SPELLINGS.get(k, k): v for k, v in config.values.items()}
    config.used.update(key for key in config.values if key.startswith(tuple(ELSEWHERE.split(","))))
    rotary, bias = family in ROTARY, family not in UNBIASED
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    if hidden % heads:
        config.fault(f"hidden_size {hidden} is no multiple of num_attention_heads {heads}")
    packed = family in ("modernbert", "new")
    gqa = GQA(heads, heads, hidden // heads or 1, bias, bias, causal=False, rotary=rotary, packed=packed)
    ffn = Dense(config.size("intermediate_size"), bias and not rotary, rotary)
    layers = (Layer(gqa, ffn),) * config.size("num_hidden_layers", most=MAX_LAYERS)
    if family == "modernbert":
        every, window = config.size("global_attn_every_n_layers", 3), config.size("local_attention", 128)
        local = Layer(Sliding(gqa, window), ffn)
        layers = tuple(local if number % every else layer for number, layer in enumerate(layers))
    stored, quantization = read_storage(config)
    rope = read_rope(config, gqa.head_dim * rotary, config.size("max_position_embeddings"))
    dropout = config.number("hidden_dropout_prob", 0.1) if config.values.get("hidden_dropout_prob") else 0.0
    config.used.add("hidden_dropout_prob")
    config.check()
    tensors = (*_tensors(config, layers, stored), *_head(config, stored))
    model = assembled(config, name, stored, quantization, layers, tensors, (rope,), tied=True)
    return model._replace(pooled=True, dropout=dropout)


def _tensors(config: Config, layers: tuple[Layer, ...], stored: Storage) -> list[Tensor]:
    """Return the tables, the first norm and the layers."""
    hidden, vocab, family = config.size("hidden_size"), config.size("vocab_size"), config.word("model_type")
    every, modern = Scope(tuple(range(len(layers))), stored), family == "modernbert"
    shapes: dict[str, Shape] = {"embed_norm.weight": (hidden,)}
    shapes["norm.weight" if modern else "embed_norm.bias"] = (hidden,)
    if types := config.size("type_vocab_size", 0, least=0):
        shapes["embed_types.weight"] = (types, hidden)
    if family not in ROTARY:
        shapes["embed_positions.weight"] = (config.size("max_position_embeddings"), hidden)
    if family == "mpnet":
        shapes["relative_bias.weight"] = (
            config.size("relative_attention_num_buckets", 32),
            config.size("num_attention_heads"),
        )
    narrow = config.size("embedding_size", hidden) if family == "mobilebert" else hidden
    found = [Tensor(EMBEDDING, (vocab, narrow), stored.plain, VOCABULARY, lookup=True)]
    found += [
        Tensor(f"model.{name}", shape, stored.plain, lookup=len(shape) > 1) for name, shape in shapes.items()
    ]
    if family == "mobilebert":
        return found + _bottlenecks(config, every, narrow)
    for each in stack_tensors(layers, hidden, vocab, stored, PAIR if modern else LAYER_NORMS):
        if modern and "input_layernorm" in each.name:  # the first layer reads what is normalised already
            each = each.of_layers(range(1, len(layers)))
        found += [each] if each.layers else []
    if family == "new":
        found.append(every.tensor("mlp.down_proj.bias", (hidden,), "plain"))
    return found


def _bottlenecks(config: Config, every: Scope, narrow: int) -> list[Tensor]:
    """MobileBERT: three words in a row become one input; a layer works at a quarter of its width, with
    several feed-forwards (modeling_mobilebert.py)."""
    hidden, wide = config.size("hidden_size"), config.size("intermediate_size")
    inner, blocks = config.size("intra_bottleneck_size", 128), config.size("num_feedforward_networks", 4)
    parts = [("transform", hidden, 3 * narrow, 1, 1)]  # outside of the layers; then with vectors of each
    parts += [(f"{each}_proj", inner, hidden if each == "v" else inner, 1, 1) for each in "qkv"]
    parts += [("o_proj", inner, inner, 1, 3), ("bottleneck_out", hidden, inner, 1, 3)]
    parts += [("bottlenecks", inner, hidden, 2, 3)]
    parts += [("mlp.up_proj", wide, inner, blocks, 1), ("mlp.down_proj", inner, wide, blocks, 3)]
    found = []
    for name, out, width, number, vectors in parts:
        matrix = every.tensor(f"{name}.weight", (out, width), "linear", repeat=number)
        vector = every.tensor(f"{name}.bias", (out,), "plain", repeat=number * vectors)
        found += [matrix, vector]
    return [each._replace(layers=()) if "transform" in each.name else each for each in found]


def _head(config: Config, stored: Storage) -> list[Tensor]:
    """Return what stands behind the layers: a pooler, a classifier, or the head of masked tokens."""
    hidden, family = config.size("hidden_size"), config.word("model_type")
    bias, name = family not in UNBIASED, str(config.values.get("architectures"))
    shapes: dict[str, Shape] = {}
    labels, dense = config.values.get("id2label"), "pooler"
    if "ForMaskedLM" in name:
        dense, shapes = "lm_head", {"lm_head.bias": (config.size("vocab_size"),), "lm_head.norm": (hidden,)}
        shapes |= {"lm_head.norm.bias": (hidden,)} if bias else {}
    elif "ForSequenceClassification" in name:
        dense = "pooler" if family == "bert" else "classifier"
        outputs = len(labels) if isinstance(labels, dict) else 2
        shapes = {"classifier.out": (outputs, hidden), "classifier.out.bias": (outputs,)}
    elif family in NO_POOLER:
        return []
    shapes[f"{dense}.dense.weight"] = (hidden, hidden)
    shapes |= {f"{dense}.dense.bias": (hidden,)} if bias else {}
    return [Tensor(each, shape, stored.plain) for each, shape in shapes.items()]
