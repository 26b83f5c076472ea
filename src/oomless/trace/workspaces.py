"""What an operator takes beside its outputs on a card, found while a run is traced."""

from typing import Any

from ..errors import need
from ..recording.workspaces import Workspace, table


def rounded_up(length: int, step: int) -> int:
    return -(-length // step) * step


class Workspaces:
    """The rows of a card, asked for each operator."""

    def __init__(self, capability: float) -> None:
        self.torch = need("torch", "trace")
        self.rows: dict[str, Workspace] = {}
        for row in table():
            known = self.rows.get(row.operator)
            if row.capability_from <= capability and (
                known is None or row.capability_from >= known.capability_from
            ):
                self.rows[row.operator] = row
        self.made: set[tuple[str, bool]] = set()
        """Workspaces that are there already: the thread of the backward has a cuBLAS handle of its own."""
        self.known: dict[Any, Workspace | None] = {}

    def of(self, operator: Any, args: Any, kwargs: Any, out: Any) -> tuple[int, bool]:
        """(bytes, whether they stay) that an operator takes beside its outputs."""
        if operator in self.known:
            row = self.known[operator]
        else:
            name = operator.overloadpacket.__name__ if operator.namespace == "aten" else ""
            row = self.known[operator] = self.rows.get(name)
        if row is None:
            return 0, False
        match row.rule:
            case "constant":
                handle = (row.source, self.torch._C._current_autograd_node() is not None)
                if handle in self.made:
                    return 0, False
                self.made.add(handle)
                return row.constant, True
            case "flash_backward":
                return self._flash(args, row.constant), False
            case "efficient_backward":
                grad, query = args[0], args[1]
                batch, heads, length, width = query.shape
                scores = batch * heads * rounded_up(length, row.constant) * 4
                return scores + (scores * width if grad.dtype.itemsize == 2 else 0), False
            case "sorted":
                places = out[1] if isinstance(out, (tuple, list)) and len(out) > 1 else out
                return row.constant * args[0].numel() * (
                    args[0].dtype.itemsize + places.dtype.itemsize
                ), False
            case _:
                indices = [each for each in self._flat(args[1]) if each is not None]
                return row.constant * 8 * max((each.numel() for each in indices), default=0), False

    def _flash(self, args: Any, step: int) -> int:
        """F32 sum of dq and of the rows' products, and gradients of keys and values for every query head if
        heads are grouped."""
        query, key, value = args[1:4]
        batch, heads, length, width = query.shape
        rows = batch * heads * rounded_up(length, step) * 4
        found: int = rows * (rounded_up(width, 32) + 1)
        if key.shape[1] != heads:
            found += batch * heads * key.shape[2] * (width + value.shape[-1]) * key.dtype.itemsize
        return found

    def _flat(self, value: Any) -> list[Any]:
        return list(value) if isinstance(value, (list, tuple)) else [value]
