"""The HTTP server from which Prometheus scrapes. Journals are read by one thread, once a second at most;
scrapers get the text that is ready, whatever they do with it."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..errors import OomlessError, UsageError
from ..files import shown
from .live_runs import LiveRuns
from .metrics import metrics_text

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
