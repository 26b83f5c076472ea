"""PyTorch's caching allocator, simulated: tensors come and go, segments stay until something forces them out.

Follows c10/cuda/CUDACachingAllocator.cpp (torch 2.13): one pool a stream for up to 1 MiB and one for larger;
best fit by size, then address; blocks are split and merged with their neighbours; a request that finds no
block asks the driver, and if that has no memory left, cached blocks are given back and it asks again.
Expandable segments are in expandable.py. Not simulated: CUDA graphs' private pools, and the order of
addresses that the driver hands out (new segments simply follow each other, which only decides ties).
"""

from bisect import bisect_left, insort
from typing import Any

from ..run.allocator import LARGE_ROUND, ROUND, SMALL, UNLIMITED, AllocatorSettings
from . import expandable
from .block import Block, Driver, Pool


class OutOfMemory(Exception):  # noqa: N818 - named as torch names it
    """No memory is left on the simulated device, whatever is given back."""

    def __init__(self, size: int) -> None:
        super().__init__(f"out of memory: tried to allocate {size} bytes")
        self.size = size


class Allocator(Driver):
    """The allocator of one device. `capacity` bounds what it may reserve; None: nothing does."""

    def __init__(
        self, settings: AllocatorSettings | None = None, capacity: int | None = None, keep_log: bool = False
    ) -> None:
        super().__init__(settings or AllocatorSettings(), capacity, keep_log)
        self.small: dict[int, Pool] = {}
        self.large: dict[int, Pool] = {}
        self.allocated = self.requested = 0
        self.peak_allocated = self.peak_requested = 0
        self.num_retries = self.num_segments = 0
        self.waiting: dict[int, list[Block]] = {}
        self.configure(self.settings)

    def configure(self, settings: AllocatorSettings) -> None:
        """Take other settings from now on, as torch's `_set_allocator_settings` does."""
        self.settings = settings
        self.plain = (
            not settings.expandable_segments
            and settings.max_split_size == UNLIMITED
            and not any(settings.divisions)
        )
        self.divided = any(settings.divisions)
        self.sizes: dict[int, int] = {}
        """Sizes as the divisions round them."""
        limit = self.device_bytes
        self.capacity = UNLIMITED if limit is None else int(limit * settings.memory_fraction)

    def pool(self, small: bool, stream: int) -> Pool:
        """The pool that serves sizes up to 1 MiB, or larger ones, of a stream."""
        pools = self.small if small else self.large
        found = pools.get(stream)
        if found is None:
            found = pools[stream] = Pool(small, stream)
        return found

    def allocate(self, requested: int, stream: int = 0) -> Block:
        """A block for a tensor. Raises OutOfMemory; what it holds then is as before, but for caches that were
        given back."""
        plain = self.plain
        if plain or not self.divided:
            size = (requested + ROUND - 1) & -ROUND or ROUND
        else:
            size = self.sizes.get(requested) or self.sizes.setdefault(
                requested, self.settings.rounded(requested)
            )
        is_small = size <= SMALL
        pool = (self.small if is_small else self.large).get(stream) or self.pool(is_small, stream)
        self.searches += 1
        free = pool.free
        at = bisect_left(free, (size,))
        if not plain:
            at = self._suitable(pool, at, size)
        block = free.pop(at)[2] if at < len(free) else self._grow(pool, size)
        remaining = block.size - size
        if remaining and self._splits(pool, size, remaining):
            rest = Block(pool, block.address + size, remaining, block.expandable)
            rest.is_free = True
            rest.born = self.searches
            after = block.next
            rest.previous, rest.next, block.next = block, after, rest
            if after is not None:
                after.previous = rest
            block.size = size
            insort(free, (remaining, rest.address, rest))
        block.is_free = False
        block.requested = requested
        self.allocated += block.size
        self.requested += requested
        if self.allocated > self.peak_allocated:
            self.peak_allocated = self.allocated
        if self.requested > self.peak_requested:
            self.peak_requested = self.requested
        if self.log is not None:
            self.log.append(("alloc", block.address, requested, stream))
        return block

    def free(self, block: Block) -> None:
        """Take a tensor's block back; one that another stream used waits for that stream."""
        self.allocated -= block.size
        if self.log is not None:
            self.log.append(("free_requested", block.address, block.requested, block.pool.stream))
        if block.uses:
            for stream in block.uses:
                self.waiting.setdefault(stream, []).append(block)
        else:
            self._merge(block)

    def record_stream(self, block: Block, stream: int) -> None:
        """Another stream works on the block: it is not reused before that stream has come this far."""
        if stream != block.pool.stream:
            block.uses |= {stream}

    def synchronize(self, stream: int | None = None) -> None:
        """A stream (or every one) has done its work: blocks that waited for it alone are free."""
        for each in list(self.waiting) if stream is None else [stream]:
            for block in self.waiting.pop(each, []):
                block.uses -= {each}
                if not block.uses:
                    self._merge(block)

    def empty_cache(self) -> None:
        """Give every segment back that no tensor lies in."""
        self.synchronize()
        for pools in (self.large, self.small):
            for pool in pools.values():
                mapped = [block for _, _, block in pool.free if block.expandable is not None]
                for block in [block for _, _, block in pool.free if block.expandable is None]:
                    if block.previous is None and block.next is None:
                        self._release(block)
                for block in mapped:
                    expandable.unmap(self, block)

    def _splits(self, pool: Pool, size: int, remaining: int) -> bool:
        if pool.is_small or self.settings.expandable_segments:
            return remaining >= ROUND
        return size < self.settings.max_split_size and remaining > SMALL

    def _suitable(self, pool: Pool, at: int, size: int) -> int:
        """Where in the free list, from the best fit on, a block lies that the settings let this size have."""
        free, settings = pool.free, self.settings
        if at < len(free) and free[at][2].expandable is not None:
            if settings.expandable_segments:
                at = expandable.best(free, at)
            else:
                while at < len(free) and free[at][2].expandable is not None:
                    at += 1
        if at < len(free):
            found, limit = free[at][0], settings.max_split_size
            too_large = (
                found >= limit if size < limit else found >= size + settings.max_non_split_rounding_size
            )
            if too_large:
                return len(free)
        return at

    def _merge(self, block: Block) -> None:
        """A block joins its free neighbours and the free list."""
        if self.log is not None:
            self.log.append(("free_completed", block.address, block.requested, block.pool.stream))
        self.requested -= block.requested
        free = block.pool.free
        other = block.previous
        if other is not None and other.is_free and other.mapped:
            del free[bisect_left(free, (other.size, other.address))]
            block.address = other.address
            block.size += other.size
            block.previous = before = other.previous
            if before is not None:
                before.next = block
        other = block.next
        if other is not None and other.is_free and other.mapped:
            del free[bisect_left(free, (other.size, other.address))]
            block.size += other.size
            block.next = after = other.next
            if after is not None:
                after.previous = block
        block.is_free = True
        block.requested = 0
        block.born = self.searches
        insort(free, (block.size, block.address, block))

    def _grow(self, pool: Pool, size: int) -> Block:
        """A block from the driver, after ever more has been given back to it."""
        if self.settings.garbage_collection_threshold and self.capacity < UNLIMITED:
            self._collect()
        block = self._segment(pool, size)
        if block is None and self._release_oversize(pool, size):
            block = self._segment(pool, size)
        if block is None:
            self.num_retries += 1
            self.empty_cache()
            block = self._segment(pool, size)
        if block is None:
            if self.log is not None:
                self.log.append(("oom", max(self.capacity - self.reserved, 0), size, pool.stream))
            raise OutOfMemory(size)
        return block

    def _segment(self, pool: Pool, size: int) -> Block | None:
        """A new segment, if the device has room for it."""
        wanted = self.settings.segment(size)
        if self.settings.expandable_segments:
            bounded = self.settings.memory_fraction < 1 and self.reserved + wanted > self.capacity
            return None if bounded else expandable.allocate(self, pool, size)
        if self.reserved + wanted > self.capacity:
            return None
        block = Block(pool, self.next_address, wanted, None)
        self.next_address += -(-wanted // LARGE_ROUND) * LARGE_ROUND
        self.num_segments += 1
        self.reserve(wanted)
        if self.log is not None:
            self.log.append(("segment_alloc", block.address, wanted, pool.stream))
        return block

    def _release(self, block: Block) -> None:
        """A whole segment goes back to the driver."""
        free = block.pool.free
        del free[bisect_left(free, (block.size, block.address))]
        self.reserve(-block.size)
        if self.log is not None:
            self.log.append(("segment_free", block.address, block.size, block.pool.stream))

    def _release_oversize(self, pool: Pool, size: int) -> bool:
        """With max_split_size: give back oversize blocks, only as many as this request needs."""
        limit = self.settings.max_split_size
        if limit == UNLIMITED:
            return False
        key = max(size, limit)
        at = bisect_left(pool.free, (key,))
        if at < len(pool.free) and pool.free[at][2].expandable is None:
            self._release(pool.free[at][2])
            return True
        released = 0
        for found, _, block in reversed(pool.free[:at]):
            if released >= key or found < limit:
                break
            if block.expandable is None:
                released += found
                self._release(block)
        return released >= key

    def _collect(self) -> None:
        """Give back unsplit large segments that were free for longer than average, once too much is
        reserved."""
        target = self.reserved - int(self.settings.garbage_collection_threshold * self.capacity)
        whole = [
            block
            for pool in self.large.values()
            for _, _, block in pool.free
            if block.previous is None and block.next is None and block.expandable is None
        ]
        ages = {id(block): self.searches - block.born for block in whole}
        total, reclaimed, freed = sum(ages.values()), 0, True
        while target > reclaimed and freed and whole:
            freed, threshold = False, total / len(whole)
            for block in list(whole):
                if ages[id(block)] >= threshold:
                    freed = True
                    reclaimed += block.size
                    total -= ages[id(block)]
                    whole.remove(block)
                    self._release(block)

    def blocks(self) -> list[Block]:
        """Every block of every segment, by address: what a snapshot shows."""
        found: dict[int, Block] = {}
        for block in self.live:
            found[block.address] = block
        for pools in (self.small, self.large):
            for pool in pools.values():
                for _, _, block in pool.free:
                    found[block.address] = block
        return [found[address] for address in sorted(found)]

    live: Any = ()
    """Blocks that tensors hold; whoever replays keeps them, so that the allocator need not."""
