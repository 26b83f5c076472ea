"""What one rank holds of a model in training: tensors cut by TP and EP, dealt over pipeline stages, and the
adapters beside them."""

from itertools import pairwise
from math import prod
from typing import Literal, NamedTuple

from ...errors import UsageError
from ...frameworks import framework
from ...frameworks.graphs.adapters import AdaptedMatrix, AdapterKind, adapter, trained_values
from ...model.attention import DSA, GQA, MLA, Attention, Sliding
from ...model.feedforward import MoE
from ...model.fused_modules import shares_input
from ...model.model import EMBEDDING, Model, Tensor
from ...run.training import Mesh, TrainingResolved
from .adapted_experts import (
    FUSED,
    adapted_tensors,
    adapts_stacks,
    by_parameter,
    packs_apart,
    short_name,
)

Group = Literal["dense", "expert"]
"""Which ranks hold the same values: all data-parallel ranks, or those with the same experts."""


class PipelineStage(NamedTuple):
    """A pipeline stage: the layers of its chunks in order, and whether embedding and head are its own."""

    rank: int
    chunks: tuple[tuple[int, ...], ...]
    first: bool
    last: bool

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(layer for chunk in self.chunks for layer in chunk)


class Portion(NamedTuple):
    """Equal tensors of one rank: values of each after cutting, and how many in each layer."""

    name: str
    rows: int
    """The first dimension on this rank, along which FSDP2 cuts."""
    values: int
    per_layer: int
    layers: tuple[int, ...]
    group: Group
    trained: bool
    matrix: bool
    """Has two dimensions: quantised optimizers, Muon and 4-bit storage treat it unlike a vector."""
    product: bool
    """A weight of a matrix product, which autocast copies and 4-bit storage packs."""
    adapter: bool = False
    lookup: bool = False
    """A table of which a token reads single rows: the embedding."""
    stacked: bool = False
    """One tensor holds the experts of a layer: cuts along the first dimension cut experts."""

    @property
    def num(self) -> int:
        return self.per_layer * (len(self.layers) or 1)

    @property
    def total(self) -> int:
        return self.num * self.values


def stages(num_layers: int, mesh: Mesh) -> tuple[PipelineStage, ...]:
    """Layers dealt over stages and their chunks: evenly, the first ones getting what is left over.

    >>> [stage.chunks for stage in stages(8, Mesh(pp=2, virtual_stages=2))]
    [((0, 1), (4, 5)), ((2, 3), (6, 7))]
    >>> [stage.chunks for stage in stages(8, Mesh(pp=2, virtual_stages=2, count_ends=True))]
    [((0, 1), (5, 6)), ((2, 3, 4), (7,))]
    """
    pieces = mesh.pp * mesh.virtual_stages
    if pieces > num_layers:
        raise UsageError(
            f"--pp {mesh.pp} x {mesh.virtual_stages} chunks is more than the "
            f"{num_layers} layers of the model",
            "lower --pp or the chunks",
        )
    ends = 1 if mesh.count_ends and mesh.pp > 1 and num_layers >= pieces else 0
    base, rest = divmod(num_layers + 2 * ends, pieces)
    bounds = [0]
    for piece in range(pieces):
        taken = ends if piece in (0, pieces - 1) else 0
        bounds.append(bounds[-1] + base + (piece < rest) - taken)
    chunks = [tuple(range(start, end)) for start, end in pairwise(bounds)]
    return tuple(
        PipelineStage(rank, tuple(chunks[rank :: mesh.pp]), rank == 0, rank == mesh.pp - 1)
        for rank in range(mesh.pp)
    )


def check_mesh(model: Model, mesh: Mesh, num_gpus: int) -> Mesh:
    """The mesh with its data-parallel size, or an error that names the two values in conflict."""
    inner = mesh.tp * mesh.pp * mesh.cp
    dp = mesh.dp or num_gpus // inner
    if not dp or (not mesh.dp and num_gpus % inner):
        raise UsageError(
            f"--tp {mesh.tp} x --pp {mesh.pp} x --cp {mesh.cp} is {inner}, which does "
            f"not divide {num_gpus} cards",
            f"their number stands behind the card, --gpu CARD:{inner}; or ask for smaller sizes"
            if inner > num_gpus
            else "choose sizes whose product divides the cards",
        )
    if dp * inner > num_gpus:
        raise UsageError(
            f"--dp {dp} x {inner} ranks needs {dp * inner} cards, --gpu gives {num_gpus}",
            f"their number stands behind the card, --gpu CARD:{dp * inner}; or ask for smaller sizes",
        )
    mesh = mesh._replace(dp=dp)
    for layer in model.layers:
        attention = layer.attention.inner if isinstance(layer.attention, Sliding) else layer.attention
        heads = attention.mla.num_heads if isinstance(attention, DSA) else getattr(attention, "num_heads", 0)
        if isinstance(attention, GQA | MLA | DSA) and heads % mesh.tp:
            raise UsageError(
                f"--tp {mesh.tp} does not divide the {heads} attention heads", f"{divisors(heads)} do"
            )
        if (
            isinstance(attention, GQA)
            and attention.num_kv_heads % mesh.tp
            and mesh.tp % attention.num_kv_heads
        ):
            raise UsageError(
                f"--tp {mesh.tp} does not divide the {attention.num_kv_heads} key-value heads",
                f"{divisors(attention.num_kv_heads)} do",
            )
        if isinstance(layer.ffn, MoE) and (mesh.ep > 1 or mesh.etp > 1):
            if layer.ffn.num_experts % mesh.ep:
                raise UsageError(
                    f"--ep {mesh.ep} does not divide the {layer.ffn.num_experts} experts",
                    f"{divisors(layer.ffn.num_experts)} do",
                )
            ranks = dp * mesh.cp * mesh.tp
            if ranks % (mesh.ep * (mesh.etp or 1)):
                raise UsageError(
                    f"--ep {mesh.ep} x {mesh.etp or 1} does not divide the {ranks} ranks of a pipeline stage",
                    f"{divisors(ranks)} do",
                )
    if mesh.ep > 1 and not any(isinstance(layer.ffn, MoE) for layer in model.layers):
        raise UsageError(f"--ep {mesh.ep}: {model.name} has no routed experts", "leave --ep out")
    return mesh


def divisors(number: int) -> str:
    """The divisors of a number, for a hint."""
    found = [str(size) for size in range(1, min(number, 4096) + 1) if number % size == 0]
    return ", ".join(found[:12])


def on_rank(tensor: Tensor, tp: int) -> tuple[int, int]:
    """Rows and values of one tensor on a tensor-parallel rank: cut by columns, rows or vocabulary, or
    whole."""
    shape = tensor.shape
    whole = prod(shape)
    match tensor.cut.how:
        case "whole":
            return shape[0], whole
        case "row":
            return shape[0], whole // shape[-1] * -(-shape[-1] // tp)
        case "column" | "vocabulary":
            units = tensor.cut.units or shape[0]
            pieces = min(tp, units)  # heads fewer than ranks are repeated
            rows = -(-units // pieces) * (shape[0] // units) if units else shape[0]
            return rows, rows * (whole // shape[0])


def portions(model: Model, mesh: Mesh, stage: PipelineStage, request: TrainingResolved) -> list[Portion]:
    """The tensors of one rank of a stage. MTP layers are left out; stored copies are no parameters. Where
    PEFT trains embedding and head in full, the frozen ones stay beside the copies that are trained
    (peft/utils/other.py, ModulesToSaveWrapper: original_module)."""
    inside = set(stage.layers)
    full = request.method == "full"
    found = []
    for tensor in model.tensors:
        if tensor.copy_of or tensor.part == "mtp":
            continue
        layers = tuple(layer for layer in tensor.layers if layer in inside)
        lookup = tensor.name == EMBEDDING or tensor.lookup or tensor.part == "vision"
        tied_head = tensor.name == EMBEDDING and model.tied and stage.last and not stage.first
        if tensor.layers and tensor.part != "vision":
            if not layers:
                continue
        elif not ((lookup and stage.first) or (not lookup and stage.last) or tied_head):
            continue
        expert = tensor.role == "expert"
        tp = (mesh.etp or 1) if expert and mesh.ep > 1 else mesh.tp
        rows, values = on_rank(tensor, 1 if tensor.part == "vision" else tp)  # a tower is whole on each rank
        per_layer = tensor.repeat
        if expert and mesh.ep > 1:
            per_layer = -(-tensor.repeat // mesh.ep)
        matrix = len(tensor.shape) > 1
        ends = not tensor.layers and tensor.part == "main" and matrix and request.trained_ends
        product = tensor.role != "plain" or (not tensor.layers and matrix and not tensor.lookup)
        found.append(
            Portion(
                tensor.name,
                rows,
                values,
                per_layer,
                layers if tensor.part != "vision" else tensor.layers,
                "expert" if expert else "dense",
                tensor.part in (full and "main", request.trained_tower and "vision") or ends,
                matrix,
                product,
                lookup=lookup,
                stacked=expert and matrix and not packs_apart(model, request),
            )
        )
        if full and request.trained_layers:
            found[-1:] = in_part(found[-1], request.trained_layers, len(model.layers))
        if ends and not full and framework(request.framework).peft:
            found.append(found[-1]._replace(name=f"{tensor.name}, frozen", trained=False, product=False))
    if not full:
        found += adapters(model, mesh, stage, request)
    return found


def in_part(portion: Portion, trained: int, num_layers: int) -> list[Portion]:
    """Return a portion in two: what is frozen, and what is trained: the last layers, below zero the first.
    >>> p = Portion("w", 8, 64, 1, (0, 1, 2), "dense", True, True, True)
    >>> [[(each.layers, each.trained) for each in in_part(p, last, 3)] for last in (1, -1)]
    [[((0, 1), False), ((2,), True)], [((1, 2), False), ((0,), True)]]
    """
    chosen = range(-trained) if trained < 0 else range(num_layers - trained, num_layers)
    frozen, of_step = (tuple(x for x in portion.layers if (x in chosen) == kind) for kind in (False, True))
    found = (portion._replace(layers=frozen, trained=False), portion._replace(layers=of_step))
    return [each for each in found if each.layers] or [portion._replace(trained=False)]


def beside_layers(model: Model, stage: PipelineStage, kind: AdapterKind) -> list[Portion]:
    """Adapters that stand beside no matrix: norms, tokens of the embedding, virtual tokens and prefixes.

    >>> from ...model.load import load
    >>> coder = load("deepseek-coder-1.3b")
    >>> sum(
    ...     p.total for p in beside_layers(coder, stages(24, Mesh())[0], adapter("ln_tuning"))
    ... )  # (2 x 24 + 1) x 2048
    100352
    """
    hidden, layers = model.hidden_size, stage.layers
    match kind.where:
        case "norm":
            ways = [("norms", 2 * hidden, layers), *([("last norm", hidden, ())] if stage.last else [])]
        case "embedding":
            ways = [("tokens", kind.tokens * hidden, ())]
        case "tokens":
            ways = [("prompt", kind.tokens * hidden, ())]
        case "prefix":
            ways = [
                ("prefix", kind.tokens * _prefix_width(each, hidden, kind), held)
                for each in model.kinds.attentions
                if (held := tuple(layer for layer in layers if model.layers[layer].attention == each))
            ]
        case _:
            raise AssertionError(f"adapters beside no matrix are not {kind.where!r}")
    return [
        Portion(name, 1, values, 1, where, "dense", True, False, False, adapter=True)
        for name, values, where in ways
    ]


def _prefix_width(attention: Attention, hidden: int, kind: AdapterKind) -> int:
    """Values of a virtual token in one layer: keys and values of its heads, or one row of attention's
    input.

    >>> _prefix_width(Sliding(GQA(32, 8, 128), 4096), 4096, adapter("prefix_tuning"))
    2048
    """
    if kind.name == "adaption_prompt" or not isinstance(attention.core, GQA):
        return hidden
    return 2 * attention.core.num_kv_heads * attention.core.head_dim


BEHIND_FIRST = ("k_proj", "v_proj", "up_proj")
"""Matrices that lie in a product of Megatron-Core behind its first one."""


def beside_matrix(
    short: str, matrix: AdaptedMatrix, kind: str, twice: bool
) -> tuple[tuple[str, int, int], ...]:
    """Return name, rows and values of what an adapter has beside a matrix; `twice`: two matrices lie in it.

    >>> beside_matrix("q_proj", AdaptedMatrix(16, 2048, 3072, False), "lora", False)
    (('q_proj.lora_A', 16, 32768), ('q_proj.lora_B', 3072, 49152))
    """
    rank, inner, out = matrix.rank, matrix.width_in, matrix.width_out
    if kind != "lora":
        values = trained_values(kind, matrix)
        return ((f"{short}.{kind}", min(rank, values), values),)
    return (
        (f"{short}.lora_A", rank, rank * inner),
        (f"{short}.lora_B", out, (2 if twice else 1) * rank * out),
    )


def adapters(model: Model, mesh: Mesh, stage: PipelineStage, request: TrainingResolved) -> list[Portion]:
    """LoRA: a (r x in) and a (out x r) matrix beside each target; the halves are cut as their matrix is. The
    matrices of a fused module share the first half. Experts in a stack: one of each for every expert, of
    twice the rank where two matrices lie in it.

    >>> from ...model.load import load
    >>> asked = TrainingResolved(method="lora", lora_rank=16, lora_targets=("q_proj",))
    >>> sum(
    ...     p.total for p in adapters(load("deepseek-v2-lite"), Mesh(dp=1), stages(27, Mesh())[0], asked)
    ... )  # 27 x 16 x (2048 + 3072)
    2211840
    """
    kind = adapter(request.adapter)
    if kind.where != "matrix":
        return beside_layers(model, stage, kind)
    inside = set(stage.layers)
    found = []
    rank = request.lora_rank
    grouped = framework(request.framework).groups_adapters
    stacked, spelled = adapts_stacks(model, request), by_parameter(request)
    for tensor in adapted_tensors(model, request):
        layers = tuple(layer for layer in tensor.layers if layer in inside)
        if not layers:
            continue
        short, expert = short_name(tensor.name), tensor.role == "expert"
        tp = (mesh.etp or 1) if expert and mesh.ep > 1 else mesh.tp
        per_layer = -(-tensor.repeat // mesh.ep) if expert else tensor.repeat
        out, inner = tensor.shape[-2], tensor.shape[-1]
        out_cut = -(-out // tp) if tensor.cut.how == "column" else out
        in_cut = -(-inner // tp) if tensor.cut.how == "row" else inner
        group: Group = "expert" if expert else "dense"
        matrix = AdaptedMatrix(rank, in_cut, out_cut, short.startswith("down"))
        twice = expert and stacked and not spelled and short in FUSED
        parts = beside_matrix(short, matrix, request.adapter, twice)
        behind = (grouped or (expert and stacked and spelled)) and short in BEHIND_FIRST
        if (behind or shares_input(model.family, short)) and request.adapter == "lora":
            parts = parts[1:]
        for name, rows, values in parts:
            found.append(
                Portion(name, rows, values, per_layer, layers, group, True, True, False, adapter=True)
            )
    if not found and not request.trained_ends:
        known = sorted(
            {short_name(t.name) for t in model.tensors if t.role != "plain" and len(t.shape) > 1 and t.layers}
        )
        raise UsageError(
            f"--lora-targets {','.join(request.lora_targets)} names no matrix of {model.name}",
            f"it has {', '.join(known)}, or all-linear",
        )
    return found
