"""What a forward pass reads and computes, whatever runs it: a Model's tensors and layers as a few sums."""

from math import prod
from typing import NamedTuple

from ..errors import UnsupportedError
from ..model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ..model.feedforward import MoE
from ..model.gguf_types import file_type
from ..model.model import EMBEDDING, HEAD, Model, Tensor
from ..model.quantization_scheme import REQUANTISED
from ..model.storage import Format


class Weights(NamedTuple):
    """Matrices of one kind: how many values, how many bytes, and the type that they are stored in."""

    params: float
    bytes: float
    format: str
    """The storage type's name, in lower case."""
    products: tuple["Product", ...] = ()
    """What an engine multiplies in one go; () where sizes are not known."""


class Product(NamedTuple):
    """Equal matrices, each of several that are joined because they have one input: queries with keys and
    values, gate with up."""

    num: int
    outputs: int
    inputs: int
    cuts_inputs: bool
    """Tensor parallelism divides the inputs, not the outputs."""


class RoutedExperts(NamedTuple):
    """Routed experts of equal layers."""

    num_layers: int
    num_experts: int
    num_active: int
    hidden: int
    width: int
    params_each: float
    bytes_each: float
    format: str


class Cache(NamedTuple):
    """Equal layers of attention, as far as they cost time. `read` counts cache elements a token of context,
    all heads together."""

    num_layers: int
    kv_heads: int
    """Pieces that tensor parallelism may divide; 0: every rank reads all of it (MLA)."""
    read: float
    index_bytes: float
    """Bytes a token of context that an indexer reads, whatever is chosen after it."""
    limit: int
    """Tokens that are read at most: a window, or the indexer's choice; 0: all."""
    ratio: int
    """Tokens that share one compressed entry."""
    window: int
    """Tokens that are read beside the compressed entries."""
    decode_flops: float
    """Operations a token and token of context, all heads."""
    prefill_flops: float
    state: float
    """Elements read and written a sequence whatever its length (linear attention)."""
    index_flops: float = 0.0
    """Operations of an indexer a token and token of context, which every rank does whole."""
    dense_flops: float = 0.0
    """Operations as in prefill_flops while a prompt is so short that the indexer chooses everything; 0: the
    same ones."""
    heads: int = 0
    """Heads that the kernel for chosen tokens fills up (attention_work.py); 0: it does not."""


class Network(NamedTuple):
    """A model as sums over its tensors and layers."""

    name: str
    hidden: int
    vocab: int
    num_layers: int
    cut: tuple[Weights, ...]
    """Matrices that tensor parallelism divides, the head apart."""
    whole: tuple[Weights, ...]
    """Matrices that every rank holds whole."""
    head: Weights
    embedding_bytes: float
    """A table of which a token reads one row; 0 where the head serves as embedding."""
    experts: tuple[RoutedExperts, ...]
    caches: tuple[Cache, ...]
    kinds: tuple[tuple[str, int], ...]
    """(kind of block, how many): what the number of kernels follows from."""
    more_norms: int = 0
    """Norms beyond two a layer: of queries and keys, behind attention and behind the feed-forward."""
    biases: int = 0
    """Vectors added to queries, keys, values and attention's output, where that is a kernel of its own."""
    family: str = ""
    """What its config calls the model's type: engines choose kernels by it; "": not known."""

    @property
    def linear_params(self) -> float:
        """Values of the matrices that every token passes, without head and routed experts."""
        return sum(each.params for each in (*self.cut, *self.whole))

    @property
    def active_params(self) -> float:
        """A token's share of all matrices, head included.

        >>> from ..model.load import load
        >>> round(network(load("deepseek-r1")).active_params / 1e9, 2)
        36.62
        """
        routed = sum(each.num_layers * each.num_active * each.params_each for each in self.experts)
        return self.linear_params + routed + self.head.params


_KNOWN: dict[tuple[int, str], tuple[Model, Network]] = {}


def network(model: Model, quantization: str | None = None) -> Network:
    """The sums of a model as an engine runs it under --quantization (a method's name, or a GGUF file
    type)."""
    key = (id(model), quantization or "")
    found = _KNOWN.get(key)
    if found is None or found[0] is not model:
        found = _KNOWN[key] = (model, of_tensors(model, stored(model, quantization)))
    return found[1]


def of_tensors(model: Model, tensors: tuple[Tensor, ...]) -> Network:
    """The sums of some tensors of a model, with the caches of all its layers."""
    plain = all(
        isinstance(layer.attention, GQA | Sliding) for layer in model.layers
    )  # the counts of other kinds hold their norms
    head_name = EMBEDDING if model.tied else HEAD
    cut: dict[str, list[Tensor]] = {}
    whole: dict[str, list[Tensor]] = {}
    experts: dict[tuple[int, ...], list[Tensor]] = {}
    head = Weights(0.0, 0.0, "bfloat16")
    embedding_bytes = 0.0
    for tensor in tensors:
        if tensor.part != "main" or len(tensor.shape) < 2:
            continue
        if (
            tensor.name.removesuffix(".weight") in (head_name.removesuffix(".weight"), "output")
            and not tensor.copy_of
        ):
            head = _sum([tensor])
        elif tensor.lookup or tensor.copy_of:
            embedding_bytes += 0 if model.tied else tensor.num_bytes
        elif tensor.role == "expert":
            experts.setdefault(tensor.layers, []).append(tensor)
        else:
            (whole if tensor.cut.how == "whole" else cut).setdefault(tensor.format.name, []).append(tensor)
    return Network(
        name=model.name,
        hidden=model.hidden_size,
        vocab=model.vocab_size,
        num_layers=len(model.layers),
        cut=tuple(_sum(group) for group in cut.values()),
        whole=tuple(_sum(group) for group in whole.values()),
        head=head,
        embedding_bytes=embedding_bytes,
        experts=_experts(model, experts),
        caches=_caches(model),
        kinds=_kinds(model),
        more_norms=max(_count(tensors, "", "norm.weight") - 1 - 2 * len(model.layers), 0) if plain else 0,
        biases=_count(tensors, "attn", ".bias") if plain else 0,
        family=model.family,
    )


def _count(tensors: tuple[Tensor, ...], within: str, ending: str) -> int:
    return sum(
        each.num_tensors
        for each in tensors
        if each.part == "main" and within in each.name and each.name.endswith(ending)
    )


def stored(model: Model, quantization: str | None) -> tuple[Tensor, ...]:
    """The tensors as they are held: requantised on loading, or as a GGUF file has them."""
    word = (quantization or "").lower()
    if not word or word in ("none", model.quantization):
        return model.tensors
    if word in REQUANTISED:
        form = REQUANTISED[word]
        return tuple(_as(tensor, form, model) for tensor in model.tensors)
    try:
        file_type(quantization or "")
    except UnsupportedError:
        raise UnsupportedError(f"the speed of {model.name} as {quantization} is not known") from None
    from ..model.gguf_model import as_gguf

    return as_gguf(model, quantization or "").tensors


def _as(tensor: Tensor, form: Format, model: Model) -> Tensor:
    if tensor.role == "plain" or (model.quantization and tensor.format == model.dtype):
        return tensor
    return tensor._replace(format=form)


def _sum(group: list[Tensor]) -> Weights:
    params = sum(tensor.num_tensors * prod(tensor.shape) for tensor in group)
    num_bytes = sum(tensor.num_bytes for tensor in group)
    return Weights(params, num_bytes, group[0].format.name.lower(), _products(group))


def _products(group: list[Tensor]) -> tuple[Product, ...]:
    joined: dict[tuple[str, tuple[int, ...], int, bool], list[Tensor]] = {}
    for tensor in group:
        block = tensor.name.removesuffix(".weight").rpartition(".")[0]
        key = (block, tensor.layers, tensor.shape[-1], tensor.cut.how == "row")
        joined.setdefault(key, []).append(tensor)
    return tuple(
        Product(
            max(each.num_tensors for each in members),
            sum(prod(each.shape[:-1]) * each.repeat for each in members)
            // max(each.repeat for each in members),
            inputs,
            cuts_inputs,
        )
        for (_, _, inputs, cuts_inputs), members in joined.items()
    )


def _experts(model: Model, groups: dict[tuple[int, ...], list[Tensor]]) -> tuple[RoutedExperts, ...]:
    """Routed experts: tensors of the same layers together; a GGUF file may cut a group of layers by type, so
    layer by layer."""
    layers: dict[int, list[tuple[float, float, str]]] = {}
    for held, tensors in groups.items():
        for tensor in tensors:
            for layer in held:
                each = (
                    float(prod(tensor.shape)),
                    float(tensor.format.num_bytes(tensor.shape)),
                    tensor.format.name.lower(),
                )
                layers.setdefault(layer, []).append(each)
    found: dict[RoutedExperts, int] = {}
    for layer, pieces in layers.items():
        ffn = model.layers[layer].ffn
        if not isinstance(ffn, MoE):
            continue
        biggest = max(pieces, key=lambda piece: piece[1])
        one = RoutedExperts(
            1,
            ffn.num_experts,
            ffn.num_active_experts,
            ffn.latent_width or model.hidden_size,
            ffn.expert_width,
            sum(piece[0] for piece in pieces),
            sum(piece[1] for piece in pieces),
            biggest[2],
        )
        found[one] = found.get(one, 0) + 1
    return tuple(one._replace(num_layers=count) for one, count in found.items())


def _caches(model: Model) -> tuple[Cache, ...]:
    found: dict[Cache, int] = {}
    for layer in model.layers:
        one = cache_of(layer.attention)
        found[one] = found.get(one, 0) + 1
    return tuple(one._replace(num_layers=count) for one, count in found.items())


def cache_of(attention: Attention) -> Cache:
    """What one layer's attention reads of the cache and computes for a token and token of context.

    GQA reads keys and values (2 x kv heads x head size), MLA one latent for all heads (absorbed form: scores
    against kv_lora_rank + rope, values of kv_lora_rank); in a prompt MLA is expanded. DSA reads the index of
    every token and the latents of the chosen ones; V4 a window and entries that `ratio` tokens share.
    Operations: two a multiply-add.

    >>> (
    ...     cache_of(MLA(128, 1536, 512, 128, 64, 128)).read,
    ...     cache_of(MLA(128, 1536, 512, 128, 64, 128)).prefill_flops,
    ... )
    (576, 81920)
    """
    none = Cache(1, 0, 0, 0, 0, 1, 0, 0, 0, 0)
    match attention:
        case GQA():
            value = attention.value_dim or attention.head_dim
            flops = 2 * attention.num_heads * (attention.head_dim + value)
            read = attention.num_kv_heads * (
                attention.head_dim + value
            )  # a layer that borrows a cache reads it all the same
            return none._replace(
                kv_heads=attention.num_kv_heads, read=read, decode_flops=flops, prefill_flops=flops
            )
        case Sliding():
            return cache_of(attention.inner)._replace(limit=attention.window)
        case MLA():
            wide = attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim
            return none._replace(
                read=attention.latent_dim,
                decode_flops=2 * attention.num_heads * (attention.latent_dim + attention.kv_lora_rank),
                prefill_flops=2 * attention.num_heads * wide,
            )
        case DSA():
            inner = cache_of(attention.mla)
            index = (
                float(attention.index_head_dim) if attention.owns_indexer else 0.0
            )  # FP8 keys: a byte an element
            work = 2 * attention.index_heads * attention.index_head_dim if attention.owns_indexer else 0
            return inner._replace(
                index_bytes=index,
                limit=attention.index_topk,
                prefill_flops=inner.decode_flops,
                index_flops=work,
                dense_flops=inner.prefill_flops,
                heads=attention.mla.num_heads,
            )
        case V4() | V41():
            flops = 4 * attention.num_heads * attention.head_dim
            indexed = attention.has_indexer if isinstance(attention, V4) else attention.index_heads > 0
            chosen = attention.index_topk if attention.ratio and indexed else 0
            index = attention.index_head_dim / attention.ratio if chosen else 0
            return none._replace(
                index_flops=2 * attention.index_heads * index,
                read=attention.head_dim,
                index_bytes=index,
                limit=chosen if attention.ratio else attention.window,
                ratio=attention.ratio or 1,
                window=attention.window if attention.ratio else 0,
                decode_flops=flops,
                prefill_flops=flops,
            )
        case Linear():
            return none._replace(state=2 * attention.state_size + 2 * attention.conv_width, prefill_flops=0)


def unnamed(name: str, params: float, active: float, bits: float) -> Network:
    """A model of which the size alone is known: a dense (or sparse) transformer of usual proportions.

    Depth and width as in Llama: hidden = 128 x layers, params = 12 x layers x hidden^2 of the active part; 8
    key-value heads of 128. Nothing beside sizes is known, so the answer carries a wide band.

    >>> unnamed("some model", 6.7e9, 6.7e9, 16).num_layers
    32
    """
    layers = max(round((active / (12 * 128**2)) ** (1 / 3)), 1)
    hidden = 128 * layers
    vocab = 50_000
    head = vocab * hidden
    form = "bfloat16" if bits > 9 else "fp8" if bits >= 8 else "fp4 1x16" if bits == 4.5 else f"{bits:g} bits"
    rest = max(active - head, active / 2)
    experts: tuple[RoutedExperts, ...] = ()
    if params > 1.2 * active:  # 128 experts of which 8 run, if nothing is said
        routed = (params - active) / 120 * 8
        rest = max(rest - routed, rest / 4)
        each = (params - active) / 120 / layers
        experts = (
            RoutedExperts(
                layers, 128, 8, hidden, max(round(each / 3 / hidden), 1), each, each * bits / 8, form
            ),
        )
    flops = 4 * 128 * layers
    one = Cache(layers, 8, 2 * 8 * 128, 0.0, 0, 1, 0, flops, flops, 0)
    kinds = (("gqa", layers), ("moe" if experts else "dense", layers))
    weights = Weights(rest, rest * bits / 8, form)
    return Network(
        name,
        hidden,
        vocab,
        layers,
        (weights,),
        (),
        Weights(head, head * bits / 8, form),
        0.0,
        experts,
        (one,),
        kinds,
    )


def tokens_read(cache: Cache, context: float) -> float:
    """Tokens (or compressed entries) of a context that one new token reads.

    >>> from ..model.attention import V4
    >>> tokens_read(cache_of(V4(64, 512, 64, 1024, 8, 1024, 128, 128, 64, 128, 512)), 131072)
    640.0
    """
    entries: float = context / cache.ratio
    if cache.limit:
        entries = min(entries, float(cache.limit))
    return entries + min(cache.window, context)


def _kinds(model: Model) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for layer in model.layers:
        attention = layer.attention.inner if isinstance(layer.attention, Sliding) else layer.attention
        for kind in (attention.kind, layer.ffn.kind):
            counts[kind] = counts.get(kind, 0) + 1
    return tuple(counts.items())
