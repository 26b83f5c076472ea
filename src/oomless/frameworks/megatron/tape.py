"""Write a layer down operation by operation: the graph that frameworks/graphs/graph.py replays."""

from ..graphs.graph import AutogradGraph, Op


class Tape:
    """Collects operations and sizes; what an operation makes is given with its bytes."""

    def __init__(self, source: str, num_bytes: int) -> None:
        self.source = source
        self.sizes: dict[str, int] = {source: num_bytes}
        self.ops: list[Op] = []
        self.constants: set[str] = set()

    def op(
        self,
        name: str,
        reads: str,
        writes: dict[str, int],
        saves: str = "",
        *,
        module: str = "",
        product: bool = False,
        forward_temp: int = 0,
        backward_temp: int = 0,
        ready: str = "",
    ) -> None:
        """One operation; names of tensors are separated by blanks. `ready`: of what it reads, that whose
        gradient is written over it."""
        self.sizes.update(writes)
        self.ops.append(
            Op(
                name,
                tuple(reads.split()),
                tuple(writes),
                tuple(saves.split()),
                forward_temp,
                backward_temp,
                module,
                product,
                ready=tuple(ready.split()),
            )
        )

    def constant(self, *names: str) -> None:
        """Tensors without a gradient: masks, statistics, indices."""
        self.constants.update(names)

    def graph(self, target: str) -> AutogradGraph:
        return AutogradGraph(
            tuple(self.ops), dict(self.sizes), self.source, target, frozenset(self.constants)
        )
