"""Gradient checkpointing: layers whose activations are computed again in the backward, exact and cheap."""

from functools import partial
from math import isqrt
from typing import Any, Literal

from ...errors import UnsupportedError, UsageError, need

How = Literal["layer", "selective", "sqrt"]


def layer_list(model: Any) -> tuple[Any, str, Any]:
    """Return (module that owns them, name, list) of a model's layers: its longest list of modules."""
    torch = need("torch", "compress")
    found = [
        (owner, name, child)
        for owner in model.modules()
        for name, child in owner.named_children()
        if isinstance(child, torch.nn.ModuleList | torch.nn.Sequential) and len(child) > 1
    ]
    if not found:
        raise UnsupportedError("this model has no list of layers", "checkpoint its parts by hand")
    return max(found, key=lambda each: len(each[2]))


def checkpoint_layers(model: Any, how: How = "layer") -> None:
    """Change a model so that its layers are computed again in the backward.

    `layer` keeps the input of each layer; `selective` also what its matrix products and attention give;
    `sqrt` the inputs of about sqrt(n) segments of several layers.
    """
    torch = need("torch", "compress")
    owner, name, layers = layer_list(model)
    match how:
        case "layer" | "selective":
            for layer in layers:
                layer.forward = partial(again, layer.forward, how)
        case "sqrt":
            size = -(-len(layers) // max(isqrt(len(layers)), 1))
            segments = [segment(list(layers[at : at + size])) for at in range(0, len(layers), size)]
            setattr(
                owner,
                name,
                type(layers)(*segments)
                if isinstance(layers, torch.nn.Sequential)
                else (torch.nn.ModuleList(segments)),
            )
        case _:
            raise UsageError(f"checkpointing {how!r}", "there are layer, selective and sqrt")


def again(forward: Any, how: str, *args: Any, **kwargs: Any) -> Any:
    """Run a forward that is run again in the backward."""
    checkpoint = need("torch.utils.checkpoint", "compress")
    more = {}
    if how == "selective":
        more["context_fn"] = partial(checkpoint.create_selective_checkpoint_contexts, dear())
    return checkpoint.checkpoint(forward, *args, use_reentrant=False, **more, **kwargs)


def dear() -> list[Any]:
    """Return the operations whose results are kept by selective checkpointing."""
    aten = need("torch", "compress").ops.aten
    return [
        aten.mm.default,
        aten.addmm.default,
        aten.bmm.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
    ]


def segment(layers: list[Any]) -> Any:
    """Return one module that runs layers in turn, computed again together; the first of what a layer gives is
    what the next one takes."""
    torch = need("torch", "compress")

    class Segment(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Several layers as one."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(layers)

        def forward(self, hidden: Any, *args: Any, **kwargs: Any) -> Any:
            return again(self.run, "layer", hidden, *args, **kwargs)

        def run(self, hidden: Any, *args: Any, **kwargs: Any) -> Any:
            out = hidden
            for layer in self.layers:
                out = layer(out[0] if isinstance(out, tuple) else out, *args, **kwargs)
            return out

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:  # what a model asks of a layer: its kind of attention
                return getattr(super().__getattr__("layers")[0], name)

    return Segment()
