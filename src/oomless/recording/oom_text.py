"""What torch says when it runs out of memory -> numbers, in every wording since 1.10.

    1.10 to 2.0  allocate A (GPU I; T total capacity; B already allocated; F free; R reserved in total
    2.1 to 2.4   allocate A. GPU I has a total capacity of T of which F is free. [Process P has M memory in
                 use.] Including non-PyTorch memory, this process has U memory in use. Of the allocated
                 memory B is allocated by PyTorch, and R is reserved by PyTorch but unallocated.
    2.5 on       the same with "B is allocated by PyTorch, with G allocated in private pools"

2.1 wrote `capacty`. HIP, XPU and NPU have the same texts under their own names.
"""

import re
from typing import NamedTuple

from ..units import GIB, KIB, MIB
from .log_lines import number

ANCHOR = b"ried to allocate"
SIZE = r"(-?(?<![\d.,])\d[\d.,]{0,40}) ?(bytes|[KMG]i?B|B)\b"
"""It begins where a number begins, or a long run of digits would be tried from each of them."""
FACTORS = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "GB": GIB, "MB": MIB, "KB": KIB, "bytes": 1, "B": 1}
"""MPS writes GB for 2**30 bytes."""
DEVICE = re.compile(r"\b(?:GPU|XPU|NPU|MLU|device|Device)[ :]+(\d+)\b")
PATTERNS = {
    "tried_bytes": re.compile(rf"[Tt]ried to allocate {SIZE}"),
    "total_bytes": re.compile(rf"(?:total capaci?ty of {SIZE}|; {SIZE} total capacity)"),
    "free_bytes": re.compile(rf"(?:{SIZE} is free|; {SIZE} free[;)])"),
    "process_bytes": re.compile(rf"this process has {SIZE} memory in use"),
    "allocated_bytes": re.compile(
        rf"(?:Of the allocated memory {SIZE} is allocated by PyTorch|{SIZE} already allocated)"
    ),
    "private_pools_bytes": re.compile(rf"with {SIZE} allocated in private pools"),
    "reserved_unallocated_bytes": re.compile(rf"{SIZE} is reserved by PyTorch but unallocated"),
    "reserved_bytes": re.compile(rf"{SIZE} reserved in total by PyTorch"),
    "cached_bytes": re.compile(rf"; {SIZE} cached"),
    "mps_allocated_bytes": re.compile(rf"\(MPS allocated: {SIZE}"),
    "mps_allowed_bytes": re.compile(rf"max allowed: {SIZE}\)"),
}
OTHERS = re.compile(rf"Process (\d+) has {SIZE} memory in use")
RANK = re.compile(r"\[(?:rank|Rank|RANK) ?(\d+)\]")


class OutOfMemoryText(NamedTuple):
    """One refusal of an allocator. None: the text does not say it."""

    tried_bytes: int | None
    gpu_index: int | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    process_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    reserved_unallocated_bytes: int | None = None
    private_pools_bytes: int | None = None
    others: tuple[tuple[int, int], ...] = ()
    """(process, bytes) of whoever else the text names."""
    rank: int | None = None
    source: str = ""
    """FILE:LINE."""

    @property
    def fragmentation_would_have_saved(self) -> bool:
        """Whether free memory and what the allocator held without using would have covered the request."""
        unused = self.reserved_unallocated_bytes
        return unused is not None and self.tried_bytes is not None and unused >= self.tried_bytes

    def to_json(self) -> dict[str, object]:
        """Return the fields that the text has."""
        found = {name: value for name, value in self._asdict().items() if value is not None and value != ()}
        if self.others:
            found["others"] = [{"pid": pid, "bytes": held} for pid, held in self.others]
        return {**found, "fragmentation": self.fragmentation_would_have_saved}


def read_oom(text: str, source: str = "") -> OutOfMemoryText | None:
    """Return the numbers of an out-of-memory text; None if it asks for nothing.

    >>> found = read_oom(
    ...     "CUDA out of memory. Tried to allocate 1.96 GiB. GPU 1 has a total capacity of 63.29 GiB of "
    ...     "which 1.82 GiB is free. Including non-PyTorch memory, this process has 61.46 GiB memory in use."
    ... )
    >>> found.tried_bytes, found.gpu_index, found.free_bytes
    (2104533975, 1, 1954210120)
    >>> read_oom("Tried to allocate 20.00 MiB (GPU 0; 15.78 GiB total capacity; 14.1 GiB already allocated")[
    ...     :3
    ... ]
    (20971520, 0, 16943645983)
    """
    tried = PATTERNS["tried_bytes"].search(text)
    if tried is None:
        return None
    rank = RANK.search(text[: tried.start()])
    mps, text = text[: tried.start()], text[tried.start() :]
    device = DEVICE.search(text)
    sizes = {
        name: _size(pattern, mps if name.startswith("mps") else text) for name, pattern in PATTERNS.items()
    }
    allocated = sizes["allocated_bytes"]
    if allocated is None:
        allocated = sizes["mps_allocated_bytes"]
    unused = sizes["reserved_unallocated_bytes"]
    reserved = sizes["reserved_bytes"] if sizes["reserved_bytes"] is not None else sizes["cached_bytes"]
    if unused is None and reserved is not None and allocated is not None:
        unused = reserved - allocated
    elif reserved is None and unused is not None and allocated is not None:
        reserved = allocated + unused
    others = tuple(
        (int(pid), round(value * FACTORS[unit]))
        for pid, amount, unit in OTHERS.findall(text)
        if (value := number(amount)) is not None and len(pid) < 12
    )
    total, process = sizes["total_bytes"] or sizes["mps_allowed_bytes"], sizes["process_bytes"]
    if process is None and (own := _own_process(others, total, sizes["free_bytes"], reserved)):
        process, others = own[1], tuple(each for each in others if each != own)
    return OutOfMemoryText(
        sizes["tried_bytes"],
        int(device[1]) if device and len(device[1]) < 6 else None,
        total,
        sizes["free_bytes"],
        process,
        allocated,
        reserved,
        unused,
        sizes["private_pools_bytes"],
        others,
        int(rank[1]) if rank and len(rank[1]) < 8 else None,
        source,
    )


def _own_process(
    others: tuple[tuple[int, int], ...], total: int | None, free: int | None, reserved: int | None
) -> tuple[int, int] | None:
    """Which of the named processes is the one that speaks: in a container it does not know its own number and
    names itself with the rest, so that the card would hold its pool twice (c10/cuda/CUDACachingAllocator.cpp,
    reportProcessMemoryInfo)."""
    if total is None or free is None or reserved is None:
        return None
    if sum(held for _, held in others) + free + reserved <= total * 1.01:
        return None
    return min((each for each in others if each[1] >= reserved), key=lambda each: each[1], default=None)


def _size(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    if found is None:
        return None
    amount, unit = [group for group in found.groups() if group is not None][:2]
    value = number(amount)
    return None if value is None else round(value * FACTORS[unit])
