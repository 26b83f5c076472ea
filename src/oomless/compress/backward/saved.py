"""activations(): a context in which what autograd saves is kept in another way."""

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ...errors import UsageError, need
from .block_floats import BLOCK, check
from .keeper import AsItIs, InBlocks, InFile, Keeper, OnHost, OnRanks

LEAST_VALUES = 1024
"""Smaller storages stay as they are: statistics of norms, losses."""
FINE_BITS = 8
"""What a backward takes the exponential of has no fewer bits than this."""
ATTENTION = ((0, 1), (1,))
"""Queries and keys, whose products attention's backward takes the exponential of again, and the logs of sums
that it divides by."""
EXPONENTIATED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "aten::_log_softmax": ((), (0,)),
    "aten::logsumexp": ((), (0,)),
    "aten::_scaled_dot_product_flash_attention_for_cpu": ATTENTION,
    "aten::_scaled_dot_product_flash_attention": ATTENTION,
    "aten::_scaled_dot_product_efficient_attention": ATTENTION,
    "aten::_scaled_dot_product_cudnn_attention": ATTENTION,
}
"""Operation -> which arguments and which results its backward takes the exponential of (torch's
derivatives.yaml). In four bits a log of a probability near 0 becomes 0, so that several classes are certain
at once: gradients no longer sum to zero, logits drift, and a training diverged."""


class KeptStorage:
    """One storage that is kept: alive as long as anything that was saved of it is."""

    def __init__(self, keeper: Keeper, tensor: Any, flat: Any, storage: Any) -> None:
        self.keeper, self.version, self.storage = keeper, tensor._version, storage
        self.watched = tensor.detach() if keeper.aliases(flat) else None
        self.num_bytes = int(flat.nbytes)
        self.ticket = keeper.keep(flat)
        self._again: Any = None

    def keep_better(self, keeper: Keeper, flat: Any) -> int:
        """Keep the same values by another keeper; return how many bytes more that takes."""
        before = self.keeper.kept_bytes(self.ticket)
        self.keeper, self.ticket = keeper, keeper.keep(flat)
        return keeper.kept_bytes(self.ticket) - before

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
        self._fine: dict[int, Any] = {}
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

    def note_exponentiated(self, tensor: Any) -> None:
        """Remember what a backward takes the exponential of; what is kept already is kept better."""
        storage = tensor.untyped_storage()
        self._fine[storage.data_ptr()] = self._weak(storage)
        kept = self._kept.get(storage.data_ptr())
        if kept is not None and not kept.storage.expired() and kept.keeper != self.keeper_of(storage):
            self.report.kept_bytes += kept.keep_better(self.keeper_of(storage), self.flat_of(tensor))

    def flat_of(self, tensor: Any) -> Any:
        """Return the whole storage of a tensor as a flat one."""
        empty = self._torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        return empty.set_(tensor.untyped_storage())

    def keeper_of(self, storage: Any) -> Keeper:
        """Return who keeps a storage."""
        noted = self._fine.get(storage.data_ptr())
        if isinstance(self.keeper, InBlocks) and noted is not None and not noted.expired():
            return self.keeper._replace(bits=max(self.keeper.bits, FINE_BITS))
        return self.keeper

    def pack(self, tensor: Any) -> Any:
        """Return what autograd holds in place of a tensor."""
        if self.left(tensor):
            return tensor
        self.report.num_tensors += 1
        storage = tensor.untyped_storage()
        kept = self._kept.get(storage.data_ptr())
        if kept is None or kept.storage.expired() or kept.version != tensor._version:
            keeper = self.keeper_of(storage)
            kept = KeptStorage(keeper, tensor, self.flat_of(tensor), self._weak(storage))
            self._kept[storage.data_ptr()] = kept
            self.report.num_storages += 1
            self.report.saved_bytes += kept.num_bytes
            self.report.kept_bytes += keeper.kept_bytes(kept.ticket)
        return kept, tensor.shape, tensor.stride(), tensor.storage_offset()

    def unpack(self, held: Any) -> Any:
        """Return the tensor that autograd saved."""
        if not isinstance(held, tuple):
            return held
        kept, shape, stride, offset = held
        return kept.flat().as_strided(shape, stride, offset)


def watching(saver: Saver) -> AbstractContextManager[Any]:
    """Return a context that tells a saver what backwards take the exponential of; one that does nothing where
    everything has bits enough."""
    if not isinstance(saver.keeper, InBlocks) or saver.keeper.bits >= FINE_BITS:
        return nullcontext()
    modes = need("torch.utils._python_dispatch", "compress")

    class Watching(modes.TorchDispatchMode):  # type: ignore[misc, name-defined]
        """Runs each operation and looks at its name."""

        def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = function(*args, **(kwargs or {}))
            arguments, results = EXPONENTIATED.get(function._schema.name, ((), ()))
            for place in arguments:
                saver.note_exponentiated(args[place])
            for place in results:
                saver.note_exponentiated(found[place] if isinstance(found, tuple) else found)
            return found

    return Watching()


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

    `bits` packs it in block floating point (8 or 4; what a backward takes the exponential of is always in 8);
    `offload` moves it to "cpu" (pinned memory) or to a file in a folder; `partition` keeps a piece on each
    rank of a process group (True: all ranks). Parameters, integers and small tensors stay. Gradient
    checkpointing of layers (`checkpoint_layers`) saves more and is exact: try it first.
    """
    hooks = need("torch.autograd.graph", "compress")
    modules = need("torch.nn.modules.module", "compress")
    saver = Saver(keeper_of(bits, block, offload, partition))
    handle = modules.register_module_forward_pre_hook(saver.note_parameters)
    try:
        with watching(saver), hooks.saved_tensors_hooks(saver.pack, saver.unpack):
            yield saver.report
    finally:
        handle.remove()
