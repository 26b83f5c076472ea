"""`oomless top`: right on any screen, whatever the driver says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psutil")

from fake_nvml import GIB, NUM_CARDS, NUM_PROCESSES, FakeNvml
from written_runs import MIB, leak, question, sample, start, step, write

from command import environment
from oomless.api.top import LiveMachine
from oomless.monitor.cards import Cards, CardUse
from oomless.monitor.host_processes import HostProcess
from oomless.monitor.live_runs import Followed
from oomless.monitor.machine_view import MachineView, ProcessView, ServedModel
from oomless.report.top_text import top_lines

SCREENS = ((80, 24), (200, 50))


def process(pid: int, name: str = "python") -> HostProcess:
    return HostProcess(pid, name, "ada", (name,), 3 * GIB, None)


def full_machine(folder: Path) -> MachineView:
    """Eight cards, twenty processes: one is watched, one serves."""
    cards = Cards(FakeNvml()).now()
    views = [
        ProcessView(process(pid), tuple((c.number, c.processes[pid]) for c in cards if pid in c.processes))
        for pid in range(1, NUM_PROCESSES + 1)
    ]
    followed = Followed(write(folder, start(), question(), step(1), sample(2), leak(2)), "a")
    followed.more()
    views[0] = views[0]._replace(rank=followed.now)
    served = ServedModel("vllm", "deepseek-v3", 70 * GIB, "", (("running", 12.0), ("kv_usage", 0.5)))
    views[1] = views[1]._replace(serving=served)
    return MachineView("node", 0.0, 512 * GIB, 100 * GIB, tuple(cards), "", tuple(views))


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_screen_is_never_too_small(width: int, height: int, tmp_path: Path) -> None:
    lines = top_lines(full_machine(tmp_path), width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    assert sum("NVIDIA H100" in line for line in lines) == NUM_CARDS


def test_a_large_screen_shows_every_process(tmp_path: Path) -> None:
    lines = top_lines(full_machine(tmp_path), 200, 50)
    text = "\n".join(lines)
    assert all(any(line.split()[:2] == [str(pid), "ada"] for line in lines) for pid in range(1, 21))
    assert "LlamaForCausalLM rank 0, step 1" in text
    assert "grows 2.00 MiB a step, full in 250 steps; peak 600.00 MiB: activations 500.00 MiB" in text
    assert re.search(r"550.00 MiB +-8.3 %", text)
    assert "running 12, kv usage 0.5" in text


def test_a_small_screen_says_what_is_left_out(tmp_path: Path) -> None:
    assert top_lines(full_machine(tmp_path), 80, 24)[-1].startswith("... ")


def test_cards_come_as_the_driver_has_them() -> None:
    cards = Cards(FakeNvml()).now()
    assert cards[3] == CardUse(
        3, "NVIDIA H100 80GB HBM3", 80 * GIB, 35 * GIB, None, 43, {4: GIB, 12: 2 * GIB, 20: 3 * GIB}
    )


def test_a_driver_that_is_lost_comes_back() -> None:
    library = FakeNvml()
    cards = Cards(library)
    assert len(cards.now()) == NUM_CARDS
    library.is_lost = True
    assert cards.now() == []
    assert "GPU is lost" in cards.problem
    library.is_lost = False
    assert len(cards.now()) == NUM_CARDS
    assert (cards.problem, library.num_starts) == ("", 2)


def test_processes_of_cards_are_asked_of_the_system() -> None:
    machine = LiveMachine(Cards(FakeNvml([os.getpid(), 2**22 + 1])))
    view = machine.now()
    machine.close()
    mine = {each.process.pid: each for each in view.processes}
    assert mine[os.getpid()].card_bytes == ((0, GIB),)
    assert 2**22 + 1 not in mine  # gone by now


def test_a_process_that_writes_a_journal_is_watched(tmp_path: Path) -> None:
    path = write(tmp_path, start(pid=os.getpid()), question(), step(5), sample(2))
    with path.open("ab"):
        machine = LiveMachine(Cards(FakeNvml([os.getpid()])))
        (view,) = machine.now().processes
        found = view.rank
    assert found is not None
    assert (found.peak_bytes, view.predicted_bytes) == (600 * MIB, 550 * MIB)


def test_an_engine_is_predicted_from_its_command() -> None:
    from oomless.api.top import served_model

    words = ("/usr/bin/python3", "/opt/bin/vllm", "serve", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    found = served_model(HostProcess(1, "vllm", "ada", words, 0, None), 80 * GIB, 1)
    assert found is not None
    assert (found.engine, found.problem) == ("vllm", "")
    assert found.predicted_bytes is not None
    assert 14 * GIB < found.predicted_bytes <= 80 * GIB
    assert served_model(process(1), 80 * GIB, 1) is None


def test_once_and_json_are_for_pipes() -> None:
    done = [
        subprocess.run(
            [sys.executable, "-m", "oomless", "top", *more],
            capture_output=True,
            text=True,
            env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout
        for more in (["--once"], ["--json"], [])
    ]
    assert "host" in done[0].splitlines()[0]
    document: dict[str, Any] = json.loads(done[1])
    assert document["schema"] == "oomless/top/1"
    assert len(done[2].splitlines()) >= 3
    assert "\x1b" not in done[0] + done[2]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals of its own")
def test_a_terminal_is_given_back_as_it_was() -> None:
    """Orders to the terminal were spelled out as text: every look scrolled, and nothing was given back."""
    ours, its = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "oomless", "top", "--interval", "0.2"],
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment(TERM="xterm-256color", COLUMNS="80", LINES="24"),
    ) as child:
        os.close(its)
        seen = os.read(ours, 1 << 16)
        while b"process on a card" not in seen and b"pid" not in seen:
            seen += os.read(ours, 1 << 16)
        os.write(ours, b"q")
        while chunk := read_or_end(ours):
            seen += chunk
        assert child.wait() == 0
    os.close(ours)
    assert b"\x1b[?1049h" in seen
    assert seen.rindex(b"\x1b[?1049l") > seen.rindex(b"\x1b[?1049h")
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    assert b"\\x1b" not in seen


def read_or_end(terminal: int) -> bytes:
    """What a terminal shows next; nothing once nobody writes."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""
