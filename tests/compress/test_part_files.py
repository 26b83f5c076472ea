"""Files for clusters: what they run is a command that this program takes, whatever a name holds."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy")

from command import call, environment
from oomless.compress.part_files import part_files
from oomless.compress.weights import CompressRequest

HOSTILE = "/models/it's $(touch hacked) `x`"


def files() -> dict[str, str]:
    return part_files(CompressRequest(HOSTILE, "int4", keep=("*.layers.0.*",)), "/models/out dir", 3)


def test_slurm_gets_an_array_and_a_join_behind_it(tmp_path: Path) -> None:
    """A stand-in for sbatch writes down what it is given; each is run by a shell as Slurm would."""
    (tmp_path / "slurm.sh").write_text(files()["slurm.sh"])
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\nfor word; do echo "$word" >> "$CALLS"; done\necho 4711\n')
    oomless = tmp_path / "oomless"
    oomless.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    for program in (sbatch, oomless):
        program.chmod(0o755)
    calls = tmp_path / "calls"
    path = f"{tmp_path}:/usr/bin:/bin"
    subprocess.run(["sh", "slurm.sh"], cwd=tmp_path, check=True, env=environment(PATH=path, CALLS=str(calls)))
    text = calls.read_text()
    assert "--array=1-3" in text
    assert "--dependency=afterok:4711" in text
    wraps = [line.removeprefix("--wrap=") for line in text.splitlines() if line.startswith("--wrap=")]
    found = [
        json.loads(
            subprocess.run(
                ["sh", "-c", wrap], cwd=tmp_path, capture_output=True, text=True, check=True,
                env=environment(PATH=path, SLURM_ARRAY_TASK_ID="2"),
            ).stdout
        )
        for wrap in wraps
    ]  # fmt: skip
    assert found[0][:2] == ["compress", HOSTILE]
    assert found[0][-2:] == ["--part", "2/3"]
    assert found[1] == ["compress", "--join", "/models/out dir"]
    assert not (tmp_path / "hacked").exists()


def test_kubernetes_counts_from_nought() -> None:
    parts, join = (json.loads(each) for each in files()["kubernetes.yaml"].split("---\n"))
    assert parts["spec"]["completionMode"] == "Indexed"
    assert parts["spec"]["completions"] == 3
    (container,) = parts["spec"]["template"]["spec"]["containers"]
    words = shlex.split(container["command"][2])
    assert words[2] == HOSTILE
    assert words[-1] == "$((JOB_COMPLETION_INDEX + 1))/3"
    assert join["spec"]["template"]["spec"]["containers"][0]["command"][2].startswith(
        "oomless compress --join"
    )


def test_rays_script_is_python() -> None:
    space: dict[str, object] = {}
    text = files()["ray_parts.py"]
    compile(text, "ray_parts.py", "exec")
    constants = "\n".join(
        line for line in text.splitlines() if line.startswith(("WORDS", "JOIN", "NUM_PARTS"))
    )
    exec(constants, space)
    assert space["NUM_PARTS"] == 3
    assert HOSTILE in space["WORDS"]  # type: ignore[operator]


@pytest.mark.torch
def test_the_command_writes_them_for_a_sound_request(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    words = ("compress", str(checkpoints["llama"]), "--to", "int4", "--out", "out", "--parts", "4")
    assert call(*words, "--write", str(tmp_path / "jobs")).code == 0
    assert len(list((tmp_path / "jobs").iterdir())) == 3
    assert call(*words).code == 2
    wrong = call(*words, "--keep", "nothing.here", "--write", str(tmp_path / "other"))
    assert wrong.code == 2
    assert not (tmp_path / "other").exists()
