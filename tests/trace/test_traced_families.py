"""Every family of causal language models that the installed transformers has, in small: traces beside real
CPU steps.

The ordinary tests run one family for each rule that the sweep found to be missing; `-m slow` runs them all,
and prints what it found.
"""

from typing import Any

import pytest
from families import causal_families, small

from oomless.errors import OomlessError, UnsupportedError
from oomless.frameworks.defaults import resolved
from oomless.run.tracing import Prompt, Purpose, Tracing
from oomless.run.training import TrainingAsked

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from oomless.trace.build import ModelSource
from oomless.trace.check import compare, measured, measured_inference
from oomless.trace.models import quiet
from oomless.trace.run import trace

pytestmark = pytest.mark.torch

LORA = {"method": "lora", "lora_rank": 8, "lora_targets": ("all-linear",)}
SETTINGS: dict[str, dict[str, Any]] = {
    "recompute": {"precision": "fp32", "optimizer": "adamw", "recompute": "full"},
    "adapters": {"precision": "bf16", "optimizer": "adamw-foreach", **LORA},
    "mixed": {"precision": "amp-bf16", "optimizer": "sgd"},
    "adafactor": {"precision": "bf16", "optimizer": "adafactor"},
    "fused": {"precision": "fp32", "optimizer": "adamw-fused"},
}
LIMIT, P90 = 0.006, 0.001
NUM_FAMILIES = 60
LONGEST = 30_000_000
"""Parameters of a model that is still small."""


def error_of(kind: str, setting: str, seq_len: int = 64) -> float:
    """Relative error of the peak of the second step."""
    asked = resolved(TrainingAsked(micro_batch=2, seq_len=seq_len, **SETTINGS[setting]))
    source = ModelSource(kind, small(kind))
    traced = trace(source, Tracing("train", asked, Prompt(), "cpu"), {})
    with quiet():
        return compare(traced, measured(source, asked))[-1].error or 0.0


@pytest.mark.parametrize(
    ("kind", "setting", "seq_len"),
    [
        ("falcon_mamba", "recompute", 24),  # gradients of many slices of one tensor are added in place
        ("mamba2", "recompute", 64),  # convolutions by channel
        ("persimmon", "mixed", 64),  # a norm over heads, whose rows do not lie one after the other
        ("doge", "mixed", 64),  # attention by plain operators adds its mask in place
        ("biogpt", "fused", 32),  # the first line that reads a number
        ("inkling_text", "fused", 64),  # a gather's gradient goes into its zeros in place
    ],
)
def test_a_rule_that_the_sweep_found(kind: str, setting: str, seq_len: int) -> None:
    if kind not in causal_families():
        pytest.skip("this transformers has no such family")
    assert abs(error_of(kind, setting, seq_len)) <= P90


@pytest.mark.parametrize("kind", ["llama", "deepseek_v3"])
def test_prefill_and_decode(kind: str) -> None:
    for _, error in inference_errors(kind):
        assert abs(error) <= P90


def inference_errors(kind: str) -> list[tuple[str, float]]:
    """Relative errors of prefill and decode."""
    source, prompt = ModelSource(kind, small(kind)), Prompt("float32", 96, 2, 2)
    traced = trace(source, Tracing("infer", resolved(TrainingAsked()), prompt, "cpu"), {})
    with quiet():
        return [(row.key, row.error or 0.0) for row in compare(traced, measured_inference(source, prompt))]


def test_a_family_that_routes_by_numbers_is_refused_with_its_line() -> None:
    with pytest.raises(UnsupportedError, match=r"modeling_jetmoe.py:\d+: reads a number"):
        error_of("jetmoe", "fused", 32)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [*SETTINGS, "infer"])
def test_every_family(setting: str) -> None:
    errors: dict[str, float] = {}
    refused: dict[str, str] = {}
    for kind in causal_families():
        source = buildable(kind)
        if source is None:
            continue
        asked = resolved(
            TrainingAsked(micro_batch=2, seq_len=64, **SETTINGS.get(setting, {"precision": "fp32"}))
        )
        try:
            with quiet():
                real = (
                    measured_inference(source, Prompt("float32", 64, 2, 2))
                    if setting == "infer"
                    else measured(source, asked)
                )
        except (
            Exception
        ):  # a family that needs more than token ids, or that cannot train so, fails in its own way
            continue
        purpose: Purpose = "infer" if setting == "infer" else "train"
        try:
            traced = trace(source, Tracing(purpose, asked, Prompt("float32", 64, 2, 2), "cpu"), {})
        except UnsupportedError as error:
            refused[kind] = str(error)
            continue
        if not any("routes tokens" in warning for warning in traced.warnings):
            errors[kind] = max(abs(row.error or 0) for row in compare(traced, real)[-1:])
    worst = sorted(errors.items(), key=lambda item: item[1])
    print(setting, len(errors), "families; the worst:", worst[-5:], "refused:", refused)
    assert len(errors) >= NUM_FAMILIES
    assert worst[int(0.9 * len(worst))][1] <= P90
    assert worst[-1][1] <= LIMIT


def buildable(kind: str) -> ModelSource | None:
    """A family's small model, if its config class alone is enough for it: some refuse their own defaults."""
    from huggingface_hub.errors import StrictDataclassError

    from oomless.trace.models import transformers_model

    try:
        config = small(kind)
        with quiet():
            model = transformers_model(config, "float32", None, kind)
    except (OomlessError, StrictDataclassError, ValueError, TypeError):
        return None
    return ModelSource(kind, config) if sum(each.numel() for each in model.parameters()) <= LONGEST else None
