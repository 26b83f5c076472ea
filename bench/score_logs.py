"""Scores the log readers on a folder of logs, each with NAME.json beside it that says what a perfect
reader finds: facts found, missed, wrong. Usage: python bench/score_logs.py FOLDER"""

import json
import sys
from pathlib import Path
from typing import Any

from oomless.truth.reconcile.log_facts import facts_of
from oomless.truth.reconcile.log_observed import observed_of
from oomless.truth.reconcile.logged_run import LoggedRun
from oomless.truth.reconcile.read_log import read_log
from oomless.units import GIB, MIB

GIB_WORDS = {
    "weights_gib_per_rank": "weights_bytes",
    "kv_gib_per_rank": "kv_bytes",
    "graph_gib": "cuda_graph_bytes",
    "activations_gib": "activation_bytes",
    "peak_activation_gib": "activation_bytes",
    "non_torch_gib": "non_torch_bytes",
    "outside_torch_gib": "non_torch_bytes",
    "gpu_total_gib": "gpu_memory_bytes",
}
SAME = ("engine_version", "tp", "pp", "dp", "ep", "dtype", "quantization", "kv_cache_dtype", "kv_tokens",
        "gpu",
        "max_model_len", "max_num_seqs", "max_num_batched_tokens", "max_concurrency")  # fmt: skip
OTHER = {"context_length": "max_model_len", "max_running_requests": "max_num_seqs", "build": "engine_version",
         "n_ctx": "max_model_len", "n_seq_max": "max_num_seqs"}  # fmt: skip
ENGINES = {"llama.cpp": "llamacpp", "tensorrt-llm": "trtllm", "ik_llama.cpp": "ik-llamacpp"}


def expected(truth: dict[str, Any]) -> dict[str, Any]:
    """Return the truth in the words of facts."""
    found = {word: truth[word] for word in SAME if truth.get(word) is not None}
    found |= {word: truth[name] for name, word in OTHER.items() if truth.get(name) is not None}
    found |= {word: truth[name] * GIB for name, word in GIB_WORDS.items() if truth.get(name) is not None}
    for name, word in (
        ("weights_mib", "weights_bytes"),
        ("kv_mib", "kv_bytes"),
        ("compute_mib", "compute_buffer_bytes"),
    ):
        cards = {
            label: size
            for label, size in truth.get(name, {}).items()
            if not label.startswith("CPU") and "Host" not in label
        }
        if cards:
            found[word] = (min if word == "kv_bytes" else max)(cards.values()) * MIB
    if truth.get("gpu_memory_utilization_stated"):
        found["gpu_memory_utilization"] = truth["gpu_memory_utilization"]
    if "engine" in truth:
        found["engine"] = ENGINES.get(truth["engine"], truth["engine"])
    return found


def same(word: str, one: Any, other: Any) -> bool:
    """Return whether a fact is the expected one, as far as printed digits tell."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= max(abs(other) * 1e-3, 1e-9)
    return str(one).replace("_", " ").lower() == str(other).replace("_", " ").lower()


def observed_oom(run: LoggedRun, truth: dict[str, Any]) -> int:
    """Return how many of the refusals of the truth were read with all their figures."""
    wanted = truth.get("ooms", [])
    keys = {"tried_gib": "tried_bytes", "free_gib": "free_bytes", "allocated_gib": "allocated_bytes"}
    return sum(
        any(
            all(abs((getattr(each, b) or 0) - want[a] * GIB) < 1e-3 * GIB for a, b in keys.items())
            for each in run.ooms
        )
        for want in wanted
    )


def main() -> None:
    """Print a line a log, then the sums."""
    hit = missed = wrong = 0
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        truth = json.loads(path.read_text())
        runs = read_log(path.with_suffix(".log"))
        run = runs[-1]
        found, want = facts_of(run), expected(truth)
        bad = {
            word: (found[word], want[word])
            for word in want
            if word in found and not same(word, found[word], want[word])
        }
        lost = [word for word in want if word not in found]
        hit, missed, wrong = hit + len(want) - len(bad) - len(lost), missed + len(lost), wrong + len(bad)
        ooms = f", {observed_oom(run, truth)} of {len(truth['ooms'])} refusals" if "ooms" in truth else ""
        print(f"{path.stem}: {len(want) - len(bad) - len(lost)} of {len(want)}, lost {lost}, wrong {bad}, "
              f"{len(observed_of(run))} observed{ooms}")  # fmt: skip
    print(f"found {hit}, missed {missed}, wrong {wrong}: {hit / max(1, hit + missed + wrong):.1%}")


if __name__ == "__main__":
    main()
