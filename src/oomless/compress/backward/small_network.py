"""A small transformer with a loss: what ways to keep activations are compared on when no model is given."""

from collections.abc import Callable
from typing import Any

from ...errors import need

LAYERS, WIDTH, HEADS, BATCH, LENGTH, VOCABULARY = 9, 192, 6, 4, 128, 1024


def small_network() -> tuple[Any, Callable[[Any], Any]]:
    """Return (model, function from a model to its loss on a fixed batch)."""
    torch = need("torch", "compress")
    torch.manual_seed(0)

    class SmallNetwork(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Embedding, layers, head."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
            self.layers = torch.nn.ModuleList(
                torch.nn.TransformerEncoderLayer(
                    WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(LAYERS)
            )
            self.head = torch.nn.Linear(WIDTH, VOCABULARY)

        def forward(self, ids: Any) -> Any:
            hidden = self.embedding(ids)
            for layer in self.layers:
                hidden = layer(hidden)
            return self.head(hidden)

    ids = torch.randint(0, VOCABULARY, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(1))

    def loss_of(model: Any) -> Any:
        logits = model(ids[:, :-1])
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    return SmallNetwork(), loss_of
