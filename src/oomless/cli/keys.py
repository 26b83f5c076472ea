"""Keys as they are pressed, for a full screen that is quit by one."""

import select
import sys
import time
from types import TracebackType
from typing import Any

QUIT = (b"q", b"Q", b"\x1b", b"\x03", b"\x04")


class Keys:
    """The terminal's input without echo and without waiting for a line; as it was before at the end."""

    def __enter__(self) -> "Keys":
        import termios
        import tty

        self.descriptor = sys.stdin.fileno()
        self.before: Any = termios.tcgetattr(self.descriptor)
        tty.setcbreak(self.descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        import termios

        termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self.before)
        return kind is KeyboardInterrupt

    def wait(self, seconds: float) -> bool:
        """Return whether a key that quits was pressed within some seconds."""
        import os

        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                ready, _, _ = select.select([self.descriptor], [], [], left)
            except InterruptedError:
                return False
            if ready:
                read = os.read(self.descriptor, 16)
                if not read or read[:1] in QUIT:
                    return True
        return False
