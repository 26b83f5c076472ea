"""2:4 and dynamic sparse training: what is zero, what is lost, what is held."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from oomless.compress import weights as compressing
from oomless.compress.calibration.sample import sample
from oomless.compress.calibration.solve import Moments
from oomless.compress.checkpoint.run import Writing
from oomless.compress.checkpoint.source import read_source
from oomless.compress.codecs.pruned import Pruned, kept_of_four, packed_bytes
from oomless.compress.quality.lazy_model import LazyModel
from oomless.compress.sparsity.dynamic import DynamicSparse, densities
from oomless.compress.sparsity.masks import masked
from oomless.compress.sparsity.prune import by_sparsegpt, by_wanda
from oomless.compress.weights import CompressRequest, compress, digest, plan
from oomless.errors import UnsupportedError, UsageError

pytestmark = pytest.mark.torch


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5)
def test_sparsegpt_loses_least_then_wanda_then_magnitude(seed: int) -> None:
    chance = np.random.default_rng(seed)
    values = chance.standard_normal((48, 128)).astype(np.float32)
    mixing = chance.standard_normal((128, 128)) * np.exp(chance.standard_normal(128))
    fed = (chance.standard_normal((512, 128)) @ mixing).astype(np.float32)
    moments = Moments.of((fed.T @ fed / len(fed)).astype(np.float32))
    magnitude = np.where(kept_of_four(np.abs(values)), values, 0)
    found = [by_sparsegpt, by_wanda]
    pruned = [each(Pruned("BF16"), values, moments, None).values for each in found] + [magnitude]
    lost = [
        float(np.einsum("ij,jk,ik->", each - values, moments.array, each - values, optimize=True))
        for each in pruned
    ]
    assert lost == sorted(lost)
    for each in pruned:
        assert ((each.reshape(48, 32, 4) != 0).sum(axis=2) <= 2).all()


@pytest.mark.parametrize("method", ["", "wanda", "sparsegpt"])
def test_two_of_four_are_zero_on_the_disk(
    checkpoints: dict[str, Path], method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressing, "CALIBRATION_TOKENS", 256)
    request = CompressRequest(
        str(checkpoints["llama"]), "2:4", calibrate=method, text_digest=digest(sample())
    )
    compress(plan(request), tmp_path, writing=Writing(durable=False), text=sample())
    assert "quantization_config" not in (tmp_path / "config.json").read_text()
    lazy = LazyModel(read_source(str(tmp_path)))
    weight = lazy.tensor(lazy.weights["model.layers.1.mlp.down_proj"])
    assert ((weight.view(weight.shape[0], -1, 4) != 0).sum(2) <= 2).all()
    assert float((weight != 0).float().mean()) > 0.49
    lazy.close()


def test_methods_belong_to_their_formats(checkpoints: dict[str, Path]) -> None:
    source = str(checkpoints["llama"])
    for word, method in (("int4", "wanda"), ("2:4", "gptq")):
        with pytest.raises(UnsupportedError, match=f"gains from {method}"):
            plan(CompressRequest(source, word, calibrate=method))


def test_packed_bytes_are_those_of_torchs_own_conversion() -> None:
    conversions = pytest.importorskip("torch.sparse._semi_structured_conversions")
    values = np.random.default_rng(0).standard_normal((128, 256)).astype(np.float32)
    pruned = torch.from_numpy(np.where(kept_of_four(np.abs(values)), values, 0)).to(torch.bfloat16)
    packed, meta = conversions.sparse_semi_structured_from_dense_cutlass(pruned)
    assert packed.nbytes + meta.nbytes == packed_bytes((128, 256), "BF16")
    again = conversions.sparse_semi_structured_to_dense_cutlass(packed, meta)
    assert torch.equal(again, pruned)


def network() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def loss_of(model: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(64, 64, generator=generator)
    return (model(inputs) - inputs.roll(1, 1)).square().mean()


def test_zeros_stay_zeros_while_the_rest_learns() -> None:
    model, optimizer = network()
    with pytest.raises(UsageError, match="no weight of this model is zero"), masked(model, optimizer):
        pass
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.mul_(torch.from_numpy(kept_of_four(layer.weight.abs().numpy())))
    before = float(loss_of(model, 99))
    with masked(model, optimizer) as masks:
        for step in range(30):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
    assert float(loss_of(model, 99)) < before
    assert all(not model.get_submodule(name).weight[~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize("pattern", [None, (2, 4)])
@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_a_moving_mask_keeps_its_density(rule: Any, pattern: Any) -> None:
    model, optimizer = network()
    sparse = DynamicSparse(model, optimizer, 0.5, rule, every=5, until=25, pattern=pattern)
    first = {name: mask.clone() for name, mask in sparse.masks.items()}
    counts = {name: int(mask.sum()) for name, mask in first.items()}
    before = float(loss_of(model, 99))
    for step in range(40):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        sparse.step()
    assert sparse.num_updates == 5
    assert sparse.density == pytest.approx(0.5, abs=0.01)
    assert {name: int(mask.sum()) for name, mask in sparse.masks.items()} == counts
    assert any(not torch.equal(first[name], sparse.masks[name]) for name in first)
    assert all(not weight[~sparse.masks[name]].any() for name, weight in sparse.weights.items())
    assert float(loss_of(model, 99)) < before
    if pattern:
        assert all((mask.view(-1, 4).sum(1) == 2).all() for mask in sparse.masks.values())


def test_a_mask_saves_nothing() -> None:
    model, optimizer = network()
    held = DynamicSparse(model, optimizer, 0.1, "rigl").num_bytes()
    assert held.dense == 2 * 64 * 128 * 4
    assert held.mask == 2 * 64 * 128
    assert held.values + held.indices == pytest.approx(0.2 * held.dense, rel=0.01)
    assert held.dense_gradient == 64 * 128 * 4
    assert DynamicSparse(model, optimizer, 0.1, "set").num_bytes().dense_gradient == 0


@given(
    shapes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=6),
    density=st.floats(0.01, 1),
)
def test_densities_give_the_whole(shapes: list[tuple[int, int]], density: float) -> None:
    named = {str(number): shape for number, shape in enumerate(shapes)}
    found = densities(named, density)
    total = sum(rows * columns for rows, columns in shapes)
    kept = sum(found[name] * rows * columns for name, (rows, columns) in named.items())
    assert kept == pytest.approx(density * total, rel=1e-6)
    assert all(0 <= each <= 1.000001 for each in found.values())
