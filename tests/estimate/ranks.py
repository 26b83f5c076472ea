"""Real ranks on this machine: processes with gloo between them, and the bytes that each of them put on the
wire.

`python -m estimate.ranks RANK WORLD FOLDER '[["ddp", {"seq_len": 64}], ...]'` runs one rank of jobs and
writes what they return to FOLDER/RANK.json. Jobs of one start share it: importing torch takes longer than
most of them. Bytes are the kernel's own count of each of the process's TCP sockets (TCP_INFO), payload alone:
no headers, no other process.
"""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "estimate.ranks", str(rank), str(world), str(folder), json.dumps(jobs)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    errors = []
    try:
        for rank in ranks:
            _, error = rank.communicate(timeout=timeout_s)
            if rank.returncode:
                errors.append(error)
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
    assert not errors, errors[0][-3000:]
    by_rank = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]
    return [list(results) for results in zip(*by_rank, strict=True)]


def main(rank: int, world: int, folder: Path, jobs: Sequence[Job]) -> None:
    import torch
    import torch.distributed as dist

    from estimate import memory, steps

    rooms = {"memory": memory, "steps": steps}

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
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
