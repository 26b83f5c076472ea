"""Ranks that do not exist against real ones: DDP, FSDP2, tensor and pipeline parallelism, experts, in
processes that talk by gloo.

States are exact and the peak of each rank agrees within 1 %. A real rank waits after each collective until
gloo's threads sleep: they say that they are done before they let go of a buffer.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shrunk import shrunk

from command import environment
from oomless.frameworks.defaults import resolved
from oomless.ledger import Category
from oomless.run.tracing import Prompt, Tracing
from oomless.run.training import Mesh, TrainingAsked

pytest.importorskip("torch")
pytest.importorskip("transformers")

from oomless.recording.recording import KIND, phase_peaks
from oomless.trace.build import ModelSource
from oomless.trace.run import trace

pytestmark = pytest.mark.torch
HERE = Path(__file__).parent
WORLD = 2
STATES: tuple[Category, ...] = ("weights", "optimizer")
CASES: dict[str, tuple[str, Mesh, dict[str, Any]]] = {
    "ddp": ("qwen3-0.6b", Mesh(dp=2), {"sharding": "ddp"}),
    "fsdp2": ("deepseek-coder-1.3b", Mesh(dp=2), {"sharding": "fsdp2"}),
    "fsdp2-recompute": ("deepseek-coder-1.3b", Mesh(dp=2), {"sharding": "fsdp2", "recompute": "full"}),
    "tp": ("deepseek-coder-1.3b", Mesh(dp=1, tp=2), {}),
    "pp": ("deepseek-coder-1.3b", Mesh(dp=1, pp=2, schedule="gpipe"), {"grad_accum": 2}),
    "ep": ("deepseek-v2-lite", Mesh(dp=2, ep=2), {"sharding": "ddp"}),
}


NOW = ("fsdp2", "ep")
"""Cases of every run; each costs three to six seconds."""


def real_ranks(chosen: tuple[str, ...], folder: Path) -> dict[str, list[dict[str, int]]]:
    """Peak and states of two real ranks in each case."""
    questions = {
        case: {"config": shrunk(name), "name": name, "mesh": mesh._asdict(), "flags": flags}
        for case in chosen
        for name, mesh, flags in [CASES[case]]
    }
    (folder / "questions.json").write_text(json.dumps(questions))
    path = f"{HERE.parent}:{HERE.parent.parent / 'src'}"
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "real_rank.py"), str(folder), str(rank)],
            env=environment(OMP_NUM_THREADS="1", KINETO_LOG_LEVEL="99", PYTHONPATH=path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD)
    ]
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-3000:]
        answers.append(json.loads(out.splitlines()[-1]))
    return {case: [answer[case] for answer in answers] for case in chosen}


@pytest.mark.parametrize(
    "chosen",
    [NOW, pytest.param(tuple(case for case in CASES if case not in NOW), marks=pytest.mark.slow)],
    ids=["now", "others"],
)
def test_ranks_that_do_not_exist_are_like_real_ones(chosen: tuple[str, ...], tmp_path: Path) -> None:
    """Several cases in one test: their two processes start once, whoever runs it."""
    for case, measured in real_ranks(chosen, tmp_path).items():
        compare(case, measured)


def compare(case: str, real: list[dict[str, int]]) -> None:
    """Each rank of a case beside its trace."""
    name, mesh, flags = CASES[case]
    asked = resolved(TrainingAsked(micro_batch=1, seq_len=128, precision="fp32", optimizer="adamw", **flags))
    for rank, measured in enumerate(real):
        recording = trace(
            ModelSource(name, shrunk(name)),
            Tracing("train", asked, Prompt(), "cpu", mesh=mesh, rank=rank),
            {},
        )
        tensors = recording.tensors
        alive = {number for number in recording.events if number >= 0} - {
            ~number for number in recording.events if number < 0
        }
        kinds = {
            kind: sum(tensors.sizes[number] for number in alive if tensors.kinds[number] == KIND[kind])
            for kind in STATES
        }
        assert kinds["weights"] == measured["weights"], (case, rank)
        assert kinds["optimizer"] == measured["optimizer"], (case, rank)
        last = max(phase.step for phase, _ in phase_peaks(recording))
        peak = max(num_bytes for phase, num_bytes in phase_peaks(recording) if phase.step == last)
        assert abs(peak - measured["peak"]) <= 0.01 * measured["peak"], (case, rank, peak, real)
