"""Files that `--write` writes for training, started: a tiny model of the same family on this machine's CPU,
as many ranks as planned, a few steps on the same tokens."""

import ast
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from oomless.model.load import load
from oomless.plan.launch.training import training_launch
from oomless.run.hardware import parse_gpu
from oomless.run.training import Mesh, Method, Recompute, Sharding, TrainingAsked
from plan.starting import run_here

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

SAME_TOKENS = """\
import torch
_drawn = torch.randint
torch.randint = lambda *a, **k: (torch.manual_seed(0), _drawn(*a, **k))[1]
"""
"""Before a script: every batch is the first one, so that its loss falls."""
SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
STEPS = 4
ENVIRONMENTS = Path(os.environ.get("OOMLESS_PARSERS") or Path(__file__).parents[2] / ".parsers")
MEETS = 'import deepspeed\ndeepspeed.init_distributed("gloo")\n'
"""On a CPU TrainingArguments starts no ranks, and zero.Init would take itself for the only one."""

AS_CARDS = """\
import os
os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
import torch
torch.distributed.init_process_group("gloo")
from accelerate.state import PartialState
from accelerate.utils import DistributedType
PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)
"""
"""On a CPU accelerate shards nothing: it takes its ranks for cards."""


def saved(folder: Path, tied: bool) -> Any:
    """Return a tiny Llama, saved in a folder."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SHAPE, tie_word_embeddings=tied)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return model


def started(
    folder: Path, asked: TrainingAsked, num_gpus: int, python: str = sys.executable, before: str = ""
) -> list[float]:
    """Write the files of a question, start them, and return the losses that they print. `before` stands in
    front of the script."""
    name = str(folder / "model")
    launch = training_launch(load(name), name, asked, parse_gpu(f"h100:{num_gpus}"))
    for file, text in launch.files.items():
        changed = str(text)
        if file == "train.py":
            changed = changed.replace("STEPS = 100", f"STEPS = {STEPS}").replace("1e-5", "1e-2")
            changed = before + SAME_TOKENS + changed
        (folder / file).write_text(changed, encoding="utf-8")
    words = [python, "train.py"]
    if num_gpus > 1:
        command = launch.command.replace("torchrun", "torch.distributed.run")
        words = [python, "-m", *command.replace("accelerate launch", "accelerate.commands.launch").split()]
    done = run_here(words, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [ast.literal_eval(found) for found in re.findall(r"\{[^{}]*'loss':[^{}]*\}", done.stdout)]
    return [float(line["loss"]) for line in lines]


def loss_of(model: Any) -> float:
    """Return the loss of the first batch before any step."""
    torch.manual_seed(0)
    tokens = torch.randint(SHAPE["vocab_size"], (1, 16))
    with torch.no_grad():
        return float(model(input_ids=tokens, labels=tokens).loss)


@pytest.mark.parametrize(("framework", "method"), [("transformers", "full"), ("peft", "lora")])
def test_scripts_of_the_trainer_start_and_learn(tmp_path: Path, framework: str, method: Method) -> None:
    if method == "lora":
        pytest.importorskip("peft")
    model = saved(tmp_path / "model", tied=False)
    asked = TrainingAsked(framework=framework, method=method, sharding="none", seq_len=16, recompute="full")
    losses = started(tmp_path, asked, 1)
    assert len(losses) >= STEPS
    assert losses[0] == pytest.approx(loss_of(model), rel=0.02)
    assert losses[STEPS - 1] < losses[0]


@pytest.mark.slow  # processes that meet over gloo: half a minute each
@pytest.mark.parametrize(("sharding", "num_gpus", "tied"), [("fsdp2", 2, False), ("hsdp", 4, True)])
def test_sharded_scripts_start_with_the_weights_of_the_checkpoint(
    tmp_path: Path, sharding: Sharding, num_gpus: int, tied: bool
) -> None:
    """Their first loss is the model's own, so that weights and rotary buffers are not what the memory held
    (to_empty)."""
    model = saved(tmp_path / "model", tied)
    mesh = Mesh(shard_size=num_gpus // 2 if sharding == "hsdp" else 0)
    asked = TrainingAsked(framework="fsdp", sharding=sharding, seq_len=16, recompute="full", mesh=mesh)
    losses = started(tmp_path, asked, num_gpus)
    assert len(losses) == STEPS
    assert losses[0] == pytest.approx(loss_of(model), rel=0.02)
    assert losses[-1] < losses[0]


@pytest.mark.slow  # two ranks over gloo
@pytest.mark.parametrize(
    "optimizer", ["adamw-fused", "adam", "sgd", "adamw-loop", "adamw-8bit", "adamw-4bit"]
)
def test_sharded_scripts_step_with_the_optimizer_that_is_planned(tmp_path: Path, optimizer: str) -> None:
    python = ENVIRONMENTS / "axolotl" / "bin" / "python"  # it has torchao
    if not python.exists():
        pytest.skip("axolotl is not installed: make parsers")
    model = saved(tmp_path / "model", tied=False)
    asked = TrainingAsked(framework="fsdp", sharding="fsdp2", seq_len=16, optimizer=optimizer)
    losses = started(tmp_path, asked, 2, str(python))
    assert losses[0] == pytest.approx(loss_of(model), rel=0.02)
    assert losses[-1] < losses[0]


@pytest.mark.slow  # two ranks over gloo
@pytest.mark.parametrize("recompute", ["full", "none"])
def test_accelerate_shards_as_its_file_says(tmp_path: Path, recompute: Recompute) -> None:
    pytest.importorskip("accelerate")
    model = saved(tmp_path / "model", tied=False)
    asked = TrainingAsked(framework="transformers", sharding="fsdp2", seq_len=16, recompute=recompute)
    losses = started(tmp_path, asked, 2, before=AS_CARDS)
    assert len(losses) >= STEPS
    assert losses[0] == pytest.approx(loss_of(model), rel=0.02)
    assert losses[STEPS - 1] < losses[0]


@pytest.mark.slow  # two ranks over gloo, in an environment of `make parsers`
@pytest.mark.parametrize(
    ("sharding", "before", "optimizer"),
    [
        ("zero1", "", None),
        ("zero2", "", None),
        ("zero3", MEETS, None),
        ("zero2", "", "muon"),
        ("zero2", "", "adafactor"),
        ("zero2", "", "sgd-plain"),
    ],
)
def test_files_of_deepspeed_start_and_learn(
    tmp_path: Path, sharding: Sharding, before: str, optimizer: str | None
) -> None:
    """DeepSpeed reads the file that says its stage, and the first loss is the model's own."""
    python = ENVIRONMENTS / "deepspeed" / "bin" / "python"
    if not python.exists():
        pytest.skip("deepspeed is not installed: make parsers")
    model = saved(tmp_path / "model", tied=False)
    asked = TrainingAsked(
        framework="deepspeed",
        sharding=sharding,
        mesh=Mesh(dp=2),
        seq_len=16,
        recompute="full",
        optimizer=optimizer,
    )
    losses = started(tmp_path, asked, 2, str(python), before)
    assert len(losses) >= STEPS
    assert losses[0] == pytest.approx(loss_of(model), rel=0.02)
    assert losses[STEPS - 1] < losses[0]
