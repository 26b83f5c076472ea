"""Products as engines' own kernels were measured to run them: a floor, reading at a share of the bandwidth,
and tiles in waves over the multiprocessors. One curve a kind of product, type, engine and architecture
(facts/kernel_curves.csv)."""

from functools import cache
from math import ceil, inf
from typing import NamedTuple

from ..engines.speed_classes import SpeedClass, speed_class
from ..facts import table
from .load import Load, Runner, Split
from .machine import Machine
from .matrices import experts_of_rank, generation
from .network import Network, Product, RoutedExperts
from .steady import added, hidden

DENSE_TILES = ((128, 256), (128, 128), (64, 128), (64, 64))
"""Rows and columns of the tiles that a product may be cut into; smaller ones reach less of the rate."""
FINE_TILES = tuple((height, width) for height in (128, 64) for width in (256, 128, 64, 32))
"""The same of kernels that fit the width to the waves."""
MOST_PIECES, LEAST_INPUTS = 16, 256
"""Pieces that kernels cut the inputs of a product into where its tiles leave multiprocessors idle (split-K),
and the least inputs of one."""
EXPERT_ROWS, EXPERT_COLUMNS = (128, 64, 32, 16), 128
SILENT_KERNELS = 13
"""Of a layer of experts: sorting, quantising, two products, activation, sum - the curve has them in one."""


class KernelCurve(NamedTuple):
    """Shares of a card's rates that products of one kind reach."""

    floor_s: float
    memory: float
    compute: float
    power: float
    """reading^power + computing^power: how far they hide each other."""
    shrink: float
    """What is left of the rate in the next smaller tile."""
    depth: float
    """Inputs that filling and draining a tile is worth."""
    passes: float
    """Passes over the rows of experts, for gathering, activation and sum; over the inputs of a dense product,
    for making them narrow."""
    touched: float
    """Share of tokens that choose as if at random: the others repeat the choice of their neighbours."""
    cut: str = ""
    """How dense products are cut: into DENSE_TILES, those with their inputs in pieces ("inputs"), or
    FINE_TILES ("fine")."""


NUMBERS = KernelCurve._fields[:-1]


class Multiplied(NamedTuple):
    """All products of a pass on one rank."""

    reading_s: float
    beyond_s: float
    """What reading does not hide."""
    floors_s: float
    num_kernels: int


NONE = Multiplied(0.0, 0.0, 0.0, 0)


class Curves(NamedTuple):
    """The curves of an engine on a card."""

    machine: Machine
    engine: SpeedClass
    conditions: frozenset[str]
    dense: dict[str, KernelCurve]
    experts: dict[str, dict[str, KernelCurve]]
    """By family of kernels, then by type."""

    def of_pass(self, net: Network, split: Split, load: Load) -> Multiplied:
        """Return the products of a pass: dense ones cut over the tensor ranks, the head, routed experts."""
        tokens, reading, beyond, floors, kernels = load.of_group(split), 0.0, 0.0, 0.0, 0
        groups = [*((each, split.tp, tokens) for each in net.cut), *((each, 1, tokens) for each in net.whole)]
        groups.append((net.head, split.tp, load.rows_of_head(split)))
        for weights, ranks, rows in groups:
            products = weights.products or (
                Product(1, max(round(weights.params / net.hidden), 1), net.hidden, False),
            )
            a_value = weights.bytes / weights.params if weights.params else 0.0
            curve, rate = self.curve(self.dense, type_of(weights.format))
            for product in products:
                read_s, total_s, floor_s = self.product_s(product, ranks, rows, curve, rate, a_value)
                reading += product.num * read_s
                beyond += product.num * (total_s - read_s)
                floors += product.num * floor_s
                kernels += product.num
        for experts in net.experts:
            read_s, total_s, floor_s = self.experts_s(experts, split, load.tokens, net.family)
            reading += experts.num_layers * read_s
            beyond += experts.num_layers * (total_s - read_s)
            floors += experts.num_layers * floor_s
            kernels += experts.num_layers * SILENT_KERNELS
        return Multiplied(reading, beyond, floors, kernels)

    def product_s(
        self, product: Product, ranks: int, rows: float, curve: KernelCurve, rate: float, a_value: float
    ) -> tuple[float, float, float]:
        """Return (reading, reading and computing, floor) of one product on a curve, whose shares are of
        `rate`; `a_value`: bytes of a value of its weights."""
        outputs = product.outputs if product.cuts_inputs else product.outputs / ranks
        inputs = product.inputs / ranks if product.cuts_inputs else product.inputs
        moved = outputs * inputs * a_value + rows * inputs * min(a_value, 2.0) + rows * outputs * 2
        reading = moved / (self.machine.bytes_per_s * curve.memory)
        computing = self.tiles_work(rows, outputs, inputs, curve) * self.machine.num_sms / rate
        moved_s = rows * inputs * 2 * curve.passes / (self.machine.bytes_per_s * STREAMED)
        return reading, hidden(reading, computing, curve.power) + moved_s, curve.floor_s

    def tiles_work(self, rows: float, outputs: float, inputs: float, curve: KernelCurve) -> float:
        """Return the operations of the busiest multiprocessor, over the share of its rate that tiles reach:
        of the best tiles. Each halving of a tile leaves `shrink` of the share."""
        best, num_sms, reached = inf, self.machine.num_sms, shares(curve)
        for height, width in FINE_TILES if curve.cut == "fine" else DENSE_TILES:
            num = ceil(rows / height) * ceil(outputs / width)
            deep = ceil(num / num_sms) * (inputs + curve.depth)
            if curve.cut == "inputs" and 0 < num < num_sms:
                pieces = max(min(num_sms // num, MOST_PIECES, int(inputs / LEAST_INPUTS)), 1)
                deep = min(deep, ceil(num * pieces / num_sms) * (inputs / pieces + curve.depth))
            halved = LARGEST - (height * width).bit_length()
            best = min(best, 2 * height * width * deep / reached[halved])
        return best

    def experts_s(
        self, experts: RoutedExperts, split: Split, tokens: float, family: str = ""
    ) -> tuple[float, float, float]:
        """Return (reading, reading and computing, floor) of a layer of routed experts, by the kernels that
        the engine runs for such a model."""
        kind = type_of(experts.format)
        own = self.of_kernels(self.engine.expert_kernels(family, kind, self.conditions))
        curve, rate = self.curve(own, kind + NARROWED if kind + NARROWED in own else kind)
        share = 1 if split.experts_whole else split.expert_ranks
        width = experts.width / share
        once = min(experts.num_active, experts.num_experts)
        met = max(
            experts_of_rank(experts, split, tokens * curve.touched),
            min(tokens, 1.0) * once / split.expert_ranks * share,
        )
        rows = tokens * experts.num_active / (split.expert_ranks / share)
        reading = met * experts.bytes_each / share / (self.machine.bytes_per_s * curve.memory)
        first = width * max(round(experts.params_each / (experts.hidden * experts.width)) - 1, 1)
        sides = ((first, experts.hidden), (float(experts.hidden), width))
        best, reached = inf, curve.compute
        for height in EXPERT_ROWS:
            tiles = met * (1 + max(rows / met / height - 0.5, 0.0)) if met else 0.0
            work = added(
                max(tiles * ceil(outputs / EXPERT_COLUMNS) / self.machine.num_sms, 1.0)
                * (inputs + curve.depth)
                for outputs, inputs in sides
            )
            best = min(best, work * 2 * height * EXPERT_COLUMNS / reached)
            reached *= curve.shrink
        computing = best * self.machine.num_sms / rate
        moved_s = (
            rows * (2 * experts.hidden + 3 * width) * 2 * curve.passes / (self.machine.bytes_per_s * STREAMED)
        )
        return reading, hidden(reading, computing, curve.power) + moved_s, curve.floor_s

    def of_kernels(self, name: str) -> dict[str, KernelCurve]:
        """Return the curves of experts by type: a family's own over those of types that have one family."""
        return {**self.experts.get("", {}), **self.experts.get(name, {})}

    def curve(self, curves: dict[str, KernelCurve], kind: str) -> tuple[KernelCurve, float]:
        """Return the curve of a type and the rate that it is a share of; of a type without one, that of
        16 bit. A card cut in matrix units reaches its own share, since power does not end it first, and fills
        tiles while they compute."""
        found = kind if kind in curves else NEXT.get(kind, "bf16")
        if found not in curves:
            found = "bf16"
        curve, rate = curves[found], RATES.get(found, found)
        if "lean" in (own := generation(self.machine)):
            curve = curve._replace(compute=self.machine.reached("matrix", "", own | {rate}), depth=0.0)
        return curve, self.machine.peak(rate)


STREAMED = 0.8
"""Of the bandwidth: the unit that `passes` over activations were fitted in (bench/kernel_curves.py), so that
another one would change that column and no answer."""
NEXT = {"fp8_block": "fp8", "fp8": "fp8_block", "int4": "mxfp4", "mxfp4": "int4"}
"""The type whose curve stands for one that was not measured."""
NARROWED = "_mxfp8"
"""Behind a type: its products with inputs in MXFP8, measured where an engine makes them so unasked."""
RATES = {"fp8_block": "fp8", "mxfp4": "bf16", "mxfp4_mxfp8": "fp8", "int4": "bf16"}


def shares(curve: KernelCurve) -> list[float]:
    """Return the shares of the rate that tiles reach, by how often they are halved; products, for powers
    differ from machine to machine."""
    found = [curve.compute]
    for _ in range(MOST_HALVINGS):
        found.append(found[-1] * curve.shrink)
    return found


LARGEST = (DENSE_TILES[0][0] * DENSE_TILES[0][1]).bit_length()
MOST_HALVINGS = LARGEST - min(height * width for height, width in FINE_TILES).bit_length()


def type_of(form: str) -> str:
    """Return the word of facts/kernel_curves.csv for a storage type.

    >>> type_of("fp8 128x128, f32 scales"), type_of("fp4 1x16, fp8 scales"), type_of("bfloat16")
    ('fp8_block', 'fp4', 'bf16')
    """
    if form.startswith("fp8"):
        return "fp8_block" if "128x128" in form else "fp8"
    if form.startswith("fp4"):
        return "fp4" if "1x16" in form else "mxfp4"
    return "int4" if form.startswith("int4") else "bf16"


def curves_of(machine: Machine, run: Runner) -> Curves | None:
    """Return the curves of an engine on a card; None: nobody measured kernels of such an architecture or
    engine, or the release is too old for them."""
    if not machine.num_sms or run.conditions & {"eager", "edge"}:
        return None
    architecture = machine.architecture.lower().split(" ")[0]
    found = _tables().get((machine.device, architecture, run.engine))
    return Curves(machine, speed_class(run.engine), run.conditions, *found) if found else None


@cache
def _tables() -> dict[tuple[str, str, str], tuple[dict[str, KernelCurve], dict[str, dict[str, KernelCurve]]]]:
    found: dict[tuple[str, str, str], tuple[dict[str, KernelCurve], dict[str, dict[str, KernelCurve]]]] = {}
    for row in table("kernel_curves"):
        dense, experts = found.setdefault((row["device"], row["architecture"], row["engine"]), ({}, {}))
        curve = KernelCurve._make([*(float(row[name]) for name in NUMBERS), row["cut"]])
        of_kind = dense if row["product"] == "dense" else experts.setdefault(row["kernels"], {})
        of_kind[row["type"]] = curve
    return found
