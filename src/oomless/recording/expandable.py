"""Expandable segments: address space first, pages of memory behind it as they are needed (the same source as
allocator.py).

Pages are 2 MiB in the pool of small tensors and 20 MiB in the other. Free pages inside a segment can be
unmapped and used at its end.
"""

from bisect import bisect_left, insort

from ..run.allocator import SMALL_SEGMENT, UNLIMITED
from .block import Block, Driver, Pool, Reserved

UNLIMITED_SPACE = 1 << 44
"""Address space of a segment where no capacity is known; torch takes 9/8 of the device."""


def room(block: Block) -> int:
    """Bytes that a block can grow to."""
    after = block.next
    return block.size + (after.size if after is not None and not after.mapped else 0)


def best(free: list[tuple[int, int, Block]], at: int) -> int:
    """The best fit among blocks of expandable segments: by the size that each can grow to, not the size it
    has."""
    while (
        free[at][2].expandable is not None
        and at + 1 < len(free)
        and room(free[at + 1][2]) < room(free[at][2])
    ):
        at += 1
    return at


def allocate(driver: Driver, pool: Pool, size: int) -> Block | None:
    """A free block of at least this size, grown by mapping pages; None if the device has none left."""
    block = _find(driver, pool, size)
    if not block.mapped and not _map(driver, block, min(block.size, size)):
        return None
    while block.size < size:
        after = block.next
        assert after is not None
        if not _map(driver, after, min(size - block.size, after.size)):
            return None
        block = after
    del pool.free[bisect_left(pool.free, (block.size, block.address))]
    return block


def _find(driver: Driver, pool: Pool, size: int) -> Block:
    """The lowest address with enough free and unmapped space behind it; a new segment if there is none."""
    for _, unmapped in pool.unmapped:
        before = unmapped.previous
        start = before if before is not None and before.is_free else unmapped
        space, block = 0, start
        while space < size and block is not None and block.is_free:
            space += block.size
            block = block.next  # type: ignore[assignment]  # the loop's condition sees None
        if space >= size:
            return start
    page = SMALL_SEGMENT if pool.is_small else driver.settings.large_segment_size
    limit = driver.device_bytes
    space = UNLIMITED_SPACE if limit is None or driver.capacity == UNLIMITED else limit + limit // 8
    space = max(-(-space // page) * page, -(-size // page) * page)
    fresh = Block(pool, driver.next_address, space, Reserved(driver.next_address, space, page))
    driver.next_address += space
    fresh.mapped, fresh.is_free = False, True
    insort(pool.unmapped, (fresh.address, fresh))
    return fresh


def _map(driver: Driver, block: Block, size: int) -> bool:
    """Put pages behind the front of an unmapped block and merge it with free neighbours; False if memory is
    short."""
    assert block.expandable is not None
    pool, page = block.pool, block.expandable.page
    mapped = -(-size // page) * page
    if driver.reserved + mapped > driver.capacity:
        return False
    del pool.unmapped[bisect_left(pool.unmapped, (block.address,))]
    block.mapped = True
    if mapped < block.size:
        rest = Block(pool, block.address + mapped, block.size - mapped, block.expandable)
        rest.mapped, rest.is_free = False, True
        _splice(block, rest, block.next)
        block.size = mapped
        insort(pool.unmapped, (rest.address, rest))
    address = block.address
    _absorb(block)
    block.is_free = True
    block.born = driver.searches
    insort(pool.free, (block.size, block.address, block))
    driver.reserve(mapped)
    if driver.log is not None:
        driver.log.append(("segment_map", address, mapped, pool.stream))
    return True


def unmap(driver: Driver, block: Block) -> None:
    """Give back the whole pages of a free block; what reaches into other pages stays."""
    segment, pool = block.expandable, block.pool
    assert segment is not None
    begin = segment.address + -(-(block.address - segment.address) // segment.page) * segment.page
    end = segment.address + (block.address + block.size - segment.address) // segment.page * segment.page
    if begin >= end:
        return
    del pool.free[bisect_left(pool.free, (block.size, block.address))]
    for address, size, first in (
        (block.address, begin - block.address, True),
        (end, block.address + block.size - end, False),
    ):
        if size > 0:
            kept = Block(pool, address, size, segment)
            kept.is_free, kept.born = True, block.born
            _splice(*((block.previous, kept, block) if first else (block, kept, block.next)))
            insort(pool.free, (size, address, kept))
    block.address, block.size, block.mapped = begin, end - begin, False
    _absorb(block)
    insort(pool.unmapped, (block.address, block))
    driver.reserve(begin - end)
    if driver.log is not None:
        driver.log.append(("segment_unmap", begin, end - begin, pool.stream))
    if block.previous is None and block.next is None:  # the segment is empty: its address space goes too
        del pool.unmapped[bisect_left(pool.unmapped, (block.address,))]


def _splice(before: Block | None, block: Block, after: Block | None) -> None:
    block.previous, block.next = before, after
    if before is not None:
        before.next = block
    if after is not None:
        after.previous = block


def _absorb(block: Block) -> None:
    """Merge with free neighbours that are mapped, or not mapped, as the block is."""
    for other in (block.previous, block.next):
        if other is None or not other.is_free or other.mapped != block.mapped:
            continue
        pool = block.pool
        if other.mapped:
            del pool.free[bisect_left(pool.free, (other.size, other.address))]
        else:
            del pool.unmapped[bisect_left(pool.unmapped, (other.address,))]
        if other is block.previous:
            block.address, block.previous = other.address, other.previous
            if block.previous is not None:
                block.previous.next = block
        else:
            block.next = other.next
            if block.next is not None:
                block.next.previous = block
        block.size += other.size
