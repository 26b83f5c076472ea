"""Fit the curves of facts/kernel_curves.csv to the measured kernels of the package aiconfigurator-core.

    pip install aiconfigurator-core==0.12.0 scipy
    python -m bench.kernel_curves FOLDER/aiconfigurator_core/systems/data

in an environment of its own. Every fifth shape is held out: the errors in the table are of those. What is off
by more than 15 % in the median is not written; another engine's curve of the same card stands for it.

A measured kernel runs again and again on the same matrices, which a second-level cache then has: how much of
one it has and how much faster that is belongs to the fit and not to the curve, for a model's matrices never
are in a cache. How a library cuts dense products is chosen by the shapes that are fitted. A curve is renewed
where held-out shapes are nearer both in the median and at nine of ten, and those within a third of experts, a
quarter of dense products: what stays is of several kinds of kernels in one table. Dense curves of Hopper and
Ada stay as they were until the constants that were fitted beside them are fitted anew.
"""

import csv
import sys
from importlib import import_module
from itertools import product as iterproduct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oomless.run.hardware import parse_gpu
from oomless.speed.kernel_curves import (
    DENSE_TILES,
    EXPERT_COLUMNS,
    EXPERT_ROWS,
    FINE_TILES,
    LEAST_INPUTS,
    MOST_PIECES,
    RATES,
    STREAMED,
)
from oomless.speed.machine import Machine, machine_of

CARDS = {
    "h200_sxm": "h200",
    "b200_sxm": "b200",
    "a100_sxm": "a100-80gb",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000-blackwell",
}
CACHES = {"h200_sxm": 50e6, "b200_sxm": 126e6, "a100_sxm": 40e6, "l40s": 96e6, "rtx_pro_6000_server": 128e6}
"""Bytes of second-level caches, as NVIDIA's papers on the architectures have them."""
CUTS = ("", "inputs", "fine")
"""Ways to cut dense products (speed/kernel_curves.py). Another than the plain one is taken where held-out
shapes are nearer with it both in the median and at nine of ten."""
TYPES = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "nvfp4": "fp4",
    "w4a16_mxfp4": "mxfp4",
    "w4a8_mxfp4_mxfp8": "mxfp4_mxfp8",
    "int4_wo": "int4",
}
VALUE_BYTES = {
    "bf16": 2.0,
    "fp8": 1.0,
    "fp8_block": 1.0,
    "fp4": 0.5625,
    "mxfp4": 0.53125,
    "mxfp4_mxfp8": 0.53125,
    "int4": 0.53,
}
NARROW = ("fp8", "fp8_block", "fp4")
"""Types whose inputs are made narrow first, which the measured time holds: so many passes over them."""
KERNELS = {("blackwell", "sglang"): ("flashinfer", "triton"), ("hopper", "vllm"): ("", "marlin")}
"""Families of kernels for experts that an engine has on an architecture, by a word of their names: SGLang's
own choice is FlashInfer for some models and types, else Triton (sglang/srt/arg_groups/overrides.py)."""
MOST, WORST = {"dense": 2000, "experts": 6000}, 0.15
PRODUCTS = ((("dense", "gemm"), ("experts", "moe")), (("dense", "gemm"),))
"""With a second argument dense products alone."""
UNGATED, UNGATED_CHOICE = (2688,), 22
"""Shapes of Nemotron 3, which are left out: no gate, two matrices, and kernels that nobody tuned."""
FIELDS = ("floor_s", "memory", "compute", "power", "shrink", "depth", "passes", "touched")
BEGIN = np.array([1e-5, 0.8, 0.6, 2.0, 0.85, 100.0, 1.0, 0.9])
LOW = np.array([1e-7, 0.3, 0.1, 1.0, 0.4, 1.0, 0.01, 0.05])
HIGH = np.array([2e-4, 1.3, 1.2, 8.0, 1.1, 1500.0, 8.0, 2.0])
CACHED_BEGIN, CACHED_LOW, CACHED_HIGH = np.array([[0.5, 3.0], [0.05, 1.0], [1.2, 12.0]])
"""Share of the cache that holds a matrix, and how much faster it is read from there."""
Frame = Any


class Fitted(NamedTuple):
    """A curve, its errors on shapes that were held out, and how many shapes there were."""

    values: np.ndarray
    cut: str
    cost: float
    """Of the shapes that were fitted."""
    median: float
    ninth: float
    num_fitted: int
    num_held_out: int


def dense_s(
    values: np.ndarray, rows: Frame, machine: Machine, kind: str, cut: str, cache: float
) -> np.ndarray:
    """Return the seconds of dense products: speed/kernel_curves.py for many shapes at once, and a cache of so
    many bytes."""
    floor, memory, compute, power, shrink, depth, passes, held, faster = (*values[:7], *values[-2:])
    m, n, k = (rows[name].to_numpy(float) for name in "mnk")
    a_value = VALUE_BYTES[kind]
    moved = n * k * a_value + m * k * min(a_value, 2.0) + m * n * 2
    best = np.full(len(m), np.inf)
    for height, width in FINE_TILES if cut == "fine" else DENSE_TILES:
        tiles = np.ceil(m / height) * np.ceil(n / width)
        deep = np.ceil(tiles / machine.num_sms) * (k + depth)
        if cut == "inputs":
            most = np.minimum(np.floor(machine.num_sms / tiles), np.floor(k / LEAST_INPUTS))
            pieces = np.clip(most, 1, MOST_PIECES)
            deep = np.minimum(deep, np.ceil(tiles * pieces / machine.num_sms) * (k / pieces + depth))
        halved = np.log2(DENSE_TILES[0][0] * DENSE_TILES[0][1] / height / width)
        best = np.minimum(best, 2 * height * width * deep / (compute * shrink**halved))
    computing = best * machine.num_sms / machine.peak(RATES.get(kind, kind))
    hit = 1 / (1 + (moved / (held * cache)) ** 4)
    reading = moved / (machine.bytes_per_s * memory) * (1 - hit + hit / faster)
    narrowed_s = m * k * 2 * passes / (machine.bytes_per_s * STREAMED) if kind in NARROW else 0.0
    return np.asarray(floor + joined(reading, computing, power) + narrowed_s)


def experts_s(values: np.ndarray, rows: Frame, machine: Machine, kind: str, cache: float = 0.0) -> np.ndarray:
    """Return the seconds of layers of routed experts, and a cache of so many bytes."""
    floor, memory, compute, power, shrink, depth, passes, touched = values[: len(FIELDS)]
    names = ("num_tokens", "hidden_size", "width", "topk", "num_experts")
    tokens, hidden, width, active, experts = (rows[name].to_numpy(float) for name in names)
    met = np.maximum(
        -experts * np.expm1(tokens * touched * np.log1p(-np.minimum(active / experts, 0.999))), active
    )
    assigned = tokens * active
    best = np.full(len(tokens), np.inf)
    for turn, height in enumerate(EXPERT_ROWS):
        tiles = met * (1 + np.maximum(assigned / met / height - 0.5, 0))
        work = np.zeros(len(tokens))
        for outputs, inputs in ((2 * width, hidden), (hidden, width)):
            waves = np.maximum(tiles * np.ceil(outputs / EXPERT_COLUMNS) / machine.num_sms, 1)
            work += waves * 2 * height * EXPERT_COLUMNS * (inputs + depth)
        best = np.minimum(best, work / (compute * shrink**turn))
    computing = best * machine.num_sms / machine.peak(RATES.get(kind, kind))
    read = met * 3 * hidden * width * VALUE_BYTES[kind]
    reading = read / (machine.bytes_per_s * memory)
    if cache:
        hit = 1 / (1 + (read / (values[-2] * cache)) ** 4)
        reading *= 1 - hit + hit / values[-1]
    moved = assigned * (2 * hidden + 3 * width) * 2 * passes / (machine.bytes_per_s * STREAMED)
    return np.asarray(floor + joined(reading, computing, power) + moved)


def joined(reading: np.ndarray, computing: np.ndarray, power: float) -> np.ndarray:
    """Return what reading and computing take together."""
    longer = np.maximum(reading, computing)
    return np.asarray(longer * ((reading / longer) ** power + (computing / longer) ** power) ** (1 / power))


def shapes(path: Path, word: str, product: str, kernels: str) -> Frame:
    """Return one row a shape with its least latency in seconds; of experts those of one family of kernels."""
    found = import_module("pandas").read_parquet(path)
    if product == "dense":
        found = found[(found.gemm_dtype == word) & (found.n >= 256) & (found.k >= 256)]
        keys = ["m", "n", "k"]
    else:
        of_family = found.kernel_source.str.contains(kernels) if kernels else True
        found = found[of_family & (found.moe_dtype == word) & (found.topk < found.num_experts)]
        found = found[found.moe_ep_size == 1]
        found = found.assign(width=found.inter_size / found.moe_tp_size)
        found = found[~found.hidden_size.isin(UNGATED) & (found.topk != UNGATED_CHOICE)]
        skewed = sorted(each for each in found.distribution.unique() if each != "balanced")
        found = found[(found.width >= 64) & found.distribution.isin(skewed[:1] or ["balanced"])]
        keys = ["num_tokens", "hidden_size", "width", "topk", "num_experts"]
    found = found[found.latency > 0].groupby(keys, as_index=False).latency.min()
    return found.assign(seconds=found.latency / 1e3)


def fitted(rows: Frame, product: str, machine: Machine, kind: str, cache: float) -> Fitted:
    """Return the curve of some shapes: of dense ones by the cut that meets them best, of experts with a cache
    where that is nearer."""
    if product == "dense":
        plain = fitted_as(rows, product, machine, kind, CUTS[0], cache)
        others = [fitted_as(rows, product, machine, kind, cut, cache) for cut in CUTS[1:]]
    else:
        plain = fitted_as(rows, product, machine, kind, CUTS[0], 0.0)
        others = [fitted_as(rows, product, machine, kind, CUTS[0], cache)]
    nearer = [each for each in others if each.median < plain.median and each.ninth < plain.ninth]
    return min(nearer, key=lambda one: one.cost, default=plain)


def fitted_as(rows: Frame, product: str, machine: Machine, kind: str, cut: str, cache: float) -> Fitted:
    """Return the curve of some shapes that are cut in one way, large errors counted linearly."""
    least_squares = import_module("scipy.optimize").least_squares
    held_out = (
        import_module("pandas").util.hash_pandas_object(rows.iloc[:, :5], index=False).to_numpy() % 5 == 0
    )
    fit, rest = rows[~held_out], rows[held_out]
    fit = fit.sample(min(len(fit), MOST[product]), random_state=0)

    def errors(logs: np.ndarray, some: Frame) -> np.ndarray:
        values = np.exp(logs)
        if product == "dense":
            seconds = dense_s(values, some, machine, kind, cut, cache)
        else:
            seconds = experts_s(values, some, machine, kind, cache)
        return np.asarray(np.log(seconds / some.seconds.to_numpy()))

    found = least_squares(
        lambda logs: errors(logs, fit),
        np.log(np.append(BEGIN, CACHED_BEGIN)),
        bounds=(np.log(np.append(LOW, CACHED_LOW)), np.log(np.append(HIGH, CACHED_HIGH))),
        loss="soft_l1",
        f_scale=0.1,
        max_nfev=60,
    )
    off = np.abs(np.expm1(errors(found.x, rest)))
    values = np.exp(found.x)[: len(FIELDS)]
    ninth = float(np.quantile(off, 0.9))
    return Fitted(values, cut, float(found.cost), float(np.median(off)), ninth, len(fit), len(rest))


def main() -> None:
    """Print the table of what was measured itself."""
    data, out = Path(sys.argv[1]), csv.writer(sys.stdout, lineterminator="\n")
    for folder, gpu in CARDS.items():
        machine = machine_of(parse_gpu(gpu).card)
        place = (machine.device, machine.architecture.lower().split(" ")[0])
        for engine in ("vllm", "sglang", "trtllm"):
            for product, name in PRODUCTS[len(sys.argv) > 2]:
                path = sorted((data / folder / name / engine).glob(f"*/{name}_perf.parquet"))[-1]
                families = KERNELS.get((place[1], engine), ("",)) if product == "experts" else ("",)
                for (word, kind), family in iterproduct(TYPES.items(), families):
                    rows = shapes(path, word, product, family)
                    if len(rows) < 150:
                        continue
                    one = fitted(rows, product, machine, kind, CACHES[folder])
                    if one.median <= WORST and one.values[0] < HIGH[0] * 0.99:  # no kernel has such a floor
                        source = f"kernels of {engine} measured on {gpu}: {path.parent.name}, {name}_perf"
                        passes = one.values[6] if product == "experts" or kind in NARROW else 0.0
                        numbers = [f"{value:.4g}" for value in (*one.values[:6], passes, one.values[7])]
                        errors = [f"{one.median:.3f}", f"{one.ninth:.3f}", one.num_fitted, one.num_held_out]
                        out.writerow(
                            [product, *place, engine, kind, family, *numbers, one.cut, *errors, source]
                        )


if __name__ == "__main__":
    main()
