"""torchtitan's own trainer with the CPU as its device: `python titan_on_cpu.py --job.config_file job.toml`,
one of these for each rank. Nothing of ours is imported here."""

import functools
import runpy
import types
from importlib import import_module
from typing import Any

import torch
from torch import _utils
from torch.distributed.fsdp import FSDPModule

NOTHING: dict[str, Any] = {}
DEVICE = types.SimpleNamespace(total_memory=1 << 30)


def as_device() -> types.ModuleType:
    """torch.cpu, and what torchtitan asks of a card beside it."""
    module = types.ModuleType("device")
    module.__dict__.update(vars(torch.cpu))
    module.__dict__.update(
        get_device_name=lambda *_: "cpu",
        get_device_properties=lambda *_: DEVICE,
        reset_peak_memory_stats=lambda *_: None,
        empty_cache=lambda: None,
        memory_stats=lambda *_: NOTHING,
    )
    return module


def with_plain_sums(self: FSDPModule, factor: float) -> None:
    """The gradients' divisor, and sums of gloo's, which has none that multiply first."""
    divided(self, factor)
    self.set_force_sum_reduction_for_comms(True)


divided, met = FSDPModule.set_gradient_divide_factor, torch.distributed.barrier


def as_counts(ids: torch.Tensor, **bins: Any) -> torch.Tensor:
    """How often each expert is named: histc of a CPU counts no whole numbers."""
    return counted(ids.float(), **bins).to(ids.dtype)


counted = torch.histc

if __name__ == "__main__":
    FSDPModule.set_gradient_divide_factor = with_plain_sums  # type: ignore[method-assign]
    torch.distributed.__dict__["barrier"] = lambda **_: met()  # gloo's knows no devices
    _utils.__dict__["_get_available_device_type"] = lambda: "cpu"
    _utils.__dict__["_get_device_module"] = lambda _: as_device()
    torch.__dict__["histc"] = as_counts
    moe = import_module("torchtitan.models.moe.utils")
    order = functools.partial(moe.generate_permute_indices, use_cpu=True)
    moe.__dict__["generate_permute_indices"] = order
    runpy.run_module("torchtitan.train", run_name="__main__")
