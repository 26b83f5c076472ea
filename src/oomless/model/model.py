"""Model, Layer and Tensor: a network as a list of its weights. Parameters, checkpoint bytes, shards and
states are sums over it."""

from collections.abc import Collection
from math import prod
from typing import TYPE_CHECKING, Literal, TypeVar

from ..records import Record
from .attention import GQA, MLA, Attention
from .feedforward import FeedForward, MoE
from .storage import Format, Shape

if TYPE_CHECKING:
    from .gguf_types import SizeSpread

Kind = TypeVar("Kind")
Part = Literal["main", "mtp", "engram", "vision"]
Role = Literal["plain", "linear", "expert"]
"""What quantisation may touch: matrices of attention and feed-forward, matrices of routed experts, and
nothing else."""


class Cut(Record):
    """How a tensor may be divided over tensor-parallel ranks: by its output rows, its input columns, its
    vocabulary, or not at all.

    `units` is the number of indivisible pieces (heads, groups, or single rows); a column cut over more ranks
    than units repeats a unit (key and value heads), every other cut needs the units to divide.
    """

    how: Literal["whole", "column", "row", "vocabulary"]
    units: int = 0


WHOLE = Cut("whole")
VOCABULARY = Cut("vocabulary")


class Tensor(Record):
    """A group of equal weights: `repeat` of them in each of `layers` (() = outside of the layers)."""

    name: str
    shape: Shape
    format: Format
    cut: Cut = WHOLE
    layers: tuple[int, ...] = ()
    repeat: int = 1
    role: Role = "plain"
    """For "expert", `repeat` counts the routed experts of a layer, which expert parallelism divides."""
    part: Part = "main"
    lookup: bool = False
    """A table of which a token reads single rows."""
    copy_of: str = ""
    """The main tensor that the checkpoint stores again here; a copy is bytes on disk and no parameter."""

    @property
    def num_tensors(self) -> int:
        return self.repeat * (len(self.layers) or 1)

    @property
    def num_parameters(self) -> int:
        return self.num_tensors * prod(self.shape)

    def of_layers(self, layers: Collection[int]) -> "Tensor":
        """The group's tensors of some layers."""
        return self._replace(layers=tuple(layer for layer in self.layers if layer in layers))

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors of the group, with their scales."""
        return self.num_tensors * self.format.num_bytes(self.shape)


class Layer(Record):
    """One block of the network: what mixes tokens, and what works on each of them."""

    attention: Attention
    ffn: FeedForward


class LayerKind(Record):
    """Equal layers: their attention, their feed-forward, and their numbers in the model."""

    attention: Attention
    ffn: FeedForward
    layers: tuple[int, ...]


class Kinds(Record):
    """The kinds of a run of layers, in the order in which they first occur."""

    kinds: tuple[LayerKind, ...]
    attentions: tuple[Attention, ...]
    """Every attention that occurs, once."""
    ffns: tuple[FeedForward, ...]
    """Every feed-forward that occurs, once."""

    def has(self, *kinds: type[Attention]) -> bool:
        """Return whether any of the layers has an attention of one of these kinds.

        >>> from .attention import MLA, Linear
        >>> from .load import load
        >>> load("kimi-k3").kinds.has(MLA), load("deepseek-v3").kinds.has(Linear)
        (True, False)
        """
        return any(isinstance(each, kinds) for each in self.attentions)

    def of(self, kind: type[Kind]) -> tuple[Kind, ...]:
        """Return the attentions, or the feed-forwards, of one kind that occur.

        >>> from .load import load
        >>> [each.num_experts for each in load("deepseek-v3").kinds.of(MoE)]
        [256]
        """
        return tuple(each for each in (*self.attentions, *self.ffns) if isinstance(each, kind))

    @property
    def latents(self) -> tuple[MLA, ...]:
        """Every latent attention that occurs, behind an indexer or not, once."""
        cores = dict.fromkeys(each.core for each in self.attentions)
        return tuple(core for core in cores if isinstance(core, MLA))

    @property
    def has_experts(self) -> bool:
        """Whether any of the layers has routed experts."""
        return bool(self.of(MoE))


class Rope(Record):
    """A rotary embedding as far as it takes memory: engines keep its cosines and sines for every position."""

    dim: int
    theta: float
    max_positions: int
    scaling: str = "default"
    factor: float = 1.0
    original_max_positions: int = 0
    reaches_scaled: bool = False
    """`max_positions` are those after scaling."""


class Vision(Record):
    """What an encoder beside the language model makes of its largest item, and what it is fed."""

    item_tokens: int
    """Tokens that the largest image becomes."""
    item_values: int
    """Numbers that its pixels are, after tiling and patching."""
    sees_both_ways: bool = False
    """Whether an item's tokens attend to each other, so that no step may cut it."""


class Model(Record):
    """A network: layers, weights and the few numbers that engines need beside them."""

    name: str
    family: str
    hidden_size: int
    vocab_size: int
    max_positions: int
    dtype: Format
    """The type that activations and unquantised weights have."""
    quantization: str
    """How the checkpoint stores its linear layers: "" for the plain dtype, else the method of its config."""
    layers: tuple[Layer, ...]
    tensors: tuple[Tensor, ...]
    ropes: tuple[Rope, ...]
    tied: bool = False
    draft: tuple[Layer, ...] = ()
    """MTP or draft layers: stored with the model, run only when speculation is asked for."""
    drafter: "Model | None" = None
    """The model or head beside this one that drafts, whose layers `draft` are; None: they are its own."""
    num_mtp: int = 0
    """Layers of the draft that run where MTP is asked for, though its stages are DSpark's; 0: all of them."""
    streams: int = 1
    """Residual streams a token: 4 under hyper-connections."""
    explained_bytes: int = 0
    """Tensor data of the checkpoint by `tensors`, summed up once when the model is built."""
    stored_bytes: int = 0
    """Tensor data that the checkpoint's headers count; 0: no header was read."""
    size_spread: "SizeSpread | None" = None
    """How far the real file may lie from `tensors`: nobody published the types of a dynamic GGUF mix."""
    warnings: tuple[str, ...] = ()
    """What is known to be missing from `tensors`, or was read and not understood; every answer repeats it."""
    vision: Vision | None = None
    """The encoder that runs with the model; None: text alone, or an encoder of unknown size."""
    tower: float = 0.0
    """Size of the encoder in ViT-L/14, as SGLang counts it; 0: no vision_config."""
    fp8_cache: bool = False
    """Its quantisation by ModelOpt says a cache in FP8, which an engine may follow."""
    pooled: bool = False
    """A vector comes out for each sequence, and no logits."""
    canvas: int = 0
    """Tokens of a block that are denoised at once; 0: one token follows the other."""
    dropout: float = 0.0
    """Of its class, behind attention and feed-forward."""

    def __repr__(self) -> str:
        form = self.quantization or self.dtype.name
        return f"Model({self.name!r}: {len(self.layers)} layers, {self.num_parameters:,} parameters, {form})"

    @property
    def kinds(self) -> Kinds:
        """The kinds of all layers of the main model."""
        return self.kinds_within(0, len(self.layers))

    def kinds_within(self, start: int, stop: int) -> Kinds:
        """Return the kinds of the layers from `start` up to `stop`, as a pipeline stage has them.

        >>> from .load import load
        >>> [(kind.attention.kind, len(kind.layers)) for kind in load("kimi-k3").kinds.kinds]
        [('linear', 1), ('linear', 68), ('mla', 24)]
        """
        key = (id(self.layers), start, stop)
        kept = _KINDS.get(key)
        if kept is None:
            if len(_KINDS) >= MOST_KINDS:
                _KINDS.clear()
            kept = _KINDS[key] = (self.layers, _kinds(self.layers, range(start, stop)))
        return kept[1]

    def layer_at(self, number: int) -> Layer:
        """Return a layer by the number that its tensors have: those of a draft come after the model's own."""
        num = len(self.layers)
        if number < num or not self.draft:
            return self.layers[min(number, num - 1)]
        return self.draft[min(number - num, len(self.draft) - 1)]

    @property
    def num_parameters(self) -> int:
        """Parameters of the main model: embedding and head once; no MTP or draft layers, Engram or vision."""
        return sum(t.num_parameters for t in self.tensors if t.part == "main" and not t.copy_of)

    @property
    def num_active_parameters(self) -> int:
        """A token's share of the main model: of E routed experts the k that it visits, of lookup tables
        nothing.

        The convention of models_index.csv, column active_excl_embed. A tied embedding counts: it serves as
        the head.
        """
        active = 0
        for tensor in self.tensors:
            if (
                tensor.part != "main"
                or tensor.copy_of
                or (tensor.lookup and not (self.tied and tensor.name == EMBEDDING))
            ):
                continue
            if tensor.role == "expert":
                ffn = self.layers[tensor.layers[0]].ffn
                active += tensor.num_parameters // tensor.repeat * ffn.num_active_experts
            else:
                active += tensor.num_parameters
        return active

    @property
    def encodes(self) -> bool:
        """Whether tokens see those behind them too: nothing is decoded or cached."""
        return any(isinstance(each.core, GQA) and not each.core.causal for each in self.kinds.attentions)

    @property
    def num_logits(self) -> int:
        """Logits of a token that is decoded."""
        return 0 if self.pooled else self.vocab_size

    @property
    def checkpoint_bytes(self) -> int:
        """Tensor data of the published checkpoint, all parts and stored copies; what headers say counts
        before the formula."""
        return self.stored_bytes or self.explained_bytes or sum(t.num_bytes for t in self.tensors)

    @property
    def num_checkpoint_tensors(self) -> int:
        """Entries of the checkpoint's index: a scaled tensor has its scales beside it."""
        return sum(t.num_tensors * (2 if t.format.block else 1) for t in self.tensors)

    def parameters_of(self, part: Part) -> int:
        return sum(t.num_parameters for t in self.tensors if t.part == part)


def _kinds(layers: tuple[Layer, ...], numbers: range) -> Kinds:
    """Return the kinds of some of the layers."""
    found: dict[Layer, list[int]] = {}
    for number in numbers:
        found.setdefault(layers[number], []).append(number)
    return Kinds(
        tuple(LayerKind(*layer, tuple(its_numbers)) for layer, its_numbers in found.items()),
        tuple(dict.fromkeys(layer.attention for layer in found)),
        tuple(dict.fromkeys(layer.ffn for layer in found)),
    )


def headless(model: Model) -> Model:
    """Return the model without its head: it gives vectors."""
    kept = tuple(each for each in model.tensors if not each.name.startswith("lm_head"))
    return model._replace(tensors=kept, pooled=True)


MOST_KINDS = 512
_KINDS: dict[tuple[int, int, int], tuple[tuple[Layer, ...], Kinds]] = {}
"""Kinds by the layers that they are of, which an answer asks for many times. The layers are kept, so their id
stays their own."""
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
LAYER_TABLE = "model.embed_tokens_per_layer.weight"
"""Gemma's, of each layer."""
