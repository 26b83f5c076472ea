"""What other engines make of it, where they are installed (`make parsers`): vLLM generates, Flower trains."""

import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch")

from oomless.compress.checkpoint.run import Writing
from oomless.compress.weights import CompressRequest, compress, plan

pytestmark = [pytest.mark.torch, pytest.mark.slow]
HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get("OOMLESS_PARSERS") or HERE.parents[1] / ".parsers")
SECONDS = 600


def result(engine: str, script: str, *words: str) -> str:
    """What a script prints behind RESULT, run in the environment of an engine."""
    python = ENVIRONMENTS / engine / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{engine} is not installed: make parsers")
    done = subprocess.run(
        [str(python), str(HERE / script), *words],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src")},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return line.removeprefix("RESULT ")


@pytest.mark.parametrize("word", ["int8", "int4", "int4-asym"])
def test_vllm_generates(checkpoints: dict[str, Path], word: str, tmp_path: Path) -> None:
    if word != "int8" and "avx512f" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("vLLM's product of packed integers (cpu_gemm_wna16) needs AVX-512")
    compress(plan(CompressRequest(str(checkpoints["llama"]), word)), tmp_path, writing=Writing(durable=False))
    assert len(json.loads(result("vllm", "vllm_tokens.py", str(tmp_path)))) == 8


@pytest.mark.parametrize(
    ("word", "scheme"),
    [
        ("int4", "CompressedTensorsWNA16"),
        ("int4-asym", "CompressedTensorsWNA16"),
        ("fp8-block", "CompressedTensorsW8A8Fp8"),
        ("fp8-channel", "CompressedTensorsW8A8Fp8"),
        ("nvfp4", "CompressedTensorsW4A4Fp4"),
        ("mxfp4", "CompressedTensorsW4A4Mxfp4"),
        ("mxfp8", "CompressedTensorsW8A8Mxfp8"),
    ],
)
def test_vllm_chooses_the_scheme(
    checkpoints: dict[str, Path], word: str, scheme: str, tmp_path: Path
) -> None:
    """No CPU has kernels for the lower ones: what it says is which scheme it took from our config."""
    compress(plan(CompressRequest(str(checkpoints["llama"]), word)), tmp_path, writing=Writing(durable=False))
    assert scheme in json.loads(result("vllm", "vllm_scheme.py", str(tmp_path)))


def test_flower_trains_with_a_quarter_of_the_bytes() -> None:
    plain, int8, top = (
        json.loads(result("flower", "flower_clients.py", way)) for way in ("plain", "int8", "top-k")
    )
    assert int8["error"] < 10 * plain["error"] + 1e-4
    assert int8["up"] == pytest.approx(int8["down"] * 33 / 128, rel=0.04)
    assert top["up"] < int8["up"] / 2
    assert top["error"] < 0.5
