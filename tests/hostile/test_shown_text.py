"""Text of others on its way to a terminal, a file or a label: as text."""

from pathlib import Path

import pytest

from command import environment, run
from hostile_input import CODER, MEGATRON, within, written


@pytest.mark.parametrize("encoding", ["ascii", "latin1", "cp1252", "utf-8"])
def test_what_stdout_cannot_encode_is_spelled_out(encoding: str, tmp_path: Path) -> None:
    file = written(tmp_path, "模型/config.json", {**CODER, "\ud800key": 1, "ключ": 2})
    answer = run("infer", file, "--gpu", "h200", env=environment(PYTHONIOENCODING=encoding))
    assert answer.code == 0, answer.err
    assert "keys not understood" in answer.out
    assert r"\ud800key" in answer.out


def test_keys_are_shown_as_text(tmp_path: Path) -> None:
    keys = ["\x1b]0;pwned\x07\x1b[31mred", "a\nfits: 99 GiB to spare", "b" * 3_000_000]
    keys += [f"k{n}" for n in range(50_000)]
    file = written(tmp_path, "config.json", {**CODER, **dict.fromkeys(keys, 1)})
    answer = within("infer", file, "--gpu", "h200")
    assert answer.code == 0
    assert not {"\x1b", "\x07"} & set(answer.out)
    assert not [line for line in answer.out.splitlines()[1:] if line.startswith("fits:")]
    assert len(answer.out) < 5_000


def test_arguments_that_nobody_knows_are_named_in_short(tmp_path: Path) -> None:
    unknown = " ".join(f"--unknown-{n} 1" for n in range(9_000))
    file = written(tmp_path, "run.args", MEGATRON + unknown)
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8")
    assert answer.code == 0
    assert len(answer.out) < 10_000
