"""What a model's name leaves open of a Megatron run: `python -m bench.megatron_named`.

Runs of Megatron-LM whose arguments are known (tests/tables/megatron*.jsonl) are asked again without what a
name and options cannot say: kernels of attention, fusions, overlaps, dispatchers. Printed: the measured peak
less what does not come and go, over what is predicted to; what it has beyond 1.05 of that; how many runs of
a case lie within the ends of the other cases. In facts/engines.csv: activation_share and unexplained, named.
"""

import json
from collections import defaultdict
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from oomless.errors import OomlessError
from oomless.estimate.training.megatron import estimate_megatron
from oomless.estimate.training.reserved import allocated_lines
from oomless.frameworks.megatron.run import Megatron
from oomless.ledger import category_of
from oomless.run.hardware import parse_gpu
from oomless.truth.megatron_rows import CARDS, device_of, run_of
from oomless.truth.tables import Incomplete

TABLES = ("megatron.jsonl", "megatron_fresh.jsonl")
PASSING = ("activations", "logits", "temporaries")
MIB = 2**20


class Named(NamedTuple):
    """A measured run, in bytes: what is predicted to come and go, and what was measured beyond the rest."""

    case: str
    passing: int
    measured: int

    @property
    def share(self) -> float:
        return self.measured / self.passing


def by_name(run: Megatron) -> Megatron:
    """A run as its model's name implies it."""
    kind = run.experts
    if kind is not None:
        kind = kind._replace(
            grouped=True,
            dispatcher="alltoall",
            router_float32=False,
            capacity_factor=0.0,
        )
    return run._replace(
        experts=kind,
        attention="auto",
        fused_wgrad=True,
        deferred_wgrads=None,
        fused_rope=True,
        fused_bias_gelu=run.fused_bias_gelu and not run.gated,
        overlap_gather=True,
        comm_overlap=False,
        graphs="none",
        moe_overlap=False,
        full_scores=False,
    )


def measured() -> list[Named]:
    """Runs of GPT with Transformer Engine's fused attention."""
    found = []
    for line in (each for name in TABLES for each in (Path("tests/tables") / name).read_text().splitlines()):
        row = json.loads(line)
        try:
            run, device = run_of(row), device_of(row)
        except (OomlessError, Incomplete):
            continue
        peak = row["peak_allocated_bytes"]
        if not peak or run.family != "gpt" or run.local or run.attention == "unfused":
            continue
        card = next((name for name, number in CARDS.values() if number == device.generation), "a100-80gb")
        asked = estimate_megatron(by_name(run), parse_gpu(f"{card}:{run.world_size}"), device)
        lines = allocated_lines(asked.groups[-1].ledger)
        passing = sum(
            each.bytes for each in lines if category_of(each.key) in PASSING and each.key != "runtime.cublas"
        )
        found.append(Named(row["case"], passing, peak - sum(each.bytes for each in lines) + passing))
    return found


def ends(values: list[float]) -> tuple[float, float]:
    """p5 and p95."""
    cut = quantiles(values, n=20)
    return cut[0], cut[-1]


def main() -> None:
    """Print the figures."""
    runs = measured()
    for least in (0, 1, 2):
        shares = [run.share for run in runs if run.passing >= least << 30]
        print(f"from {least} GiB on: {len(shares)} runs, p5 and p95", *(f"{end:.3f}" for end in ends(shares)))
    beyond = quantiles([(run.measured - 1.05 * run.passing) / MIB for run in runs], n=100)
    print(f"beyond 1.05 of it: p95 {beyond[94]:.0f} MiB, p99 {beyond[98]:.0f} MiB")
    cases = defaultdict(list)
    for run in runs:
        cases[run.case].append(run.share)
    inside = 0
    for case, shares in cases.items():
        low, high = ends([share for other, each in cases.items() if other != case for share in each])
        inside += sum(low <= share <= high for share in shares)
    print(f"{inside / len(runs):.3f} of the runs lie within the ends of the other {len(cases) - 1} cases")


if __name__ == "__main__":
    main()
