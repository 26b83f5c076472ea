"""Laws for every framework and every way of sharding that it runs: shards are the whole, more sharding and
more ranks never hold more, more work never needs less, an axis of one rank changes nothing."""

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomless import facts
from oomless.estimate.training.estimate import estimate_training
from oomless.estimate.training.rank_portions import portions, stages
from oomless.estimate.training.states import degrees, local_values, sharding_ranks
from oomless.estimate.training.training_estimate import TrainingEstimate
from oomless.frameworks import framework as record_of
from oomless.frameworks import names
from oomless.frameworks.defaults import resolved
from oomless.model.families import build
from oomless.model.model import Model
from oomless.run.hardware import parse_gpu
from oomless.run.training import Mesh, TrainingAsked

MODELS = ("deepseek-coder-1.3b", "deepseek-v2-lite", "qwen3-30b-a3b")
"""Grouped heads and a dense feed-forward, latent attention with experts, grouped heads with experts."""
OF_TORCH = ("none", "ddp", "zero1", "zero2", "zero3", "fsdp1", "fsdp2", "hsdp")
"""Ways of sharding where a framework has none of its own."""
WAYS = [(name, each) for name in names() for each in record_of(name).shardings or OF_TORCH]
ZERO = [name for name in names() if not record_of(name).shardings]
FEW = settings(max_examples=4, deadline=None)
"""Of each framework and sharding; 150 of these make some hundred questions a law."""

models = st.sampled_from(MODELS)
lengths = st.sampled_from([256, 1024, 4096])
recomputes = st.sampled_from(["none", "selective", "full"])


@cache
def network(name: str, num_layers: int) -> Model:
    """Return a model with so many layers."""
    config = dict(facts.model_config(name))
    config.update(num_hidden_layers=num_layers, max_window_layers=num_layers)
    return build(config, name, name)


def ask(name: str, gpu: str, num_layers: int = 6, **flags: Any) -> TrainingEstimate:
    return estimate_training(network(name, num_layers), TrainingAsked(**flags), parse_gpu(gpu))


def peak(found: TrainingEstimate) -> int:
    return max(group.peaks.allocated_bytes for group in found.groups)


def methods_of(name: str) -> st.SearchStrategy[str]:
    """Methods that a framework runs; adapters on every matrix, whose names are each framework's own."""
    return st.sampled_from(record_of(name).methods)


def flags_of(name: str, sharding: str, method: str) -> dict[str, Any]:
    return {
        "framework": name,
        "sharding": sharding,
        "method": method,
        "lora_targets": () if method == "full" else ("all-linear",),
    }


@pytest.mark.parametrize(("name", "sharding"), WAYS)
@given(data=st.data())
@FEW
def test_shards_of_all_ranks_are_the_whole(name: str, sharding: str, data: st.DataObject) -> None:
    """Weights, gradients and optimizer states: shards add up to one copy, or to a copy a rank where nothing
    is divided; what rounding adds is less than a row of each tensor a rank."""
    model = network(data.draw(models), 6)
    mesh = Mesh(dp=data.draw(st.sampled_from([1, 2, 8, 512])), pp=data.draw(st.sampled_from([1, 2])))
    method = data.draw(methods_of(name))
    asked = resolved(TrainingAsked(mesh=mesh, **flags_of(name, sharding, method)))
    for stage in stages(6, mesh):
        for portion in portions(model, mesh, stage, asked):
            ranks = sharding_ranks(mesh, portion.group, asked.framework)
            over = degrees(asked.sharding or "none", ranks)
            row = portion.num * max(portion.values // portion.rows, portion.values * portion.stacked)
            for divided in (over.weights, over.gradients, over.optimizer):
                assert divided in (1, ranks)
                held = divided * local_values(portion, divided, over.padded)
                assert portion.total <= held < portion.total + divided * max(1, row)


@pytest.mark.parametrize("name", ZERO)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_more_sharding_never_holds_more(name: str, data: st.DataObject) -> None:
    """ZeRO 0 >= 1 >= 2 >= 3: every state, and all that is held between steps but for the gradient partition
    and the bucket that DeepSpeed's stage 3 never gives back."""
    model, seq, method = data.draw(models), data.draw(lengths), data.draw(methods_of(name))
    found = [
        ask(model, "h100:16", seq_len=seq, **flags_of(name, sharding, method)).groups[0]
        for sharding in ("ddp", "zero1", "zero2", "zero3")
    ]
    for more, less in pairwise(found):
        assert more.states.weights >= less.states.weights
        assert more.states.gradients >= less.states.gradients
        assert more.states.optimizer >= less.states.optimizer
        always = [line.bytes for line in less.states.lines if line.key == "communication.bucket"]
        kept = sum(always) + less.states.gradients if always else 0
        assert more.steady_bytes >= less.steady_bytes - kept


@pytest.mark.parametrize(("name", "sharding"), WAYS)
@given(data=st.data())
@FEW
def test_more_ranks_never_hold_more(name: str, sharding: str, data: st.DataObject) -> None:
    model, method = data.draw(models), data.draw(methods_of(name))
    flags = {"seq_len": 256, "micro_batch": 1, **flags_of(name, sharding, method)}
    found = [ask(model, f"h100:{ranks}", **flags).groups[0] for ranks in (2, 4, 16)]
    for few, many in pairwise(found):
        assert few.states.weights + few.states.optimizer >= many.states.weights + many.states.optimizer


@pytest.mark.parametrize(("name", "sharding"), WAYS)
@given(data=st.data())
@FEW
def test_more_work_never_needs_less(name: str, sharding: str, data: st.DataObject) -> None:
    """A sequence more, a longer one, a micro-batch more, a layer more."""
    model, seq, method = data.draw(models), data.draw(lengths), data.draw(methods_of(name))
    batch, layers = data.draw(st.integers(1, 4)), data.draw(st.integers(3, 8))
    flags = {**flags_of(name, sharding, method), "recompute": data.draw(recomputes)}
    gpu = data.draw(st.sampled_from(["b200", "b200:4"]))
    base = {"seq_len": seq, "micro_batch": batch}
    least = peak(ask(model, gpu, layers, **base, **flags))
    for more in ({"micro_batch": batch + 1}, {"seq_len": seq + 64}, {"grad_accum": 2}):
        assert peak(ask(model, gpu, layers, **base | more, **flags)) >= least, more
    assert peak(ask(model, gpu, layers + 1, **base, **flags)) >= least


@pytest.mark.parametrize(("name", "sharding"), WAYS)
@given(data=st.data())
@FEW
def test_axes_of_one_rank_change_nothing(name: str, sharding: str, data: st.DataObject) -> None:
    model, seq, method = data.draw(models), data.draw(lengths), data.draw(methods_of(name))
    flags = {**flags_of(name, sharding, method), "seq_len": seq, "recompute": data.draw(recomputes)}
    ones = Mesh(dp=1, tp=1, pp=1, cp=1, ep=1, etp=1, virtual_stages=1, shard_size=0)
    assert ask(model, "b200", mesh=ones, **flags).groups == ask(model, "b200", **flags).groups
