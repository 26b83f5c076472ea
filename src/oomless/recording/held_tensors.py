"""Tensors that a model, its gradients, an optimizer and a cache hold: where their bytes lie, and whose they
are. For traces and for live runs alike."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import need
from ..ledger import Category


class HeldTensor(NamedTuple):
    """A tensor that somebody holds on purpose."""

    tensor: Any
    category: Category
    module: str
    """Path of the module that it belongs to."""


def local(tensor: Any) -> Any:
    """The shard of a distributed tensor that lies here; any other tensor itself."""
    return tensor._local_tensor if hasattr(tensor, "_local_tensor") else tensor


def held_weights(model: Any) -> Iterator[HeldTensor]:
    """Weights and buffers, in the order in which a model is moved to a device."""
    for name, module in model.named_modules():
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None:
                    yield HeldTensor(local(tensor), "weights", name)


def held_gradients(model: Any) -> Iterator[HeldTensor]:
    """What lies in `.grad` now."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            yield HeldTensor(local(parameter.grad), "gradients", name.rpartition(".")[0])


def held_states(model: Any, optimizer: Any) -> Iterator[tuple[HeldTensor, str]]:
    """What an optimizer keeps of each parameter, and under which name; the module is that of the parameter,
    empty if it is none of the model's."""
    torch = need("torch", "trace")
    homes = {id(parameter): name.rpartition(".")[0] for name, parameter in model.named_parameters()}
    for parameter, states in optimizer.state.items():
        if isinstance(states, dict):
            for key, value in states.items():
                if isinstance(value, torch.Tensor):
                    yield HeldTensor(local(value), "optimizer", homes.get(id(parameter), "")), str(key)


def held_cache(cache: Any) -> Iterator[HeldTensor]:
    """Every tensor that the layers of a cache of transformers hold."""
    for layer in getattr(cache, "layers", []):
        for tensor in tensors_in(vars(layer)):
            yield HeldTensor(tensor, "kv_cache", "")


def tensors_in(value: Any) -> list[Any]:
    """Every tensor inside of dictionaries, lists and tuples, in order."""
    torch = need("torch", "trace")
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for each in inner for tensor in tensors_in(each)]
