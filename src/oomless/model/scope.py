"""Where a group of weights belongs and how it is stored: what readers of a config build tensors with."""

from typing import assert_never

from ..records import Record
from .model import WHOLE, Cut, Part, Role, Tensor
from .storage import Format, Shape


class Storage(Record):
    """How a checkpoint stores each class of weight."""

    plain: Format
    """Embeddings, norms, routers, biases."""
    linear: Format
    """Matrices of attention, dense and shared feed-forward."""
    expert: Format
    """Matrices of routed experts."""

    def of(self, role: Role) -> Format:
        match role:
            case "plain":
                return self.plain
            case "linear":
                return self.linear
            case "expert":
                return self.expert
            case _:
                assert_never(role)


class Scope(Record):
    """Where a group of tensors belongs: the layers that have it, how they are stored, under which prefix, in
    which part."""

    layers: tuple[int, ...]
    stored: Storage
    prefix: str = "model.layers.{}."
    part: Part = "main"

    def tensor(
        self, name: str, shape: Shape, stored: Role | Format, cut: Cut = WHOLE, repeat: int = 1
    ) -> Tensor:
        """A group in this scope. A Format instead of a role is for weights whose type no quantisation
        changes."""
        role: Role = stored if isinstance(stored, str) else "plain"
        form = stored if isinstance(stored, Format) else self.stored.of(stored)
        return Tensor(self.prefix + name, shape, form, cut, self.layers, repeat, role, self.part)


def columns(units: int) -> Cut:
    return Cut("column", units)


def rows(units: int) -> Cut:
    return Cut("row", units)
