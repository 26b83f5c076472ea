"""Hooks of torch's DistributedDataParallel: gradients are sent in fewer bytes."""

from math import ceil
from typing import Any, Literal, NamedTuple

from ...errors import UsageError, need
from .wire import BLOCK

Way = Literal["fp16", "int8", "powersgd", "dgc"]
WARM_UP = (0.25, 0.0625, 0.015625)
"""Densities of DGC's first rounds, before its own."""


class Settings(NamedTuple):
    """How gradients are compressed."""

    way: Way
    rank: int = 2
    """Of PowerSGD's factors."""
    density: float = 0.004
    """Share of values that DGC sends."""
    momentum: float = 0.9
    """DGC's own, in place of the optimizer's: give the optimizer none."""
    clip: float = 0.0
    """Most of the norm of DGC's local gradients, divided by sqrt(ranks); 0: not clipped."""
    warm_up_steps: int = 20
    """Steps for each density of WARM_UP."""
    start: int = 10
    """Steps that PowerSGD sends as they are."""


def compress_gradients(ddp: Any, settings: Settings) -> Any:
    """Register the hook on a DistributedDataParallel model; return its state."""
    match settings.way:
        case "fp16":
            hooks = need("torch.distributed.algorithms.ddp_comm_hooks.default_hooks", "compress")
            ddp.register_comm_hook(ddp.process_group, hooks.fp16_compress_hook)
            return ddp.process_group
        case "powersgd":
            power = need("torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook", "compress")
            state = power.PowerSGDState(
                ddp.process_group,
                matrix_approximation_rank=settings.rank,
                start_powerSGD_iter=max(settings.start, 2),
                min_compression_rate=2,
            )
            ddp.register_comm_hook(state, power.powerSGD_hook)
            return state
        case "int8":
            blocks = Int8State(ddp.process_group)
            ddp.register_comm_hook(blocks, lambda state, bucket: state.hook(bucket))
            return blocks
        case "dgc":
            deep = DeepState(ddp.process_group, settings)
            ddp.register_comm_hook(deep, lambda state, bucket: state.hook(bucket))
            return deep
    raise UsageError(f"gradients by {settings.way!r}", "there are fp16, int8, powersgd and dgc")


class Residuals:
    """What was not sent, by parameter: buckets are cut anew after the first step."""

    def __init__(self) -> None:
        self._of: dict[int, Any] = {}

    def flat(self, bucket: Any) -> Any:
        """Return the residuals of a bucket in the order of its buffer."""
        torch = need("torch", "compress")
        found = []
        for parameter, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
            if id(parameter) not in self._of:
                self._of[id(parameter)] = torch.zeros_like(gradient).reshape(-1)
            found.append(self._of[id(parameter)])
        return torch.cat(found)

    def keep(self, bucket: Any, flat: Any) -> None:
        """Keep a bucket's residuals."""
        start = 0
        for parameter in bucket.parameters():
            end = start + parameter.numel()
            self._of[id(parameter)].copy_(flat[start:end])
            start = end


class Int8State:
    """Blocks of 128 in int8 with a float32 scale, what is lost added to the next step's gradient.

    Each rank gets one piece of all, sums it in float32, and sends the sum to all, in int8 again.
    """

    def __init__(self, group: Any) -> None:
        self.distributed = need("torch.distributed", "compress")
        self.group = group
        self.world = self.distributed.get_world_size(group)
        self.residuals = Residuals()
        self.sent_bytes = 0

    def hook(self, bucket: Any) -> Any:
        """Return the future of the mean gradient."""
        torch = need("torch", "compress")
        buffer = bucket.buffer()
        numel = buffer.numel()
        flat = buffer + self.residuals.flat(bucket)
        each = ceil(ceil(numel / self.world) / BLOCK) * BLOCK
        padded = torch.nn.functional.pad(flat, (0, each * self.world - numel))
        codes, scales = to_int8(padded)
        self.residuals.keep(bucket, (padded - from_int8(codes, scales))[:numel])
        mine = self._exchange(codes, scales, each)
        codes, scales = to_int8(mine)
        whole = torch.empty(self.world, codes.numel(), dtype=torch.int8, device=codes.device)
        whole_scales = torch.empty(self.world, scales.numel(), device=scales.device)
        self.distributed.all_gather(list(whole.unbind()), codes.view(-1), group=self.group)
        self.distributed.all_gather(list(whole_scales.unbind()), scales.view(-1), group=self.group)
        self.sent_bytes += (self.world - 1) * (codes.nbytes + scales.nbytes)
        buffer.copy_(from_int8(whole.view(-1, BLOCK), whole_scales.view(-1, 1))[:numel])
        future = torch.futures.Future()
        future.set_result(buffer)
        return future

    def _exchange(self, codes: Any, scales: Any, each: int) -> Any:
        """Send each rank its piece; return the mean of those that came."""
        torch = need("torch", "compress")
        came, came_scales = torch.empty_like(codes), torch.empty_like(scales)
        self.distributed.all_to_all_single(came.view(-1), codes.view(-1), group=self.group)
        self.distributed.all_to_all_single(came_scales.view(-1), scales.view(-1), group=self.group)
        self.sent_bytes += (self.world - 1) * (codes.nbytes + scales.nbytes) // self.world
        return from_int8(came, came_scales).view(self.world, each).mean(0)


def to_int8(flat: Any) -> tuple[Any, Any]:
    """Return codes (blocks x 128) and scales (blocks x 1) of a flat tensor of whole blocks."""
    torch = need("torch", "compress")
    blocks = flat.view(-1, BLOCK)
    scales = (blocks.abs().amax(1, keepdim=True) / 127).clamp_(min=1e-30)
    return (blocks / scales).round_().to(torch.int8), scales


def from_int8(codes: Any, scales: Any) -> Any:
    """Return the flat tensor again."""
    return (codes * scales).view(-1)


class DeepState:
    """Deep gradient compression: the largest values are sent; momentum is taken before, what was not sent is
    kept with it, and the density falls step by step."""

    def __init__(self, group: Any, settings: Settings) -> None:
        self.distributed = need("torch.distributed", "compress")
        self.group, self.settings = group, settings
        self.world = self.distributed.get_world_size(group)
        self.momenta, self.residuals = Residuals(), Residuals()
        self.num_steps = 0
        self.sent_bytes = 0

    @property
    def density(self) -> float:
        """Return the share that is sent now."""
        stage = self.num_steps // max(self.settings.warm_up_steps, 1)
        return WARM_UP[stage] if stage < len(WARM_UP) else self.settings.density

    def hook(self, bucket: Any) -> Any:
        """Return the future of the mean of what all ranks send."""
        torch = need("torch", "compress")
        buffer = bucket.buffer()
        gradient = buffer
        if self.settings.clip:
            most = self.settings.clip / self.world**0.5
            gradient = buffer * min(1.0, most / (float(buffer.norm()) + 1e-12))
        momenta = self.momenta.flat(bucket).mul_(self.settings.momentum).add_(gradient)
        residuals = self.residuals.flat(bucket).add_(momenta)
        count = max(round(buffer.numel() * self.density), 1)
        places = residuals.abs().topk(count, sorted=False).indices
        values = residuals[places]
        momenta[places] = 0
        residuals[places] = 0
        self.momenta.keep(bucket, momenta)
        self.residuals.keep(bucket, residuals)
        all_values = torch.empty(self.world * count, dtype=values.dtype, device=values.device)
        all_places = torch.empty(self.world * count, dtype=places.dtype, device=places.device)
        self.distributed.all_gather(list(all_values.chunk(self.world)), values, group=self.group)
        self.distributed.all_gather(list(all_places.chunk(self.world)), places, group=self.group)
        self.sent_bytes += (self.world - 1) * (values.nbytes + places.nbytes)
        buffer.zero_().index_add_(0, all_places, all_values).div_(self.world)
        if bucket.is_last():
            self.num_steps += 1
        future = torch.futures.Future()
        future.set_result(buffer)
        return future
