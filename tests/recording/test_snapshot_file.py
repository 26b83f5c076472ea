"""Snapshots: what torch writes is read, what runs code is refused by its name."""

import gc
import json
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest

from oomless.errors import OomlessError
from oomless.recording import snapshot_file
from oomless.recording.held_places import OwnFiles, place_in
from oomless.recording.snapshot_file import growth, read_snapshot

USER = [
    {
        "filename": "/venv/lib/python3.11/site-packages/torch/nn/modules/linear.py",
        "line": 125,
        "name": "forward",
    },
    {"filename": "/work/train.py", "line": 12, "name": "step"},
]
OTHER = [{"filename": "/work/data.py", "line": 7, "name": "load"}]
OWN_PLACE = f"{USER[1]['filename']}:12 (step)"


def a_snapshot(grown: int = 0) -> dict[str, Any]:
    """Two blocks from before the recording; at the peak a third and a fourth beside them."""
    events = [
        {"action": "alloc", "addr": 300, "size": 4000, "frames": USER},
        {"action": "alloc", "addr": 400, "size": 2000, "frames": OTHER},
        {"action": "free_requested", "addr": 300, "size": 4000, "frames": USER},
        {"action": "free_completed", "addr": 300, "size": 4000, "frames": USER},
        {"action": "alloc", "addr": 500, "size": 1000, "frames": OTHER},
    ]
    rows = [
        (100, 512, "active_allocated", USER),
        (200, 512 + grown, "active_allocated", OTHER),
        (400, 2000, "active_allocated", OTHER),
        (500, 1000, "active_pending_free", OTHER),
        (900, 7000, "inactive", []),
    ]
    blocks = [
        {"address": address, "size": size, "requested_size": size, "state": state, "frames": frames}
        for address, size, state, frames in rows
    ]
    return {
        "segments": [{"device": 0, "total_size": sum(each["size"] for each in blocks), "blocks": blocks}],
        "device_traces": [events],
        "allocator_settings": {},
    }


@pytest.mark.parametrize("kind", ["pickle 2", "pickle 4", "pickle 5", "json"])
def test_a_snapshot_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "snapshot.pickle"
    if kind == "json":
        path.write_text(json.dumps(a_snapshot()))
    else:
        path.write_bytes(pickle.dumps(a_snapshot(), protocol=int(kind[-1])))
    (found,) = read_snapshot(path)
    assert (found.active_bytes, found.fragmentation_bytes, found.largest_free_bytes) == (4024, 7000, 7000)
    assert found.peak_bytes == 512 + 512 + 4000 + 2000
    assert found.held[0].place == "/work/data.py:7 (load)"
    assert found.held[0].num_bytes == 512 + 2000 + 1000
    assert {each.place: each.num_bytes for each in found.at_peak} == {
        "/work/train.py:12 (step)": 4000,
        "/work/data.py:7 (load)": 2000,
        "(before the recording)": 1024,
    }


def test_the_peak_is_found_from_either_end(tmp_path: Path) -> None:
    data = a_snapshot()
    late = [*data["device_traces"][0], {"action": "alloc", "addr": 600, "size": 9000, "frames": USER}]
    data["device_traces"] = [late]
    data["segments"][0]["blocks"].append(
        {"address": 600, "size": 9000, "requested_size": 9000, "state": "active_allocated", "frames": USER}
    )
    path = tmp_path / "snapshot.pickle"
    path.write_bytes(pickle.dumps(data))
    (found,) = read_snapshot(path)
    assert found.peak_bytes == 1024 + 3000 + 9000
    assert found.at_peak[0].num_bytes == 9000 + 512


def test_the_collector_rests_until_all_is_summed(tmp_path: Path) -> None:
    """It ran while blocks were placed and walked all events each time: most of the time of a large file."""
    data = a_snapshot()
    stacks = [[*USER, *OTHER][number % 2 :] for number in range(5000)]
    data["segments"][0]["blocks"] += [
        {"address": 9000 + number, "size": 512, "state": "active_allocated", "frames": frames}
        for number, frames in enumerate(stacks)
    ]
    path = tmp_path / "snapshot.pickle"
    path.write_bytes(pickle.dumps(data))
    collected: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        collected.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    try:
        (found,) = read_snapshot(path)
    finally:
        gc.callbacks.remove(note)
    assert len(collected) <= 2, "at most once, behind the reading"
    assert gc.isenabled()
    assert {each.place: each.num_blocks for each in found.held}[OWN_PLACE] == 5001


def test_growth_between_two() -> None:
    (before,) = snapshot_file.snapshots(a_snapshot(), "a")
    (behind,) = snapshot_file.snapshots(a_snapshot(grown=4096), "b")
    assert [(each.place, each.num_bytes) for each in growth(before, behind)] == [
        ("/work/data.py:7 (load)", 4096)
    ]


class Runs:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


GADGETS_BY_NAME = """
os system
posix system
nt system
subprocess Popen
subprocess check_output
builtins eval
builtins exec
builtins __import__
builtins getattr
builtins open
builtins compile
__builtin__ eval
webbrowser open
pty spawn
runpy run_path
importlib import_module
shutil rmtree
socket create_connection
code InteractiveInterpreter
pickle loads
_pickle loads
torch load
numpy load
operator attrgetter
functools partial
types CodeType
bdb Bdb
pip._internal main
ctypes CDLL
asyncio.unix_events _UnixSubprocessTransport
"""


def gadgets() -> dict[str, bytes]:
    """Published ways to run code out of a pickle."""
    named = [tuple(each.split(" ")) for each in GADGETS_BY_NAME.split("\n") if each]
    found = {f"{module}.{name}": f"c{module}\n{name}\n(S'x'\ntR.".encode() for module, name in named}
    found |= {
        f"protocol {number}": pickle.dumps(Runs(os.system, "true"), protocol=number) for number in range(6)
    }
    found["stack global"] = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."
    found["instance"] = b"(S'true'\nios\nsystem\n."
    found["extension"] = b"\x80\x02\x82\x01."
    found["persistent"] = b"Pid\n."
    found["newobj"] = b"\x80\x02cos\nsystem\n)\x81."
    return found


GADGETS = gadgets()


@pytest.mark.parametrize("name", GADGETS)
def test_no_gadget_runs(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(os, "system", lambda text: called.append(text))
    path = tmp_path / "gadget.pickle"
    path.write_bytes(GADGETS[name])
    with pytest.raises(OomlessError, match=r"no plain snapshot|cannot be read"):
        read_snapshot(path)
    assert not called
    assert list(pickletools.genops(GADGETS[name]))  # it is a pickle


@pytest.mark.parametrize(
    "frames",
    [
        3,
        [],
        [3, None],
        [{}],
        [{"filename": ["x"]}],
        [{"filename": ""}],
        [{"line": 3}],
    ],
)
def test_a_stack_that_names_no_line_is_unknown(frames: Any) -> None:
    assert place_in(frames, OwnFiles()).startswith(("(unknown)", "['x']:0"))
    if isinstance(frames, list):
        assert place_in([*frames, *USER], OwnFiles()) == OWN_PLACE
        assert place_in([*USER, *frames], OwnFiles()) == OWN_PLACE


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"segments": 3},
        "text",
        None,
        {"segments": [], "device_traces": [[{"action": 3}]]},
        {"segments": [{}, 3]},
    ],
)
def test_other_data_is_no_traceback(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "other.pickle"
    path.write_bytes(pickle.dumps(data))
    try:
        read_snapshot(path)
    except OomlessError as error:
        assert error.hint


def test_damaged_bytes_are_no_traceback(tmp_path: Path) -> None:
    whole = pickle.dumps(a_snapshot())
    for cut in range(0, len(whole), 7):
        path = tmp_path / "cut.pickle"
        path.write_bytes(whole[:cut] + bytes([cut % 256]) + whole[cut + 1 :])
        try:
            read_snapshot(path)
        except OomlessError:
            continue


def test_a_file_that_does_not_fit_is_refused_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_file, "free_memory", lambda: 1 << 30)
    monkeypatch.setattr(snapshot_file, "ALWAYS_READ", 10)
    with pytest.raises(OomlessError, match=r"17\.00 GiB"):
        snapshot_file.check_room(2 << 30, "big.pickle")
    snapshot_file.check_room(100 << 20, "small.pickle")
