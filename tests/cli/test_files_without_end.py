"""Files that are none: a pipe that nobody writes to, a device without end, a loop of links. Every reader
refuses them at once."""

import os
from pathlib import Path

import pytest

from command import run

QUESTIONS = {
    "config": ("infer", "FILE", "--gpu", "h200:8"),
    "answer": ("infer", "--from", "FILE"),
    "training file": ("train", "deepseek-v2-lite", "--gpu", "h100:8", "--from", "FILE"),
    "Megatron arguments": ("train", "--gpu", "h100:8", "--megatron-args", "FILE"),
    "measured rows": ("validate", "FILE"),
    "prices of a plan": ("plan", "deepseek-v2-lite", "--prices", "FILE"),
    "prices": ("cost", "--gpu", "h100:8", "--prices", "FILE"),
    "workload": ("speed", "deepseek-v2-lite", "--gpu", "h200", "--workload", "FILE"),
    "trace": ("trace", "--from", "FILE"),
    "log": ("reconcile", "FILE"),
    "growing log": ("reconcile", "FILE", "--follow"),
}


KINDS = ("pipe", "device", "folder", "loop")
OF_ALL_KINDS = ("config", "growing log")
"""One is opened by what opens all others, one by itself."""


@pytest.mark.parametrize(
    ("question", "what"),
    [(each, kind) for each in QUESTIONS for kind in (KINDS if each in OF_ALL_KINDS else KINDS[:1])],
)
def test_no_regular_file_is_refused(question: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    answer = run(*(str(path) if word == "FILE" else word for word in QUESTIONS[question]))
    assert answer.code == 1, answer.err
    assert "input.json" in answer.err
    assert not answer.out
    assert "Traceback" not in answer.err
    assert len(answer.err.splitlines()) == 2


@pytest.mark.parametrize("name", ["pipe", "device"])
def test_the_config_file_of_the_user_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    os.mkfifo(path) if name == "pipe" else path.symlink_to("/dev/zero")
    answer = run(
        "infer", "deepseek-v2-lite", "--gpu", "h200", env={**os.environ, "OOMLESS_CONFIG": str(path)}
    )
    assert answer.code == 1, answer.err
    assert "config.toml: no regular file" in answer.err


def test_a_journal_of_a_run_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rank0.jsonl")
    answer = run("monitor", "show", str(tmp_path))
    assert (answer.code, answer.out) == (1, "")
    assert "no regular file" in answer.err
