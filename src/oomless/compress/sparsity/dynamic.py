"""Dynamic sparse training: a mask that drops the smallest weights and grows others, by chance (SET) or where
the dense gradient is largest (RigL)."""

from math import cos, pi
from typing import Any, Literal, NamedTuple

from ...errors import UsageError, need
from .masks import linear_weights, mask_gradients, mask_weights

Rule = Literal["set", "rigl"]
INDEX_BYTES = 4


class SparseBytes(NamedTuple):
    """What training holds for the sparse weights, three lines of a ledger: dense tensors with a mask hold all
    of `dense`."""

    dense: int
    mask: int
    values: int
    """With a truly sparse back end: what is not zero."""
    indices: int
    dense_gradient: int
    """At an update of RigL, of the largest layer; SET needs none."""


def densities(shapes: dict[str, tuple[int, int]], density: float) -> dict[str, float]:
    """Return a density for each layer that gives the whole: proportional to (rows + columns) / (rows *
    columns), at most 1 (Erdos-Renyi).

    >>> found = densities({"wide": (64, 64), "narrow": (64, 8)}, 0.5)
    >>> round((found["wide"] * 4096 + found["narrow"] * 512) / 4608, 6)
    0.5
    """
    if not 0 < density <= 1:
        raise UsageError(f"a density of {density}", "give a share above 0, up to 1")
    full: set[str] = set()
    while True:
        wanted = density * sum(rows * columns for rows, columns in shapes.values())
        wanted -= sum(shapes[name][0] * shapes[name][1] for name in full)
        raw = sum(sum(shapes[name]) for name in shapes if name not in full)
        factor = wanted / raw if raw else 0.0
        over = {
            name
            for name, (rows, columns) in shapes.items()
            if name not in full and factor * (rows + columns) > rows * columns
        }
        if not over:
            break
        full |= over
    return {
        name: 1.0 if name in full else factor * (rows + columns) / (rows * columns)
        for name, (rows, columns) in shapes.items()
    }


class DynamicSparse:
    """The masks of a model in training; call `step()` after `backward()` in place of the optimizer's own."""

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        density: float,
        rule: Rule = "rigl",
        *,
        every: int = 100,
        until: int = 1000,
        share: float = 0.3,
        pattern: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        """`share` of the weights move at the first update, less and less `until` the last; `pattern` (n, m)
        lets each m neighbours of a row keep n, at a density of n / m everywhere."""
        torch = need("torch", "compress")
        if rule not in ("set", "rigl"):
            raise UsageError(f"dynamic sparsity by {rule!r}", "there are set and rigl")
        self.weights, self.optimizer, self.rule = dict(linear_weights(model)), optimizer, rule
        self.every, self.until, self.share, self.pattern = every, until, share, pattern
        self.generator = torch.Generator().manual_seed(seed)
        self.num_steps = self.num_updates = 0
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        if pattern and any(columns % pattern[1] for _, columns in shapes.values()):
            raise UsageError(f"a pattern of {pattern[0]}:{pattern[1]}", "it must divide the columns")
        each = (
            densities(shapes, density) if pattern is None else dict.fromkeys(shapes, pattern[0] / pattern[1])
        )
        self.masks = {
            name: self._highest(self._chance(weight), each[name]) for name, weight in self.weights.items()
        }
        mask_weights(self.weights.items(), self.masks)

    def _chance(self, weight: Any) -> Any:
        torch = need("torch", "compress")
        return torch.rand(weight.shape, generator=self.generator).to(weight.device)

    def _highest(self, scores: Any, density: float) -> Any:
        """The mask of the highest scores: of the matrix, or of each m neighbours."""
        torch = need("torch", "compress")
        if self.pattern is not None:
            keep, of = self.pattern
            grouped = scores.reshape(-1, of)
            mask = torch.zeros_like(grouped, dtype=torch.bool)
            return mask.scatter_(1, grouped.topk(keep, dim=1).indices, True).view(scores.shape)
        count = max(round(density * scores.numel()), 1)
        mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
        mask[scores.flatten().topk(count).indices] = True
        return mask.view(scores.shape)

    def step(self) -> None:
        """Step the optimizer with masked gradients; every so often move the mask instead of it."""
        self.num_steps += 1
        if self.num_steps % self.every == 0 and self.num_steps <= self.until:
            self.update()
            return
        mask_gradients(self.weights, self.masks)
        self.optimizer.step()
        mask_weights(self.weights.items(), self.masks)

    def update(self) -> None:
        """Drop the smallest weights of each layer and grow as many: by chance, or where the gradient is
        largest. What grows begins at zero, its momenta too."""
        torch = need("torch", "compress")
        self.num_updates += 1
        share = self.share / 2 * (1 + cos(pi * self.num_steps / max(self.until, 1)))
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.masks[name] = self._moved(name, weight, share)
                weight.mul_(self.masks[name])
                for state in self.optimizer.state.get(weight, {}).values():
                    if torch.is_tensor(state) and state.shape == weight.shape:
                        state.mul_(self.masks[name])

    def _moved(self, name: str, weight: Any, share: float) -> Any:
        torch = need("torch", "compress")
        mask = self.masks[name]
        growing = self._chance(weight) if self.rule == "set" else weight.grad.abs()
        if self.pattern is not None:  # the weakest of those that are kept gives way to the strongest other
            stays = torch.where(mask, weight.abs() + 1e30, growing)
            weakest = torch.rand(weight.shape, generator=self.generator).to(weight.device) < share
            of = self.pattern[1]
            least = torch.where(mask, weight.abs(), torch.inf).view(-1, of).argmin(1, keepdim=True)
            drop = torch.zeros_like(mask).view(-1, of).scatter_(1, least, True).view(mask.shape)
            stays = torch.where(drop & weakest, torch.full_like(stays, -1.0), stays)
            return self._highest(stays, 0.0)
        kept = int(mask.sum())
        moving = int(share * min(kept, mask.numel() - kept))
        if not moving:
            return mask
        smallest = torch.where(mask, weight.abs(), torch.inf).flatten().topk(moving, largest=False).indices
        largest = torch.where(mask, -torch.inf, growing).flatten().topk(moving).indices
        flat = mask.flatten().clone()
        flat[smallest] = False
        flat[largest] = True
        return flat.view(mask.shape)

    @property
    def density(self) -> float:
        """Return the share of weights that are not masked."""
        total = sum(int(mask.numel()) for mask in self.masks.values())
        return sum(int(mask.sum()) for mask in self.masks.values()) / total

    def num_bytes(self) -> SparseBytes:
        """Return what is held: a mask saves nothing, a sparse layout holds values and indices instead."""
        dense = sum(weight.nbytes for weight in self.weights.values())
        kept = {name: int(mask.sum()) for name, mask in self.masks.items()}
        values = sum(kept[name] * weight.element_size() for name, weight in self.weights.items())
        largest = max(weight.nbytes for weight in self.weights.values())
        return SparseBytes(
            dense,
            sum(mask.nbytes for mask in self.masks.values()),
            values,
            sum(kept.values()) * INDEX_BYTES,
            largest if self.rule == "rigl" else 0,
        )
