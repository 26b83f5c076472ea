"""How long the whole catalogue takes: DeepSeek-R1, 32K tokens, 64 sequences. CPU of the whole process, and
evaluations a second."""

import json
import subprocess
import sys
import time

from . import whole

QUESTION = ("plan", "deepseek-r1", "--context", "32768", "--concurrency", "64", "--json")


def main() -> None:
    """Print the row."""
    from oomless.model.load import load
    from oomless.plan.goals import Wanted
    from oomless.plan.search import Search

    command = [sys.executable, "-m", "oomless", *QUESTION]
    seconds = whole.cpu_s(command, runs=10)
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    candidates, estimates = found["num_candidates"], found["num_estimates"]
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        Search(load("deepseek-r1"), "deepseek-r1", Wanted(context=32768, concurrency=64)).run()
        best = min(best, time.process_time() - start)
    print(f"{'oomless ' + ' '.join(QUESTION):<70} {'CPU s':>7}")
    print(f"{'the whole process':<70} {seconds:>7.2f}")
    print(f"{'the search alone':<70} {best:>7.2f}")
    print(
        f"{candidates:,} candidates ({candidates / best:,.0f} a second), {estimates:,} estimated "
        f"({estimates / best:,.0f} a second)"
    )


if __name__ == "__main__":
    main()
