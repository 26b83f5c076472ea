"""A small language model of the tests' own, and batches for it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

VOCABULARY, HIDDEN, LENGTH, BATCH = 64, 32, 16, 4


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Layer(nn.Module):
    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, 4 * hidden)
        self.down = nn.Linear(4 * hidden, hidden)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        deeper: torch.Tensor = self.down(nn.functional.gelu(self.up(self.norm(hidden))))
        return hidden + deeper


class SmallModel(nn.Module):
    def __init__(self, num_layers: int = 3, hidden: int = HIDDEN, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.layers = nn.ModuleList(Layer(hidden) for _ in range(num_layers))
        self.head = nn.Linear(hidden, vocabulary)
        self.memory: dict[Any, torch.Tensor] = {}

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(ids)
        for layer in self.layers:
            hidden = layer(hidden)
        logits: torch.Tensor = self.head(hidden)
        return logits


def make(seed: int = 0, **shape: int) -> tuple[SmallModel, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = SmallModel(**shape)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=False)


def batch(num: int = BATCH, length: int = LENGTH) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (num, length))


def loss_of(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    output = model(ids)
    return nn.functional.cross_entropy(output.flatten(0, 1), ids.flatten())


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, ids: torch.Tensor) -> float:
    loss = loss_of(model, ids)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()
