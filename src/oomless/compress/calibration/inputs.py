"""Inputs: what each matrix of a layer is fed with, while the layer runs."""

from collections.abc import Callable, Iterator
from typing import Any

from ...errors import need
from ..checkpoint.target import PAIRS
from ..quality.lazy_model import LazyModel
from ..quality.lockstep import Call
from .solve import Moments


class LayerInputs:
    """The inputs of one layer's matrices; those that several share are held, and summed, once."""

    def __init__(self, lazy: LazyModel, layer: Any) -> None:
        torch = need("torch", "compress")
        self.lazy = lazy
        self.linear: dict[str, Any] = {}
        self.experts: dict[str, Any] = {}
        self.fed: dict[str, list[tuple[Any, ...]]] = {}
        self._sums: dict[tuple[int, ...], Moments] = {}
        for module in layer.modules():
            name = lazy.names[id(module)]
            if isinstance(module, torch.nn.Linear):
                self.linear[name] = module
            elif getattr(getattr(module, "gate_up_proj", None), "ndim", 0) == 3:
                self.experts[name] = module

    def run(self, module: Any, calls: list[Call], run: Callable[[Any, list[Call]], list[Any]]) -> list[Any]:
        """Run the layer and note what its matrices are called with."""
        handles = [
            each.register_forward_pre_hook(self._note(name))
            for name, each in {**self.linear, **self.experts}.items()
        ]
        try:
            return run(module, calls)
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def note(module: Any, args: tuple[Any, ...]) -> None:
            self.fed.setdefault(name, []).append(args)

        return note

    def matrices(self) -> Iterator[tuple[str, Callable[[], Moments]]]:
        """Yield (name of a weight of the target, function that returns the moments of its inputs)."""
        for name, fed in self.fed.items():
            if name in self.linear:
                stored = self.lazy.find(f"{name}.weight")
                if stored is not None:
                    yield stored.name, self._moments_of([args[0] for args in fed])
            else:
                yield from self._of_experts(name, fed)

    def _moments_of(self, fed: list[Any]) -> Callable[[], Moments]:
        def moments() -> Moments:
            key = tuple(id(each) for each in fed)
            if key not in self._sums:
                self._sums.clear()
                self._sums[key] = Moments([rows_of(each) for each in fed])
            return self._sums[key]

        return moments

    def _of_experts(
        self, name: str, fed: list[tuple[Any, ...]]
    ) -> Iterator[tuple[str, Callable[[], Moments]]]:
        torch = need("torch", "compress")
        module = self.experts[name]
        for number in range(module.gate_up_proj.shape[0]):
            chosen = [
                (hidden.reshape(-1, hidden.shape[-1]), (index == number).any(dim=-1))
                for hidden, index, *_ in fed
            ]
            into = torch.cat([hidden[mask] for hidden, mask in chosen])
            if not len(into):
                continue  # no token came here: its weights are rounded to the nearest
            gate_up = torch.nn.functional.linear(into, module.gate_up_proj[number])
            gate, up = gate_up.chunk(2, dim=-1)
            between = module.act_fn(gate) * up
            for part, values in (("gate_up_proj", into), ("down_proj", between)):
                for weight in self.expert_names(name, number, part):
                    yield weight, self._moments_of([values])

    def expert_names(self, name: str, number: int, part: str) -> Iterator[str]:
        """Yield the names that the target gives the matrices of one expert; of a gate and an up in turn."""
        fused = self.lazy.find(f"{name}.gate_up_proj")
        if fused is not None:
            prefix = fused.name.rpartition(".")[0]
            yield from (f"{prefix}.{number}.{each}" for each in PAIRS.get(part, (part,)))
            return
        for each in (*PAIRS.get(part, (part,)), *(("w1", "w3") if part == "gate_up_proj" else ("w2",))):
            stored = self.lazy.find(f"{name}.{number}.{each}.weight")
            if stored is not None:
                yield stored.name


def rows_of(fed: Any) -> Any:
    """Return inputs as rows of float32, tokens x columns."""
    return fed.reshape(-1, fed.shape[-1]).float().numpy()
