"""What estimate/ asks of an engine, for the type checker and for whoever adds one."""

from typing import Protocol

from ..model.model import Model
from ..run.cards import Hardware
from ..run.serving import Layout, Serving
from .rank import Budget, CacheLayout, Count, Placed, Stage


class Engine(Protocol):
    """What estimate/ asks of an engine. A module with these functions is an engine; nothing else need know
    it."""

    @property
    def NAME(self) -> str: ...  # noqa: N802 - a constant of the module
    @property
    def LATEST(self) -> str: ...  # noqa: N802 - a constant of the module
    @property
    def VERSIONS(self) -> tuple[str, ...]: ...  # noqa: N802 - a constant of the module
    @property
    def COUNTS(self) -> Count: ...  # noqa: N802 - how the memory of weights is counted

    def layouts(self, hardware: Hardware, expert_parallel: bool) -> list[Layout]:
        """The layouts to try where none is asked for, smallest first."""

    def resolve(self, model: Model, hardware: Hardware, asked: Serving, layout: Layout) -> Serving:
        """The question with every default that the engine would choose."""

    def stages(self, model: Model, asked: Serving) -> list[Stage]:
        """Groups of equal ranks, by the layers that they hold; one a card where cards share no layer."""

    def placed_weights(self, model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> list[Placed]:
        """Every tensor that one rank holds after loading, in order of creation within a layer."""

    def budget_bytes(self, asked: Serving, hardware: Hardware) -> int:
        """What the engine allows itself on a card."""

    def budget_lines(self, model: Model, asked: Serving, hardware: Hardware, stage: Stage) -> Budget:
        """Everything on the card but weights and cache."""

    def pool_bytes(self, asked: Serving, allowed: int, charged: int) -> int:
        """What the cache gets of a budget of which `charged` bytes are taken."""

    def cache_layout(self, model: Model, asked: Serving, stage: Stage) -> CacheLayout:
        """How one rank pages its cache."""

    def needed_bytes(self, layout: CacheLayout, asked: Serving) -> int:
        """Pool that the asked load needs."""

    def max_tokens(self, layouts: list[CacheLayout], pools: list[int], asked: Serving) -> int:
        """The capacity that the engine would print."""

    def sequences(self, layout: CacheLayout, pool: int, length: int, asked: Serving) -> float:
        """Sequences of a length that fit a pool at once."""

    def longest_sequence(self, layout: CacheLayout, pool: int, asked: Serving) -> int:
        """The longest single sequence that a pool holds."""

    def host_bytes(self, model: Model, asked: Serving, hardware: Hardware) -> int:
        """Memory of the host that the engine holds beside the cards."""
