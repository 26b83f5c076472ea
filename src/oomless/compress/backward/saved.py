"""activations(): a context in which what autograd saves is kept in another way."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import UsageError, need
from .block_floats import BLOCK, check
from .keeper import AsItIs, InBlocks, InFile, Keeper, OnHost, OnRanks

LEAST_VALUES = 1024
"""Smaller storages stay as they are: statistics of norms, losses."""


class KeptStorage:
    """One storage that is kept: alive as long as anything that was saved of it is."""

    def __init__(self, keeper: Keeper, tensor: Any, flat: Any, storage: Any) -> None:
        self.keeper, self.version, self.storage = keeper, tensor._version, storage
        self.watched = tensor.detach() if keeper.aliases(flat) else None
        self.num_bytes = int(flat.nbytes)
        self.ticket = keeper.keep(flat)
        self._again: Any = None

    def flat(self) -> Any:
        """Return the storage as a flat tensor; those that ask while another still uses it share it."""
        if self.watched is not None and self.watched._version != self.version:
            raise RuntimeError(
                "a tensor that the backward needs was changed in place after it was saved: clone it first"
            )
        found = self._again() if self._again is not None else None
        if found is None:
            found = self.keeper.give(self.ticket)
            self._again = weakref.ref(found)
        return found


class Report:
    """What a context has kept: bytes as they were and as they are, counted once a storage."""

    def __init__(self) -> None:
        self.saved_bytes = self.kept_bytes = 0
        self.num_tensors = self.num_storages = 0

    @property
    def ratio(self) -> float:
        """Return kept / saved bytes."""
        return self.kept_bytes / self.saved_bytes if self.saved_bytes else 1.0


class Saver:
    """Packs and unpacks for autograd: whole storages once, views rebuilt, parameters and integers left."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper, self.report = keeper, Report()
        self._kept: weakref.WeakValueDictionary[int, KeptStorage] = weakref.WeakValueDictionary()
        self._parameters: set[int] = set()
        self._torch = need("torch", "compress")
        self._weak = need("torch.multiprocessing.reductions", "compress").StorageWeakRef

    def note_parameters(self, module: Any, args: Any) -> None:
        """Remember where the parameters of a module lie, before it runs."""
        for parameter in module._parameters.values():
            if parameter is not None:
                self._parameters.add(parameter.untyped_storage().data_ptr())

    def left(self, tensor: Any) -> bool:
        """Return whether a tensor stays as it is."""
        return (
            not tensor.is_floating_point()
            or tensor.layout != self._torch.strided
            or tensor.untyped_storage().nbytes() < LEAST_VALUES * tensor.element_size()
            or isinstance(tensor, self._torch.nn.Parameter)
            or tensor.untyped_storage().data_ptr() in self._parameters
        )

    def pack(self, tensor: Any) -> Any:
        """Return what autograd holds in place of a tensor."""
        if self.left(tensor):
            return tensor
        self.report.num_tensors += 1
        storage = tensor.untyped_storage()
        kept = self._kept.get(storage.data_ptr())
        if kept is None or kept.storage.expired() or kept.version != tensor._version:
            flat = self._torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage)
            kept = KeptStorage(self.keeper, tensor, flat, self._weak(storage))
            self._kept[storage.data_ptr()] = kept
            self.report.num_storages += 1
            self.report.saved_bytes += kept.num_bytes
            self.report.kept_bytes += self.keeper.kept_bytes(kept.ticket)
        return kept, tensor.shape, tensor.stride(), tensor.storage_offset()

    def unpack(self, held: Any) -> Any:
        """Return the tensor that autograd saved."""
        if not isinstance(held, tuple):
            return held
        kept, shape, stride, offset = held
        return kept.flat().as_strided(shape, stride, offset)


def keeper_of(bits: int | None, block: int, offload: str | None, partition: Any) -> Keeper:
    """Return the keeper that is asked for; one way at a time."""
    if sum((bits is not None, offload is not None, partition is not None)) > 1:
        raise UsageError("activations: several ways at once", "give one of bits, offload and partition")
    if bits is not None:
        check(bits, block)
        return InBlocks(bits, block)
    if offload == "cpu":
        return OnHost()
    if offload is not None:
        return InFile(offload)
    return OnRanks(partition) if partition is not None else AsItIs()


@contextmanager
def activations(
    bits: int | None = None, block: int = BLOCK, *, offload: str | None = None, partition: Any = None
) -> Iterator[Report]:
    """Keep what autograd saves, for every forward and backward that runs inside.

    `bits` packs it in block floating point (8 or 4); `offload` moves it to "cpu" (pinned memory) or to a file
    in a folder; `partition` keeps a piece on each rank of a process group (True: all ranks). Parameters,
    integers and small tensors stay. Gradient checkpointing of layers (`checkpoint_layers`) saves more and is
    exact: try it first.
    """
    hooks = need("torch.autograd.graph", "compress")
    modules = need("torch.nn.modules.module", "compress")
    saver = Saver(keeper_of(bits, block, offload, partition))
    handle = modules.register_module_forward_pre_hook(saver.note_parameters)
    try:
        with hooks.saved_tensors_hooks(saver.pack, saver.unpack):
            yield saver.report
    finally:
        handle.remove()
