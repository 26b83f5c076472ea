"""Keepers: where the bytes of one storage wait for the backward."""

import os
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from ...errors import UsageError, need
from .block_floats import Packed, pack, unpack

AHEAD = 2
"""Storages that are read before the backward asks for them: it asks in the opposite order."""


class Keeper(Protocol):
    """Something that keeps flat tensors and gives them back."""

    def aliases(self, flat: Any) -> bool:
        """Return whether it keeps the memory itself and no copy."""

    def keep(self, flat: Any) -> Any:
        """Return a ticket."""

    def give(self, ticket: Any) -> Any:
        """Return the flat tensor of a ticket."""

    def kept_bytes(self, ticket: Any) -> int:
        """Bytes that a ticket holds in memory beside the model."""


class InBlocks(NamedTuple):
    """Packed in block floating point."""

    bits: int
    block: int

    def aliases(self, flat: Any) -> bool:
        return False

    def keep(self, flat: Any) -> Packed:
        return pack(flat, self.bits, self.block)

    def give(self, ticket: Packed) -> Any:
        return unpack(ticket)

    def kept_bytes(self, ticket: Packed) -> int:
        return ticket.num_bytes


class AsItIs:
    """Kept as it is: what others are compared with."""

    def aliases(self, flat: Any) -> bool:
        return True

    def keep(self, flat: Any) -> Any:
        return flat

    def give(self, ticket: Any) -> Any:
        return ticket

    def kept_bytes(self, ticket: Any) -> int:
        return int(ticket.nbytes)


class OnHost:
    """In pinned memory of the host; copies run beside the computation. Of tensors that lie there already it
    saves nothing."""

    def aliases(self, flat: Any) -> bool:
        return bool(flat.device.type == "cpu")

    def keep(self, flat: Any) -> Any:
        torch = need("torch", "compress")
        if flat.device.type == "cpu":
            return flat, flat.device
        kept = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=True)
        kept.copy_(flat, non_blocking=True)
        return kept, flat.device

    def give(self, ticket: Any) -> Any:
        kept, device = ticket
        return kept.to(device, non_blocking=True)

    def kept_bytes(self, ticket: Any) -> int:
        kept, device = ticket
        return int(kept.nbytes) if device.type == "cpu" else 0


class InFile:
    """In a file that vanishes with the process; the next ones to be asked for are read ahead by a thread."""

    def __init__(self, folder: str) -> None:
        try:
            self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the keeper
        except OSError as error:
            raise UsageError(f"offload={folder!r}: {error.strerror}", "give a folder, or 'cpu'") from None
        self.end = 0
        self.threads = ThreadPoolExecutor(1)
        self.written: deque[tuple[int, Any]] = deque()
        self.ahead: dict[int, Future[Any]] = {}

    def aliases(self, flat: Any) -> bool:
        return False

    def keep(self, flat: Any) -> Any:
        start = self.end
        self.end += flat.nbytes
        view = memoryview(flat.detach().cpu().contiguous().view(need("torch", "compress").uint8).numpy())
        done = 0
        while done < len(view):
            done += os.pwrite(self.file.fileno(), view[done:], start + done)
        ticket = (start, flat.numel(), flat.dtype, flat.device)
        self.written.append((start, ticket))
        return ticket

    def give(self, ticket: Any) -> Any:
        start = ticket[0]
        waiting = self.ahead.pop(start, None)
        while self.written and self.written[-1][0] >= start:
            self.written.pop()
        for other, before in list(self.written)[-AHEAD:]:
            if other not in self.ahead:
                self.ahead[other] = self.threads.submit(self._read, before)
        return waiting.result() if waiting else self._read(ticket)

    def _read(self, ticket: Any) -> Any:
        torch = need("torch", "compress")
        start, numel, dtype, device = ticket
        flat = torch.empty(numel, dtype=dtype)
        view = memoryview(flat.view(torch.uint8).numpy())
        done = 0
        while done < len(view):
            done += os.preadv(self.file.fileno(), [view[done:]], start + done)
        return flat.to(device)

    def kept_bytes(self, ticket: Any) -> int:
        return 0


class OnRanks:
    """A piece on each rank of a group that holds the same tensor: what tensor-parallel ranks do with inputs
    of checkpointed layers. Gathered again in the backward."""

    def __init__(self, group: Any) -> None:
        self.distributed = need("torch.distributed", "compress")
        self.group = None if group is True else group
        self.size = self.distributed.get_world_size(self.group)
        self.rank = self.distributed.get_rank(self.group)

    def aliases(self, flat: Any) -> bool:
        return False

    def keep(self, flat: Any) -> Any:
        each = -(-flat.numel() // self.size)
        piece = flat[self.rank * each : (self.rank + 1) * each].clone()
        return piece, flat.numel(), each

    def give(self, ticket: Any) -> Any:
        torch = need("torch", "compress")
        piece, numel, each = ticket
        whole = torch.empty(each * self.size, dtype=piece.dtype, device=piece.device)
        mine = torch.nn.functional.pad(piece, (0, each - piece.numel()))
        self.distributed.all_gather(list(whole.chunk(self.size)), mine, group=self.group)
        return whole[:numel]

    def kept_bytes(self, ticket: Any) -> int:
        return int(ticket[0].nbytes)
