"""Live runs for Prometheus: names, labels and the text, by prometheus-client, and the HTTP server. Journals
are read by one thread, once a second at most; scrapers get the text that is ready, whatever they do with
it."""

import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..errors import OomlessError, UsageError, need
from ..files import shown
from .live_runs import LiveRuns, RankNow

FRESH_S = 1.0
"""How old a text may be that is handed out."""
SLOW_S = 5.0
"""A scraper that neither sends nor takes for so long is let go."""
MOST_CONNECTIONS = 64
OPEN_METRICS = "application/openmetrics-text"


class Texts:
    """The texts of the last second, one a format."""

    def __init__(self, runs: LiveRuns) -> None:
        self.runs = runs
        self.lock = threading.Lock()
        self.ready: dict[str, tuple[float, bytes, str]] = {}

    def of(self, accept: str) -> tuple[bytes, str]:
        """Return the text for what a scraper accepts; the last good one if reading fails."""
        wanted = accept if OPEN_METRICS in accept else ""
        key = OPEN_METRICS if wanted else ""
        found = self.ready.get(key)
        if found is not None and time.monotonic() - found[0] < FRESH_S:
            return found[1:]
        if found is not None and not self.lock.acquire(blocking=False):
            return found[1:]  # somebody makes it anew right now
        if found is None:
            self.lock.acquire()
        try:
            again = self.ready.get(key)
            if again is None or time.monotonic() - again[0] >= FRESH_S:
                text, kind = metrics_text(self.runs.now(), wanted)
                again = (time.monotonic(), text, kind)
                self.ready[key] = again
            return again[1:]
        finally:
            self.lock.release()


class Server(ThreadingHTTPServer):
    """Answers scrapers, each in a thread of its own, so many at once and no more."""

    daemon_threads = True
    request_queue_size = 1_024

    def __init__(self, address: tuple[str, int], texts: Texts) -> None:
        self.texts = texts
        self.places = threading.Semaphore(MOST_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection if there is a place, else close it."""
        if not self.places.acquire(timeout=SLOW_S):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a scraper that went away."""


class Handler(BaseHTTPRequestHandler):
    """GET /metrics, and nothing else."""

    protocol_version = "HTTP/1.1"
    timeout = SLOW_S
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: Server
    server_version, sys_version = "oomless", ""

    def do_GET(self) -> None:
        """Send the metrics."""
        if self.path.partition("?")[0] not in ("/metrics", "/"):
            self.send_error(404)
            return
        text, kind = self.server.texts.of(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write no log: scrapes come by the thousand."""


def address_of(text: str) -> tuple[str, int]:
    """Return host and port.

    >>> address_of("127.0.0.1:9400"), address_of("[::1]:9400")
    (('127.0.0.1', 9400), ('::1', 9400))
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or not 0 <= int(port[:6]) < 65_536:
        raise UsageError(f"{shown(text)} is no address", "write HOST:PORT, as in --exporter 127.0.0.1:9400")
    return host.strip("[]") or "127.0.0.1", int(port)


def exporter(address: str, folders: list[Path]) -> Server:
    """Return a server of the metrics of the runs below some folders, bound and not yet serving."""
    host, port = address_of(address)
    try:
        return Server((host, port), Texts(LiveRuns(folders)))
    except OSError as error:
        raise OomlessError(
            f"cannot serve at {shown(address)}: {error.strerror}", "choose another port, or stop what has it"
        ) from None


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
