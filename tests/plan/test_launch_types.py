"""The types that launch files ask for are those of the question on its cards."""

import json

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from oomless.errors import UnsupportedError
from oomless.model.load import load
from oomless.plan.launch.training import training_launch
from oomless.run.hardware import parse_gpu
from oomless.run.training import Method, Sharding, TrainingAsked

MODEL = "llama-3.2-1b"
SAYS = {
    "bf16": ("bf16", "bfloat16"),
    "amp-fp16": ("fp16", "float16"),
    "fp32": ("no", "float32"),
}


def files(
    framework: str, precision: str | None, gpu: str = "h100:8", method: Method = "full"
) -> dict[str, str]:
    asked = TrainingAsked(
        framework=framework, precision=precision, method=method, seq_len=1024, sharding=SHARDED.get(framework)
    )
    return dict(training_launch(load(MODEL), MODEL, asked, parse_gpu(gpu)).files)


SHARDED: dict[str, Sharding] = {"deepspeed": "zero3", "llama-factory": "zero3"}


@pytest.mark.parametrize("precision", SAYS)
def test_each_kind_of_file_says_the_precision_that_was_asked_for(precision: str) -> None:
    short, torch_name = SAYS[precision]
    switches = {"bf16": {"bf16"}, "fp16": {"fp16"}, "no": set[str]()}[short]
    for framework in ("deepspeed", "llama-factory"):
        content = json.loads(files(framework, precision)["ds.json"])
        assert {"bf16", "fp16"} & content.keys() == switches
    for framework, name in (("axolotl", "axolotl.yaml"), ("llama-factory", "llama_factory.yaml")):
        content = yaml.safe_load(files(framework, precision)[name])
        assert {key for key in ("bf16", "fp16") if content.get(key)} == switches
    assert yaml.safe_load(files("peft", precision)["accelerate.yaml"])["mixed_precision"] == short
    for framework in ("fsdp", "peft", "deepspeed"):
        assert f"ARITHMETIC = {torch_name!r}\n" in files(framework, precision)["train.py"]
    words = files("megatron-lm", precision)["megatron.args"].split("\n")
    assert {word.removeprefix("--") for word in words if word in ("--bf16", "--fp16")} == switches


def test_no_file_says_bf16_for_a_card_that_has_none() -> None:
    written = files("peft", None, "t4:1", "qlora")
    assert "ARITHMETIC = 'float16'\n" in written["train.py"]
    assert yaml.safe_load(written["accelerate.yaml"])["mixed_precision"] == "fp16"


def test_eight_bits_are_written_for_megatron_alone() -> None:
    words = files("megatron-lm", "fp8")["megatron.args"].split("\n")
    assert {"--bf16", "--fp8-format hybrid", "--fp8-param-gather"} <= set(words)
    with pytest.raises(UnsupportedError, match="FP8"):
        files("peft", "fp8")


def test_weights_are_loaded_as_the_recipe_keeps_them() -> None:
    """F32 beside bfloat16 arithmetic under autocast, bfloat16 where every state is."""
    for precision, weights in (("amp-bf16", "float32"), ("bf16", "bfloat16"), ("mixed-bf16", "float32")):
        assert f"WEIGHTS = {weights!r}\n" in files("peft", precision)["train.py"]
