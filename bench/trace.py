"""Traces: seconds and memory of whole processes, and events a second of the simulated allocator. `python -m
bench.trace`."""

import os
import random
import subprocess
import sys
import time

from oomless.recording.replay import replay
from oomless.run.allocator import parse_settings
from oomless.units import MIB, format_bytes

QUESTIONS = (
    ("deepseek-coder-1.3b", "--micro-batch 1 --seq-len 1024"),
    ("deepseek-v3", "--micro-batch 1 --seq-len 4096 --recompute full"),
)
IMPORTS = "import torch, transformers; from transformers import AutoModelForCausalLM"
SETTINGS = ("", "expandable_segments:True", "max_split_size_mb:128", "roundup_power2_divisions:4")
NUM_EVENTS = 200_000
KIB_PER_RSS = 1024


def process(command: list[str]) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds, largest resident bytes) of a whole process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, command
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * KIB_PER_RSS


def mixture() -> tuple[list[int], list[int]]:
    """Events of tensors of mixed sizes that come and go, the same in every run."""
    chance = random.Random(0)
    events: list[int] = []
    sizes: list[int] = []
    alive: list[int] = []
    for _ in range(NUM_EVENTS):
        if alive and chance.random() < 0.5:
            events.append(~alive.pop(chance.randrange(len(alive))))
        else:
            alive.append(len(sizes))
            events.append(len(sizes))
            sizes.append(chance.choice([512, MIB, 3 * MIB, 7 * MIB, 20 * MIB, chance.randrange(1, 64 * MIB)]))
    return events, sizes


def main() -> None:
    """Print both tables."""
    base = process([sys.executable, "-c", IMPORTS])
    print(f"{'whole process':<74} {'s':>6} {'CPU s':>6} {'x imports':>9} {'resident':>12}")
    print(f"{IMPORTS:<74} {base[0]:>6.1f} {base[1]:>6.1f} {1:>9.2f} {format_bytes(base[2]):>12}")
    for model, words in QUESTIONS:
        command = [
            sys.executable,
            "-m",
            "oomless",
            "trace",
            model,
            "--precision",
            "bf16",
            "--optimizer",
            "adamw",
            *words.split(),
            "--json",
        ]
        wall, cpu, resident = process(command)
        text = f"oomless trace {model} {words}"
        print(f"{text:<74} {wall:>6.1f} {cpu:>6.1f} {wall / base[0]:>9.2f} {format_bytes(resident):>12}")
    events, sizes = mixture()
    print(f"\n{'allocator':<50} {'million events a second':>24}")
    for text in SETTINGS:
        start = time.perf_counter()
        replay(events, sizes, parse_settings(text))
        print(f"{text or 'default settings':<50} {len(events) / (time.perf_counter() - start) / 1e6:>24.2f}")


if __name__ == "__main__":
    main()
