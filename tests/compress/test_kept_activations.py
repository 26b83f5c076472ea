"""What a backward keeps: bytes to the byte, gradients near the plain ones, exact where nothing is rounded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

import oomless
from command import environment
from oomless.compress.backward.block_floats import pack, packed_bytes, unpack
from oomless.compress.backward.compare import compare
from oomless.compress.backward.layers import checkpoint_layers
from oomless.compress.backward.saved import activations
from oomless.errors import UsageError

pytestmark = pytest.mark.torch
WIDTH, ROWS = 64, 256


class Network(torch.nn.Module):
    """Layers in a list, as models have them."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.GELU(), torch.nn.LayerNorm(WIDTH))
            for _ in range(num_layers)
        )

    def forward(self, hidden: Any) -> Any:
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


def network(num_layers: int = 6) -> Any:
    torch.manual_seed(0)
    return Network(num_layers)


def loss_of(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    inputs, wanted = (torch.randn(ROWS, WIDTH, generator=generator) for _ in range(2))
    return (model(inputs) * wanted).mean()


def gradients(model: Any) -> list[Any]:
    return [each.grad for each in model.parameters()]


@given(
    seed=st.integers(0, 10**6),
    numel=st.integers(1, 500),
    exponent=st.integers(-30, 30),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    bits=st.sampled_from([8, 4]),
)
def test_a_value_loses_half_a_step_of_its_block(
    seed: int, numel: int, exponent: int, dtype: torch.dtype, bits: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    flat = (torch.randn(numel, generator=generator) * 2.0**exponent).to(dtype)
    packed = pack(flat, bits)
    assert packed.num_bytes == packed_bytes(numel, bits)
    again = unpack(packed)
    assert (again.dtype, again.shape) == (flat.dtype, flat.shape)
    padded = torch.nn.functional.pad(flat.float(), (0, -numel % 32)).view(-1, 32)
    steps = padded.abs().amax(1).repeat_interleave(32)[:numel] * {8: 1 / 63.5, 4: 1 / 3.75}[bits]
    assert ((again.float() - flat.float()).abs() <= steps * 0.505 + 2.0**-120).all()


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 33 / 128), (torch.bfloat16, 33 / 64)])
def test_bytes_are_a_quarter_or_a_half(dtype: torch.dtype, share: float) -> None:
    model = network().to(dtype)
    with activations(8) as kept:
        model(torch.randn(ROWS, WIDTH, dtype=dtype)).sum().backward()
    assert kept.ratio == pytest.approx(share, rel=0.02)


@pytest.mark.parametrize(("bits", "most"), [(8, 1e-3), (4, 0.15)])
def test_gradients_are_near(bits: int, most: float) -> None:
    plain, packed = network(), network()
    loss_of(plain).backward()
    with activations(bits):
        loss_of(packed).backward()
    for one, two in zip(gradients(plain), gradients(packed), strict=True):
        assert (one - two).square().sum() <= most * one.square().sum()


def test_a_gradient_of_logits_sums_to_zero_in_four_bits() -> None:
    """Logs of probabilities in four bits made several classes certain at once: a training diverged."""
    torch.manual_seed(0)
    logits = torch.randn(64, 256) * 4
    wanted = torch.randint(0, 256, (64,))
    found: list[Any] = []
    for bits in (None, 4):
        mine = logits.clone().requires_grad_()
        with activations(bits) as kept:
            loss: Any = torch.nn.functional.cross_entropy(mine, wanted)
            loss.backward()
        found.append(mine.grad)
    assert kept.ratio == pytest.approx(packed_bytes(1 << 14, 8) / (1 << 16), rel=1e-3)
    error = (found[1] - found[0]).square().sum() / found[0].square().sum()
    assert error < 0.01, "four bits gave 0.4"
    assert found[1].sum(1).abs().max() < 0.1 * found[0].abs().sum(1).mean()


def test_what_attention_takes_the_exponential_of_keeps_eight_bits() -> None:
    torch.manual_seed(0)
    states = torch.randn(3, 4, 4, 128, 16) * 3
    found: list[Any] = []
    for bits in (None, 8, 4):
        q, k, v = (each.clone().requires_grad_() for each in states)
        with activations(bits):
            mixed: Any = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            mixed.square().sum().backward()
        mine: list[Any] = [each.grad for each in (q, k, v)]
        found.append(torch.cat([each.flatten() for each in mine]))
    errors = [(each - found[0]).square().sum() / found[0].square().sum() for each in found[1:]]
    assert errors[0] < 0.05
    assert errors[1] < 0.3, "four bits of queries and keys gave 4,000, of the sums too 200,000"


@pytest.mark.parametrize("how", ["layer", "selective", "sqrt"])
def test_checkpointing_is_exact_and_keeps_less(how: Any) -> None:
    plain, again = network(), network()
    checkpoint_layers(again, how)
    with activations() as before:
        loss_of(plain).backward()
    with activations() as after:
        loss_of(again)
    with activations():
        loss_of(again).backward()
    assert after.kept_bytes < before.kept_bytes
    for one, two in zip(gradients(plain), gradients(again), strict=True):
        assert torch.equal(one, two)


def test_a_file_gives_back_what_it_got(tmp_path: Path) -> None:
    plain, moved = network(), network()
    loss_of(plain).backward()
    with activations(offload=str(tmp_path)) as kept:
        loss_of(moved).backward()
    assert kept.kept_bytes == 0 < kept.saved_bytes
    assert all(torch.equal(*pair) for pair in zip(gradients(plain), gradients(moved), strict=True))
    assert not list(tmp_path.iterdir())


def test_views_and_changed_tensors_are_not_mixed_up(tmp_path: Path) -> None:
    """A storage that is written to between two saves is kept twice; a view comes back with its strides."""
    weight = torch.randn(64, 64, requires_grad=True)
    buffer = torch.randn(64, 64)
    total: Any
    with activations(offload=str(tmp_path)) as kept:
        first = (weight * buffer.t()).sum()
        before = buffer.clone()
        buffer.add_(1)
        second = (weight * buffer).sum()
        total = first + second
        total.backward()
    assert weight.grad is not None
    assert kept.num_storages == 2
    assert torch.allclose(weight.grad, before.t() + before + 1)


def test_a_tensor_that_is_changed_is_an_error_where_no_copy_is_kept() -> None:
    weight, buffer = torch.randn(64, 64, requires_grad=True), torch.randn(64, 64)
    total: Any
    with activations():
        total = (weight * buffer).sum()
        buffer.add_(1)
        with pytest.raises(RuntimeError, match="changed in place"):
            total.backward()


def test_parameters_and_integers_stay() -> None:
    table = torch.nn.Embedding(2048, 64)
    with activations(8) as kept:
        table(torch.arange(2000)).sum().backward()
    assert kept.num_storages == 0
    one, two, inputs = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64), torch.randn(ROWS, 64)
    with activations(8) as kept:
        (one(inputs) + two(inputs)).sum().backward()
    assert (kept.num_storages, kept.num_tensors) == (1, 2), "what several operations save is kept once"


def test_the_interface_is_one_name() -> None:
    with oomless.compress.activations(bits=4) as kept:
        loss_of(network()).backward()
    assert kept.ratio == pytest.approx(17 / 128, rel=0.02)
    for wrong in ({"bits": 3}, {"bits": 8, "offload": "cpu"}, {"offload": "/nowhere/at/all"}):
        with pytest.raises(UsageError), activations(**wrong):
            pass


def test_all_ways_on_one_model() -> None:
    found = {way.name: way for way in compare(network(9), loss_of, repeats=1)}
    plain = found["plain"]
    assert found["checkpointing, each layer"].kept_bytes < plain.kept_bytes / 2
    assert found["block floating point, 8 bits"].kept_bytes == pytest.approx(
        plain.kept_bytes * 0.258, rel=0.02
    )
    exact = [name for name in found if "bit" not in name]
    assert all(found[name].gradient_error == 0 for name in exact)
    assert all(found[name].loss == pytest.approx(plain.loss, rel=1e-6) for name in found)


RANKS = """
import sys, torch
import torch.distributed as dist
from oomless.compress.backward.saved import activations
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64))
inputs = torch.randn(255, 64)
model(inputs).square().mean().backward()
plain = [each.grad.clone() for each in model.parameters()]
model.zero_grad()
with activations(partition=True) as kept:
    model(inputs).square().mean().backward()
assert all(torch.equal(a, b.grad) for a, b in zip(plain, model.parameters())), "gathered again"
assert abs(kept.ratio - 0.5) < 0.01, kept.ratio
dist.barrier()
dist.destroy_process_group()
"""


def test_two_ranks_keep_half_each(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RANKS, str(rank), str(tmp_path)], env=environment(OMP_NUM_THREADS="1")
        )
        for rank in (0, 1)
    ]
    assert [process.wait() for process in running] == [0, 0]
