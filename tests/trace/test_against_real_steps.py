"""Traces against real steps on this CPU: 12 settings over 8 families, five optimizers, recomputation on and
off, adapters, autocast.

Measured: the allocation events of torch's profiler over two real steps; the peak of the second counts.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from shrunk import shrunk

from command import call
from oomless.frameworks.defaults import resolved
from oomless.run.tracing import Prompt, Tracing
from oomless.run.training import TrainingAsked
from oomless.truth.validate import ninth_decile

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from oomless.trace.build import ModelSource
from oomless.trace.check import compare, measured
from oomless.trace.run import trace

pytestmark = pytest.mark.torch

LORA = {"method": "lora", "lora_rank": 8, "lora_targets": ("all-linear",)}
SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("deepseek-coder-1.3b", {"precision": "fp32", "optimizer": "adamw"}),
    ("deepseek-coder-1.3b", {"precision": "amp-bf16", "optimizer": "adamw-foreach", "recompute": "full"}),
    ("deepseek-v3", {"precision": "bf16", "optimizer": "adamw"}),
    ("deepseek-v3", {"precision": "bf16", "optimizer": "sgd", "recompute": "full"}),
    ("deepseek-v4-flash", {"precision": "bf16", "optimizer": "sgd", "recompute": "full"}),
    ("deepseek-v2-lite", {"precision": "fp32", "optimizer": "adamw-fused"}),
    ("qwen2-0.5b", {"precision": "fp32", "optimizer": "adafactor", "recompute": "full"}),
    ("qwen3-0.6b", {"precision": "bf16", "optimizer": "adamw-foreach", **LORA}),
    ("mixtral-8x7b", {"precision": "amp-bf16", "optimizer": "adamw"}),
    ("gemma-2-2b", {"precision": "fp32", "optimizer": "sgd", **LORA, "recompute": "full"}),
    ("gpt-oss-20b", {"precision": "bf16", "optimizer": "adamw", "recompute": "full"}),
    ("gpt2", {"precision": "amp-bf16", "optimizer": "adamw-fused"}),
)
SLOW_ON_A_CPU = (SETTINGS[1], SETTINGS[3], SETTINGS[10], SETTINGS[11])
"""Products of 16 bit, which others have too."""
LIMIT, P90 = 0.006, 0.001


def error_of(name: str, flags: dict[str, Any]) -> float:
    """How far the trace's peak is from that of real steps."""
    asked = resolved(TrainingAsked(micro_batch=2, seq_len=160, **flags))
    source = ModelSource(name, shrunk(name))
    traced = trace(source, Tracing("train", asked, Prompt(), "cpu"), {})
    return abs(compare(traced, measured(source, asked))[-1].error or 0)


@pytest.mark.parametrize("is_quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_traces_have_the_peaks_of_real_steps(is_quick: bool) -> None:
    """Each to six thousandths, nine of ten to one."""
    chosen = [(name, flags) for name, flags in SETTINGS if ((name, flags) not in SLOW_ON_A_CPU) is is_quick]
    found = {f"{name} {flags}": error_of(name, flags) for name, flags in chosen}
    assert {what: error for what, error in found.items() if error > LIMIT} == {}
    assert ninth_decile(list(found.values())) <= P90, found


def test_check_runs_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(shrunk("qwen2-0.5b", 2)))
    words = (
        "--precision",
        "fp32",
        "--optimizer",
        "adamw",
        "--micro-batch",
        "1",
        "--seq-len",
        "64",
        "--attention",
        "cpu",
    )
    answer = call("trace", str(tmp_path / "config.json"), *words, "--check", "--json")
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    peak = document["check"][-1]
    assert peak["predicted"] == document["peak"]["requested_bytes"]
    assert abs(peak["error"]) <= P90
