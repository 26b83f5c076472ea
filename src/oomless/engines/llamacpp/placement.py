"""Where llama.cpp puts each layer and each tensor: on which card, or on the host. src/llama-model.cpp
(load_tensors), common/arg.cpp."""

import re
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ...errors import UsageError
from ...files import shown
from ...kept import Kept
from ...model.gguf_model import num_blocks
from ...model.gguf_tensor_names import gguf_name
from ...model.model import EMBEDDING, LAYER_TABLE, Model, Tensor
from ...model.name_expressions import PatternError
from ...model.name_patterns import NamePatterns
from ...run.serving import Resolved
from ..rank import Stage
from .release import rules_of

HOST = -1
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""The tensors of routed experts, as --cpu-moe writes them (common/common.h)."""


class Offload(NamedTuple):
    """The layers on cards: from `first` on, `active` of them, the output as one more; whether it is among
    them."""

    first: int
    active: int
    output: bool


def offload(num_layers: int, asked: Resolved, output_first: bool) -> Offload:
    """What -ngl means for a model of so many layers.

    >>> (
    ...     offload(61, Resolved(n_gpu_layers=10), True),
    ...     offload(61, Resolved(n_gpu_layers=10), False),
    ...     offload(61, Resolved(), True),
    ... )
    (Offload(first=52, active=10, output=True),
     Offload(first=51, active=10, output=False),
     Offload(first=0, active=62, output=True))
    """
    num = num_layers + 1 if asked.n_gpu_layers is None else min(asked.n_gpu_layers, num_layers + 1)
    return Offload(
        max(num_layers + int(output_first) - num, 0), num, num > (0 if output_first else num_layers)
    )


def split_points(asked: Resolved) -> list[float]:
    """Where the share of each card ends, from 0 to 1.

    >>> from ...run.serving import Layout
    >>> (
    ...     split_points(Resolved(layout=Layout(pp=2), tensor_split="3,1")),
    ...     split_points(Resolved(layout=Layout(pp=2))),
    ... )
    ([0.75, 1.0], [0.5, 1.0])
    """
    cards = asked.layout.pp
    shares = shares_of(asked.tensor_split) if asked.tensor_split else [1.0] * cards
    if len(shares) != cards:
        raise UsageError(
            f"--tensor-split {asked.tensor_split}: {len(shares)} shares for {cards} cards",
            "give one to each card",
        )
    total = sum(shares)
    return [sum(shares[: index + 1]) / total for index in range(len(shares))]


def shares_of(text: str) -> list[float]:
    """The shares of --tensor-split: numbers, between commas or slashes.

    >>> shares_of("3,1"), shares_of("0.6/0.4")
    ([3.0, 1.0], [0.6, 0.4])
    """
    words = re.split(r"[,/]", text)
    shares = [float(word) for word in words if re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", word)]
    if len(shares) != len(words) or not sum(shares):
        raise UsageError(
            f"--tensor-split {text!r} is no list of shares", "write one number for each card: 3,1"
        )
    return shares


def num_named(given: Mapping[str, Any]) -> int:
    """Return how many cards have a share in a command's options.

    >>> num_named({"tensor_split": "3,1"}), num_named({})
    (2, 1)
    """
    return len(re.split(r"[,/]", given.get("tensor_split") or "1"))


def deal(num_layers: int, asked: Resolved, output_first: bool, drafting: int = 0) -> list[Stage]:
    """Layers of each card: the offloaded ones, each to the card whose share of them it falls into; those that
    are `drafting` and the output after the last.

    >>> from ...run.serving import Layout
    >>> cards = deal(61, Resolved(layout=Layout(pp=2), tensor_split="3,1"), True)
    >>> [(each.start, each.stop) for each in cards]
    [(0, 47), (47, 61)]
    """
    first, active, _ = offload(num_layers + drafting, asked, output_first)
    points = split_points(asked)
    if asked.split_mode == "tensor":  # each card has a slice of every layer
        start = min(first if active else num_layers, num_layers)
        return [Stage(card, len(points), start, num_layers, of_each=True) for card in range(len(points))]
    ends = [
        first + next((n for n in range(active + 1) if n / max(active, 1) >= point), active)
        for point in points[:-1]
    ]
    starts = [min(start, num_layers) for start in (first if active else num_layers, *ends)]
    stops = [*starts[1:], num_layers]
    return [
        Stage(card, len(points), start, stop)
        for card, (start, stop) in enumerate(zip(starts, stops, strict=True))
    ]


class Override(NamedTuple):
    """One rule of --override-tensor: tensors whose name it finds go to `device`."""

    pattern: NamePatterns
    device: int
    layers: Container[int] | None = None
    """Of these layers alone; None: of all."""

    def takes(self, layer: int) -> bool:
        """Return whether the rule may mean a tensor of a layer."""
        return self.layers is None or layer in self.layers


@lru_cache(maxsize=64)
def overrides(override_tensor: str | None, cpu_moe: bool, n_cpu_moe: int) -> tuple[Override, ...]:
    """The rules in the order in which llama.cpp tries them: the first that finds a name counts.

    >>> [rule.device for rule in overrides("blk.[0-9].ffn=CUDA1,exps=CPU", False, 0)]
    [1, -1]
    """
    found = []
    rules = override_tensor.split(",") if override_tensor else []
    if len(rules) > MOST_RULES:
        raise UsageError(
            f"--override-tensor has {len(rules):,} rules",
            f"write at most {MOST_RULES}",
        )
    for rule in rules:
        pattern, _, device = rule.rpartition("=")
        number = re.fullmatch(r"(?:CUDA|ROCm|HIP|SYCL|Vulkan|CANN|MUSA)(\d{1,3})", device)
        if not pattern or not (number or device.upper() in HOST_BUFFERS):
            raise UsageError(
                f"--override-tensor {shown(rule)} is no rule",
                "write pattern=CPU or pattern=CUDA0, with commas between rules",
            )
        layers, pattern = of_layers(pattern)
        found.append(Override(tensor_pattern(pattern), int(number[1]) if number else HOST, layers))
    if cpu_moe:
        found.append(Override(tensor_pattern(EXPERTS), HOST))
    if n_cpu_moe:  # one rule a layer in llama.cpp, all of one device: together they are one
        found.append(Override(tensor_pattern(rf"blk\.\d+{EXPERTS}"), HOST, range(n_cpu_moe)))
    return tuple(found)


MOST_RULES = 64


NAMES_LAYERS = re.compile(r"blk\\\.(?:(\d+)|\(([\d|]+)\))((?:\\.|[^\\()|]|\([^\\()]*\))*)")
"""An expression of one layer or of a list of them, and what follows: nothing that is tried in its place."""
LAYER = re.compile("0|[1-9][0-9]{0,5}")
"""A layer's number as a tensor's name has it: another spelling finds none."""


def of_layers(expression: str) -> tuple[frozenset[int] | None, str]:
    r"""Return (the layers that an expression lists, itself for any layer): expressions that differ in nothing
    else are one then. Where it lists none: (None, the expression).

    >>> layers, of_any = of_layers(r"blk\.(3|4)\.ffn_(up|down)_exps")
    >>> print(sorted(layers), of_any)
    [3, 4] blk\.\d+\.ffn_(up|down)_exps
    >>> of_layers(r"blk\.3\.ffn|exps")[0] is None
    True
    """
    found = NAMES_LAYERS.fullmatch(expression)
    if not found or not found[3].startswith(r"\."):
        return None, expression
    listed = (found[1] or found[2]).split("|")
    return frozenset(int(each) for each in listed if LAYER.fullmatch(each)), rf"blk\.\d+{found[3]}"


@lru_cache(maxsize=64)
def tensor_pattern(expression: str) -> NamePatterns:
    """Return what an expression finds anywhere in a tensor's name."""
    try:
        return NamePatterns([expression], "search", "--override-tensor")
    except PatternError as error:
        raise UsageError(error.message, "the part before = is a regular expression") from None


HOST_BUFFERS = ("CPU", "CUDA_HOST", "ROCM_HOST")


def device_of(group: Tensor, layer: int, asked: Resolved, default: int) -> int:
    """The card that holds a tensor, or HOST: what the overrides say of its name, else where its layer is."""
    rules = overrides(asked.override_tensor, asked.cpu_moe, asked.n_cpu_moe)
    rules = tuple(rule for rule in rules if rule.takes(layer))
    if not rules:
        return default
    name = (gguf_name(group, layer),)
    return next((rule.device for rule in rules if rule.pattern.finds(name)), default)


def by_hand(asked: Resolved) -> bool:
    """Whether tensors are placed one by one: then micro-batches are not pipelined."""
    return bool(asked.cpu_moe or asked.n_cpu_moe or asked.override_tensor)


def rows_of_card(rows: int, points: Sequence[float], card: int) -> int:
    """Rows of a matrix that a card multiplies with --split-mode row, in multiples of 128 but at the end
    (ggml-cuda, get_row_split).

    >>> [rows_of_card(7168, [0.75, 1.0], card) for card in (0, 1)]
    [5376, 1792]
    """
    starts = [0, *(int(rows * point) // ROWS_TOGETHER * ROWS_TOGETHER for point in points[:-1]), rows]
    return starts[card + 1] - starts[card]


ROWS_TOGETHER = 128


class Held(NamedTuple):
    """A group of tensors of the file, and the layers of it that a device holds: none for what lies outside of
    the layers."""

    group: Tensor
    layers: tuple[int, ...]


def held(
    model: Model, asked: Resolved, stages: Sequence[Stage], device: int, output_first: bool
) -> list[Held]:
    """What a device holds of the file's tensors."""
    output = len(stages) - 1 if offload(num_blocks(model), asked, output_first).output else HOST
    on_cards = rules_of(asked).looks_up_layers_on_cards
    key = (tuple(stages), output, asked.override_tensor, asked.cpu_moe, asked.n_cpu_moe, on_cards)
    return _PLACES.of(model, key, lambda: _places(model, asked, stages, output)).get(device, [])


_PLACES = Kept[dict[int, list[Held]]](most=32)
"""What lies where: each card of a layout asks, several times."""


def _places(model: Model, asked: Resolved, stages: Sequence[Stage], output: int) -> dict[int, list[Held]]:
    """Tensors by device. The embedding stays on the host, and is copied where it is the output too."""
    owner = {layer: stage.position for stage in stages for layer in range(stage.start, stage.stop)}
    found: dict[int, list[Held]] = {}

    def hold(device: int, group: Tensor, layers: tuple[int, ...]) -> None:
        found.setdefault(device, []).append(Held(group, layers))

    for group in model.tensors:
        if group.name == EMBEDDING:
            for device in {HOST, output if model.tied else HOST}:
                hold(device, group, ())
        elif (
            group.lookup and not group.layers
        ):  # another table of the input: positions, an embedding for each layer
            on_card = group.name == LAYER_TABLE and rules_of(asked).looks_up_layers_on_cards
            hold(output if on_card else HOST, group, ())
        elif group.layers:
            of_device: dict[int, list[int]] = {}
            for layer in group.layers:
                of_device.setdefault(device_of(group, layer, asked, owner.get(layer, HOST)), []).append(layer)
            for device, layers in of_device.items():
                hold(device, group, tuple(layers))
        else:
            hold(device_of(group, -1, asked, output), group, ())
    return found


def check(asked: Resolved) -> None:
    """Refuse what names a card that is not there, or what the build cannot place, before anything is
    computed."""
    if by_hand(asked) and rules_of(asked).deals_whole_layers:
        raise UsageError(
            f"{asked.engine} {asked.engine_version} leaves whole layers to the host, no parts of them",
            "leave out --cpu-moe, --n-cpu-moe and --override-tensor; --n-gpu-layers is its num_gpu",
        )
    cards = len(split_points(asked))
    for rule in overrides(asked.override_tensor, asked.cpu_moe, asked.n_cpu_moe):
        if rule.device >= cards:
            raise UsageError(
                f"--override-tensor names card {rule.device}", f"there are {cards}, counted from 0"
            )
