"""The cards of this machine and what runs on them, by the driver's own library; nothing where there is
none."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import OomlessError, need

MOST_CARDS, MOST_PROCESSES = 64, 500


class CardUse(NamedTuple):
    """A card now."""

    number: int
    name: str
    total_bytes: int
    used_bytes: int
    busy: int | None
    """Percent of the last moment in which it computed; None if the driver does not say."""
    celsius: int | None
    processes: dict[int, int]
    """Bytes of each process by its number; 0 where the driver tells who but not how much."""


class Cards:
    """The driver's library, which may be missing, fail, or be lost while it is used."""

    def __init__(self, library: Any = None) -> None:
        self.library = library
        self.problem = ""
        """Why nothing is known of cards, where nothing is."""
        self.is_open = False

    def now(self) -> list[CardUse]:
        """Return the cards as they are; an empty list if the library cannot say, with `problem` saying why. A
        library that was lost is asked anew at the next call."""
        try:
            if not self.is_open:
                self.library = self.library or need("pynvml", "monitor")
                self.library.nvmlInit()
                self.is_open = True
            num = min(int(self.library.nvmlDeviceGetCount()), MOST_CARDS)
            found = [self._card(index) for index in range(num)]
        except OomlessError as error:
            self.problem = error.message
            return []
        except Exception as error:  # the library's errors share no class of ours
            self.close()
            self.problem = f"the driver does not answer ({type(error).__name__}: {error})"
            return []
        self.problem = ""
        return found

    def close(self) -> None:
        """Give the library back."""
        if self.is_open:
            self.is_open = False
            self._asked(self.library.nvmlShutdown)

    def _card(self, index: int) -> CardUse:
        library = self.library
        handle = library.nvmlDeviceGetHandleByIndex(index)
        memory = library.nvmlDeviceGetMemoryInfo(handle)
        busy = self._asked(library.nvmlDeviceGetUtilizationRates, handle)
        celsius = self._asked(library.nvmlDeviceGetTemperature, handle, 0)
        running: dict[int, int] = {}
        for kind in ("Compute", "Graphics"):
            ask = getattr(library, f"nvmlDeviceGet{kind}RunningProcesses")
            for each in (self._asked(ask, handle) or [])[:MOST_PROCESSES]:
                running[int(each.pid)] = max(int(each.usedGpuMemory or 0), running.get(int(each.pid), 0))
        name = library.nvmlDeviceGetName(handle)
        return CardUse(
            index,
            name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name),
            int(memory.total),
            int(memory.used),
            int(busy.gpu) if busy is not None else None,
            int(celsius) if celsius is not None else None,
            running,
        )

    def _asked(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """What one question answers; None where this card does not know it."""
        try:
            return ask(*arguments)
        except Exception:
            return None
