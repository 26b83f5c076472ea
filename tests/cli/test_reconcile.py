"""`oomless reconcile` as a user meets it: text, JSON, rows, files that are none, codes."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from command import call, environment
from oomless.api.reconcile import follow

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "tests" / "tables" / "logs"


def test_json_has_the_promised_keys() -> None:
    found = json.loads(call("reconcile", str(LOGS / "vllm-ready.log"), "--gpu", "h100", "--json").out)
    assert found["schema"] == "oomless/reconcile/1"
    (only,) = found["runs"]
    promised = "engine engine_version state facts command missing assumed observed rows oom changes"
    assert set(promised.split()) <= set(only)
    assert only["state"] == "started"
    assert only["facts"]["kv_tokens"] == 465296
    assert all(
        {"key", "predicted", "low", "high", "measured", "difference", "reason"} <= set(row)
        for row in only["rows"]
    )
    assert all({"key", "owner", "rank", "unit", "source"} <= set(each) for each in only["observed"])


def test_text_says_how_it_ended_first() -> None:
    answer = call("reconcile", str(LOGS / "training-oom.log"))
    assert answer.out.startswith("torch: ran out of memory")
    assert "expandable_segments" in answer.out


RAN = {
    "infer": "vllm serve Qwen/Qwen2.5-14B-Instruct --max-model-len 32768",
    "train": "trl sft --model_name_or_path Qwen/Qwen2.5-7B --per_device_train_batch_size 2 --max_length 2048",
}


@pytest.mark.parametrize("asks", RAN)
def test_what_an_allocator_wrote_stands_beside_the_command_that_was_run(asks: str) -> None:
    words = ("--gpu", "rtx-4090", "--command", RAN[asks], "--json")
    (run,) = json.loads(call("reconcile", str(LOGS / "training-oom.log"), *words).out)["runs"]
    alone = json.loads(call(asks, "--gpu", "rtx-4090", "--command", RAN[asks], "--json").out)
    assert run["command"][0] == asks
    assert run["missing"] == []
    ledger = max(alone["ranks"], key=lambda each: each["total_bytes"])
    assert sum(run["oom"]["expected"].values()) == ledger["total_bytes"]
    assert run["oom"]["advice"]


def test_what_a_log_says_itself_counts_before_a_command() -> None:
    words = (str(LOGS / "vllm-ready.log"), "--gpu", "h100", "--json")
    assert call("reconcile", *words, "--command", RAN["infer"]).out == call("reconcile", *words).out


@pytest.mark.parametrize("command", ["make all", RAN["infer"]])
def test_a_command_needs_cards_and_a_program_that_is_known(command: str) -> None:
    cards = ("--gpu", "h100") if command == "make all" else ()
    answer = call("reconcile", str(LOGS / "training-oom.log"), "--command", command, *cards)
    assert answer.code == 2
    assert answer.out == ""


def test_several_files_and_a_packed_one(tmp_path: Path) -> None:
    packed = tmp_path / "server.log.gz"
    packed.write_bytes(gzip.compress((LOGS / "vllm-ready.log").read_bytes()))
    found = json.loads(call("reconcile", str(packed), str(LOGS / "training-oom.log"), "--json").out)
    assert [each["engine"] for each in found["runs"]] == ["vllm", "torch"]


def test_rows_are_a_table() -> None:
    answer = call("reconcile", str(LOGS / "vllm-ready.log"), "--gpu", "h100", "--row")
    head, *rows = answer.out.splitlines()
    assert head.startswith("id,source,date,engine,")
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 1),
        (b"nothing that anybody knows\n", 1),
        (b"\x80\x04cos\nsystem\n.", 1),
        (b"\x1f\x8bbroken", 1),
        (None, 1),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes | None, code: int) -> None:
    path = tmp_path / "x.log"
    if content is not None:
        path.write_bytes(content)
    answer = call("reconcile", str(path))
    assert answer.code == code
    assert answer.out == ""
    assert "x.log" in answer.err
    assert "Traceback" not in answer.err


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "bars.svg"
    call("reconcile", str(LOGS / "vllm-ready.log"), "--gpu", "h100", "--plot", str(picture))
    assert picture.read_text().startswith("<svg")


def test_metrics_and_cards_are_read(tmp_path: Path) -> None:
    page = tmp_path / "metrics.txt"
    page.write_text(
        "# HELP vllm:cache_config_info Information\n"
        'vllm:cache_config_info{block_size="16",num_gpu_blocks="1000",cache_dtype="auto"} 1.0\n'
        'vllm:kv_cache_usage_perc{model_name="m"} 0.5\n'
    )
    found = json.loads(call("reconcile", str(page), "--json").out)["runs"][0]
    assert found["facts"]["kv_tokens"] == 16000
    assert found["live"]["live_kv_usage"] == 0.5
    cards = tmp_path / "cards.csv"
    cards.write_text(
        "index, name, memory.total [MiB], memory.used [MiB]\n0, NVIDIA H100 80GB HBM3, 81559 MiB, 1024 MiB\n"
    )
    found = json.loads(call("reconcile", str(cards), "--json").out)["runs"][0]
    assert found["facts"]["gpu"] == "NVIDIA H100 80GB HBM3"
    assert found["facts"]["gpu_memory_bytes"] == 81559 * 2**20


def test_the_standard_input_is_read() -> None:
    command = [sys.executable, "-m", "oomless", "reconcile", "-", "--json"]
    answer = subprocess.run(
        command,
        input=(LOGS / "vllm-ready.log").read_bytes(),
        capture_output=True,
        timeout=60,
        check=True,
        env=environment(PYTHONPATH=str(ROOT / "src")),
    )
    assert json.loads(answer.stdout)["runs"][0]["facts"]["kv_tokens"] == 465296


def test_a_growing_log_is_followed(tmp_path: Path) -> None:
    path, lines = tmp_path / "grows.log", (LOGS / "vllm-ready.log").read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))
    told = follow(path)
    first = next(told).runs[0]
    assert "kv_tokens" not in first.facts
    with open(path, "a") as file:
        file.write("".join(lines[3:]))
    assert next(told).runs[0].facts["kv_tokens"] == 465296
