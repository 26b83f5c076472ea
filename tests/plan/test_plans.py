"""Laws of a plan: every row re-estimates as it was planned, its launch command reads back to the same ledger,
its files parse."""

import json
import re
import subprocess
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]
from hypothesis import given, settings

from command import call
from oomless.engines.command_line import read_command
from oomless.errors import UnsupportedError
from oomless.facts.options import LLAMA
from oomless.plan.answer import Plan, cheaper_unmeasured, plan_serving
from oomless.plan.candidates import PlannedRow
from oomless.plan.goals import Wanted
from oomless.plan.launch.serving import in_checkpoint
from oomless.plan.search import PlanRow
from plan.asked_plans import plans

READ_BACK = ("vllm", "vllm-ascend", "vllm-hpu", "sglang", "trtllm", "llamacpp")
FUZZ_PLANS = 200


def check_files(files: Mapping[str, str]) -> None:
    """Every file in its own syntax."""
    for name, content in files.items():
        if name.endswith((".yaml", ".yml")):
            documents = list(yaml.safe_load_all(content))
            assert all(isinstance(document, dict) for document in documents), name
        elif name.endswith(".json"):
            json.loads(content)
        elif name.endswith(".toml"):
            tomllib.loads(content)
        elif name.endswith(".py"):
            compile(content, name, "exec")
        elif name.endswith((".sh", ".sbatch")):
            done = subprocess.run(["bash", "-n"], input=content, text=True, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr


def infer(*words: str) -> dict[str, Any]:
    answer = call(*words, "--json")
    assert answer.code == 0, f"{words}: {answer.err}"
    found: dict[str, Any] = json.loads(answer.out)
    return found


def check_row(plan: Plan, planned: PlannedRow[PlanRow]) -> None:
    row = planned.row
    again = infer(*planned.arguments)
    assert again["verdict"] == row.estimate.verdict
    assert again["headroom_bytes"] == row.estimate.headroom_bytes
    assert again["ranks"][0]["lines"] == [line._asdict() for line in row.estimate.ledgers[0].lines]
    if row.asked.engine in READ_BACK and row.asked.instances == 1:
        beside = [
            "--gpu",
            row.gpu,
            "--context",
            str(row.asked.context),
            "--concurrency",
            str(row.asked.concurrency),
        ]
        if row.asked.engine in LLAMA.split():
            beside += ["--quantization", row.asked.quantization or "none"] if row.asked.quantization else []
            beside += ["--pp", str(row.asked.layout.pp)] if row.asked.layout else []
        if row.asked.engine.startswith("vllm-"):
            beside += ["--engine", row.asked.engine]
        if in_checkpoint(row.asked, plan.model.quantization):
            beside += ["--quantization", row.asked.quantization or "none"]
        if row.asked.engine in LLAMA.split() or in_checkpoint(row.asked, plan.model.quantization):
            beside.append(plan.model_word)  # a file's name says nothing of what lies there
        back = infer("infer", "--offline", "--command", planned.launch.command, *beside)
        assert back["ranks"] == again["ranks"], planned.launch.command
        assert not [warning for warning in back["warnings"] if "not known" in warning and "flags" in warning]
    check_files(planned.launch.files)


def check_plan(model: str, wanted: Wanted) -> None:
    try:
        plan = plan_serving(model, wanted)
    except UnsupportedError:
        return
    verdicts = [planned.row.estimate.verdict for planned in plan.rows]
    assert set(verdicts) <= {"fits", "tight"}
    assert verdicts == sorted(verdicts)  # fits before tight
    for planned in plan.rows:
        check_row(plan, planned)
    assert sum(plan.excluded.values()) + len(plan.rows) + plan.num_more >= plan.num_candidates - plan.num_more


@given(plans)
@settings(max_examples=40)
def test_every_row_is_what_it_says(question: tuple[str, Wanted]) -> None:
    check_plan(*question)


@pytest.mark.slow
@given(plans)
@settings(max_examples=FUZZ_PLANS)
def test_every_row_of_200_plans(question: tuple[str, Wanted]) -> None:
    check_plan(*question)


def test_every_line_of_a_cluster_file_is_a_command_that_is_understood() -> None:
    """Flags that join machines are in the table of flags too: none would be called unknown."""
    for engine in ("vllm", "sglang"):
        plan = plan_serving(
            "deepseek-r1", Wanted(gpus=("h100:8x2",), context=8192, engines=(engine,), rows=1)
        )
        text = "\n".join(plan.rows[0].launch.files.values())
        starts = re.findall(r"(?:vllm serve|python -m sglang\.launch_server)[^\n;\"]*", text)
        assert len(starts) >= 4
        for start in starts:
            words = re.sub(r"\$\(?\w+\)?(:\d+)?", "2", start.removesuffix("'"))
            assert read_command(words).unknown == (), words


def test_cheaper_cards_whose_speed_nobody_measured_are_named() -> None:
    """The first row was called the cheapest while RTX 3090 and L40S held the load for less."""
    asked = Wanted(gpus=("l40s:1", "a100-40gb-sxm4:1"), context=8000, concurrency=10)
    rows = {each.row.gpu: each.row for each in plan_serving("qwen3-8b", asked).rows}
    first, behind = rows["a100-40gb-sxm4:1"], rows["l40s:1"]
    (note,) = cheaper_unmeasured((first, behind), "cheapest")
    assert note.startswith("cheaper an hour, and behind since no speed of theirs was measured: l40s:1")
    assert not cheaper_unmeasured((behind, first), "cheapest")
    assert not cheaper_unmeasured((first, behind), "fastest")
