"""Configuration files that `--write` writes for frameworks with a program of their own, started by it on this
machine's CPU: a tiny model, a text of this test in the place of the hub's, a few steps. Each framework is in
an environment of `make parsers`; what is not there is skipped."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from oomless.model.load import load
from oomless.plan.goals import ALL_MATRICES
from oomless.plan.launch.training import training_launch
from oomless.run.hardware import parse_gpu
from oomless.run.training import Mesh, Method, Recompute, Sharding, Task, TrainingAsked
from plan.starting import run_here
from plan.test_started_files import ENVIRONMENTS, STEPS, saved

pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")
# a framework's imports alone are ten seconds
pytestmark = [pytest.mark.torch, pytest.mark.slow]

WORDS = ["<unk>", "<s>", "</s>", "#", ":", *"abcdefghijklmnopqrstuvwxyz"]
TEXT = "a b c d e f g h i j k l m n o p"
ROWS = [{"instruction": TEXT, "input": "", "output": TEXT}] * 256
ANSWERS = {
    "chosen": {"from": "gpt", "value": TEXT},
    "rejected": {"from": "gpt", "value": TEXT[::-1]},
}
PAIRS = [{"conversations": [{"from": "human", "value": TEXT}], **ANSWERS}] * 256


def program(framework: str, name: str) -> Path:
    """A program of a framework's environment."""
    path = ENVIRONMENTS / framework / "bin" / name
    if not path.exists():
        pytest.skip(f"{framework} is not installed: make parsers")
    return path


def tokenizer(folder: Path) -> None:
    """Save a tokenizer of single letters, as a checkpoint's folder has one."""
    kind = tokenizers.models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>")
    made = tokenizers.Tokenizer(kind)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    config |= {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def written(name: str, asked: TrainingAsked, num_gpus: int) -> tuple[str, Mapping[str, str]]:
    """Return the command of a question and its files."""
    launch = training_launch(load(name), name, asked, parse_gpu(f"h100:{num_gpus}"))
    return launch.command, launch.files


def losses(folder: Path, words: list[str], found: str, **variables: str) -> list[float]:
    """Start a command and return the losses that it prints."""
    done = run_here(words, folder, **variables)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-5000:]
    return [float(loss) for loss in re.findall(found, said)]


MEETS = """\
import os
if "LOCAL_RANK" in os.environ:
    import torch
    gather = "all_gather_into_tensor"
    setattr(torch.distributed, gather, torch.no_grad()(getattr(torch.distributed, gather)))
    import deepspeed
    deepspeed.init_distributed("gloo")
"""
"""On a CPU LLaMA-Factory starts no ranks, and DeepSpeed would take itself for the only one; gloo gathers into
views, which autograd refuses."""
BY_TRAINER = r"'loss': '?([\d.]+)"


@pytest.mark.parametrize(
    ("method", "sharding", "num_gpus", "task"),
    [
        ("full", "none", 1, "sft"),
        ("lora", "none", 1, "sft"),
        ("lora", "none", 1, "dpo"),
        ("full", "none", 1, "dpo"),
        ("full", "zero2", 2, "sft"),
        ("full", "zero3", 2, "sft"),
    ],
)
def test_llama_factory_starts_its_file(
    tmp_path: Path, method: Method, sharding: Sharding, num_gpus: int, task: Task
) -> None:
    start = program("llama-factory", "llamafactory-cli")
    saved(tmp_path / "model", tied=False)
    tokenizer(tmp_path / "model")
    asked = TrainingAsked(
        framework="llama-factory", task=task, method=method, sharding=sharding, seq_len=32, recompute="full"
    )
    if method == "lora":
        asked = asked._replace(lora_targets=ALL_MATRICES)
    command, files = written(str(tmp_path / "model"), asked, num_gpus)
    config = yaml.safe_load(files["llama_factory.yaml"])
    config |= {"dataset_dir": ".", "learning_rate": 1e-2}
    if task == "dpo":  # its own entry, with rows of this test in the place of the hub's
        entry = json.loads(files["dataset_info.json"])[config["dataset"]]
        entry = {name: value for name, value in entry.items() if name not in ("hf_hub_url", "subset")}
        entry |= {"file_name": "rows.json"}
    else:
        config["dataset"], entry = "letters", {"file_name": "rows.json"}
    config |= {"max_steps": STEPS, "logging_steps": 1, "use_cpu": True, "report_to": "none"}
    (tmp_path / "rows.json").write_text(json.dumps(PAIRS if task == "dpo" else ROWS), encoding="utf-8")
    own = {"dataset_info.json": json.dumps({config["dataset"]: entry})}
    for name, text in {**files, **own, "llama_factory.yaml": yaml.safe_dump(config)}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    variables = {"NPROC_PER_NODE": str(num_gpus)} if num_gpus > 1 else {}
    assert ("FORCE_TORCHRUN=1" in command) == (num_gpus > 1)
    variables |= {"FORCE_TORCHRUN": "1"} if num_gpus > 1 else {}
    words = [str(start), *command.split("llamafactory-cli ")[1].split()]
    (tmp_path / "sitecustomize.py").write_text(MEETS, encoding="utf-8")
    (tmp_path / "torchaudio.py").touch()  # imported, and called for sounds alone; its wheel wants a GPU
    variables |= {"PATH": f"{start.parent}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path)}
    found = losses(tmp_path, words, BY_TRAINER, **variables)
    assert len(found) == STEPS
    assert found[-1] < found[0]


WITHOUT_CARDS = """\
import os
if "NO_CARDS" in os.environ:
    import transformers.training_args
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True
"""
"""Axolotl has no word for a CPU, on which transformers refuses its bf16."""


@pytest.mark.parametrize(("method", "task"), [("full", "sft"), ("lora", "sft"), ("lora", "dpo")])
def test_axolotl_starts_its_file(tmp_path: Path, method: Method, task: Task) -> None:
    """`axolotl train` starts this module."""
    python = program("axolotl", "python")
    saved(tmp_path / "model", tied=False)
    tokenizer(tmp_path / "model")
    asked = TrainingAsked(
        framework="axolotl", task=task, method=method, sharding="none", seq_len=128, recompute="full"
    )
    _, files = written(str(tmp_path / "model"), asked, 1)
    config = yaml.safe_load(files["axolotl.yaml"])
    kind = config["datasets"][0]["type"]
    config |= {"datasets": [{"path": "rows.jsonl", "ds_type": "json", "type": kind, "split": "train"}]}
    config |= {"learning_rate": 1e-2, "max_steps": STEPS, "logging_steps": 1}
    if method == "lora":  # kernels that it chooses by itself, and that a card alone runs
        config |= dict.fromkeys(("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"), False)
    (tmp_path / "axolotl.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    pairs = [{"system": "", "question": TEXT, "chosen": TEXT, "rejected": TEXT[::-1]}] * 256
    rows = "".join(json.dumps(row) + "\n" for row in (pairs if task == "dpo" else ROWS))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_CARDS, encoding="utf-8")
    start = [str(python), "-m", "axolotl.cli.train", "axolotl.yaml"]
    variables = {"AXOLOTL_DO_NOT_TRACK": "1", "PYTHONPATH": str(tmp_path), "NO_CARDS": "1"}
    found = losses(tmp_path, start, BY_TRAINER, **variables)
    assert len(found) == STEPS
    assert found[-1] < found[0]


@pytest.mark.parametrize("task", ["sft", "dpo"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_trl_starts_its_file(tmp_path: Path, method: Method, task: Task) -> None:
    """No file of TRL was started. Its program is in the environment of Axolotl, which is made of it."""
    python = program("axolotl", "python")
    saved(tmp_path / "model", tied=False)
    tokenizer(tmp_path / "model")
    asked = TrainingAsked(framework="trl", task=task, method=method, sharding="none", seq_len=32)
    command, files = written(str(tmp_path / "model"), asked, 1)
    config = yaml.safe_load(files[f"{task}.yaml"])
    config |= {"dataset_name": "rows", "learning_rate": 1e-2, "max_steps": STEPS, "logging_steps": 1}
    config |= {"use_cpu": True, "report_to": "none"}
    (tmp_path / f"{task}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    row = {"prompt": TEXT, "chosen": TEXT, "rejected": TEXT[::-1]} if task == "dpo" else {"text": TEXT}
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_text((json.dumps(row) + "\n") * 256, encoding="utf-8")
    assert command.split()[:3] == ["trl", task, "--config"]
    start = [str(python), "-m", f"trl.scripts.{task}", "--config", f"{task}.yaml"]
    found = losses(tmp_path, start, BY_TRAINER)
    assert len(found) == STEPS
    assert found[-1] < found[0]


OFTEN = """
[metrics]
log_freq = 1
disable_color_printing = true
[lr_scheduler]
warmup_steps = 1
"""
"""Behind a file: every step says its loss, and learns in full from the first on."""


@pytest.mark.parametrize(
    ("name", "mesh", "recompute"),
    [
        ("llama-3.1-8b", Mesh(), "selective"),
        ("llama-3.1-8b", Mesh(tp=2), "selective"),
        ("llama-3.1-8b", Mesh(pp=2), "none"),
        ("deepseek-v2-lite", Mesh(ep=2), "full"),
    ],
)
def test_torchtitan_starts_its_file(tmp_path: Path, name: str, mesh: Mesh, recompute: Recompute) -> None:
    """The file as it is but for the flavor, which is torchtitan's own small one, and the data."""
    python = program("torchtitan", "python")
    asked = TrainingAsked(
        framework="torchtitan",
        sharding="fsdp2",
        mesh=mesh,
        seq_len=32,
        recompute=recompute,
        kernels="eager",
        grad_accum=2,
    )
    command, files = written(name, asked, 2)
    text = re.sub(r'flavor = "\w+"', 'flavor = "debugmodel"', files["job.toml"])
    text = re.sub(r'hf_assets_path = ".*"', f'hf_assets_path = "{tmp_path}"', text)
    text = text.replace("steps = 100", f"steps = {STEPS}").replace("1e-05", "1e-3")
    text = text.replace('dataset = "c4"', f'dataset = "c4_test"\ndataset_path = "{tmp_path / "rows"}"')
    (tmp_path / "job.toml").write_text(text + OFTEN, encoding="utf-8")
    tokenizer(tmp_path)
    (tmp_path / "rows").mkdir()
    rows = "".join(json.dumps({"text": row["instruction"]}) + "\n" for row in ROWS)
    (tmp_path / "rows" / "rows.jsonl").write_text(rows, encoding="utf-8")
    words = command.replace("-m torchtitan.train", str(Path(__file__).with_name("titan_on_cpu.py"))).split()
    start = [str(python), "-m", "torch.distributed.run", *words[1:]]
    # a rank that is not the pipeline's last prints -1
    found = [loss for loss in losses(tmp_path, start, r"  loss: +(-?[\d.]+)") if loss > 0]
    assert len(found) >= STEPS
    assert found[-1] < found[0]
