"""`oomless top` in a real terminal of a given size: the whole of it can be read, a look changes what changed,
and q gives back what stood there."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("psutil")

from fake_nvml import NUM_CARDS, NUM_PROCESSES

from command import environment

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux")
DRIVER = """import os
from fake_nvml import FakeNvml
driver = FakeNvml([int(pid) for pid in os.environ["PIDS"].split()])
globals().update({name: getattr(driver, name) for name in dir(driver) if name.startswith("nvml")})
"""
CLEAR, OTHER_SCREEN = b"\x1b[2J", b"\x1b[?1049h"
MOST_S = 60.0


class Terminal:
    """A session of tmux whose shell runs `oomless top`."""

    def __init__(self, folder: Path, width: int, height: int, pids: list[int]) -> None:
        self.folder, self.width, self.height = folder, width, height
        (folder / "pynvml.py").write_text(DRIVER)
        paths = os.pathsep.join([str(folder), str(Path(__file__).parent), *sys.path])
        self.env = environment(
            PYTHONPATH=paths, PIDS=" ".join(map(str, pids)), TERM="xterm-256color", TMUX_TMPDIR=str(folder)
        )
        for name in ("COLUMNS", "LINES"):  # of the terminal that the tests run in
            self.env.pop(name, None)
        top = f"{sys.executable} -m oomless top --interval 0.3"
        shell = f"echo it stood here; read start; {top}; echo ended $?; read end"
        size = ("-x", str(width), "-y", str(height))
        self.tmux("-f", os.devnull, "new-session", "-d", *size, "sh", "-c", shell)
        self.tmux("set", "-g", "status", "off")
        self.tmux("resize-window", *size)
        self.tmux("pipe-pane", f"cat >> {shlex.quote(str(folder / 'written'))}")

    def tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", *words], env=self.env, check=True, capture_output=True, text=True, timeout=MOST_S
        ).stdout

    def keys(self, *names: str) -> None:
        self.tmux("send-keys", *names)

    def screen(self) -> list[str]:
        return self.tmux("capture-pane", "-p").split("\n")[: self.height]

    def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """The first screen of which this holds."""
        end = time.monotonic() + MOST_S
        while not holds(lines := self.screen()):
            assert time.monotonic() < end, "\n".join(lines)
            time.sleep(0.1)
        return lines

    def written(self) -> bytes:
        return (self.folder / "written").read_bytes()


def is_whole(lines: list[str], pids: list[int]) -> bool:
    """Whether a look is drawn to its end."""
    first = {line.split()[0] for line in lines if line.strip()}
    return first >= set(map(str, pids)) or "..." in first


@pytest.fixture
def pids() -> Iterator[list[int]]:
    running = [subprocess.Popen(["sleep", "120"]) for _ in range(NUM_PROCESSES)]
    yield [each.pid for each in running]
    for each in running:
        each.kill()
        each.wait()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_a_screen_of_a_given_size(width: int, height: int, tmp_path: Path, pids: list[int]) -> None:
    terminal = Terminal(tmp_path, width, height, pids)
    try:
        terminal.until(lambda lines: "it stood here" in lines[0])
        terminal.keys("Enter")
        lines = terminal.until(lambda lines: is_whole(lines, pids))
        shown = {word for line in lines for word in line.split()[:1]} & set(map(str, pids))
        assert len(shown) == NUM_PROCESSES or any(line.startswith("... ") for line in lines)
        assert (height < 50) == (len(shown) < NUM_PROCESSES)
        drawn = len(terminal.written())
        terminal.until(lambda _: terminal.written().count(b"NVIDIA H100", drawn) >= 3 * NUM_CARDS)
        later = terminal.written()[drawn:]
        assert CLEAR not in later  # a screen that is emptied before it is drawn again flickers
        assert OTHER_SCREEN not in later
        assert [line.split()[:1] for line in terminal.screen()] == [line.split()[:1] for line in lines]
        terminal.keys("q")
        back = terminal.until(lambda lines: any("ended 0" in line for line in lines))
        assert "it stood here" in back[0]
        assert not any("NVIDIA H100" in line for line in back)
    finally:
        terminal.tmux("kill-server")
