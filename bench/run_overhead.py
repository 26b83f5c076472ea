"""CPU that `oomless run` takes beside a chatty child, without start-up: nanoseconds of the wrapper's threads
over those of the child, by the kernel's own account. `python -m bench.run_overhead [SECONDS]`."""

import json
import subprocess
import sys

CHILD = """
import glob, json, os, sys, time
def wrapper_s():
    files = glob.glob(f"/proc/{{os.getppid()}}/task/*/schedstat")
    return sum(int(open(file).read().split()[0]) for file in files) / 1e9
print(open("tests/tables/logs/vllm-ready.log").read(), flush=True)
before = -1.0
while wrapper_s() - before > 0.01:  # it prints its comparison
    before = wrapper_s()
    time.sleep(3)
before, end = wrapper_s(), time.process_time() + {seconds}
count = num_lines = 0
while time.process_time() < end:
    sum(range(2000))
    count += 1
    if count % {every} == 0:
        num_lines += 1
        print("INFO 01-01 00:00:00 [loggers.py:1] Engine 000: Avg prompt throughput: 1.0 tokens/s, line", count, flush=True)
json.dump([wrapper_s() - before, num_lines], open(sys.argv[1], "w"))
"""  # noqa: E501 - a line as an engine writes it
KINDS = {"silent": 1 << 40, "a line every 100 loops": 100, "a line every 20 loops": 20}


def main() -> None:
    """Print the wrapper's share and the lines a second of each kind of child."""
    from tempfile import TemporaryDirectory

    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    for kind, every in KINDS.items():
        with TemporaryDirectory() as folder:
            script, figures = CHILD.format(seconds=seconds, every=every), f"{folder}/figures"
            child = [sys.executable, "-c", script, figures]
            with open(f"{folder}/log", "wb") as log:
                words = [sys.executable, "-m", "oomless", "run", "--quiet", "--", *child]
                subprocess.run(words, stdout=log, stderr=log, check=True)
            with open(figures) as file:
                wrapper_s, num_lines = json.load(file)
        print(f"{kind:<24}{num_lines / seconds:>8.0f} lines/s{wrapper_s / seconds:>10.3%}", flush=True)


if __name__ == "__main__":
    main()
