"""Start-up and speed, as ratios in one run: never asserted in a test, always printed here."""

import sys
import time
from collections.abc import Callable

from . import plan, trace, whole, workload

RUNS = 40


def cpu_s(command: list[str]) -> float:
    """The least CPU time of a whole process over RUNS runs."""
    return whole.cpu_s(command, RUNS)


def each_s(call: Callable[[], object], runs: int = 200) -> float:
    """The least time of a call."""
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table."""
    import oomless
    from oomless.engines.vllm.weights import ALLOCATED
    from oomless.estimate.serving.weights import _counted, _formula

    python = [sys.executable]
    oomless_command = [sys.executable.replace("python3", "oomless").replace("python", "oomless")]
    base = cpu_s([*python, "-c", "pass"])
    rows = [
        ("python -c pass", base),
        ("python -c 'import click'", cpu_s([*python, "-c", "import click"])),
        (
            "oomless infer deepseek-v3 --gpu h200:8 --json",
            cpu_s([*oomless_command, "infer", "deepseek-v3", "--gpu", "h200:8", "--json"]),
        ),
        (
            "oomless infer deepseek-v3 --gpu h200:8",
            cpu_s([*oomless_command, "infer", "deepseek-v3", "--gpu", "h200:8"]),
        ),
        ("oomless --help", cpu_s([*oomless_command, "--help"])),
    ]
    print(f"{'whole process':<50} {'CPU ms':>8} {'x python':>9}")
    for what, seconds in rows:
        print(f"{what:<50} {1000 * seconds:>8.1f} {seconds / base:>9.2f}")
    model = oomless.load("deepseek-v3")

    def again() -> object:
        return oomless.infer(model, "h200:8", tp=8)

    def anew() -> object:
        _counted.cache_clear()
        _formula.cache_clear()
        ALLOCATED.clear()
        return oomless.infer(model, "h200:8", tp=8)

    print(f"\n{'in process':<50} {'ms':>8}")
    print(f"{'infer deepseek-v3, tp 8, a layout seen before':<50} {1000 * each_s(again):>8.3f}")
    print(f"{'infer deepseek-v3, tp 8, a layout not seen before':<50} {1000 * each_s(anew):>8.3f}\n")
    workload.main()
    print()
    plan.main()
    print()
    trace.main()


if __name__ == "__main__":
    main()
