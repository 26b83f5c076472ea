"""Public measured rows that both oomless and NVIDIA's aiconfigurator answer: the errors of each and their CPU
time, in one run.

    pip install aiconfigurator==0.12.0 click      # in an environment of its own
    PYTHONPATH=src:. python -m bench.peer tests/tables/perf_{held_out,round3,round4,round5}.csv

The peer is asked as kindly as it can be: under the most load by the best of eight batches, in a burst by the
largest batch that it says fits. It knows one release of each engine, so a row's release is not asked for.
"""

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from logging import CRITICAL, disable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from oomless import facts
from oomless.errors import OomlessError, UnsupportedError
from oomless.facts.hardware import cards_by_full_name
from oomless.model.catalogue_names import catalogue_name
from oomless.run.serving import Layout
from oomless.truth.speed_harness import predict_speed
from oomless.truth.speed_row_models import MODELS, QUANTS
from oomless.truth.speed_rows import card_of, layout_of, question
from oomless.truth.tables import Incomplete, said
from oomless.truth.validate import ninth_decile

from . import whole

BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024)
BACKENDS = {"vllm": "vllm", "sglang": "sglang", "tensorrt-llm": "trtllm"}
TYPES = {"fp8": ("fp8_block", "fp8"), "nvfp4": ("nvfp4",)}
"""Its words for types that a model was not published in, the first that it has tables for."""
PROCESSES = 3
"""Runs of a whole process, of which the least counts."""


class Asked(NamedTuple):
    """A row as the peer's question."""

    model: str
    """A name of the catalogue."""
    system: str
    backend: str
    layout: Layout
    types: tuple[str | None, ...]
    input_len: int
    output_len: int
    batches: tuple[int, ...]
    """Of one group of sequences, of which the best counts; several: as much load as there is."""
    replicas: int


class Both(NamedTuple):
    """A row with what each says of it."""

    id: str
    kind: str
    measured: float
    ours: float
    theirs: float
    our_cpu_s: float
    their_cpu_s: float

    def error(self, value: float) -> float:
        """Return the size of the relative error of a value."""
        return abs(value / self.measured - 1)


def asked_of(row: dict[str, str]) -> Asked:
    """Return a row as the peer's question; what it does not know is refused by an error of oomless."""
    own, word = question(row), row["model"].strip().lower()
    model = catalogue_name(MODELS.get(word, word))
    if model is None:
        raise UnsupportedError(f"the catalogue has no config of {word}")
    backend = BACKENDS[row["engine"].lower().split(" ")[0]]
    found = cards_by_full_name()[card_of(row["gpu"]).name]["short_name"]
    system = next(each["system"] for each in facts.table("silicon") if each["card"] == found)
    layout = layout_of(row["parallelism"], own.num_gpus, backend)
    inside = layout.enable_dp_attention
    ranks = layout.tp * layout.pp * (1 if inside else layout.dp)
    groups = (layout.dp if inside else 1) * max(own.num_gpus // ranks, 1)
    batch = own.sent.in_flight if own.sent else own.batch
    batches = BATCHES if batch is None else halves(max(round(batch / groups), 1), bool(own.sent))
    quant = QUANTS.get(row["quant"].split(" (")[0])
    types = TYPES.get(quant or "", (None,))
    return Asked(
        model,
        system,
        backend,
        layout,
        types,
        own.input_len,
        own.output_len,
        batches,
        max(own.num_gpus // ranks, 1),
    )


def halves(batch: int, is_burst: bool) -> tuple[int, ...]:
    """Return a batch; of a burst its halves too, of which the largest that fits is taken.

    >>> halves(100, True), halves(64, False)
    ((100, 50, 25, 12, 6, 3, 1), (64,))
    """
    return tuple(batch >> turn for turn in range(batch.bit_length())) if is_burst else (batch,)


def arguments(asked: Asked, batch: int, kind: str | None) -> dict[str, object]:
    """Return the peer's arguments for one batch of a group."""
    layout = asked.layout
    groups = layout.dp if layout.enable_dp_attention else 1
    whole_experts = layout.enable_expert_parallel or layout.ep_size > 1
    said: dict[str, object] = {
        "backend_name": asked.backend,
        "isl": asked.input_len,
        "osl": max(asked.output_len, 2),
        "batch_size": batch,
        "tp_size": layout.tp // groups,
        "pp_size": layout.pp,
        "attention_dp_size": groups,
        "moe_tp_size": 1 if whole_experts else layout.tp,
        "moe_ep_size": layout.tp if whole_experts else 1,
    }
    return said | ({"gemm_quant_mode": kind, "moe_quant_mode": kind} if kind else {})


def answers(asked: Asked, estimate: Callable[..., Any], folder: Path) -> Iterator[Any]:
    """Yield the peer's answers, those that it says fit: of the first type of weights that it has tables for.
    It reads the config that the catalogue has, from a folder, so that it fetches none."""
    config = folder / asked.model / "config.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(facts.model_config(asked.model)), encoding="utf-8")
    for kind in asked.types:
        found = []
        for batch in asked.batches:
            try:
                one = estimate(str(config.parent), asked.system, **arguments(asked, batch, kind))
            except Exception:  # its own kinds: no table, no room
                continue
            if not one.kv_cache_warning:
                found.append(one)
                if asked.batches is not BATCHES:
                    break
        if found:
            yield from found
            return


def value_of(row: dict[str, str], asked: Asked, found: list[Any]) -> float:
    """Return the peer's figure in the unit of a row."""
    metric, unit = row["metric"], row["unit"]
    if metric.startswith("TTFT"):
        return float(found[0].ttft) / (1 if unit == "ms" else 1000)
    if metric.startswith("TPOT"):
        return float(found[0].tpot) / (1 if unit == "ms" else 1000)
    if row["kind"] == "decode":
        return 1000 / float(found[0].tpot)
    rate = max(float(one.tokens_per_second) for one in found) * asked.replicas
    if metric.startswith("total"):
        rate *= (asked.input_len + asked.output_len) / asked.output_len
    return rate / (int(row["n_gpus"]) if "GPU" in unit else 1)


def both(row: dict[str, str], estimate: Callable[..., Any], folder: Path) -> Both | None:
    """Return what each says of a row; None where one has no answer."""
    kind = row["kind"]
    if kind == "training" or row["metric"] == "prefill":
        return None
    try:
        start = time.process_time()
        ours = predict_speed(row, kind, row["unit"])[0]
        our_s = time.process_time() - start
        asked = asked_of(row)
    except (OomlessError, Incomplete, KeyError, StopIteration, ValueError):
        return None
    start = time.process_time()
    found = list(answers(asked, estimate, folder))
    if not found:
        return None
    theirs = value_of(row, asked, found)
    return Both(
        row["id"], kind, float(row["value"]), ours, theirs, our_s, (time.process_time() - start) / len(found)
    )


def line(name: str, rows: list[Both]) -> str:
    """Return the errors of some rows, side by side."""
    sides = [sorted(one.error(one.ours) for one in rows), sorted(one.error(one.theirs) for one in rows)]
    nearer = sum(one.error(one.ours) < one.error(one.theirs) for one in rows)
    figures = "  ".join(f"{median(side):7.1%} {ninth_decile(side):7.1%}" for side in sides)
    return f"{name:12} {len(rows):4}  {figures}  {nearer} : {len(rows) - nearer}"


def processes() -> tuple[float, float]:
    """Return the least CPU seconds of a whole process of each that answers one question."""
    folder = Path(sys.executable).parent
    load = ["--input-len", "2000", "--output-len", "100", "--concurrency", "32"]
    ours = [sys.executable, "-m", "oomless", "speed", "qwen3-32b", "--gpu", "h100:2", "--tp", "2", *load]
    theirs = [str(folder / "aiconfigurator"), "cli", "estimate", "--model-path", "Qwen/Qwen3-32B"]
    theirs += ["--system", "h100_sxm", "--backend", "vllm", "--tp-size", "2"]
    theirs += ["--isl", "2000", "--osl", "100", "--batch-size", "32"]
    return whole.cpu_s(ours, PROCESSES), whole.cpu_s(theirs, PROCESSES)


def answered(tables: list[str], estimate: Callable[..., Any]) -> Iterator[Both]:
    """Yield the rows of tables that both answer, and print each."""
    with TemporaryDirectory() as folder:
        for name in tables:
            with Path(name).open(encoding="utf-8") as file:
                rows = [each | {"setting": said(each["note"])} for each in csv.DictReader(file)]
            for one in filter(None, (both(row, estimate, Path(folder)) for row in rows)):
                shares = " ".join(f"{value / one.measured - 1:+8.1%}" for value in (one.ours, one.theirs))
                cpu = f"{one.our_cpu_s:.3f} {one.their_cpu_s:.3f} s"
                print(f"{one.id:8} {one.kind:10} {one.measured:10.4g} {shares}  {cpu}", flush=True)
                yield one


def main() -> None:
    """Print every row, and the table below them."""
    disable(CRITICAL)
    found = list(answered(sys.argv[1:], import_module("aiconfigurator.cli.api").cli_estimate))
    print(f"\n{'':12} {'rows':>4}  {'oomless: median, p90':>15}  {'aiconfigurator':>15}  nearer")
    for kind in dict.fromkeys(one.kind for one in found):
        print(line(kind, [one for one in found if one.kind == kind]))
    print(line("all", found))
    ours, theirs = sum(one.our_cpu_s for one in found), sum(one.their_cpu_s for one in found)
    print(f"\nCPU of these rows in one process: {ours:.2f} and {theirs:.2f} s, {theirs / ours:.0f} times")
    ours, theirs = processes()
    print(f"CPU of one question, whole process: {ours:.3f} and {theirs:.2f} s, {theirs / ours:.0f} times")


if __name__ == "__main__":
    main()
