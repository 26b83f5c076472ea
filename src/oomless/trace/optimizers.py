"""The optimizer that a trace steps: torch's own where it has it, else one with the states that
facts/optimizers.csv says."""

from collections.abc import Iterable
from typing import Any

from ..errors import UnsupportedError, need
from ..run.training import Optimizer, optimizer

BLOCK = 256
"""Values that share a scale in 8-bit optimizers (facts/optimizers.csv)."""
MIN_QUANTIZED = 4096
"""Smaller tensors keep their moments in F32 (bitsandbytes, min_8bit_size)."""
RATE = 1e-3


def make_optimizer(name: str, parameters: Iterable[Any], on_cpu: bool) -> Any:
    """An optimizer over parameters, stepping as on the device: torch prefers foreach on CUDA and the loop on
    a CPU."""
    torch = need("torch", "trace")
    optim, trained = torch.optim, grouped([each for each in parameters if each.requires_grad])
    foreach = not on_cpu
    match name:
        case "adamw" | "adamw-foreach" | "adamw-loop":
            return optim.AdamW(
                trained, lr=RATE, foreach=name == "adamw-foreach" or (foreach and name == "adamw")
            )
        case "adamw-fused":
            return optim.AdamW(trained, lr=RATE, fused=True)
        case "adam":
            return optim.Adam(trained, lr=RATE, foreach=foreach)
        case "adam-fused":
            return optim.Adam(trained, lr=RATE, fused=True)
        case "sgd":
            return optim.SGD(trained, lr=RATE, momentum=0.9, foreach=foreach)
        case "sgd-plain":
            return optim.SGD(trained, lr=RATE, foreach=foreach)
        case "adafactor":
            library = need("transformers.optimization", "trace")
            return library.Adafactor(trained, lr=RATE, scale_parameter=False, relative_step=False)
        case "muon":
            raise UnsupportedError("a trace does not step muon", "choose adamw or another optimizer")
        case "galore" | "galore-8bit" | "apollo" | "adam-mini":
            raise UnsupportedError(f"a trace does not step {name}", "oomless train has a formula for it")
        case _:
            return _by_states(torch, optimizer(name), trained)


def grouped(trained: list[Any]) -> list[Any]:
    """Distributed tensors and others in groups of their own, since foreach takes no mixture; one kind alone
    stays a plain list."""
    cut = [each for each in trained if hasattr(each, "_local_tensor")]
    whole = [each for each in trained if not hasattr(each, "_local_tensor")]
    return [{"params": cut}, {"params": whole}] if cut and whole else trained


def _by_states(torch: Any, row: Optimizer, trained: list[Any]) -> Any:
    """An optimizer that keeps moments of so many bits, and works in place, one parameter after the other."""

    class MomentsOptimizer(torch.optim.Optimizer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(trained, {"lr": RATE})

        def step(self) -> None:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        state = self.state[parameter]
                        if not state:
                            for index in range(row.moments):
                                state |= moments(torch, row, parameter, index)

    return MomentsOptimizer()


def moments(torch: Any, row: Optimizer, parameter: Any, index: int) -> dict[str, Any]:
    """One moment of a parameter with its scales."""
    size = parameter.numel()
    if row.moment_bits in (0, 32) or size < MIN_QUANTIZED:
        dtype = torch.float32 if row.moment_bits else parameter.dtype
        return {f"moment_{index}": torch.zeros_like(parameter, dtype=dtype)}
    packed = torch.zeros(size * row.moment_bits // 8, dtype=torch.uint8)
    block = BLOCK if row.moment_bits == 8 else BLOCK // 2
    return {f"moment_{index}": packed, f"scale_{index}": torch.zeros(-(-size // block), dtype=torch.float32)}
