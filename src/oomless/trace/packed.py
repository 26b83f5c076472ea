"""Frozen matrices in four bits, as bitsandbytes keeps them and multiplies by them (QLoRA); read in its 0.50
(nn/modules.py, functional.py).

A matrix of n values is n / 2 bytes, a scale for each block of 64 values and a table of 16 values. With double
quantisation the scales are a byte each, beside an F32 for each 256 of them, a table of 256 values and their
mean. Every product unpacks the matrix, forward and backward, and keeps nothing but what it has of it; up to
1,536 tokens newer versions need no unpacked copy in the forward.
"""

from functools import cache
from typing import Any

from ..errors import UnsupportedError, need

BLOCK, BLOCK_OF_SCALES = 64, 256
NUM_CODES, NUM_SCALE_CODES = 16, 256
"""Values of both tables; each matrix has its own."""


def pack(model: Any, double: bool, compute: Any) -> Any:
    """Every matrix of a product in four bits but the output's, as transformers chooses them; stacks of
    experts are no such matrices.

    What is not packed keeps its type: that of the weights, or F32 where peft's
    prepare_model_for_kbit_training is to make it so.
    """
    torch = need("torch", "trace")
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is torch.nn.Linear and child is not head:
                setattr(module, name, packed_class()(child, double, compute))
    return model


@cache
def packed_class() -> Any:
    """A linear layer whose weight is packed; torch is imported when it is asked for."""
    torch = need("torch", "trace")
    product = product_class()

    class PackedLinear(torch.nn.Linear):  # type: ignore[misc, name-defined]
        def __init__(self, linear: Any, double: bool, compute: Any) -> None:
            torch.nn.Module.__init__(self)
            self.in_features, self.out_features, self.compute = (
                linear.in_features,
                linear.out_features,
                compute,
            )
            device, size = linear.weight.device, linear.weight.numel()
            scales = -(-size // BLOCK)
            self.weight = torch.nn.Parameter(
                torch.zeros((-(-size // 2), 1), dtype=torch.uint8, device=device), requires_grad=False
            )
            self.bias = (
                None
                if linear.bias is None
                else torch.nn.Parameter(linear.bias.data.to(compute), requires_grad=False)
            )
            self.register_buffer(
                "scales", torch.zeros(scales, dtype=torch.uint8 if double else torch.float32, device=device)
            )
            tables = {"codes": NUM_CODES}
            if double:
                tables |= {
                    "scales_of_scales": -(-scales // BLOCK_OF_SCALES),
                    "scale_codes": NUM_SCALE_CODES,
                    "mean": 1,
                }
            for name, length in tables.items():
                self.register_buffer(name, torch.zeros(length, dtype=torch.float32, device=device))

        def unpacked(self, in_backward: bool) -> Any:
            """The matrix in the type of the product. Scales in bytes become F32 first: twice in the forward,
            in place in the backward."""
            if self.scales.dtype is torch.uint8:
                scales = torch.empty_like(self.scales, dtype=torch.float32)
                shifted = scales.add_(self.mean) if in_backward else scales + self.mean  # noqa: F841 - both live as long as the matrix is made
            return torch.zeros(
                (self.out_features, self.in_features), dtype=self.compute, device=self.weight.device
            )

        def forward(self, x: Any) -> Any:
            given = x.dtype
            return product.apply(x.to(self.compute), self).to(given)

    return PackedLinear


@cache
def product_class() -> Any:
    """The product by a packed matrix: it keeps nothing, and unpacks again for the gradient of its input."""
    torch = need("torch", "trace")

    class PackedProduct(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(context: Any, x: Any, module: Any) -> Any:
            context.module = module
            return torch.nn.functional.linear(x, module.unpacked(False), module.bias)

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            return torch.matmul(gradient, context.module.unpacked(True).to(gradient.dtype)), None

    return PackedProduct


def adapt(model: Any) -> Any:
    """Adapters beside packed matrices run as peft's class for bitsandbytes does: the product is copied, the
    adapters' sum has its type."""
    peft = need("peft", "trace")
    packed = packed_class()
    layer = adapted_class()
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.Linear) and isinstance(module.base_layer, packed):
            module.__class__ = layer
    return model


@cache
def adapted_class() -> Any:
    """peft's linear layer with the forward of its 4-bit one (tuners/lora/bnb.py), for one adapter that is
    neither merged nor off."""
    torch, peft = need("torch", "trace"), need("peft", "trace")

    class Adapted(peft.tuners.lora.Linear):  # type: ignore[misc, name-defined]
        def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
            result = self.base_layer(x, *args, **kwargs).clone()
            mixed = torch.is_autocast_enabled("cpu")
            for name in self.active_adapters:
                down, up = self.lora_A[name], self.lora_B[name]
                x = x if mixed else x.to(down.weight.dtype)
                output = up(down(self.lora_dropout[name](x))) * self.scaling[name]
                result = result + (output if mixed else output.to(result.dtype))
            return result

    return Adapted


def followed(how: str | None) -> bool:
    """Whether scales are quantised again.

    >>> followed(None), followed("nf4")
    (True, False)
    """
    if how not in (None, "nf4", "nf4-dq"):
        raise UnsupportedError(f"a trace does not follow --quantization {how}", "choose nf4-dq or nf4")
    return how != "nf4"
