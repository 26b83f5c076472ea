"""DPO with a frozen reference against two real steps of a small network: allocator events of torch.profiler
on this machine's CPU."""

from pathlib import Path
from typing import Literal

import pytest

from estimate.networks import LLAMA, read
from estimate.ranks import run_ranks
from oomless.estimate.training.estimate import estimate_training
from oomless.estimate.training.post_training import after, asked_update
from oomless.estimate.training.reserved import allocated_lines
from oomless.estimate.training.training_estimate import Companions
from oomless.run.hardware import parse_gpu
from oomless.run.training import TrainingAsked

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

WITHIN = 0.02
SCALARS = 256
"""Bytes of scalars: the loss, a log-probability of each sequence."""
ASKED = TrainingAsked(
    framework="fsdp",
    task="dpo",
    precision="fp32",
    optimizer="adamw-loop",
    sharding="none",
    loss="plain",
    attention="flash",
    micro_batch=2,
    seq_len=512,
)


def test_two_steps(tmp_path: Path) -> None:
    """States to the byte, and what comes on top of them at each peak within 2 %, with and without
    recomputation."""
    model = read(LLAMA, tmp_path)
    cases: dict[Literal["none", "full"], bool] = {"none": False, "full": True}
    jobs = [
        ("memory.preference", {"config": LLAMA, "micro_batch": 2, "seq_len": 512, "checkpoint": again})
        for again in cases.values()
    ]
    for recompute, (seen,) in zip(cases, run_ranks(jobs, 1, tmp_path), strict=True):
        estimate = estimate_training(
            model, asked_update(ASKED._replace(recompute=recompute)), parse_gpu("80GiB")
        )
        group = estimate.groups[0]
        states = 4 * model.num_parameters + group.states.weights + group.states.optimizer
        between = seen["before end"] - seen["extras"]
        assert 0 <= between - states <= SCALARS
        not_here = sum(line.bytes for line in group.states.lines if line.category == "temporaries")
        expected = {}
        for moment in after(estimate, Companions()).moments:
            lines = [line for line in allocated_lines(moment.ledger) if line.category != "inputs"]
            expected[moment.name] = sum(line.bytes for line in lines) - not_here - states
        update = max(seen[name] for name in ("policy", "backward", "optimizer")) - seen["extras"] - states
        score = seen["reference"] - seen["extras"] - states
        assert abs(expected["score"] / score - 1) <= WITHIN, (recompute, score, expected)
        assert abs(expected["update"] / update - 1) <= WITHIN, (recompute, update, expected)
