"""Launch files against the parsers of what they start, where those are installed, and against a table of keys
with sources elsewhere."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from oomless import facts
from oomless.frameworks.megatron.args import read_arguments
from oomless.frameworks.megatron.source import read_text
from oomless.model.load import load
from oomless.plan.launch.training import launched, training_launch
from oomless.run.hardware import parse_gpu
from oomless.run.training import Mesh, TrainingAsked

QUESTIONS = (
    ("deepseek-v2-lite", "a100-80gb:1", TrainingAsked(framework="peft", method="lora", seq_len=2048)),
    (
        "deepseek-v2-lite",
        "h100:8x2",
        TrainingAsked(framework="peft", method="qlora", sharding="fsdp2", seq_len=2048, recompute="full"),
    ),
    ("llama-3.1-8b", "h100:8", TrainingAsked(framework="transformers", sharding="fsdp2", seq_len=2048)),
    (
        "llama-3.1-8b",
        "h100:8x2",
        TrainingAsked(framework="fsdp", sharding="fsdp2", seq_len=4096, recompute="full"),
    ),
    (
        "llama-3.1-8b",
        "h100:8",
        TrainingAsked(framework="deepspeed", sharding="zero3", offload=("optimizer", "params"), seq_len=4096),
    ),
    (
        "llama-3.1-8b",
        "h100:8",
        TrainingAsked(
            framework="torchtitan", sharding="fsdp2", mesh=Mesh(tp=2, pp=2), seq_len=4096, grad_accum=2
        ),
    ),
    (
        "llama-3.1-8b",
        "h100:8",
        TrainingAsked(framework="torchtitan", sharding="fsdp2", recompute="selective", seq_len=4096),
    ),
    (
        "deepseek-v3",
        "h200:8x16",
        TrainingAsked(
            framework="megatron-lm", sharding="distopt", mesh=Mesh(tp=2, pp=8, ep=8, etp=1), seq_len=4096
        ),
    ),
    (
        "llama-3.1-8b",
        "h100:8",
        TrainingAsked(framework="megatron-lm", mesh=Mesh(tp=2), recompute="full", seq_len=4096),
    ),
    ("llama-3.1-8b", "h100:8x2", TrainingAsked(framework="axolotl", sharding="fsdp2", seq_len=4096)),
    (
        "llama-3.1-8b",
        "h100:1",
        TrainingAsked(framework="axolotl", method="qlora", lora_targets=("q_proj", "v_proj"), seq_len=4096),
    ),
    ("llama-3.1-8b", "h100:8", TrainingAsked(framework="trl", sharding="fsdp2", seq_len=4096)),
    ("llama-3.1-8b", "h100:1", TrainingAsked(framework="trl", method="qlora", seq_len=4096)),
    ("llama-3.1-8b", "h100:8", TrainingAsked(framework="llama-factory", sharding="zero3", seq_len=4096)),
    ("llama-3.1-8b", "h100:1", TrainingAsked(framework="llama-factory", method="qlora", seq_len=4096)),
)
IS_OF = {
    "job.toml": "torchtitan",
    "ds.json": "deepspeed",
    "accelerate.yaml": "accelerate",
    "axolotl.yaml": "axolotl",
    "sft.yaml": "trl",
    "llama_factory.yaml": "llama-factory",
    "megatron.args": "megatron-lm",
    "sky.yaml": "skypilot",
}


def launches() -> Iterator[tuple[str, Mapping[str, str]]]:
    for name, gpu, asked in QUESTIONS:
        launch = training_launch(load(name), name, asked, parse_gpu(gpu))
        yield launch.command, launch.files


def known(framework: str) -> set[str]:
    return {
        key
        for row in facts.table("launch_keys")
        if row["framework"] == framework
        for key in row["keys"].split()
    }


def keys_of(name: str, content: str) -> set[str]:
    """Dotted names of the entries of a file."""
    if name == "megatron.args":
        return {line.split()[0].removeprefix("--") for line in content.splitlines()}
    data = (
        tomllib.loads(content)
        if name.endswith(".toml")
        else json.loads(content)
        if name.endswith(".json")
        else yaml.safe_load(content)
    )

    def walk(prefix: str, value: Any) -> Iterator[str]:
        for key, each in value.items():
            if isinstance(each, dict) and f"{prefix}{key}" not in OPEN:
                yield from walk(f"{prefix}{key}.", each)
            else:
                yield f"{prefix}{key}"

    return set(walk("", data))


OPEN = {"resources.accelerators"}
"""Objects whose keys are data."""


def test_every_framework_is_launched_once() -> None:
    assert {asked.framework for _, _, asked in QUESTIONS} == set(launched())


def test_every_key_has_a_row_with_a_source() -> None:
    written = 0
    for _, files in launches():
        for name, content in files.items():
            if name in IS_OF:
                keys = keys_of(name, content)
                assert keys <= known(IS_OF[name]), (name, keys - known(IS_OF[name]))
                written += len(keys)
    assert written > 200
    assert all(row["source"] and row["since"] for row in facts.table("launch_keys"))


def test_a_task_of_skypilot_installs_what_it_runs() -> None:
    tasks = [yaml.safe_load(files["sky.yaml"]) for _, files in launches() if "sky.yaml" in files]
    assert tasks
    assert all(re.search(r"\b(pip|uv) +(pip +)?install\b", task["setup"]) for task in tasks)


def test_files_of_megatron_start_below_blackwell_and_read_their_checkpoint() -> None:
    """arguments.py asserts one connection; the base of the rotation is in no argument of ours."""
    megatron = [
        (command, files["megatron.args"]) for command, files in launches() if "megatron.args" in files
    ]
    assert len(megatron) > 1
    for command, arguments in megatron:
        assert command.startswith("env CUDA_DEVICE_MAX_CONNECTIONS=1 torchrun ")
        assert "--load checkpoint\n--use-checkpoint-args\n--finetune\n" in arguments


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "llama-3.1-8b",
            "--position-embedding-type rope --rotary-base 500000 --use-rope-scaling --rope-scaling-factor 8",
        ),
        (
            "deepseek-v3",
            "--position-embedding-type rope --rotary-base 10000 --rope-type yarn --rotary-scaling-factor 40",
        ),
        (
            "deepseek-r1-0528-qwen3-8b",
            "--position-embedding-type yarn --rotary-base 1000000 --rotary-scaling-factor 4 "
            "--yarn-original-max-position-embeddings 32768",
        ),
        (
            "deepseek-coder-1.3b",
            "--position-embedding-type rope --rotary-base 100000 --rotary-seq-len-interpolation-factor 4",
        ),
        ("glm-4.5-air", "--position-embedding-type rope --rotary-base 1000000 --rotary-percent 0.5"),
    ],
)
def test_files_of_megatron_rotate_as_the_model_does(name: str, words: str) -> None:
    """What no table knows, the note names."""
    asked = TrainingAsked(framework="megatron-lm", mesh=Mesh(tp=8), seq_len=4096)
    launch = training_launch(load(name), name, asked, parse_gpu("h100:8"))
    text = launch.files["megatron.args"]
    assert words in text.replace("\n", " ")
    run = read_arguments(read_text(text, "megatron.args"), 8)
    assert [each for each in run.warnings if "not read" in each] == []
    assert "--norm-epsilon" in launch.note
    assert ("--mscale" in launch.note) == name.startswith("deepseek-v3")


@pytest.mark.torch
def test_torchrun_parses_its_commands() -> None:
    run = pytest.importorskip("torch.distributed.run")
    seen = 0
    for command, _ in launches():
        program, *words = shlex.split(
            command.replace("$NODE_RANK", "1")
            .replace("$HEAD", "10.0.0.1")
            .replace("$(cat megatron.args)", "")
            .removeprefix("env CUDA_DEVICE_MAX_CONNECTIONS=1 ")
        )
        if program == "torchrun":
            parsed = run.get_args_parser().parse_args(words)
            assert parsed.training_script in ("train.py", "torchtitan.train", "pretrain_gpt.py")
            assert int(parsed.nproc_per_node) >= 1
            seen += 1
    assert seen >= 5


@pytest.mark.torch
def test_accelerate_reads_its_files_and_commands(tmp_path: Path) -> None:
    config = pytest.importorskip("accelerate.commands.config.config_args")
    launch = pytest.importorskip("accelerate.commands.launch")
    for command, files in launches():
        if "accelerate.yaml" not in files:
            continue
        path = tmp_path / "accelerate.yaml"
        path.write_text(files["accelerate.yaml"], encoding="utf-8")
        loaded = config.load_config_from_file(str(path))
        words = shlex.split(command.replace("$NODE_RANK", "1").replace("$HEAD", "10.0.0.1"))
        given = words[2:] if words[0] == "accelerate" else ["--config_file", "accelerate.yaml", "train.py"]
        parsed = launch.launch_command_parser().parse_args(given)  # trl gives accelerate its file itself
        assert parsed.training_script == "train.py"
        flags = vars(parsed)
        assert [key for key in loaded.fsdp_config or {} if key not in flags] == []


@pytest.mark.torch
def test_transformers_and_peft_take_what_the_scripts_give_them() -> None:
    """Each call of their classes is made; on this machine, so that bf16 is asked of its CPU."""
    import ast
    import inspect

    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    classes = {
        "TrainingArguments": lambda **given: transformers.TrainingArguments(
            **{**given, "use_cpu": True, "deepspeed": None}
        ),
        "LoraConfig": peft.LoraConfig,
        "BitsAndBytesConfig": transformers.BitsAndBytesConfig,
        "Trainer": lambda **given: inspect.signature(transformers.Trainer).bind(**dict.fromkeys(given)),
    }
    calls = 0
    for _, files in launches():
        tree = ast.parse(files.get("train.py", ""))
        values = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id.isupper()
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                given = {
                    str(keyword.arg): None
                    if node.func.id == "Trainer"
                    else eval(ast.unparse(keyword.value), {"torch": torch, **values})
                    for keyword in node.keywords
                }
                classes[node.func.id](**given)
                calls += 1
    assert calls >= 8
