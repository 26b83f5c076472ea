"""Lockstep: one model, many sequences, each layer's weights in memory once.

Every sequence runs through transformers' own forward in a thread of its own. Where a module with weights is
called, the threads wait for each other; the last to come puts the weights in, runs all of them, and takes
the weights out. So masks, positions and whatever else a family hands to its layers are its own.
"""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from ...errors import need
from .lazy_model import LazyModel


class Call(NamedTuple):
    """What a module is called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Visit = Callable[[int, Any, list[Call], Callable[[Any, list[Call]], list[Any]]], list[Any]]
"""(number of the layer, module with its weights in, calls of all sequences, what runs them) -> outputs."""


def plain_visit(
    number: int, module: Any, calls: list[Call], run: Callable[[Any, list[Call]], list[Any]]
) -> list[Any]:
    """Run a layer and do nothing else."""
    return run(module, calls)


class Ended(Exception):  # noqa: N818 - no error: the head's input is all that is wanted
    """The last layer is done."""


class Lockstep:
    """One run of all sequences through a model; what the head would get, a tensor a sequence."""

    def __init__(self, lazy: LazyModel, visit: Visit = plain_visit, graph: bool = False) -> None:
        """`graph`: what happens outside layers can be gone back through."""
        self.lazy, self.visit, self.graph = lazy, visit, graph
        self.hidden: list[Any] = []
        self._failed: BaseException | None = None

    def run(self, sequences: list[Any]) -> list[Any]:
        """Return the last hidden states of each sequence of token ids (1 x tokens)."""
        self.hidden = [None] * len(sequences)
        self._slots: list[Call | None] = [None] * len(sequences)
        self._results: list[Any] = [None] * len(sequences)
        self._unit: tuple[int, Any, Any] | None = None
        self._here = threading.local()
        self._barrier = threading.Barrier(len(sequences), action=self._act)
        forwards = self._wrap()
        threads = [
            threading.Thread(target=self._forward, args=(number, ids), daemon=True)
            for number, ids in enumerate(sequences)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for module, forward in forwards:
                module.forward = forward
        if self._failed is not None:
            raise self._failed
        return self.hidden

    def _wrap(self) -> list[tuple[Any, Any]]:
        """Put the meeting point before every layer and each other module that has weights of its own."""
        layers = self.lazy.layers()
        inside = {id(module) for layer in layers for module in layer.modules()}
        units = [(number, layer) for number, layer in enumerate(layers)]
        units += [
            (-1, module)
            for module in self.lazy.model.modules()
            if id(module) not in inside
            and module._parameters
            and any(p is not None for p in module._parameters.values())
        ]
        head = (
            self.lazy.model.get_output_embeddings()
            if hasattr(self.lazy.model, "get_output_embeddings")
            else None
        )
        kept = []
        for number, module in units:
            kept.append((module, module.forward))
            module.forward = (
                self._ending() if module is head else self._meeting(number, module, module.forward)
            )
        return kept

    def _ending(self) -> Callable[..., Any]:
        def forward(hidden: Any, *args: Any, **kwargs: Any) -> Any:
            self.hidden[self._here.number] = hidden
            raise Ended

        return forward

    def _meeting(self, number: int, module: Any, own: Any) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            mine = self._here.number
            self._slots[mine] = Call(args, kwargs)
            self._unit = number, module, own
            self._barrier.wait()
            return self._results[mine]

        return forward

    def _act(self) -> None:
        """All have come: run the module for all."""
        torch = need("torch", "compress")
        assert self._unit is not None
        number, module, own = self._unit
        calls = [call for call in self._slots if call is not None]
        try:
            with torch.set_grad_enabled(self.graph and number < 0):
                self.lazy.fill(module)

                def run(filled: Any, calls: list[Call]) -> list[Any]:
                    return [own(*call.args, **call.kwargs) for call in calls]

                visit = self.visit if number >= 0 else plain_visit
                found = visit(number, module, calls, run)
                self._results[:] = found
                self.lazy.empty(module)
        except BaseException as error:
            self._failed = error
            raise

    def _forward(self, number: int, ids: Any) -> None:
        torch = need("torch", "compress")
        self._here.number = number
        try:
            with torch.set_grad_enabled(self.graph):
                found = self.lazy.model(input_ids=ids, **self._more(ids))
            self.hidden[number] = found.last_hidden_state
        except Ended:
            pass
        except threading.BrokenBarrierError:
            pass  # another thread says why
        except BaseException as error:
            if self._failed is None:
                self._failed = error
            self._barrier.abort()

    def _more(self, ids: Any) -> dict[str, Any]:
        """No cache: nothing is decoded."""
        return {"use_cache": False} if hasattr(self.lazy.model.config, "use_cache") else {}
