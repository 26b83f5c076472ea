"""Slopes: what each matrix is fed with, and how what the model says changes with what the matrix gives out;
one layer's weights in memory at a time, forward and back.

What changes is the model's own surprise: for each token one successor is drawn from what the model expects,
and the slope is that of its logarithm. The square of a small change along such a slope is, on average, twice
the KL divergence that it causes (the Fisher information). An encoder says nothing: there it is, on average,
the square of what its last hidden states change by, as a share of theirs.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ...errors import need
from ..calibration.inputs import LayerInputs
from ..quality.language import CHUNK, shaped, tensor_of
from ..quality.lazy_model import LazyModel
from ..quality.lockstep import Call, Lockstep

SEED = 0
"""Of the drawn successors: the same text gives the same mix."""


class Slopes(NamedTuple):
    """Of one matrix: its inputs (tokens x columns) and the slopes of its outputs (tokens x rows)."""

    inputs: Any
    outputs: Any


Visit = Callable[[int, Iterator[tuple[str, Slopes]]], None]
"""(number of the layer, slopes of its matrices by the names of the target)."""


class SlopesRun:
    """One run of all sequences through a model and back. Between the two it keeps what each layer is called
    with: layers x tokens x hidden size, in float32."""

    def __init__(self, lazy: LazyModel, visit: Visit) -> None:
        self.lazy, self.visit = lazy, visit
        self._kept: list[tuple[list[Call], list[Any]]] = []
        """Of each layer the calls of all sequences and what it gave out, where slopes are summed."""

    def run(self, sequences: list[Any]) -> None:
        """Visit all layers, the last one first."""
        torch = need("torch", "compress")
        last = Lockstep(self.lazy, self._keep, graph=True).run(sequences)
        with torch.enable_grad():
            for hidden, slope in zip(last, self._of_last(last), strict=True):
                hidden.backward(slope)
            layers = self.lazy.layers()
            while self._kept:
                number = len(self._kept) - 1
                self._back(number, layers[number], *self._kept.pop())

    def _keep(self, number: int, module: Any, calls: list[Call], run: Callable[..., list[Any]]) -> list[Any]:
        found = [as_leaf(out) for out in run(module, calls)]
        self._kept.append((calls, [tensor_of(out) for out in found]))
        return found

    def _of_last(self, last: list[Any]) -> Iterator[Any]:
        """Yield the slope of each sequence's last hidden states."""
        torch = need("torch", "compress")
        chance = torch.Generator().manual_seed(SEED)
        head = self.lazy.model.get_output_embeddings()
        if head is None:
            for hidden in last:
                length = hidden.detach().norm(dim=-1, keepdim=True).clamp_min(1e-12)
                yield torch.randn(hidden.shape, generator=chance) / length
            return
        self.lazy.fill(head)
        for hidden in last:
            mine = hidden.detach().requires_grad_()
            for begin in range(0, mine.shape[1], CHUNK):
                logs = torch.log_softmax(shaped(self.lazy, head(mine[0, begin : begin + CHUNK])), -1)
                drawn = torch.multinomial(logs.detach().exp(), 1, generator=chance)
                logs.gather(1, drawn).sum().backward()
            yield mine.grad
        self.lazy.empty(head)

    def _back(self, number: int, layer: Any, calls: list[Call], outs: list[Any]) -> None:
        """Run a layer again, go back through it, and hand its slopes to what called it."""
        self.lazy.fill(layer)
        slopes = LayerSlopes(self.lazy, layer)
        for call, out in zip(calls, outs, strict=True):
            if out.grad is None:
                continue
            pairs: list[tuple[Any, Any]] = []
            args = tuple(with_leaf(each, pairs) for each in call.args)
            kwargs = {name: with_leaf(each, pairs) for name, each in call.kwargs.items()}
            slopes.run(layer, Call(args, kwargs), out.grad)
            for before, leaf in pairs:
                if before.requires_grad and leaf.grad is not None:
                    before.backward(leaf.grad)
        self.visit(number, slopes.matrices())
        self.lazy.empty(layer)


def as_leaf(out: Any) -> Any:
    """Return what a layer gave out with its hidden states as the beginning of a graph."""
    hidden = tensor_of(out).detach().requires_grad_()
    return (hidden, *out[1:]) if isinstance(out, tuple) else hidden


def with_leaf(value: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """Return a tensor of floats as a beginning of its own, noted beside the tensor; anything else as it
    is."""
    torch = need("torch", "compress")
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    pairs.append((value, value.detach().requires_grad_()))
    return pairs[-1][1]


class LayerSlopes:
    """The inputs of one layer's matrices, and the slopes of what they give out."""

    def __init__(self, lazy: LazyModel, layer: Any) -> None:
        self.of = LayerInputs(lazy, layer)
        self._found: dict[str, list[tuple[Any, ...]]] = {}
        """Name of a module -> (slope of what it gave out, what it was called with) of each call."""

    def run(self, layer: Any, call: Call, slope: Any) -> None:
        """Run the layer, and go back from the slope of its hidden states."""
        handles = [
            module.register_forward_hook(self._note(name))
            for name, module in {**self.of.linear, **self.of.experts}.items()
        ]
        try:
            tensor_of(layer(*call.args, **call.kwargs)).backward(slope)
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, name: str) -> Callable[[Any, tuple[Any, ...], Any], None]:
        def note(module: Any, args: tuple[Any, ...], out: Any) -> None:
            given = tuple(each.detach() for each in args)
            out.register_hook(lambda slope: self._found.setdefault(name, []).append((slope, *given)))

        return note

    def matrices(self) -> Iterator[tuple[str, Slopes]]:
        """Yield (name of a weight of the target, its slopes)."""
        for name, calls in self._found.items():
            outputs, *given = (joined(each) for each in zip(*calls, strict=True))
            if name in self.of.experts:
                yield from self._of_experts(name, outputs, *given)
            elif stored := self.of.lazy.find(f"{name}.weight"):
                yield stored.name, Slopes(given[0], outputs)

    def _of_experts(
        self, name: str, outputs: Any, hidden: Any, index: Any, shares: Any
    ) -> Iterator[tuple[str, Slopes]]:
        """The matrices of each expert that a token reached; its share of what all give out is in the
        slopes."""
        torch = need("torch", "compress")
        module = self.of.experts[name]
        for number in range(module.gate_up_proj.shape[0]):
            chosen = index == number
            tokens = chosen.any(dim=-1)
            if not tokens.any():
                continue
            into = hidden[tokens]
            down_slopes = outputs[tokens] * (shares * chosen).sum(dim=-1)[tokens, None]
            gate_up = torch.nn.functional.linear(into, module.gate_up_proj[number]).requires_grad_()
            gate, up = gate_up.chunk(2, dim=-1)
            between = module.act_fn(gate) * up
            back = down_slopes @ module.down_proj[number]
            (slopes,) = torch.autograd.grad(between, gate_up, back)
            for part, inputs, rows in (("gate_up_proj", into, slopes), ("down_proj", between, down_slopes)):
                names = list(self.of.expert_names(name, number, part))
                halves = rows.chunk(2, dim=-1) if part == "gate_up_proj" else (rows,)
                for place, weight in enumerate(names):
                    yield weight, Slopes(inputs.detach(), halves[place % len(halves)])


def joined(values: tuple[Any, ...]) -> Any:
    """Return what several calls had as rows, one below the other."""
    torch = need("torch", "compress")
    return torch.cat([each.reshape(-1, each.shape[-1]) for each in values])
