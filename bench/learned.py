"""What a machine's own logs are worth: each measured pool is predicted with what the other logs of the same
engine, release, card and layout teach, and without. Usage: python -m bench.learned"""

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

from oomless.errors import OomlessError
from oomless.estimate.serving.estimate import Estimate, estimate_serving
from oomless.truth.calibration import ENOUGH, Calibration, Seen, machine_of
from oomless.truth.serving_rows import ServingQuestion, question, unit_factor
from oomless.truth.tables import Incomplete, MeasuredRow, read_table

TABLES = Path(__file__).parents[1] / "tests" / "tables"
NAMES = ("inference.csv", "inference_fresh.csv", "inference_round3.csv")


class Log(NamedTuple):
    """One measured pool."""

    asked: ServingQuestion
    plain: Estimate
    measured: float
    seen: Seen

    @property
    def predicted(self) -> int:
        """Without what was learned."""
        return self.plain.pools[0]


def log_of(row: MeasuredRow) -> Log | None:
    """Return a row as a log of its machine; None where its card is not known by name."""
    try:
        asked = question(row.configuration, row.quantity)
        plain = estimate_serving(asked.model, asked.asked, asked.hardware)
    except (Incomplete, OomlessError):
        return None
    card, request = plain.hardware.card, plain.request
    measured = row.value * unit_factor(row.unit, row.configuration["engine"])
    if not card.vendor or measured <= 0:
        return None
    missing = round(plain.pools[0] - measured)
    return Log(
        asked,
        plain,
        measured,
        Seen(*machine_of(request, card), missing, asked.model.name, row.id, "2026-11-26"),
    )


def main() -> None:
    """Print a line a machine, then the sums."""
    machines: dict[tuple[str, ...], list[Log]] = defaultdict(list)
    for name in NAMES:
        for row in read_table(TABLES / name):
            if row.quantity == "kv_bytes_per_gpu" and (log := log_of(row)) is not None:
                machines[log.seen.machine].append(log)
    before, after, inside, wrong, num = [], [], 0, 0, 0
    for machine, logs in sorted(machines.items()):
        if len(logs) < ENOUGH:
            continue
        own_before, own_after = [], []
        for log in logs:
            others = Calibration(tuple(each.seen for each in logs if each is not log))
            found = estimate_serving(log.asked.model, log.asked.asked, log.asked.hardware, adjust=others)
            own_before.append(abs(log.predicted / log.measured - 1))
            own_after.append(abs(found.pools[0] / log.measured - 1))
            inside += min(found.pools_low) <= log.measured <= max(found.pools_high)
            promised = (min(log.plain.pools_low), min(found.pools_low))
            wrong += promised[1] > log.measured >= promised[0]
            num += 1
        print(f"{' '.join(machine)}: {len(logs)} logs, {median(own_before):.2%} -> {median(own_after):.2%}")
        before += own_before
        after += own_after
    print(f"{num} logs left out one by one: median error {median(before):.2%} -> {median(after):.2%}, "
          f"inside {inside / num:.0%}, newly promised too much {wrong}")  # fmt: skip


if __name__ == "__main__":
    main()
