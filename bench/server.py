"""What the server holds: its cold start, latency at 200 requests a second, of one question and of many, with
and without slow clients beside, and its memory over 100,000 requests.

`python -m bench.server` prints the figures of this machine.
"""

import asyncio
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

STARTS = 7
RATE, SECONDS = 200, 6
SLOW = 50
REQUESTS, CONNECTIONS = 100_000, 10
LENGTHS = RATE * SECONDS
"""Different questions, so that not every answer is a remembered one."""


async def ask(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
    """Ask one question on an open connection and read the whole answer."""
    question = f"/api/infer?model=deepseek-r1&gpu=h200:8&max-model-len={1024 + index % LENGTHS}"
    writer.write(f"GET {question} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length is not None, head
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(int(length[1]))


async def latency(port: int, questions: int = 1) -> str:
    """Return p50 and p99 in milliseconds at a steady rate, over so many different questions in turn."""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    taken: list[float] = []

    async def one(index: int) -> None:
        begun = time.perf_counter()
        while idle and idle[-1][0].at_eof():  # closed by the server after seconds without a question
            idle.pop()
        pair = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        await ask(port, *pair, index % questions)
        idle.append(pair)
        taken.append((time.perf_counter() - begun) * 1e3)

    begun, tasks = time.perf_counter(), []
    for index in range(RATE * SECONDS):
        await asyncio.sleep(max(begun + index / RATE - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one(index)))
    await asyncio.gather(*tasks)
    taken.sort()
    return f"p50 {taken[len(taken) // 2]:.1f} ms, p99 {taken[int(len(taken) * 0.99)]:.1f} ms"


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send a head a byte at a time."""
    for byte in b"GET /api/gpus HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.1)


def held(process: "subprocess.Popen[str]") -> int:
    """Return KiB that the server has in memory (Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) if found else 0


async def measured(port: int, process: "subprocess.Popen[str]") -> None:
    """Print all of it."""
    await latency(port)
    print(f"{RATE} requests/s: {await latency(port)}")
    print(
        f"{RATE} requests/s, no question twice within {RATE * SECONDS}: {await latency(port, RATE * SECONDS)}"
    )
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SLOW)]
    drips = [asyncio.create_task(drip(writer)) for _, writer in slow]
    print(f"{SLOW} slow clients beside: {await latency(port)}")
    for each in drips:
        each.cancel()

    async def many(count: int) -> None:
        pair = await asyncio.open_connection("127.0.0.1", port)
        for index in range(count):
            await ask(port, *pair, index)
        pair[1].close()

    for share in (0.05, 0.95):
        await asyncio.gather(*(many(int(REQUESTS * share) // CONNECTIONS) for _ in range(CONNECTIONS)))
        print(f"after {int(REQUESTS * share):,} more requests: {held(process):,} KiB")


@contextmanager
def started() -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Start a server, give its port once it listens, and end it."""
    command = [sys.executable, "-m", "oomless", "web", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r":(\d+)/", process.stderr.readline())
            assert found is not None
            yield int(found[1]), process
        finally:
            process.terminate()


def cold_start() -> tuple[float, float]:
    """Return seconds from the start of a server's process to the end of its first answer, and what it and its
    worker took of CPUs, which other work on the machine changes little."""

    async def first(port: int) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await ask(port, reader, writer, 0)
        writer.close()
        return time.perf_counter()

    begun, used = time.perf_counter(), cpu_of_children_s()
    with started() as (port, _):
        taken = asyncio.run(first(port)) - begun
    return taken, cpu_of_children_s() - used


def cpu_of_children_s() -> float:
    """Return the CPU seconds of processes that were started here, and by them, and have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def main() -> None:
    """Start servers, measure, end them."""
    walls, cpus = zip(*(cold_start() for _ in range(STARTS)), strict=True)
    ends = f"{min(walls):.2f} to {max(walls):.2f} of {STARTS} starts, {median(cpus):.2f} CPU s"
    print(f"process to first answer: {median(walls):.2f} s ({ends})")
    with started() as (port, process):
        asyncio.run(measured(port, process))


if __name__ == "__main__":
    main()
