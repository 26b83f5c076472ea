"""Federated learning with Flower: what a client sends back is the difference from what it got, in int8 blocks
or its largest values, with what was lost kept for the next round.

Flower runs it all: `client_mod` goes into ClientApp(mods=[...]), `strategy` in place of FedAvg.
"""

from collections.abc import Callable
from typing import Any, Literal

from ...errors import UsageError, need
from ..arithmetic.scratch import Array, numpy
from .wire import BLOCK

Way = Literal["int8", "top-k"]
RESIDUALS = "oomless.residuals"


def encode(delta: Array, way: Way, density: float) -> Array:
    """Return a difference as bytes: scales then codes, or indices then values.

    >>> import numpy
    >>> encode(numpy.ones(256, numpy.float32), "int8", 0.01).nbytes
    264
    """
    np = numpy()
    flat = delta.reshape(-1).astype(np.float32)
    match way:
        case "int8":
            blocks = np.pad(flat, (0, -flat.size % BLOCK)).reshape(-1, BLOCK)
            scales = np.maximum(
                np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127), np.float32(1e-30)
            )
            codes = np.rint(blocks / scales).astype(np.int8).reshape(-1)[: flat.size]
            return np.concatenate([scales.reshape(-1).view(np.uint8), codes.view(np.uint8)])
        case "top-k":
            count = max(round(flat.size * density), 1)
            places = np.sort(np.argpartition(-np.abs(flat), count - 1)[:count]).astype(np.uint32)
            return np.concatenate([places.view(np.uint8), flat[places].view(np.uint8)])
    raise UsageError(f"federated updates by {way!r}", "there are int8 and top-k")


def decode(stored: Array, shape: tuple[int, ...], way: Way) -> Array:
    """Return the difference again."""
    np = numpy()
    size = int(np.prod(shape))
    if way == "int8":
        blocks = -(-size // BLOCK)
        scales = stored[: 4 * blocks].copy().view(np.float32)
        codes = stored[4 * blocks :].view(np.int8).astype(np.float32)
        return (codes * np.repeat(scales, BLOCK)[:size]).reshape(shape)
    half = stored.size // 2
    found = np.zeros(size, np.float32)
    found[stored[:half].copy().view(np.uint32)] = stored[half:].copy().view(np.float32)
    return found.reshape(shape)


def client_mod(way: Way = "int8", density: float = 0.01) -> Callable[[Any, Any, Callable[..., Any]], Any]:
    """Return the mod of a Flower client app: replies of training carry encoded differences."""
    flower = need("flwr.app", "federated")
    np = numpy()

    def mod(message: Any, context: Any, call_next: Callable[..., Any]) -> Any:
        records = message.content.array_records
        received = {key: each.numpy() for record in records.values() for key, each in record.items()}
        reply = call_next(message, context)
        if message.metadata.message_type.split(".")[0] != "train" or reply.has_error():
            return reply
        lost = dict(context.state.array_records.get(RESIDUALS, {}))
        for name, record in reply.content.array_records.items():
            sent, left = {}, {}
            for key, each in record.items():
                delta = each.numpy().astype(np.float32) - received[key]
                if key in lost:
                    delta = delta + lost[key].numpy()
                stored = encode(delta, way, density)
                sent[key] = flower.Array(stored)
                left[key] = flower.Array(delta - decode(stored, delta.shape, way))
            reply.content[name] = flower.ArrayRecord(sent)
            context.state[RESIDUALS] = flower.ArrayRecord(left)
        return reply

    return mod


def strategy(way: Way = "int8", **words: Any) -> Any:
    """Return Flower's FedAvg that reads encoded differences, and counts both links in `up_bytes` and
    `down_bytes`: array data alone."""
    flower = need("flwr.app", "federated")
    strategies = need("flwr.serverapp.strategy", "federated")

    class DifferenceFedAvg(strategies.FedAvg):  # type: ignore[misc, name-defined]
        """FedAvg of what clients had and what they sent."""

        def __init__(self) -> None:
            super().__init__(**words)
            self.up_bytes = self.down_bytes = 0
            self._sent: dict[str, Any] = {}

        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            self._sent = {key: each.numpy() for key, each in arrays.items()}
            messages = list(super().configure_train(server_round, arrays, config, grid))
            self.down_bytes += len(messages) * sum(len(each.data) for each in arrays.values())
            return messages

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            found = list(replies)
            for reply in found:
                if reply.has_error():
                    continue
                for name, record in reply.content.array_records.items():
                    self.up_bytes += sum(len(each.data) for each in record.values())
                    whole = {
                        key: flower.Array(before + decode(record[key].numpy(), before.shape, way))
                        for key, before in self._sent.items()
                    }
                    reply.content[name] = flower.ArrayRecord(whole)
            return super().aggregate_train(server_round, found)

    return DifferenceFedAvg()
