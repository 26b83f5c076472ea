"""What reading a server's log of days costs: CPU seconds and memory, beside a plain read of the file and one
regular expression a line. `python -m bench.long_log [GB]`: 1 GB, a start and then a line a request and a
statistic now and then, as vLLM writes them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

START = Path(__file__).parents[1] / "tests" / "tables" / "logs" / "vllm-ready.log"
REQUEST = '(APIServer pid=1) INFO:     10.0.{}.{}:{} - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
EVERY = 40
"""Requests between two statistics."""
MEASURED = """
import resource, sys, time
from pathlib import Path
path = sys.argv[1]
start = time.process_time()
{reads}
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
READERS = {
    "a plain read": "with open(path, 'rb') as file:\n    while file.read(1 << 20): pass",
    "lines, one regular expression": (
        "import re; found = re.compile(rb'KV cache size: ([0-9,]+)')\n"
        "with open(path, 'rb') as file:\n    for line in file: found.search(line)"
    ),
    "read_log": (
        "from oomless.truth.reconcile.read_log import read_log\n"
        "runs = list(read_log(Path(path)))\n"
        "assert [each.values['kv_tokens'] for each in runs], runs"
    ),
}


def write(path: Path, num_bytes: int) -> None:
    """Write a log of at least so many bytes."""
    whole = START.read_bytes()
    statistic = whole.splitlines(keepends=True)[-1]
    requests = [REQUEST.format(n % 250, n * 7 % 250, 30_000 + n).encode() for n in range(5000)]
    piece = b"".join(
        line + (statistic if number % EVERY == 0 else b"") for number, line in enumerate(requests)
    )
    with path.open("wb") as file:
        file.write(whole)
        while file.tell() < num_bytes:
            file.write(piece)


def main() -> None:
    """Print a row a reader."""
    wanted = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.log"
        write(path, int(wanted * 1e9))
        print(f"{path.stat().st_size / 1e9:.2f} GB")
        for name, reads in READERS.items():
            command = [sys.executable, "-c", MEASURED.format(reads=reads), str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            cpu_s, highest = map(float, done.stdout.split())
            print(f"{name:<32}{cpu_s:>8.2f} CPU s{highest / (1 << 20):>8.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
