"""Bytes alive now, from the allocator's own counters: of a card, or of the C library where the device is the
CPU."""

import os
from collections.abc import Callable
from ctypes import CDLL, Structure, c_size_t
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import need
from ..units import KIB

MAX_LIMIT_BYTES = 1 << 60
"""A control group without a limit says a number beyond it."""
PROBE_BYTES = 3_000_000
"""A tensor of this size must show in the C library's own figures, else another allocator is in its place."""


class Counted(NamedTuple):
    """What a counter shows at one moment."""

    live_bytes: int
    reserved_bytes: int = 0
    peak_bytes: int = 0
    """The most since the run began, where the allocator keeps it."""
    retries: int = 0
    pinned_bytes: int = 0


class Counter(NamedTuple):
    """How bytes of a device are counted."""

    name: str
    read: Callable[[], Counted]
    live: Callable[[], int]
    """The same as `read().live_bytes`, cheaper."""


class MallocInformation(Structure):
    """struct mallinfo2 of the GNU C library."""

    _fields_ = [
        (name, c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def counter_of(device: Any) -> Counter:
    """Return the counter of a device of torch."""
    kind = device.type
    if kind == "cuda":
        return cuda_counter(device.index)
    if kind in ("xpu", "mps"):
        return module_counter(kind)
    return malloc_counter() or resident_counter()


def cuda_counter(index: int | None) -> Counter:
    """Return the counter of torch's caching allocator of a card, NVIDIA's or AMD's. Its peak is read and
    never reset: others read it too."""
    cuda = need("torch.cuda", "trace")
    pinned = getattr(cuda, "host_memory_stats", None)

    def read() -> Counted:
        found = cuda.memory_stats_as_nested_dict(index)
        if not found:  # nothing was allocated yet
            return Counted(0)
        host = (pinned() or {}).get("allocated_bytes.current", 0) if pinned else 0
        allocated, reserved = found["allocated_bytes"]["all"], found["reserved_bytes"]["all"]
        return Counted(
            allocated["current"],
            reserved["current"],
            allocated["peak"],
            found.get("num_alloc_retries", 0),
            host,
        )

    def live() -> int:
        found = cuda.memory_stats_as_nested_dict(index)
        return int(found["allocated_bytes"]["all"]["current"]) if found else 0

    return Counter("cuda", read, live)


def module_counter(kind: str) -> Counter:
    """Return the counter of torch.xpu or torch.mps."""
    module = need(f"torch.{kind}", "trace")
    if kind == "mps":
        return Counter(
            kind,
            lambda: Counted(module.current_allocated_memory(), module.driver_allocated_memory()),
            module.current_allocated_memory,
        )
    return Counter(
        kind,
        lambda: Counted(module.memory_allocated(), module.memory_reserved(), module.max_memory_allocated()),
        module.memory_allocated,
    )


def malloc_counter() -> Counter | None:
    """Return the counter of the GNU C library, from which torch takes its memory on a CPU: bytes that are
    handed out, those of Python's C libraries included. None where there is no such library, or another
    allocator stands in its place."""
    try:
        function = CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    function.restype = MallocInformation

    def live() -> int:
        found = function()
        return int(found.uordblks + found.hblkhd)

    torch = need("torch", "trace")
    before = live()
    probe = torch.empty(PROBE_BYTES, dtype=torch.uint8)
    grown = live() - before
    del probe
    if not PROBE_BYTES <= grown <= 2 * PROBE_BYTES:
        return None
    return Counter("malloc", lambda: Counted(live()), live)


def resident_counter() -> Counter:
    """Return the counter of last resort: what the process has in memory, caches of the C library included."""
    return Counter("resident", lambda: Counted(resident_bytes()), resident_bytes)


PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def resident_bytes() -> int:
    """Return what this process has in memory now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(128).split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def resident_peak_bytes() -> int:
    """Return the most that this process had in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next((int(line.split()[1]) * KIB for line in file if line.startswith("VmHWM")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def room_of(device: Any) -> int | None:
    """Return the bytes that this process can still get of a device now: of a card, what its driver has free;
    of the host, what neither its memory, the control group nor a limit of this process forbids. None where
    nothing says.
    """
    torch = need("torch", "trace")
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return max(int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory()), 0)
    if device.type == "xpu":
        return max((capacity_of(device)[1] or 0) - int(torch.xpu.memory_reserved(device)), 0)
    return host_room()


def capacity_of(device: Any) -> tuple[str, int | None]:
    """Return the name of a device, and what this process may have of it: a card's memory as its driver gives
    it, the host's or the control group's where the device is the CPU."""
    torch = need("torch", "trace")
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return properties.name, int(properties.total_memory)
    if device.type == "xpu":
        properties = torch.xpu.get_device_properties(device)
        return properties.name, int(properties.total_memory)
    if device.type == "mps":
        return "Apple GPU", int(torch.mps.recommended_max_memory())
    return "CPU", host_capacity()


def host_capacity(root: str = "/") -> int | None:
    """Return the smaller of the host's memory and the control group's limit; None where nothing says."""
    found = [kilobytes(Path(root, "proc/meminfo"), "MemTotal:")]
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        found.append(whole_number(Path(root, name)))
    return min((each for each in found if each is not None and each < MAX_LIMIT_BYTES), default=None)


def host_room(root: str = "/") -> int | None:
    """Return what this process can still get of the host: the least that its memory, the control group and
    the limits of this process's own leave."""
    left = [kilobytes(Path(root, "proc/meminfo"), "MemAvailable:")]
    for limit, used in (
        ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        most, now = whole_number(Path(root, limit)), whole_number(Path(root, used))
        if most is not None and now is not None and most < MAX_LIMIT_BYTES:
            left.append(max(most - now, 0))
    status = Path(root, "proc/self/status")
    for name, line in (("RLIMIT_AS", "VmSize:"), ("RLIMIT_DATA", "VmData:")):
        most, now = own_limit(name), kilobytes(status, line)
        if most is not None and now is not None:
            left.append(max(most - now, 0))
    return min((each for each in left if each is not None), default=None)


def host_kills(root: str = "/") -> int:
    """Return how many processes the host's out-of-memory killer has ended since it started; 0 where it does
    not say."""
    try:
        lines = Path(root, "proc/vmstat").read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def own_limit(name: str) -> int | None:
    """Return a limit that the system sets this process; None without one."""
    try:
        resource = import_module("resource")
        limit = int(resource.getrlimit(getattr(resource, name))[0])
    except (ModuleNotFoundError, AttributeError, OSError, ValueError):
        return None
    return None if limit == resource.RLIM_INFINITY else limit


def kilobytes(path: Path, name: str) -> int | None:
    """Return the bytes of a line `name N kB` of a file of the kernel; None if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((int(line.split()[1]) * KIB for line in lines if line.startswith(name)), None)
    except (OSError, ValueError, IndexError):
        return None


def whole_number(path: Path) -> int | None:
    """Return the number that a file of the kernel holds; None if it is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and len(text) < 25 else None
