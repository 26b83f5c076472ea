"""Ranks that do not exist: a process group that answers at once, so that one process is any rank of a world
of any size."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import OomlessError, need
from ...run.training import Mesh
from ..recorder import Recorder


@contextmanager
def fake_world(rank: int, size: int) -> Iterator[None]:
    """This process is one rank of a world whose others never answer, and never have to."""
    distributed = need("torch.distributed", "trace")
    fake = need("torch.testing._internal.distributed.fake_pg", "trace")
    if distributed.is_initialized():
        raise OomlessError("torch.distributed runs in this process already", "trace in a process of its own")
    distributed.init_process_group("fake", store=fake.FakeStore(), rank=rank, world_size=size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def axes_of(mesh: Mesh) -> dict[str, Any]:
    """Ranks by pipeline stage, data-parallel rank and tensor-parallel rank, from the outermost axis to the
    innermost.

    Ranks that share experts (`ep`) are neighbours within the data-parallel ranks; `outer` are those that hold
    the same experts.
    """
    build = need("torch.distributed.device_mesh", "trace").init_device_mesh
    names = ("pp", "outer", "ep", "tp")
    devices = build("cpu", (mesh.pp, mesh.dp // mesh.ep, mesh.ep, mesh.tp), mesh_dim_names=names)
    return {**{name: devices[name] for name in names}, "dp": devices["outer", "ep"]._flatten("dp")}


@contextmanager
def without_propagation(recorder: Recorder) -> Iterator[None]:
    """DTensor works out shapes with fake tensors of the whole size, which no rank ever has: do not record
    them."""
    propagation = need("torch.distributed.tensor._sharding_prop", "trace").ShardingPropagator
    name = "_propagate_tensor_meta_non_cached"
    original = getattr(propagation, name)

    def propagate(self: Any, *args: Any, **kwargs: Any) -> Any:
        before, recorder.paused = recorder.paused, True
        try:
            return original(self, *args, **kwargs)
        finally:
            recorder.paused = before

    setattr(propagation, name, propagate)
    try:
        yield
    finally:
        setattr(propagation, name, original)
