"""A driver's library of eight cards and twenty processes, that can be lost."""

from types import SimpleNamespace
from typing import Any

GIB = 1 << 30
NUM_CARDS, NUM_PROCESSES = 8, 20


class LostError(Exception):
    """As the library's own."""


class FakeNvml:
    """The functions of pynvml that are asked for."""

    def __init__(self, pids: list[int] | None = None) -> None:
        self.pids = pids if pids is not None else list(range(1, NUM_PROCESSES + 1))
        self.is_lost = False
        self.num_starts = 0

    def nvmlInit(self) -> None:  # noqa: N802 - names of the library
        self.num_starts += 1
        self._need()

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._need()

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._need()
        return NUM_CARDS

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        self._need()
        return SimpleNamespace(total=80 * GIB, used=(10 * handle + 5) * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        if handle == 3:
            raise LostError("not supported")
        return SimpleNamespace(gpu=12 * handle)

    def nvmlDeviceGetTemperature(self, handle: int, kind: int) -> int:  # noqa: N802
        return 40 + handle

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        mine = self.pids[handle::NUM_CARDS]
        return [SimpleNamespace(pid=pid, usedGpuMemory=(at + 1) * GIB) for at, pid in enumerate(mine)]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        return []

    def _need(self) -> None:
        if self.is_lost:
            raise LostError("GPU is lost")
