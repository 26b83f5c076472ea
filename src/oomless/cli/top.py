"""`oomless top`: cards and processes, predicted beside used; a full screen that is quit by a key."""

import select
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..files import json_text

if TYPE_CHECKING:
    from ..api.top import LiveMachine

LEAST_S, MOST_S = 0.2, 3600.0


@click.command(epilog="\b\nExamples:\n  oomless top\n  oomless top --once\n  oomless top --json | jq .cards")
@click.option("--once", is_flag=True, help="Print once and end; without a terminal that is what happens.")
@click.option("--interval", default=2.0, show_default=True, help="Seconds between two looks.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def top(once: bool, interval: float, as_json: bool) -> int:
    """This machine's cards and processes: what each has, what it is made of if it is watched, and what was
    predicted for it."""
    from ..api.top import LiveMachine

    if not LEAST_S <= interval <= MOST_S:
        raise UsageError(
            f"--interval {interval:g} is out of range", f"from {LEAST_S:g} to {MOST_S:g} seconds"
        )
    machine = LiveMachine()
    try:
        if as_json:
            click.echo(json_text(machine.now().to_json()))
        elif once or not (sys.stdout.isatty() and sys.stdin.isatty()):
            from ..report.top_text import top_lines
            from .terminal import PIPE_WIDTH, width

            columns = width()
            if columns is None:
                import shutil

                columns = shutil.get_terminal_size().columns
            click.echo("\n".join(top_lines(machine.now(), max(columns, PIPE_WIDTH))))
        else:
            _full_screen(machine, interval)
    finally:
        machine.close()
    return 0


def _full_screen(machine: "LiveMachine", interval: float) -> None:
    """Show the machine again and again until q, Escape or Ctrl-C. rich's Live draws only what changed on the
    terminal's other screen, and it is there already: Textual would be one more dependency for one page of
    text."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from ..report.top_text import top_lines
    from .terminal import PlainStream

    output = sys.stdout if isinstance(sys.stdout, PlainStream) else PlainStream(sys.stdout)
    console = Console(file=output.stream, highlight=False)  # its cursor moves; what it shows is plain

    def page() -> Text:
        size = console.size
        lines = top_lines(machine.now(), size.width, size.height)
        return Text(output.plain("\n".join(lines)), no_wrap=True, overflow="crop")

    with Keys() as keys, Live(page(), console=console, screen=True, auto_refresh=False) as live:
        while not keys.wait(interval):
            live.update(page(), refresh=True)


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
