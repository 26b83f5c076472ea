"""What reading a large snapshot of torch's allocator costs: CPU seconds and memory in sizes of the file,
beside Python's own unpickler on the same file. `python -m bench.snapshot [GB] [FRAMES]`: 2 GB, stacks of 30
frames without more words; the file is written before, into a folder that nobody keeps.

As torch writes it: a dict an event, stacks of their own, frames that they share.
"""

import gc
import pickle
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NUM_LIVE = 20_000
"""Blocks that a training holds between its steps."""
NUM_STACKS, NUM_FRAMES = 3000, 4000
EVENT = {"stream": 0, "compile_context": "N/A", "user_metadata": ""}


def stacks(chance: random.Random, depth: int) -> list[list[dict[str, Any]]]:
    """Call stacks, most of them a library's and the outermost four one's own."""
    library = [
        {"filename": f"/v/site-packages/torch/m{n % 90}.py", "line": n, "name": f"f{n}"}
        for n in range(NUM_FRAMES)
    ]
    own = [{"filename": f"/run/train{n % 7}.py", "line": n, "name": "step"} for n in range(300)]
    inner = max(1, depth - 4)
    return [chance.sample(library, inner) + chance.sample(own, 4) for _ in range(NUM_STACKS)]


def write(path: Path, num_events: int, depth: int) -> None:
    """Write a snapshot of so many events."""
    gc.disable()
    chance = random.Random(1)
    known, live = stacks(chance, depth), list[tuple[int, int, Any]]()
    events: list[dict[str, Any]] = []
    now, address = 1_700_000_000_000_000, 0x7F0000000000
    while len(events) < num_events:
        now, address = now + chance.randrange(50), address + 512
        if len(live) > NUM_LIVE and chance.random() < 0.5:
            place = chance.randrange(len(live))
            live[place], live[-1] = live[-1], live[place]  # taken out of the middle, all behind it would move
            at, size, frames = live.pop()
            names: tuple[str, ...] = ("free_requested", "free_completed")
        else:
            at, size, frames = address, 512 * chance.randrange(1, 100_000), list(chance.choice(known))
            live.append((at, size, frames))
            names = ("alloc",)
        entry = {"addr": at, "size": size, "time_us": now, "frames": frames}
        events += [{"action": name, **entry, **EVENT} for name in names]
    blocks = [
        {"address": at, "size": size, "requested_size": size, "state": "active_allocated", "frames": frames}
        for at, size, frames in live
    ]
    segment = {"device": 0, "total_size": sum(each["size"] for each in blocks), "blocks": blocks}
    with open(path, "wb") as file:
        pickle.dump({"segments": [segment], "device_traces": [events]}, file, protocol=4)


READERS = {
    "pickle.load, collector off": "import gc, pickle; gc.disable(); pickle.load(open(path, 'rb'))",
    "read_snapshot": "from oomless.recording.snapshot_file import read_snapshot; read_snapshot(Path(path))",
}
MEASURED = """
import resource, sys, time
from pathlib import Path
path = sys.argv[1]
start = time.process_time()
{reads}
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    """Print a row a reader."""
    wanted = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    depth = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    with tempfile.TemporaryDirectory() as folder:
        path, piece = Path(folder) / "snapshot.pickle", 100_000
        began = time.time()
        write(path, piece, depth)
        num_events = int(piece * wanted * 1e9 / path.stat().st_size)
        writer = (
            f"from bench.snapshot import write; from pathlib import Path; "
            f"write(Path({str(path)!r}), {num_events}, {depth})"
        )
        subprocess.run([sys.executable, "-c", writer], check=True)
        size = path.stat().st_size
        print(
            f"{size / 1e9:.2f} GB, {num_events:,} events, {depth} frames; written in "
            f"{time.time() - began:.0f} s"
        )
        for name, reads in READERS.items():
            command = [sys.executable, "-c", MEASURED.format(reads=reads), str(path)]
            cpu_s, highest = subprocess.run(
                command, check=True, capture_output=True, text=True
            ).stdout.split()
            print(f"{name:<28}{float(cpu_s):>8.1f} CPU s{float(highest) / size:>8.1f} x the file", flush=True)


if __name__ == "__main__":
    main()
