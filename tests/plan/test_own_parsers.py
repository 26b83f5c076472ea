"""Launch files and commands before the framework's own parser, each in an environment of its own (`make
parsers`); what is not there is skipped."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from oomless.engines.command_line import command_words, own_flags
from oomless.errors import OomlessError
from oomless.model.load import load
from oomless.plan.answer import plan_serving
from oomless.plan.disaggregate import disaggregate
from oomless.plan.goals import PlanLimits, Wanted, WantedTraining
from oomless.plan.launch import Launch
from oomless.plan.launch.serving import serving_launch
from oomless.plan.launch.training import training_launch
from oomless.plan.training_answer import plan_training
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation
from oomless.run.training import Method
from plan.test_launch_files import QUESTIONS

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get("OOMLESS_PARSERS") or HERE.parents[1] / ".parsers")
PATIENCE_S = 600
SERVED = (
    ("deepseek-r1", Wanted(gpus=("h200:8", "h100:8x2", "b200", "mi300x"), context=32768, concurrency=64)),
    ("deepseek-v3.2", Wanted(gpus=("h200:8", "h200:8x2"), context=65536, concurrency=512, goal="fastest")),
    ("deepseek-v4-flash", Wanted(gpus=("dgx-spark:2", "h100"), context=16384, concurrency=4)),
    (
        "deepseek-r1-distill-qwen-32b",
        Wanted(gpus=("rtx-4090", "l40s", "h100:1"), context=8192, concurrency=16),
    ),
    (
        "deepseek-v2-lite",
        Wanted(
            gpus=("a100-80gb:1", "rtx-3090:2"), context=8192, concurrency=8, kv_cache_dtypes=("auto", "fp8")
        ),
    ),
    ("qwen2.5-7b-awq", Wanted(gpus=("t4", "l4"), context=4096)),
    (
        "llama-3.1-70b",
        Wanted(
            gpus=("h100", "910b", "gaudi-3"),
            context=8192,
            concurrency=32,
            quantizations=("none", "fp8", "w4a16"),
        ),
    ),
)
VALUES: dict[str, Any] = {
    "attention_backend": "fa3",
    "dtype": "bfloat16",
    "quantization": "fp8",
    "kv_cache_dtype": "fp8",
    "gpu_memory_utilization": 0.85,
    "block_size": 64,
    "cpu_offload_gb": 10.0,
    "kv_offloading_size": 64.0,
    "images_per_prompt": 0,
    "max_lora_rank": 64,
    "speculation": Speculation("mtp"),
    "moe_backend": "deep_gemm",
    "mem_fraction_static": 0.8,
    "swa_full_tokens_ratio": 0.5,
    "mamba_ssm_cache_dtype": "bfloat16",
    "mamba_full_memory_ratio": 0.5,
    "mamba_scheduler_strategy": "no_buffer",
    "deepep_mode": "normal",
    "moe_a2a_backend": "deepep",
    "compilation_config": '{"mode": 3}',
    "mm_encoder_tp_mode": "data",
}
"""A value of each field that is neither a whole number nor a switch."""
GONE = {
    "vllm": ("swap_space", "indexer_kv_dtype", "engram"),
    "sglang": (
        "indexer_kv_dtype",
        "engram",
        "enable_piecewise_cuda_graph",
        "kt_gpu_prefill_token_threshold",
    ),
}
"""Fields whose flags only other releases have, or KTransformers' fork."""


BESIDE = {"sglang": "vllm", "trl": "axolotl"}
"""Frameworks that share another's environment."""


def asked_of(framework: str, items: list[Any]) -> list[str]:
    """What the framework's own reader refuses of each item."""
    python = ENVIRONMENTS / BESIDE.get(framework, framework) / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{framework} is not installed: make parsers")
    done = subprocess.run(
        [str(python), str(HERE / "own_parsers.py"), framework],
        input=json.dumps(items),
        text=True,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def refused(framework: str, items: list[Any]) -> list[tuple[Any, str]]:
    """Items that are refused, with the reason."""
    return [(item, reason) for item, reason in zip(items, asked_of(framework, items), strict=True) if reason]


def served(engine: str) -> Iterator[str]:
    """Every command of the plans, alone and in its cluster files, and one for each flag that is written."""
    for model, wanted in SERVED:
        for planned in plan_serving(
            model, wanted._replace(engines=(engine,), limits=PlanLimits(max_gpus=16))
        ).rows:
            yield planned.launch.command
            text = "\n".join(planned.launch.files.values())
            starts = re.findall(r"(?:vllm serve|python -m sglang\.launch_server)[^\n;\"]*", text)
            yield from (re.sub(r"\$\(?\w+\)?", "1", start.removesuffix("'")) for start in starts)
    model_of, hardware = load("deepseek-v2-lite"), parse_gpu("h100:8")
    for name, default in Asked._field_defaults.items():
        if name in own_flags(engine) and name not in (*GONE[engine], "engine"):
            value = VALUES.get(name, True if default is False else 4)
            asked = Asked(engine=engine, layout=Layout(tp=2))._replace(**{name: value})
            yield serving_launch(model_of, "deepseek-v2-lite", asked, hardware).command
    for layout in (
        Layout(tp=4, dcp=2),
        Layout(tp=2, pp=2),
        Layout(dp=4, enable_expert_parallel=True),
        Layout(tp=2, ep_size=2),
    ):
        try:
            words = command_words(Asked(engine=engine, layout=layout, speculation=Speculation("mtp")))
        except OomlessError:  # a size that this engine has no flag for
            continue
        yield " ".join(
            [
                *{"vllm": ["vllm", "serve"], "sglang": ["python", "-m", "x", "--model-path"]}[engine],
                "a/b",
                *map(shlex.quote, words),
            ]
        )


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_an_engine_reads_its_commands(engine: str) -> None:
    commands = sorted(set(served(engine)))
    assert len(commands) > 30
    skip = 2 if engine == "vllm" else 3
    assert refused(engine, [shlex.split(command)[skip:] for command in commands]) == []


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_an_engine_reads_both_sides(engine: str) -> None:
    wanted = Wanted(gpus=("h200:8",), context=8192, concurrency=64, engines=(engine,))
    plan = plan_serving("deepseek-r1", wanted)
    assert plan.search is not None
    pair = disaggregate(plan.search, plan.all_rows).launch
    commands = (shlex.split(launch.command) for launch in (pair.prefill, pair.decode))
    first = {"vllm": "serve", "sglang": "sglang.launch_server"}[engine]
    assert refused(engine, [words[words.index(first) + 1 :] for words in commands]) == []


@cache
def trained() -> tuple[tuple[Launch, int], ...]:
    """(launch, ranks) of every question of the launch tests, and of plans for all frameworks."""
    return tuple(_trained())


def _trained() -> Iterator[tuple[Launch, int]]:
    for name, gpu, asked in QUESTIONS:
        hardware = parse_gpu(gpu)
        yield training_launch(load(name), name, asked, hardware), hardware.num_gpus
    for framework in ("deepspeed", "torchtitan", "axolotl", "trl", "llama-factory", "megatron-lm"):
        for name in ("llama-3.1-8b", "deepseek-v2-lite", "deepseek-v3"):
            for method in ("full", "lora", "qlora"):
                wanted = Wanted(
                    gpus=("h100:8", "h200:8x16", "a100-80gb:1"),
                    host_memory="2TiB",
                    limits=PlanLimits(max_gpus=128),
                )
                training = WantedTraining(method=method, frameworks=(framework,))
                try:
                    plan = plan_training(name, wanted, training)
                except OomlessError:
                    continue
                for planned in plan.rows:
                    yield planned.launch, planned.row.hardware.num_gpus
    for framework, method, loss in LOSSES:
        training = WantedTraining(method=method, frameworks=(framework,), loss=loss)
        for planned in plan_training("llama-3.1-8b", Wanted(gpus=("h100:8",)), training).rows:
            yield planned.launch, planned.row.hardware.num_gpus
    for framework, optimizer in OPTIMIZERS:
        training = WantedTraining(frameworks=(framework,), optimizer=optimizer)
        for planned in plan_training("llama-3.1-8b", Wanted(gpus=("h200:8",)), training).rows:
            yield planned.launch, planned.row.hardware.num_gpus


OPTIMIZERS = (
    ("deepspeed", "muon"),
    ("megatron-lm", "muon"),
    ("torchtitan", "adam-fused"),
    ("torchtitan", "adamw-loop"),
    ("llama-factory", "adafactor"),
    ("axolotl", "adamw-8bit"),
)
LOSSES: tuple[tuple[str, Method, str], ...] = (
    ("torchtitan", "full", "compiled"),
    ("axolotl", "qlora", "fused"),
    ("axolotl", "lora", "cut"),
    ("axolotl", "lora", "chunked"),
    ("llama-factory", "lora", "fused"),
    ("megatron-lm", "full", "fused"),
)
FILES = {
    "deepspeed": ("ds.json", 5),
    "torchtitan": ("job.toml", 6),
    "axolotl": ("axolotl.yaml", 5),
    "trl": ("sft.yaml", 5),
    "llama-factory": ("llama_factory.yaml", 5),
    "megatron-lm": ("megatron.args", 6),
}


VARIABLE = re.compile(r"[A-Z_]+=\w+$")


@pytest.mark.parametrize("framework", FILES)
def test_a_framework_reads_its_files(framework: str) -> None:
    name, least = FILES[framework]
    items = [
        {
            "text": launch.files[name],
            "ranks": ranks,
            "beside": launch.files.get("ds.json", ""),
            "variables": dict(word.split("=") for word in launch.command.split() if VARIABLE.match(word)),
        }
        for launch, ranks in trained()
        if name in launch.files and '"auto"' not in launch.files[name]
    ]
    assert len(items) >= least
    assert refused(framework, items) == []
