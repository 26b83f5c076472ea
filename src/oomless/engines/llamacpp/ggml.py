"""ggml's graph allocator: where every intermediate tensor of a graph lies, and so how long its compute buffer
must be.

ggml/src/ggml-alloc.c (the same rules in llama.cpp and ik_llama.cpp): nodes are served in order out of one
range by best fit, an operation may take over an operand's memory if nothing else reads it, and memory is free
again after its last reader.
"""

from collections.abc import Iterable

ALIGN = 128
"""Sizes are rounded up to it (CUDA's buffers)."""


class Node:
    """A tensor of the graph. `base` is what a view looks into; external tensors (weights, cache) lie
    elsewhere."""

    __slots__ = (
        "base",
        "external",
        "in_place",
        "is_input",
        "lasts",
        "num_readers",
        "num_views",
        "offset",
        "operands",
        "size",
    )

    def __init__(
        self, size: int, operands: tuple["Node", ...] = (), base: "Node | None" = None, in_place: bool = False
    ) -> None:
        self.size = size
        self.operands = operands
        self.base = base
        self.in_place = in_place
        self.external = False
        self.is_input = self.lasts = False
        self.num_readers = self.num_views = 0
        self.offset: int | None = None


class Graph:
    """A graph in the order in which ggml would compute it: operands first, from left to right, at each
    `expand`."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._seen: set[Node] = set()
        self.stored = Node(0)
        """Weights and the cache: whatever has memory of its own."""
        self.stored.external = True

    def op(self, size: float, *operands: Node, in_place: bool = False) -> Node:
        """The result of an operation, in bytes."""
        return Node(int(size), operands, in_place=in_place)

    def input(self, size: int, first: bool = False, lasts: bool = False) -> Node:
        """What comes from outside: a copy from another device, or an input proper, which gets its memory
        before all others."""
        node = Node(size)
        node.is_input, node.lasts = first, lasts
        return node

    def view(self, node: Node) -> Node:
        """Another shape over the same memory, which no operation may take over."""
        return Node(0, (node,), base=node.base or node)

    def store(self, *operands: Node) -> None:
        """A write into the cache."""
        self.expand(Node(0, operands, base=self.stored))

    def expand(self, node: Node) -> Node:
        """Put a node and all that it needs into the order (ggml_build_forward_expand).

        A model's layers may hang on one another without end: nothing recurses, since a browser's stack is
        short.
        """
        path = [(node, iter((node,)))]
        while path:
            current, operands = path[-1]
            for operand in operands:
                if operand not in self._seen and not operand.external:
                    self._seen.add(operand)
                    path.append((operand, iter(operand.operands)))
                    break
            else:
                path.pop()
                if path:
                    self.nodes.append(current)
        return node

    def buffer_bytes(self) -> int:
        """The highest end of any tensor.

        >>> graph = Graph()
        >>> first = graph.op(1024)
        >>> _ = graph.expand(
        ...     graph.op(1024, graph.op(2048, first), in_place=True)
        ... )  # 1,024 lie below 2,048, and are free again
        >>> graph.buffer_bytes()
        3072
        """
        memory = _Memory()
        for node in self.nodes:
            if node.base is not None:
                node.base.num_views += 1
            for operand in node.operands:
                operand.num_readers += 1
        for node in (node for node in self.nodes if node.is_input):
            _place(node, memory)
        for node in self.nodes:
            _place(node, memory)
            _release(node.operands, memory)
        for node in self.nodes:
            node.operands = ()  # else the first that goes takes all others with it, one inside of the other
        return memory.end


def _place(node: Node, memory: "_Memory") -> None:
    if node.base is not None or node.offset is not None or not node.size:
        return
    if node.in_place and (owner := _reusable(node)) is not None:
        node.offset, owner.offset = owner.offset, None  # the new owner is the one that will free it
        return
    node.offset = memory.take(node.size)


def _reusable(node: Node) -> Node | None:
    """The tensor whose memory an in-place operation takes over."""
    for operand in node.operands:
        if operand.external or operand.num_readers != 1 or operand.num_views:
            continue
        if operand.base is None and operand.size == node.size and operand.offset is not None:
            return operand  # memory behind a view is not its own to give away
    return None


def _release(operands: Iterable[Node], memory: "_Memory") -> None:
    for operand in operands:
        operand.num_readers -= 1
        if operand.num_readers or operand.num_views:
            continue
        owner = operand
        if operand.base is not None:
            owner = operand.base
            owner.num_views -= 1
            if owner.num_views or owner.num_readers:
                continue
        if owner.offset is not None and not owner.lasts:
            memory.give(owner.offset, owner.size)
            owner.offset = None


class _Memory:
    """Free blocks by address. The last has no end and is taken only if no other holds the tensor."""

    def __init__(self) -> None:
        self.free: list[list[int]] = [[0, 1 << 200]]
        self.end = 0

    def take(self, size: int) -> int:
        """Return the offset of a tensor's bytes: in the smallest free block that holds them."""
        size = -(-size // ALIGN) * ALIGN
        fits = [block for block in self.free[:-1] if block[1] >= size]
        block = min(reversed(fits), key=lambda each: each[1]) if fits else self.free[-1]  # of equals the last
        offset = block[0]
        block[0] += size
        block[1] -= size
        if not block[1]:
            self.free.remove(block)
        self.end = max(self.end, offset + size)
        return offset

    def give(self, offset: int, size: int) -> None:
        """Join a tensor's bytes to the free blocks beside them."""
        size = -(-size // ALIGN) * ALIGN
        for index, block in enumerate(self.free):
            if block[0] + block[1] == offset:
                block[1] += size
                after = self.free[index + 1]  # the last block never ends where a tensor begins
                if block[0] + block[1] == after[0]:
                    after[0], after[1] = block[0], block[1] + after[1]
                    self.free.pop(index)
                return
            if offset + size == block[0]:
                block[0], block[1] = offset, block[1] + size
                return
        self.free.append([offset, size])
        self.free.sort()
