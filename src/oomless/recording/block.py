"""What the simulated allocator is made of: a piece of a segment, the pool of free ones, and the device's
memory as the driver gives it."""

from ..run.allocator import UNLIMITED, AllocatorSettings

NO_USES: frozenset[int] = frozenset()


class Block:
    """Bytes at an address: held by a tensor, free, or (expandable segments alone) not mapped. Neighbours lie
    in the same segment."""

    __slots__ = (
        "address",
        "born",
        "expandable",
        "is_free",
        "mapped",
        "next",
        "pool",
        "previous",
        "requested",
        "size",
        "uses",
    )

    def __init__(self, pool: "Pool", address: int, size: int, expandable: "Reserved | None") -> None:
        self.pool = pool
        self.address = address
        self.size = size
        self.expandable = expandable
        self.previous: Block | None = None
        self.next: Block | None = None
        self.requested = 0
        self.is_free = False
        self.mapped = True
        self.born = 0
        """When it became free, in searches of the allocator."""
        self.uses: frozenset[int] = NO_USES
        """Other streams that work on it; see Allocator.record_stream."""


class Reserved:
    """Address space of an expandable segment, larger than the device; pages of `page` bytes are mapped into
    it."""

    __slots__ = ("address", "page", "size")

    def __init__(self, address: int, size: int, page: int) -> None:
        self.address = address
        self.size = size
        self.page = page


class Pool:
    """Free blocks of a stream, up to 1 MiB or above, by size and address."""

    __slots__ = ("free", "is_small", "stream", "unmapped")

    def __init__(self, is_small: bool, stream: int) -> None:
        self.is_small = is_small
        self.stream = stream
        self.free: list[tuple[int, int, Block]] = []
        self.unmapped: list[tuple[int, Block]] = []
        """Parts of expandable segments without memory behind them, by address."""


FIRST_ADDRESS = 0x7F0000000000
"""Where segments start: addresses look as on a device, and none is 0."""


class Driver:
    """Memory that one process reserves on a device. `device_bytes` bounds it; None: nothing does."""

    def __init__(self, settings: AllocatorSettings, device_bytes: int | None, keep_log: bool) -> None:
        self.settings = settings
        self.device_bytes = device_bytes
        self.capacity = UNLIMITED
        """What may be reserved: the settings' share of the device."""
        self.reserved = self.peak_reserved = 0
        self.searches = 0
        """Searches for a free block so far: the clock by which garbage collection tells ages."""
        self.next_address = FIRST_ADDRESS
        self.log: list[tuple[str, int, int, int]] | None = [] if keep_log else None
        """(action, address, bytes, stream), under the names of torch's own snapshots."""

    def reserve(self, num_bytes: int) -> None:
        """The driver gave bytes, or took them back."""
        self.reserved += num_bytes
        if self.reserved > self.peak_reserved:
            self.peak_reserved = self.reserved
