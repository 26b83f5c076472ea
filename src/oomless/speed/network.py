"""What a forward pass reads and computes, whatever runs it: a Model's tensors and layers as a few sums."""

from math import prod
from typing import NamedTuple

from ..errors import UnsupportedError
from ..kept import Kept
from ..model.attention import GQA, Sliding
from ..model.feedforward import MoE
from ..model.model import EMBEDDING, HEAD, Layer, Model, Tensor
from ..model.quantization_scheme import REQUANTISED, requantised
from ..model.storage import Format
from .attention_cache import Cache, cache_of
from .steady import added


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
    joint_norms: int = 0
    """Layers whose queries and keys are normalised over all heads, of which a rank has a part."""
    expert_biases: int = 0
    """Vectors added to the products of routed experts, one a kind of matrix and group of layers."""
    family: str = ""
    """What its config calls the model's type: engines choose kernels by it; "": not known."""

    @property
    def linear_params(self) -> float:
        """Values of the matrices that every token passes, without head and routed experts."""
        return added(each.params for each in (*self.cut, *self.whole))

    @property
    def active_params(self) -> float:
        """A token's share of all matrices, head included.

        >>> from ..model.load import load
        >>> round(network(load("deepseek-r1")).active_params / 1e9, 2)
        36.62
        """
        routed = added(each.num_layers * each.num_active * each.params_each for each in self.experts)
        return self.linear_params + routed + self.head.params


_KNOWN = Kept[Network](most=64)


def network(model: Model, quantization: str | None = None) -> Network:
    """The sums of a model as an engine runs it under --quantization (a method's name, or a GGUF file
    type)."""
    return _KNOWN.of(model, quantization or "", lambda: of_tensors(model, stored(model, quantization)))


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
        kinds=kinds_of(model.layers),
        more_norms=max(_count(tensors, "", "norm.weight") - 1 - 2 * len(model.layers), 0) if plain else 0,
        biases=_count(tensors, "attn", ".bias") if plain else 0,
        joint_norms=sum(
            each.num_tensors
            for each in tensors
            if each.part == "main" and each.cut.how == "column" and each.name.endswith("q_norm.weight")
        ),
        expert_biases=sum(each.role == "expert" and each.name.endswith(".bias") for each in tensors),
        family=model.family,
    )


def _count(tensors: tuple[Tensor, ...], within: str, ending: str) -> int:
    return sum(
        each.num_tensors
        for each in tensors
        if each.part == "main" and within in each.name and each.name.endswith(ending)
    )


def stored(model: Model, quantization: str | None) -> tuple[Tensor, ...]:
    """The tensors as they are held: requantised on loading, or as a file of MLX or a GGUF file has them."""
    word = (quantization or "").lower()
    if not word or word in ("none", model.quantization):
        return model.tensors
    if word in REQUANTISED:
        return tuple(_as(tensor, requantised(word, tensor.role), model) for tensor in model.tensors)
    from ..model.mlx_forms import form_of

    if form_of(word):
        return tuple(each._replace(format=form_of(word, each) or each.format) for each in model.tensors)
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


def kinds_of(layers: tuple[Layer, ...]) -> tuple[tuple[str, int], ...]:
    """Return (kind of block, how many): attention, feed-forward, and what runs beside routed experts."""
    counts: dict[str, int] = {}
    for layer in layers:
        attention = layer.attention.inner if isinstance(layer.attention, Sliding) else layer.attention
        beside = isinstance(layer.ffn, MoE) and (layer.ffn.shared_width or layer.ffn.dense_width)
        for kind in (attention.kind, layer.ffn.kind, *(("shared",) if beside else ())):
            counts[kind] = counts.get(kind, 0) + 1
    return tuple(counts.items())


def need_decoder(model: Model) -> None:
    """Refuse what only a model that decodes can be asked."""
    if model.encodes:
        raise UnsupportedError(
            f"{model.name} is an encoder, which decodes nothing", "`oomless infer` has a batch of it"
        )
