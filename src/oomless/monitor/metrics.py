"""What live runs are, as metrics for Prometheus: names, labels and the text, by prometheus-client."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import need
from .live_runs import RankNow

MOST_JOB = 60
LABELS = ("job_name", "rank")
GAUGES = {
    "live_bytes": "Bytes alive at the end of the last step, by the run's counter",
    "peak_bytes": "The highest peak of the sampled steps",
    "used_bytes": "What the run has of its device",
    "capacity_bytes": "What the run may have of its device",
    "headroom_bytes": "What is left of the device at the highest moment of the last step",
    "predicted_bytes": "The peak that was predicted",
    "growth_bytes_per_step": "Bytes a step that leaks take",
    "steps_to_oom": "Steps after which the growth will not fit any more",
    "seconds_to_oom": "The same in seconds, at the pace of the last step",
    "leaks": "Lines whose bytes grow",
    "step": "The last step",
    "step_seconds": "Seconds of the last step",
    "tokens": "Elements of the model's input in the last step",
    "died": "1 if memory ran out",
    "ended": "1 if the run has ended",
    "monitor_faults": "Faults of the monitor itself",
}


def job_label(name: str) -> str:
    """Return a run's name as a label: letters, digits, dots, dashes and underscores, and not too many.

    >>> job_label("a b/../c"), job_label("")
    ('a_b_.._c', 'run')
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:MOST_JOB] or "run"


def values_of(rank: RankNow) -> Iterator[tuple[str, float | None]]:
    """Yield the name and the value of each gauge; None for what is not known."""
    step = rank.step
    yield "live_bytes", step.live_bytes if step else None
    yield "peak_bytes", rank.peak_bytes or None
    yield "used_bytes", rank.used_bytes if step else None
    yield "capacity_bytes", rank.start.capacity_bytes
    yield "headroom_bytes", rank.headroom_bytes
    yield "predicted_bytes", rank.predicted_bytes or None
    yield "growth_bytes_per_step", rank.growth
    yield "steps_to_oom", rank.steps_left
    pace = step.seconds / step.num if step else 0.0
    yield "seconds_to_oom", rank.steps_left * pace if rank.steps_left is not None else None
    yield "leaks", len(rank.leaks)
    yield "step", step.step if step else 0
    yield "step_seconds", pace or None
    yield "tokens", step.tokens if step else None
    yield "died", int(rank.died)
    yield "ended", int(rank.ended)
    yield "monitor_faults", rank.num_faults


class Collector:
    """Gives prometheus-client the families of metrics."""

    def __init__(self, ranks: Iterable[RankNow]) -> None:
        self.ranks = list(ranks)

    def collect(self) -> Iterator[Any]:
        """Yield each family with its samples."""
        core = need("prometheus_client.core", "monitor")
        gauges = {
            name: core.GaugeMetricFamily(f"oomless_{name}", text, labels=LABELS)
            for name, text in GAUGES.items()
        }
        memory = core.GaugeMetricFamily(
            "oomless_memory_bytes",
            "Bytes alive at the peak of the last sampled step, by category",
            labels=(*LABELS, "category"),
        )
        expected = core.GaugeMetricFamily(
            "oomless_predicted_memory_bytes", "What was predicted, by category", labels=(*LABELS, "category")
        )
        about = core.GaugeMetricFamily(
            "oomless_run_info", "1; what runs, on what", labels=(*LABELS, "model", "device", "device_name")
        )
        for rank in self.ranks:
            labels = (job_label(rank.job), str(rank.start.rank))
            for name, value in values_of(rank):
                if value is not None:
                    gauges[name].add_metric(labels, value)
            for category, num_bytes in (rank.sample.by_category if rank.sample else {}).items():
                memory.add_metric((*labels, category), num_bytes)
            for known, num_bytes in rank.predicted:
                expected.add_metric((*labels, known), num_bytes)
            start = rank.start
            about.add_metric(
                (*labels, job_label(start.model), job_label(start.device), job_label(start.device_name)), 1
            )
        yield from gauges.values()
        yield from (memory, expected, about)


def metrics_text(ranks: Iterable[RankNow], accept: str) -> tuple[bytes, str]:
    """Return the metrics as text and the type of the text: OpenMetrics where it is asked for."""
    client, exposition = need("prometheus_client", "monitor"), need("prometheus_client.exposition", "monitor")
    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(Collector(ranks))
    encode, kind = exposition.choose_encoder(accept)
    return encode(registry), kind
