"""Mixed precision of a card: operators that `torch.autocast("cuda")` runs in F32 and `torch.autocast("cpu")`
does not.

Fake tensors are on the CPU device, so the CPU's region is entered; while a trace for a card runs, these rules
are added to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import need

IN_FLOAT = (
    "softmax.int log_softmax.int layer_norm group_norm exp expm1 log log10 log2 log1p "
    "pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar "
    "rsqrt reciprocal softplus sum sum.dim_IntList prod cumsum cumprod norm.Scalar "
    "norm.ScalarOpt_dim cosine_similarity"
).split()
"""The F32 list of aten/src/ATen/autocast_mode.h for CUDA (torch 2.13), less what the CPU's list has; not yet
checked on a card."""


@contextmanager
def autocast_of_a_card() -> Iterator[None]:
    """Cast half-precision inputs of the listed operators to F32, within regions of autocast."""
    torch = need("torch", "trace")
    library = need("torch.library", "trace").Library("aten", "IMPL")
    for name in IN_FLOAT:
        library.impl(name, _in_float(torch, name), "AutocastCPU")
    try:
        yield
    finally:
        library._destroy()


def _in_float(torch: Any, name: str) -> Any:
    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
    half = (torch.float16, torch.bfloat16)
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)

    def run(*args: Any, **kwargs: Any) -> Any:
        cast = [
            each.float() if isinstance(each, torch.Tensor) and each.dtype in half else each for each in args
        ]
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operator(*cast, **kwargs)

    return run
