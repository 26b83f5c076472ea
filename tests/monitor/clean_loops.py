"""Sixteen loops that do not leak, though something in them grows, is kept for a while, or comes late."""

import copy
import math
from collections import deque
from typing import Any

import torch
from small_models import HIDDEN, LENGTH, VOCABULARY, batch, loss_of, make, train_step
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

STEPS = 30


def plain(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        train_step(model, optimizer, batch())


def warm_up(model: Any, optimizer: torch.optim.Optimizer) -> None:
    tables: dict[int, torch.Tensor] = {}
    for step in range(STEPS):
        tables.setdefault(step % 5, torch.ones(4096))
        train_step(model, optimizer, batch())


def growing_batches(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for step in range(STEPS):
        ids = batch(2 + step)
        train_step(model, optimizer, ids)


def growing_lengths(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for step in range(STEPS):
        ids = batch(length=16 + 8 * step)
        loss = loss_of(model, ids)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def late_optimizer(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(2):
        loss_of(model, batch()).backward()  # type: ignore[no-untyped-call]
        model.zero_grad()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(STEPS):
        train_step(model, optimizer, batch())


def evaluation_in_between(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for step in range(STEPS):
        train_step(model, optimizer, batch())
        if step % 4 == 3:
            model.eval()
            with torch.no_grad():
                outputs = [model(batch()) for _ in range(5)]
            assert torch.cat(outputs).isfinite().all()
            model.train()


def sweep_of_rates(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for rate in (1e-4, 1e-3, 1e-2):
        other, optimizer = make(1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        other.load_state_dict(model.state_dict())
        for _ in range(STEPS // 3):
            train_step(other, optimizer, batch())


def generation_with_a_cache(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for step in range(STEPS):
        train_step(model, optimizer, batch())
        if step % 3 == 0:
            cache = torch.zeros(1, 0, HIDDEN)
            with torch.no_grad():
                for _ in range(12):
                    cache = torch.cat([cache, model.embedding(batch(1, 1))], dim=1)
                    model(batch(1, cache.shape[1]))


def curriculum(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for step in range(STEPS):
        length = 8 << (step // 8)
        train_step(model, optimizer, batch(length=length))


def accumulation(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS // 2):
        for _ in range(4):
            (loss_of(model, batch()) / 4).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def history_of_fixed_length(model: Any, optimizer: torch.optim.Optimizer) -> None:
    recent: deque[torch.Tensor] = deque(maxlen=40)
    for _ in range(STEPS):
        train_step(model, optimizer, batch())
        recent.append(torch.ones(1024))


def outputs_until_the_report(model: Any, optimizer: torch.optim.Optimizer) -> None:
    outputs = []
    for step in range(STEPS):
        ids = batch()
        logits = model(ids)
        nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        outputs.append(logits.detach())
        if step % 5 == 4:
            assert math.isfinite(torch.cat(outputs).mean().item())
            outputs.clear()


def average_of_weights(model: Any, optimizer: torch.optim.Optimizer) -> None:
    average = copy.deepcopy(model)
    for _ in range(STEPS):
        train_step(model, optimizer, batch())
        with torch.no_grad():
            for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, 0.1)
        average(batch())


def loader_with_two_ahead(model: Any, optimizer: torch.optim.Optimizer) -> None:
    data = TensorDataset(torch.randint(0, VOCABULARY, (4 * STEPS, LENGTH)))
    ahead: deque[torch.Tensor] = deque()
    for (ids,) in DataLoader(data, batch_size=4):
        ahead.append(ids)
        if len(ahead) > 2:
            train_step(model, optimizer, ahead.popleft())


def checkpointing(model: Any, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        ids = batch()
        hidden = model.embedding(ids)
        for layer in model.layers:
            hidden = checkpoint(layer, hidden, use_reentrant=False)
        nn.functional.cross_entropy(model.head(hidden).flatten(0, 1), ids.flatten()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def two_optimizers_and_losses_kept_as_numbers(model: Any, optimizer: torch.optim.Optimizer) -> None:
    other = torch.optim.SGD(model.head.parameters(), lr=1e-3, momentum=0.9)
    losses = []
    for step in range(STEPS):
        losses.append(train_step(model, optimizer if step % 2 else other, batch()))
        losses.append(float(torch.tensor(losses).mean()))


LOOPS = [
    plain,
    warm_up,
    growing_batches,
    growing_lengths,
    late_optimizer,
    evaluation_in_between,
    sweep_of_rates,
    generation_with_a_cache,
    curriculum,
    accumulation,
    history_of_fixed_length,
    outputs_until_the_report,
    average_of_weights,
    loader_with_two_ahead,
    checkpointing,
    two_optimizers_and_losses_kept_as_numbers,
]
