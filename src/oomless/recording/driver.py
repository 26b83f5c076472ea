"""The device's memory as an allocator asks the driver for it: how much may be reserved, and how much is."""

from ..run.allocator import UNLIMITED, AllocatorSettings

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
