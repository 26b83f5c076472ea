"""Gradients in fewer bytes: what is counted on the wire beside the rule, and a loss that still falls."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from gradient_ranks import WAYS, WORLD, network

from command import environment
from oomless.compress.gradients.federated import decode, encode
from oomless.compress.gradients.hooks import from_int8, to_int8
from oomless.compress.gradients.wire import int8_bytes, plain_bytes, power_sgd_bytes, top_k_bytes
from oomless.errors import UsageError

pytestmark = pytest.mark.torch
RANKS = Path(__file__).parent / "gradient_ranks.py"
ALONE = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
"""A network of their own: no other process's bytes are counted."""


def own_network() -> bool:
    return bool(shutil.which("unshare")) and not subprocess.run([*ALONE, "true"], check=False).returncode


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What four ranks print of each way."""
    command = [sys.executable, str(RANKS), str(tmp_path_factory.mktemp("ranks"))]
    done = subprocess.run(
        [*ALONE, *command] if own_network() else command,
        env=environment(OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {each["way"]: each for each in json.loads(done.stdout.splitlines()[-1])}


def test_bytes_on_the_wire_and_the_loss(trained: dict[str, dict[str, float]]) -> None:
    """All ways in one test: their ranks run once, whichever process it is given to."""
    shapes: list[tuple[int, ...]] = [tuple(each.shape) for each in network().parameters()]
    numel = sum(int(np.prod(shape)) for shape in shapes)
    expected = {
        "plain": plain_bytes(numel, WORLD),
        "fp16": plain_bytes(numel, WORLD, 2),
        "int8": int8_bytes(numel, WORLD),
        "powersgd": power_sgd_bytes(shapes, WORLD, 2),
        "dgc": top_k_bytes(numel, WORLD, 0.01),
    }
    headers = 40_000  # of a step's messages and acknowledgements
    for way in WAYS:
        found = trained[way]
        assert found["last"] < 0.5 * found["first"], way
        if found["counted"]:
            assert found["counted"] == pytest.approx(expected[way], rel=0.03), way
        if own_network():
            most = (
                1.35 if way in ("plain", "fp16", "powersgd") else 1.1
            )  # gloo's own sum moves more than a ring
            assert expected[way] * 0.97 <= found["wire"] <= expected[way] * most + headers, way


@given(numel=st.integers(1, 700), seed=st.integers(0, 1000))
def test_int8_blocks_lose_half_a_step(numel: int, seed: int) -> None:
    flat = torch.randn(-(-numel // 128) * 128, generator=torch.Generator().manual_seed(seed))
    codes, scales = to_int8(flat)
    assert ((from_int8(codes, scales) - flat).abs().view(-1, 128) <= scales * 0.501).all()


@given(numel=st.integers(1, 700), seed=st.integers(0, 1000), way=st.sampled_from(["int8", "top-k"]))
def test_a_difference_comes_back(numel: int, seed: int, way: Any) -> None:
    delta = np.random.default_rng(seed).standard_normal((numel, 1)).astype(np.float32)
    stored = encode(delta, way, 0.1)
    again = decode(stored, delta.shape, way)
    if way == "int8":
        assert stored.nbytes == numel + 4 * -(-numel // 128)
        assert np.abs(again - delta).max() <= np.abs(delta).max() / 127 * 0.501
    else:
        kept = np.flatnonzero(again)
        assert len(kept) == max(round(numel * 0.1), 1)
        assert np.abs(delta.ravel()[kept]).min() >= np.abs(np.delete(delta.ravel(), kept)).max(initial=0)
        assert np.array_equal(again.ravel()[kept], delta.ravel()[kept])


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UsageError, match="federated updates by"):
        encode(np.zeros(4, np.float32), "zip", 0.1)  # type: ignore[arg-type]
