"""Real ranks on this machine: processes with gloo between them, and the bytes that each of them put on the
wire.

`python -m estimate.ranks WORLD FOLDER '[["ddp", {"seq_len": 64}], ...]'` runs the ranks of jobs and writes
what they return to FOLDER/RANK.json. Jobs of one start share it, and ranks are forks of one process:
importing torch takes longer than most of them. Bytes are the kernel's own count of each of the process's TCP
sockets (TCP_INFO), payload alone: no headers, no other process.
"""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOMS = ("memory", "steps")
"""Modules whose functions are jobs."""
BYTES_SENT = 200
"""Where linux/tcp.h has tcpi_bytes_sent, tcpi_bytes_retrans behind it."""


def sent_bytes() -> int:
    """Payload bytes that this process has written to its TCP connections so far."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as copy:
                if copy.family not in (socket.AF_INET, socket.AF_INET6) or copy.type != socket.SOCK_STREAM:
                    continue
                info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:
            continue
        sent, again = struct.unpack_from("QQ", info, BYTES_SENT)
        total += sent - again
    return total


TESTS = Path(__file__).parents[1]
Job = tuple[str, dict[str, Any]]


def run_ranks(jobs: Sequence[Job], world: int, folder: Path, timeout_s: int = 600) -> list[list[Any]]:
    """What each job, "ddp" of steps.py or "memory.train", returned: a list of the ranks' results for each of
    them."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(TESTS)}
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "estimate.ranks", str(world), str(folder), json.dumps(jobs)]
    started = subprocess.run(
        words, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s
    )
    assert not started.returncode, started.stderr[-3000:]
    by_rank = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]
    return [list(results) for results in zip(*by_rank, strict=True)]


def main(rank: int, world: int, folder: Path, jobs: Sequence[Job]) -> None:
    import torch
    import torch.distributed as dist

    rooms = {each: import_module(f"estimate.{each}") for each in ROOMS}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    found = []
    for name, arguments in jobs:
        room, _, job = name.rpartition(".")
        found.append(getattr(rooms[room or "steps"], job)(rank, world, **arguments))
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    for module in ("torch._dynamo", "torch.distributed.fsdp", *(f"estimate.{each}" for each in ROOMS)):
        import_module(module)
    num, words = int(sys.argv[1]), (Path(sys.argv[2]), json.loads(sys.argv[3]))
    ranks = [get_context("fork").Process(target=main, args=(rank, num, *words)) for rank in range(num)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    sys.exit(any(each.exitcode for each in ranks))
