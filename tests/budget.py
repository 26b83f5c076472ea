"""What one input may cost, kept by the system: address space and processor time of a piece of this process.

The promise is 2 s and 200 MB. A timing is never a test: what takes longer than MAX_CPU_S hangs, and is
stopped.
"""

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

MAX_MORE_BYTES = 200 << 20
MAX_CPU_S = 5.0
MAX_CHECKPOINT_CPU_S = 25.0
"""For a checkpoint of 200,000 tensors, which may take 10 s."""


class TooSlow(BaseException):
    """Work that takes longer than any input may."""


@contextmanager
def budget(cpu_s: float = MAX_CPU_S, more_bytes: int = MAX_MORE_BYTES) -> Iterator[None]:
    """Within it, MemoryError for more memory than an input may take, TooSlow for more time."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TooSlow(f"more than {cpu_s} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":  # elsewhere the limit is not kept, or refused
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + more_bytes, limit[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limit)


def address_space() -> int:
    """Bytes that this process has mapped now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
