"""CPU that `oomless run` takes beside a chatty child: seconds of the wrapper over seconds of the child,
without start-up (a run of a child that says nothing is taken off)."""

import json
import os
import resource
import subprocess
import sys
import time

CHILD = """
import sys, time
print(open("tests/tables/logs/vllm-ready.log").read(), flush=True)
end = time.process_time() + {seconds}
count = 0
while time.process_time() < end:
    sum(range(2000))
    count += 1
    if count % {every} == 0:
        print("INFO 01-01 00:00:00 [loggers.py:1] Engine 000: Avg prompt throughput: 1.0 tokens/s, line", count, flush=True)
"""  # noqa: E501 - a line as an engine writes it


def cpu_of(seconds: float, every: int) -> tuple[float, float]:
    """Return CPU seconds of (wrapper, child) of one run."""
    script = CHILD.format(seconds=seconds, every=every)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "oomless", "run", "--quiet", "--", sys.executable, "-c", script]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, env=os.environ)
    behind = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = behind.ru_utime + behind.ru_stime - before.ru_utime - before.ru_stime
    return total - seconds, seconds


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    began = time.time()
    idle = cpu_of(0.01, 1 << 30)[0]
    quiet = cpu_of(seconds, 1 << 30)[0]
    found = {}
    for every in (100, 20):
        wrapper, child = cpu_of(seconds, every)
        found[f"a line every {every} loops"] = round((wrapper - quiet) / child, 5)
    print(
        json.dumps(
            {
                "start_up_s": round(idle, 3),
                "quiet_s": round(quiet, 3),
                "share": found,
                "wall_s": round(time.time() - began),
            }
        )
    )


if __name__ == "__main__":
    main()
