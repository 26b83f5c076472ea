"""Sixteen loops that leak, two of each kind. `MADE` marks the line whose tensors grow, `KEPT` the one that
keeps them where that is another."""

import functools
import gc
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from small_models import BATCH, HIDDEN, LENGTH, VOCABULARY, batch, loss_of, train_step
from torch import nn

STEPS = 24
SEEN: list[torch.Tensor] = []
FLOAT = 4


class Leaking(NamedTuple):
    """A loop, its kind, and the bytes that it leaks a step."""

    loop: Callable[[Any, torch.optim.Optimizer], None]
    kind: str
    bytes_per_step: int
    tolerance: float = 0.01


def kept_logits(model: Any, optimizer: torch.optim.Optimizer) -> None:
    outputs = []
    for _ in range(STEPS):
        ids = batch()
        logits = model(ids)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        outputs.append((logits * 2).detach())  # MADE KEPT


def kept_hidden_states(model: Any, optimizer: torch.optim.Optimizer) -> None:
    seen = []
    layer = model.layers[1]
    handle = layer.register_forward_hook(lambda *of: seen.append(of[2].detach().clone()))  # MADE KEPT
    for _ in range(STEPS):
        train_step(model, optimizer, batch())
    handle.remove()


def summed_losses(model: Any, optimizer: torch.optim.Optimizer) -> None:
    penalties = []
    for _ in range(STEPS):
        ids = batch()
        penalties.append(loss_of(model, ids).square())  # MADE KEPT
        train_step(model, optimizer, ids)


def running_metric(model: Any, optimizer: torch.optim.Optimizer) -> None:
    history: dict[str, list[torch.Tensor]] = {"metric": []}
    for _ in range(STEPS):
        ids = batch()
        train_step(model, optimizer, ids)
        metric = model(ids).pow(2).mean()  # MADE
        history["metric"].append(metric)  # KEPT


@contextmanager
def no_collector() -> Iterator[None]:
    """As large runs have it, which collect at steps of their choice."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Node:
    """Points at itself."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value, self.itself = value, self


def self_reference(model: Any, optimizer: torch.optim.Optimizer) -> None:
    with no_collector():
        for _ in range(STEPS):
            train_step(model, optimizer, batch())
            Node(torch.ones(64, HIDDEN))  # MADE


def exception_with_its_frame(model: Any, optimizer: torch.optim.Optimizer) -> None:
    with no_collector():
        for _ in range(STEPS):
            train_step(model, optimizer, batch())
            fails()


def fails() -> None:
    scratch = torch.zeros(128, HIDDEN)  # MADE
    try:
        raise ValueError(scratch.shape)
    except ValueError as error:
        kept = error
    del scratch.grad
    assert kept.__traceback__ is not None


def masks_by_step(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for step in range(STEPS):
        train_step(model, optimizer, batch())
        model.memory[step] = torch.ones(LENGTH * 4, LENGTH * 4).tril()  # MADE KEPT


@functools.cache
def positions(step: int) -> torch.Tensor:
    return torch.arange(step, step + 1024).float()  # MADE


def unbounded_cache(model: Any, optimizer: torch.optim.Optimizer) -> None:
    positions.cache_clear()
    for step in range(STEPS):
        train_step(model, optimizer, batch())
        positions(step)


def hooks_each_step(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        ids = batch()
        scale = torch.ones(512, HIDDEN)
        model.head.register_forward_hook(lambda m, a, out, scale=scale: None)  # MADE KEPT
        train_step(model, optimizer, ids)


def hooks_of_a_parameter(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        mask = torch.ones_like(model.head.weight)
        model.head.weight.register_hook(lambda gradient, mask=mask: gradient)  # MADE KEPT
        train_step(model, optimizer, batch())


def loads_ahead(model: Any, optimizer: torch.optim.Optimizer) -> None:
    ahead = []
    for _ in range(STEPS):
        for _ in range(3):
            ahead.append(batch(256))  # KEPT
        train_step(model, optimizer, ahead.pop(0)[:BATCH])


def producer_without_bound(model: Any, optimizer: torch.optim.Optimizer) -> None:
    waiting: queue.Queue[torch.Tensor] = queue.Queue()
    go, done = threading.Semaphore(0), threading.Semaphore(0)

    def produce() -> None:
        while go.acquire():
            for _ in range(9):
                waiting.put(batch(64))  # MADE KEPT
            done.release()

    threading.Thread(target=produce, daemon=True).start()
    for _ in range(STEPS):
        go.release()
        done.acquire()
        train_step(model, optimizer, waiting.get()[:BATCH])


class Pinned(torch.Tensor):
    """Stands for pinned memory where there is no accelerator to pin for."""

    def is_pinned(self, *_: Any) -> bool:
        return True


def pin(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone().as_subclass(Pinned)  # MADE


def pinned_buffers(model: Any, optimizer: torch.optim.Optimizer) -> None:
    buffers = []
    for _ in range(STEPS):
        train_step(model, optimizer, batch())
        buffers.append(pin(torch.zeros(1024)))  # KEPT


def pinned_attributes(model: Any, optimizer: torch.optim.Optimizer) -> None:
    store = Store()
    for step in range(STEPS):
        train_step(model, optimizer, batch())
        store.staged[step] = pin(torch.zeros(2048))  # KEPT


class Store:
    """Holds what is staged."""

    def __init__(self) -> None:
        self.staged: dict[int, torch.Tensor] = {}


def new_heads(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        model.head = nn.Linear(HIDDEN, VOCABULARY)  # MADE
        optimizer.add_param_group({"params": list(model.head.parameters())})
        train_step(model, optimizer, batch())


def new_adapters(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        for layer in model.layers:
            layer.up = nn.Linear(HIDDEN, 4 * HIDDEN, bias=False)  # MADE
            optimizer.add_param_group({"params": [layer.up.weight]})
        train_step(model, optimizer, batch())


LOGITS = BATCH * LENGTH * VOCABULARY * FLOAT
BIG = 4 * HIDDEN * HIDDEN * FLOAT
LOOPS = {
    "kept_logits": Leaking(kept_logits, "kept_outputs", LOGITS),
    "kept_hidden_states": Leaking(kept_hidden_states, "kept_outputs", BATCH * LENGTH * HIDDEN * FLOAT),
    "summed_losses": Leaking(summed_losses, "retained_graph", 0),
    "running_metric": Leaking(running_metric, "retained_graph", 0),
    "self_reference": Leaking(self_reference, "reference_cycle", 64 * HIDDEN * FLOAT),
    "exception_with_its_frame": Leaking(exception_with_its_frame, "reference_cycle", 128 * HIDDEN * FLOAT),
    "masks_by_step": Leaking(masks_by_step, "growing_cache", (LENGTH * 4) ** 2 * FLOAT),
    "unbounded_cache": Leaking(unbounded_cache, "growing_cache", 1024 * FLOAT),
    "hooks_each_step": Leaking(hooks_each_step, "hooks", 512 * HIDDEN * FLOAT),
    "hooks_of_a_parameter": Leaking(hooks_of_a_parameter, "hooks", VOCABULARY * HIDDEN * FLOAT),
    "loads_ahead": Leaking(loads_ahead, "data_pipeline", 2 * 256 * LENGTH * 8),
    "producer_without_bound": Leaking(producer_without_bound, "data_pipeline", 8 * 64 * LENGTH * 8),
    "pinned_buffers": Leaking(pinned_buffers, "pinned_memory", 1024 * FLOAT),
    "pinned_attributes": Leaking(pinned_attributes, "pinned_memory", 2048 * FLOAT),
    "new_heads": Leaking(new_heads, "dropped_parameters", 3 * (HIDDEN + 1) * VOCABULARY * FLOAT + 8),
    "new_adapters": Leaking(new_adapters, "dropped_parameters", 3 * 3 * BIG + 12),
}
