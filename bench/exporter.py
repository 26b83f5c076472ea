"""What the exporter costs: its memory with eight ranks, and how long a scrape takes at 200 a second.

python -m bench.exporter
"""

import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from importlib import import_module
from pathlib import Path

RANKS, RATE, SECONDS = 8, 200, 10.0
MOST_TRIES = 100


def write_runs(folder: Path) -> None:
    """Eight ranks of a run, 200 steps each."""
    from oomless.monitor.entries import SCHEMA, RunStart, SampledStep, WatchedStep, line_of

    for rank in range(RANKS):
        start = RunStart(
            SCHEMA,
            0.0,
            1,
            rank,
            RANKS,
            "train.py",
            "Model",
            1,
            1,
            1,
            "cuda:0",
            "H100",
            80 << 30,
            "cuda",
            0,
            {},
        )
        entries: list[RunStart | WatchedStep | SampledStep] = [start]
        entries += [
            WatchedStep(number, 1, 0.0, 0.5, {"forward": 0.5}, 1, 1, 2 << 30, 1, 3 << 30)
            for number in range(1, 201)
        ]
        by_category = {
            name: 1 << 30 for name in ("weights", "gradients", "optimizer", "activations", "logits")
        }
        entries.append(SampledStep(200, 0.0, 5 << 30, "backward", "mm", by_category, {}, (), (), 1, 1, 0.1))
        (folder / f"rank{rank}.jsonl").write_bytes(b"".join(line_of(each) for each in entries))


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    return int(import_module("psutil").Process(pid).memory_info().rss)


def scrape_s(connection: HTTPConnection) -> float:
    """How long one scrape takes."""
    began = time.perf_counter()
    connection.request("GET", "/metrics")
    connection.getresponse().read()
    return time.perf_counter() - began


def main() -> None:
    """Print memory and times."""
    from oomless.units import format_bytes

    folder = Path(tempfile.mkdtemp(prefix="oomless-bench-"))
    write_runs(folder)
    words = [sys.executable, "-m", "oomless", "monitor", "--exporter", "127.0.0.1:9412", str(folder)]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        connection = HTTPConnection("127.0.0.1", 9412, timeout=5)
        for _ in range(MOST_TRIES):
            try:
                scrape_s(connection)
                break
            except OSError:
                connection.close()
                time.sleep(0.1)
        times, began = [], time.perf_counter()
        for number in range(int(RATE * SECONDS)):
            time.sleep(max(began + number / RATE - time.perf_counter(), 0.0))
            times.append(scrape_s(connection))
        lasted = time.perf_counter() - began
        times.sort()
        print(f"{RANKS} ranks, {len(times) / lasted:,.0f} scrapes a second for {lasted:.0f} s")
        middle, late = times[len(times) // 2], times[int(0.99 * len(times))]
        taken = format_bytes(resident_bytes(server.pid))
        print(f"p50 {1000 * middle:.2f} ms, p99 {1000 * late:.2f} ms; {taken}")
        flood = time.perf_counter()
        for _ in range(3_000):
            scrape_s(connection)
        print(f"one after the other: {3_000 / (time.perf_counter() - flood):,.0f} scrapes a second")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
