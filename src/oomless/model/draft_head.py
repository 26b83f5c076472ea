"""Draft heads: layers that draft for one model by its hidden states (EAGLE, EAGLE-3, DFlash, assistants of
Gemma)."""

from typing import TYPE_CHECKING, Any

from .. import facts
from ..records import Record
from .attention import GQA, Sliding
from .config import MAX_LAYERS, Config
from .families.gemma import SANDWICH
from .families.layer_types import read_layer_types
from .feedforward import Dense
from .layer_weights import block_tensors, stack_tensors
from .model import EMBEDDING, HEAD, VOCABULARY, Layer, Model, Tensor
from .scope import Scope, Storage
from .storage import BF16, F16, I64, Format

if TYPE_CHECKING:
    from collections.abc import Iterator


class DraftHead(Record):
    """The shape of a head. EAGLE joins the last hidden state with the embedding of the next token; EAGLE-3
    joins states of several layers, and its first layer reads that beside the embedding; DFlash caches them,
    and drafts a block of masked tokens; DSpark corrects its scores by the token before. An assistant joins as
    EAGLE does, asks the caches of the model's last layers of each kind, and scores tokens by a narrower table
    of its own."""

    method: str
    """eagle, eagle3, dflash, dspark or assistant."""
    hidden: int
    width: int
    """Of the feed-forward."""
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab: int
    """Tokens that it drafts; 0: all of the model's, by the model's own output head."""
    num_layers: int = 1
    states: int = 3
    """Layers of the model whose states EAGLE-3 and DFlash read; 1: the last one's alone, as they are."""
    bias: bool = False
    """Of queries, keys and values."""
    window: int = 0
    """Tokens that every layer sees; 0: all of them."""
    rank: int = 0
    """Of the selector of candidates by which DFlash2 drafts; 0: DFlash, which has none."""
    bits: int = 0
    """Of its matrices, by 128; 0: as its model's embedding."""


ASSUMED_HEADS, ASSUMED_DIM, ASSUMED_WIDTHS, ASSUMED_VOCAB = 64, 128, 6, 32_000
"""Of a head whose config is not known: heads beside a model that has latents, width of its feed-forward
beside one of experts alone (in hidden sizes: gpt-oss-120b and Qwen3-235B-A22B of SpecForge), tokens."""


BLOCKS, MARKOV_RANK = ("dflash", "dspark"), 256
"""Heads that draft a block at once, and the rank by which DSpark corrects it (markov_rank in a config that is
quoted in code index id 69823556237; 3.7 GB of RadixArk/Qwen3.8-27B-DSpark, id 62217572132)."""
DFLASH_WIDTHS, DFLASH_HEADS, DFLASH_LAYERS = 3, (32, 8, 128), (5, 5)
"""Of z-lab's heads for Qwen3.5-122B-A10B (6 layers) and Qwen3-4B: width beside experts, heads, layers and
states."""


ASSISTANT, ASSISTANT_LAYERS = (1024, 8192), 4
"""Hidden size and width of google/gemma-4-31B-it-assistant, and its layers: windows, and a wide one."""


def assumed_head(target: Model, method: str) -> DraftHead:
    """Return the shape that a head of a model usually has: a Llama layer with the model's own sizes.

    >>> from .load import load
    >>> made = model_of_head(
    ...     assumed_head(load("qwen3-8b"), "dflash"), load("qwen3-8b"), "Qwen3-8B-DFlash-b16"
    ... )
    >>> round(made.num_parameters / 1e9, 2)
    1.05
    >>> target = load("qwen3.8-27b")
    >>> made = model_of_head(assumed_head(target, "dspark"), target, "RadixArk/Qwen3.8-27B-DSpark")
    >>> round(made.num_parameters * 2 / 1e9, 2)
    3.71
    >>> assumed_head(load("kimi-k2"), "eagle3") == published_head("AQ-MedAI/Kimi-K2-Instruct-eagle3")
    True
    """
    core = target.layers[-1].attention.core
    heads, kv_heads, dim = ASSUMED_HEADS, ASSUMED_HEADS, ASSUMED_DIM
    if method == "assistant" and (found := gqa_of(target)):
        core = min(found, key=lambda each: each.head_dim)
    if isinstance(core, GQA):
        heads, kv_heads, dim = core.num_heads, core.num_kv_heads, core.head_dim
    dense = [ffn.intermediate_size for ffn in target.kinds.of(Dense)]
    if method == "assistant":
        return DraftHead(method, *ASSISTANT, heads, kv_heads, dim, target.vocab_size, ASSISTANT_LAYERS)
    if method in BLOCKS:
        width = max(dense, default=DFLASH_WIDTHS * target.hidden_size)
        return DraftHead(method, target.hidden_size, width, *DFLASH_HEADS, 0, *DFLASH_LAYERS)
    width = max(dense, default=ASSUMED_WIDTHS * target.hidden_size)
    vocab = ASSUMED_VOCAB if method == "eagle3" and target.vocab_size > ASSUMED_VOCAB else 0
    return DraftHead(method, target.hidden_size, width, heads, kv_heads, dim, vocab)


def published_head(name: str) -> DraftHead | None:
    """Return the shape of a head that people use, by its hub id, or the name of a folder that is called so;
    None: it is not in the table.

    >>> published_head("yuhuili/EAGLE3-LLaMA3.1-Instruct-8B")[:4]
    ('eagle3', 4096, 14336, 32)
    """
    for row in facts.table("draft_heads"):
        if name.lower() in (known := row["hub_id"].lower(), known.rpartition("/")[2]):
            sizes = [int(word) for word in row["sizes"].split()]
            hidden, width, heads, kv_heads, dim, vocab = sizes[:6]
            layers, states, *more = (*sizes[6:], *(1, 3, 0, 0, 0)[len(sizes) - 6 :])
            shape = hidden, width, heads, kv_heads, dim, vocab, layers, states, False
            return DraftHead(row["method"], *shape, *more)
    return None


def read_head(values: dict[str, Any], method: str, where: str) -> DraftHead:
    """Return the shape that a head's config.json says: as EAGLE writes it, or nested
    (transformer_layer_config of speculators, model of vLLM).

    >>> layer = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}
    >>> read_head({"transformer_layer_config": layer, "draft_vocab_size": 32000}, "eagle3", "config").vocab
    32000
    """
    whole = Config(values, where)
    nested = next((key for key in ("transformer_layer_config", "model") if whole.has(key)), "")
    config = whole.section(nested) if nested else whole
    eagle = whole.section("eagle_config")
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    if config.has("kv_lora_rank"):
        config.fault("kv_lora_rank says that it keeps latents: such heads are not known")
    dflash, window = whole.section("dflash_config"), 0
    listed = next((each for each in (whole, eagle) if each.has(STATES)), None)
    states = len(listed.sizes(STATES)) if listed else 3
    layers = config.size("num_hidden_layers", 1, most=MAX_LAYERS)
    if method in BLOCKS:
        states = len(dflash.sizes("target_layer_ids", least=0))
        kinds = read_layer_types(config, layers) if config.has("layer_types") else ["full_attention"]
        window = 0 if "full_attention" in kinds else config.size("sliding_window")
    head = DraftHead(
        method,
        hidden,
        config.size("intermediate_size"),
        heads,
        config.size("num_key_value_heads", heads),
        config.size("head_dim", hidden // heads or 1),
        whole.size("draft_vocab_size", 0, least=0) if method == "eagle3" else 0,
        layers,
        states if eagle.flag("use_aux_hidden_state", True) else 1,
        config.flag("attention_bias", False),
        window,
        dflash.size("selector_rank", 0, least=0),
    )
    config.check()
    return head


STATES = "eagle_aux_hidden_state_layer_ids"


def model_of_head(head: DraftHead, target: Model, name: str) -> Model:
    """Return a head as a model: what it shares with its target is a copy. It shares the embedding if it is as
    wide, and the output head unless it drafts of tokens of its own.

    A head of DeepSeek-V3 with 32,000 tokens (SpecForge's deepseek-v3-671b-eagle3.json), without what it
    shares; llama_eagle3.py of both engines has these tensors:

    >>> from .load import load
    >>> target = load("deepseek-v3")
    >>> made = model_of_head(DraftHead("eagle3", 7168, 40960, 56, 8, 128, 32000), target, "head")
    >>> made.num_parameters, made.layers[0].attention.num_kv_heads
    (1447881984, 8)
    """
    stored = Storage(plain, plain, plain) if (plain := target.dtype) in (BF16, F16) else BF16_ALONE
    if head.bits:
        stored = stored._replace(linear=Format(f"int{head.bits} by 128", head.bits, (1, 128), 16))
    attention = GQA(head.num_heads, head.num_kv_heads, head.head_dim, qkv_bias=head.bias)
    last = attention
    if head.method == "assistant":
        attention = attention._replace(qk_norm=True, borrows_cache=True)
        last = attention._replace(head_dim=max(each.head_dim for each in gqa_of(target)))
    kinds = (*(attention,) * (head.num_layers - 1), last)
    seen = [Sliding(each, head.window) if head.window else each for each in kinds]
    layers = tuple(Layer(each, Dense(head.width, False)) for each in seen)
    return target._replace(
        name=name,
        family="llama",
        hidden_size=head.hidden,
        vocab_size=head.vocab or target.vocab_size,
        dtype=stored.plain,
        quantization="",
        layers=layers,
        tensors=tuple(head_tensors(head, layers, target, stored)),
        ropes=(),
        tied=False,
        draft=(),
        num_mtp=0,
        streams=1,
        explained_bytes=0,
        stored_bytes=0,
        size_spread=None,
        warnings=(),
        vision=None,
    )


def selector_tensors(head: DraftHead, target: Model, stored: Storage) -> "Iterator[Tensor]":
    """What DFlash2 has beside DFlash: a convolution before both halves of a layer, whose kernel is of the
    states, and a selector of candidates (header of z-lab/Qwen3.8-27B-DFlash2, code index ids 71641068593,
    71622274746)."""
    hidden, rank = head.hidden, head.rank
    for number in range(head.num_layers):
        for half in ("attention", "mlp"):
            name = f"model.layers.{number}.{half}_conv."
            yield Tensor(name + "base_kernel", (2, 2, hidden), stored.plain)
            kernels = hidden // CONV_SHARE, hidden
            yield Tensor(name + "kernel_projection.weight", kernels, stored.linear, role="linear")
    name = "model.candidate_selector."
    yield Tensor(name + "hidden_projection.weight", (rank, hidden), stored.linear, role="linear")
    for side in ("predecessor", "successor"):
        yield Tensor(f"{name}{side}_codebook", (target.vocab_size, rank), stored.plain)


CONV_SHARE = 4
"""Of the hidden size in a kernel: two sides of two steps for 16 channels (conv_group_size)."""
READ_BOTH = ("q_proj.weight", "k_proj.weight", "v_proj.weight")
"""What reads the states beside the embedding in EAGLE-3's first layer."""
BF16_ALONE = Storage(BF16, BF16, BF16)


def gqa_of(target: Model) -> list[GQA]:
    """Every attention of a model with keys and values of heads, once."""
    return [each.core for each in target.kinds.attentions if isinstance(each.core, GQA)]


def assistant_tensors(
    head: DraftHead, layers: tuple[Layer, ...], target: Model, stored: Storage
) -> "Iterator[Tensor]":
    """The tensors of an assistant (vllm/model_executor/models/gemma4_mtp.py): queries alone, what joins the
    embedding of the model with its states, what widens the next ones, and a head of its own width."""
    hidden, states, plain = head.hidden, target.hidden_size, stored.plain
    yield Tensor(EMBEDDING, (target.vocab_size, states), plain, VOCABULARY, lookup=True, copy_of=EMBEDDING)
    yield Tensor("model.pre_projection.weight", (hidden, 2 * states), plain, role="linear")
    yield Tensor("model.post_projection.weight", (states, hidden), plain, role="linear")
    for tensor in stack_tensors(layers, hidden, head.vocab, stored, SANDWICH):
        if ".k_" not in tensor.name and ".v_" not in tensor.name:
            yield tensor
    yield Tensor("model.norm.weight", (hidden,), plain)
    yield Tensor(HEAD, (head.vocab, hidden), plain, VOCABULARY)


def head_tensors(
    head: DraftHead, layers: tuple[Layer, ...], target: Model, stored: Storage
) -> "Iterator[Tensor]":
    """The tensors of a head: embedding, what joins states, layers, norms, output head, numbers of its
    tokens."""
    if head.method == "assistant":
        yield from assistant_tensors(head, layers, target, stored)
        return
    hidden, plain, third, layer = head.hidden, stored.plain, head.method != "eagle", layers[0]
    shared = EMBEDDING if hidden == target.hidden_size else ""
    vocabulary = (target.vocab_size, hidden)
    yield Tensor(EMBEDDING, vocabulary, plain, VOCABULARY, lookup=True, copy_of=shared)
    joined = target.hidden_size * head.states if third else hidden + target.hidden_size
    if not third or head.states > 1:
        yield Tensor("model.fc.weight", (hidden, joined), stored.linear, role="linear")
    for number in range(head.num_layers):
        for tensor in block_tensors(layer, hidden, target.vocab_size, Scope((number,), stored)):
            if head.method == "eagle3" and not number and tensor.name.endswith(READ_BOTH):
                yield tensor._replace(shape=(tensor.shape[0], 2 * hidden))
            elif third or number or not tensor.name.endswith("input_layernorm.weight"):
                yield tensor
    if third:
        yield Tensor("model.hidden_norm.weight", (hidden,), plain)
        yield Tensor("model.norm.weight", (hidden,), plain)
    yield Tensor(
        HEAD, (head.vocab or vocabulary[0], hidden), plain, VOCABULARY, copy_of="" if head.vocab else HEAD
    )
    if head.method == "dspark":
        for name in ("w1", "w2"):
            yield Tensor(f"model.markov_head.markov_{name}.weight", (target.vocab_size, MARKOV_RANK), plain)
    if head.rank:
        yield from selector_tensors(head, target, stored)
    if head.vocab:
        yield Tensor("model.draft_id_to_target_id", (head.vocab,), I64)
