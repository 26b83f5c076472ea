"""What each card holds with --split-mode tensor: several cards are one device, whose matrices and caches are
cut at whole heads, blocks and groups; the rest, and every buffer of a graph, each card has whole.

src/llama-model.cpp (llama_meta_device_get_split_state) and ggml/src/ggml-backend-meta.cpp of 2026-09
(0c1e5709).
"""

from collections.abc import Sequence
from math import lcm
from typing import NamedTuple

from ...errors import UnsupportedError
from ...ledger import Line, ranged
from ...model.attention import DSA, GQA, MLA, V4, Linear, Sliding
from ...model.feedforward import MoE
from ...model.gguf_tensor_names import gguf_name
from ...model.gguf_types import TYPES
from ...model.model import EMBEDDING, Layer, Model, Tensor
from ...run.serving import Resolved
from ...units import MIB
from ..rank import Stage
from .batch import F32
from .placement import shares_of
from .release import LlamaRules, rules_of

LEAST = 128
"""Values below which a cut is made coarser for the kernels."""


class TensorPiece(NamedTuple):
    """A part of a tensor that is cut: `size` elements at multiples of `grain`, `times` over."""

    size: int
    grain: int
    times: int = 1


def refuse_uncut(model: Model, rules: LlamaRules) -> None:
    """Refuse a model that --split-mode tensor does not serve."""
    states = model.kinds.of(Linear)
    other = any(each.variant not in ("gdn", "short_conv") for each in states)
    if other or model.kinds.has(MLA, DSA) or model.family in rules.cuts_no_tensors:
        raise UnsupportedError(
            f"--split-mode tensor is not known to serve {model.family}", "use --split-mode layer"
        )


def one_device(stage: Stage) -> Stage:
    """The stage of a card as the graph sees it: all cards are one device, which runs all layers."""
    return stage._replace(position=0, num_stages=1) if stage.of_each else stage


def slice_of(piece: TensorPiece, shares: Sequence[float], card: int, rotation: int) -> int:
    """Elements of a piece that a card has: each cut at its share of the sum so far, rounded down to the
    grain, the last one's rest; the order of cards turns by `rotation`.

    >>> [slice_of(TensorPiece(17408, 256), (0.49, 0.51), card, layer) for layer in (0, 1) for card in (0, 1)]
    [8448, 8960, 8704, 8704]
    """
    cards = len(shares)
    turned = [shares[(place + rotation) % cards] for place in range(cards)]
    ends = [
        int(piece.size * sum(turned[: place + 1]) / sum(turned)) // piece.grain * piece.grain
        for place in range(cards - 1)
    ]
    ends = [0, *ends, piece.size]
    place = (card - rotation) % cards
    return ends[place + 1] - ends[place]


def share_of(
    pieces: Sequence[TensorPiece], shares: Sequence[float], card: int, rotation: int
) -> tuple[int, int]:
    """(elements that a card has of all pieces, elements of all)."""
    mine = sum(slice_of(piece, shares, card, rotation) * piece.times for piece in pieces)
    return mine, sum(piece.size * piece.times for piece in pieces)


class Slices:
    """How the tensors and caches of one file are cut over the cards of a question."""

    def __init__(self, model: Model, file: Model, asked: Resolved, windows: bool) -> None:
        self.cards = asked.layout.pp
        self.shares = shares_of(asked.tensor_split) if asked.tensor_split else [1.0] * self.cards
        self.layers: tuple[Layer, ...] = (*model.layers, *model.draft)
        self.num_layers = len(model.layers)
        self.cuts_values_alone = model.family in rules_of(asked).cuts_values_alone
        self.keeps_ends = model.kinds.has(V4)
        kinds = [
            (isinstance(each.attention, Linear), windows and isinstance(each.attention, Sliding))
            for each in self.layers
        ]
        self.turns = [kinds[:place].count(kind) % self.cards for place, kind in enumerate(kinds)]
        """Layers of the same kind before a layer: the cards take turns at what is rounded away."""
        self.blocks = {
            (stem_of(gguf_name(group, layer)), layer): TYPES[name].block
            for group in file.tensors
            if len(group.shape) > 1 and (name := group.format.name.upper()) in TYPES
            for layer in group.layers
        }

    def bytes_of(self, group: Tensor, layer: int, card: int) -> int:
        """Bytes of one tensor of a group on a card; `layer` -1: outside of the layers."""
        whole = group.format.num_bytes(group.shape)
        if layer < 0:
            if group.name == EMBEDDING or len(group.shape) == 1 or self.keeps_ends:
                return whole
            mine, total = share_of(
                (TensorPiece(group.shape[0], 1),), self.shares, card, self.num_layers % self.cards
            )
        else:
            pieces = self.pieces(gguf_name(group, layer), layer, group.shape)
            mine, total = share_of(pieces, self.shares, card, self.turns[layer])
        return whole * mine // total if total else whole

    def cached(self, layer: int, card: int) -> tuple[int, int]:
        """(elements of a layer's keys that a card caches, elements of all)."""
        return share_of(self.pieces("cache", layer), self.shares, card, self.turns[layer])

    def block(self, layer: int, *names: str) -> int:
        """Values of a block of the first of these matrices that the layer has."""
        return next((self.blocks[key] for each in names if (key := (each, layer)) in self.blocks), 1)

    def pieces(self, name: str, layer: int, shape: tuple[int, ...] = ()) -> tuple[TensorPiece, ...]:
        """How a tensor of a layer, or its cache, is cut; () where every card has it whole."""
        stem, vector = stem_of(name), name.endswith(".bias")
        if stem.startswith("ffn_"):
            return self.of_feed_forward(stem, layer, vector, shape)
        found: tuple[TensorPiece, ...]
        match self.layers[layer].attention.core:
            case GQA() as heads:
                found = self.of_heads(stem, layer, heads)
            case Linear() as states if states.variant == "gdn":
                found = self.of_states(stem, layer, states)
            case V4() as latent:
                found = of_groups(stem, latent)
            case _:
                return ()
        return () if vector and stem == "attn_output" else found

    def of_feed_forward(
        self, stem: str, layer: int, vector: bool, shape: tuple[int, ...]
    ) -> tuple[TensorPiece, ...]:
        """Hidden units; of shared experts in V4 alone. The gate of experts is a matrix that all have."""
        part = stem.removeprefix("ffn_").removesuffix("_exps")
        of_v4 = isinstance(self.layers[layer].attention, V4)
        part = part.removesuffix("_shexp") if of_v4 else part
        if part not in ("up", "gate", "down") or (vector and part == "down"):
            return ()
        size = shape[-1] if vector or part == "down" else shape[-2]
        return (TensorPiece(size, lcm(self.block(layer, "ffn_down", "ffn_down_exps"), LEAST)),)

    def of_heads(self, stem: str, layer: int, heads: GQA) -> tuple[TensorPiece, ...]:
        """Heads of queries with those of keys and values that they read."""
        group, perf = heads.num_heads // heads.num_kv_heads, self.block(layer, "attn_output", "ssm_out")
        together = group * heads.head_dim
        while perf < LEAST and perf * self.cards < together:
            perf *= 2
        query = lcm(together, perf)
        kv, value = query // group, heads.value_dim or heads.head_dim
        width, gate = heads.num_heads * heads.head_dim, 1 + heads.gated
        queries = TensorPiece(width * gate, lcm(gate * together, perf) if gate > 1 else query)
        keys = TensorPiece(heads.num_kv_heads * heads.head_dim, kv)
        values = TensorPiece(heads.num_kv_heads * value, kv // heads.head_dim * value)
        return {
            "attn_q": (queries,),
            "attn_k": (keys,),
            "attn_v": (values,),
            "attn_qkv": (queries, keys, values),
            "cache": (keys,),
            "attn_gate": (TensorPiece(heads.num_heads, query // heads.head_dim),),
            "attn_sinks": (TensorPiece(heads.num_heads, query // heads.head_dim),),
            "attn_output": (TensorPiece(heads.num_heads * value, query // heads.head_dim * value),),
        }.get(stem, ())

    def of_states(self, stem: str, layer: int, states: Linear) -> tuple[TensorPiece, ...]:
        """Heads of the gated delta rule: values are cut as keys are, of some families by themselves."""
        grain = lcm(self.block(layer, "attn_output", "ssm_out"), LEAST, states.key_head_dim)
        ratio = states.num_value_heads // states.num_key_heads
        keys, values = TensorPiece(states.key_width, grain, 2), TensorPiece(states.key_width, grain, ratio)
        if self.cuts_values_alone:
            values = TensorPiece(states.value_width, grain)
        if stem in ("attn_qkv", "ssm_conv1d"):
            return keys, values
        divided = ("attn_gate", "ssm_out", "ssm_dt", "ssm_a", "ssm_alpha", "ssm_beta", "cache")
        return (values,) if stem in divided else ()


def of_groups(stem: str, latent: V4) -> tuple[TensorPiece, ...]:
    """Groups of heads of V4's output; its one head of keys and its states every card has whole."""
    group = latent.num_heads // latent.o_groups
    return {
        "attn_q_b": (TensorPiece(latent.num_heads * latent.head_dim, group * latent.head_dim),),
        "attn_output_a": (TensorPiece(latent.o_groups, 1),),
        "attn_output_b": (TensorPiece(latent.o_groups * latent.o_lora_rank, latent.o_lora_rank),),
    }.get(stem, ())


def stem_of(name: str) -> str:
    """A tensor's name in a file without its layer and kind.

    >>> stem_of("blk.3.attn_q.weight"), stem_of("blk.3.ssm_a"), stem_of("cache")
    ('attn_q', 'ssm_a', 'cache')
    """
    return name.rpartition("blk.")[2].removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]


def reduce_line(model: Model, asked: Resolved, vendor: str) -> Line:
    """What the sums over cards take of each: a place for each of log2 of the cards steps as large as the
    largest sum, and of NVIDIA's the library's own: 32 MiB of ggml's for two cards (allreduce.cu), more of
    NCCL's where it was built with it, of which no log says how much."""
    steps = (asked.layout.pp - 1).bit_length()
    ffns = (each.num_active_experts for each in model.kinds.of(MoE))
    summed = model.hidden_size * (asked.ubatch_size or 512) * F32
    value = steps * summed * max(ffns, default=1)
    own = 32 * MIB if vendor == "NVIDIA" else 0
    sizes = (value + own, value, value + 10 * own)
    what, formula = "sums over cards", f"{steps} x {value // max(steps, 1):,} B of a micro-batch"
    source = "ggml/src/ggml-backend-meta.cpp, ggml-cuda/allreduce.cu"
    return ranged("communication.buffers", "engine", what, sizes, "assumed", formula, source)
