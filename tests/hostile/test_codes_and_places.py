"""Exit codes of faults inside of files, places that cannot be written, streams that nobody reads."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from command import environment
from hostile_input import MEGATRON, within, written


def test_a_fault_in_a_file_is_the_file_s(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "a.yaml",
        "base_model: deepseek-ai/DeepSeek-V2-Lite\nmicro_batch_size: -4\nsequence_len: 64\n",
    )
    answer = within("train", "--gpu", "h100:8", "--from", file)
    assert answer.code == 1
    assert answer.err.startswith(f"oomless: {file}: ")
    good = written(tmp_path, "b.yaml", "base_model: deepseek-ai/DeepSeek-V2-Lite\nmicro_batch_size: 1\n")
    assert within("train", "--gpu", "h100:8", "--from", good, "--micro-batch", "-4").code == 2
    megatron = written(tmp_path, "run.args", MEGATRON.replace("--vocab-size 50000", ""))
    answer = within("train", "--gpu", "h100:8", "--megatron-args", megatron, "--world-size", "8")
    assert answer.code == 1
    assert megatron in answer.err


def test_an_override_is_typed() -> None:
    answer = within("infer", "deepseek-r1", "--gpu", "h200:8", "--hf-overrides", '{"num_hidden_layers":0}')
    assert answer.code == 2


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    plan = ("plan", "deepseek-v2-lite", "--gpu", "h200:1", "--rows", "1")
    answer = within(*plan, "--write", str(tmp_path / ("n" * 300)), cpu_s=20)
    assert answer.code == 1
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    answer = within(*plan, "--write", str(tmp_path / "link"), cpu_s=20)
    assert answer.code == 2
    assert "is a link" in answer.err
    answer = within("infer", "deepseek-v2-lite", "--gpu", "h200", "--plot", str(tmp_path / "no" / "x.svg"))
    assert answer.code in (1, 2)
    assert not [*(tmp_path / "there").iterdir()]


def test_a_plot_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        answer = within("infer", "deepseek-v2-lite", "--gpu", "h200", "--plot", str(tmp_path / "x.svg"))
    finally:
        os.umask(before)
    assert answer.code == 0
    assert stat.S_IMODE((tmp_path / "x.svg").stat().st_mode) == 0o644
    assert [*tmp_path.iterdir()] == [tmp_path / "x.svg"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_full_stderr_leaves_the_code_as_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oomless", "infer", "nope", "--gpu", "h200:8"],
        stdout=subprocess.DEVNULL,
        stderr=open("/dev/full", "w"),  # noqa: SIM115 - the child's
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 2


def test_a_byte_order_mark_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OOMLESS_CONFIG", written(tmp_path, "c.toml", b"\xef\xbb\xbf[infer]\ntp = 1\n"))
    assert within("infer", "deepseek-v2-lite", "--gpu", "h200").code == 0
